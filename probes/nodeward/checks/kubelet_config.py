"""Whether the configuration on disk is the one in force, and whether all of it counts."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from nodeward.checks.kubelet_authn import NO_KUBELET, NOBODY, OFFLINE, C
from nodeward.checks.kubelet_differences import differences, dig
from nodeward.checks.kubelet_samples import answers, reply
from nodeward.checks.kubelet_support import (
    CONFIG,
    CONFIG_FILE,
    FLAGS,
    Answers,
    each,
    maps,
    restart,
    text,
)
from nodeward.facts.kubelet import ConfigFile, Kubelet, Unknown, changed_after, example
from nodeward.facts.kubelet_answers import KubeletAnswers
from nodeward.facts.kubelet_defaults import LEGACY, plain_defaults
from nodeward.facts.kubelet_fields import faults
from nodeward.facts.kubelet_merge import Layer, Rules
from nodeward.facts.kubelet_strength import STRONGER, weaker
from nodeward.model import (
    Evidence,
    Example,
    Remedy,
    Severity,
    Source,
    Status,
    Verdict,
    check,
    most,
)

_DROPIN = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
RESTART = ("systemctl restart kubelet",)
LENIENT = Source(
    "Kubernetes source: cmd/kubelet/app/server.go",
    "https://github.com/kubernetes/kubernetes/blob/master/cmd/kubelet/app/server.go",
)


@check(
    "kubelet.config.legacy-defaults",
    title="No setting is left to the defaults of the kubelet's flags",
    why="Without --config the kubelet starts from other defaults than the documented ones of its"
    " configuration file: anyone is let in, everything is allowed, port 10255 is open.",
    severity=Severity.HIGH,
    remedy=Remedy("Start the kubelet with --config, or set all four fields.", RESTART),
    sources=[LENIENT, CONFIG_FILE],
    mappings=maps(sac=["S4a"]),
    examples=lambda: [
        Example(Status.PASS, example(C, "{}"), "with --config these defaults do not count"),
        Example(
            Status.PASS,
            example(
                "--anonymous-auth=false --authentication-token-webhook --read-only-port=0"
                " --authorization-mode=Webhook"
            ),
            "all four are set by flags",
        ),
        Example(Status.FAIL, example("--anonymous-auth=false"), "three are not set"),
        Example(Status.FAIL, example("--config="), "an empty --config is none"),
        Example(
            Status.FAIL,
            example("--config-dir=/d", None, {"1.conf": "readOnlyPort: 0"}),
            "--config-dir alone does not change the base",
        ),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
        Example(Status.NOT_APPLICABLE, NO_KUBELET, "no kubelet"),
    ],
)
def legacy_defaults(kubelet: Kubelet) -> Verdict:
    return each(kubelet, _legacy)


def _legacy(kubelet: Kubelet) -> Verdict:
    if not kubelet.legacy:
        return Verdict.passed("the kubelet was given --config: the file's own defaults count")
    settings = {path: kubelet.get(path) for path in LEGACY}
    left = {p: s for p, s in settings.items() if s.layer is Layer.LEGACY}
    dark = [s.value.why for s in settings.values() if isinstance(s.value, Unknown)]
    seen = [Evidence(p, text(s.value), s.source) for p, s in settings.items()]
    if left:
        names = ", ".join(f"{p} is {text(s.value)}" for p, s in left.items())
        how = "only --config-dir" if kubelet.arguments.given("config-dir") else "no --config"
        return Verdict.failed(f"there is {how}, so {names}", *seen, remedy=_give_config(kubelet))
    if dark:
        return Verdict.unknown(dark[0], *seen)
    return Verdict.passed("there is no --config, and all four fields are set", *seen)


def _give_config(kubelet: Kubelet) -> Remedy:
    return Remedy(
        f"Give {kubelet} a --config file; --config-dir alone keeps the flags' defaults."
        " At once: add --read-only-port=0 --anonymous-auth=false --authorization-mode=Webhook"
        " --authentication-token-webhook=true.",
        (restart(kubelet),),
    )


def _put_in_place(kubelet: Kubelet) -> Kubelet:
    return replace(kubelet, files=tuple(replace(f, placed_at=5000.0) for f in kubelet.files))


SAME = plain_defaults(36)


@check(
    "kubelet.config.drift",
    title="The running kubelet has read the configuration that is on disk",
    why="The kubelet reads its files once. What was changed since is not in force, and will be at"
    " the next restart, wanted or not.",
    severity=Severity.MEDIUM,
    remedy=Remedy("Restart the kubelet once the files say what they should.", RESTART),
    sources=[CONFIG_FILE, CONFIG],
    mappings=maps(sac=["S4b"]),
    examples=lambda: [
        Example(Status.PASS, (example(C, "{}"), OFFLINE), "nothing is newer than the process"),
        Example(
            Status.FAIL,
            (example(C, "readOnlyPort: 0", changed_at=5000.0), OFFLINE),
            "the file was changed after the start",
        ),
        Example(
            Status.FAIL,
            (
                example(C, "readOnlyPort: 0"),
                answers(pods=reply(200), configz={"readOnlyPort": 10255}),
            ),
            "the kubelet itself says otherwise",
        ),
        Example(
            Status.FAIL,
            (
                example(C, "authorization: {mode: Webhook}"),
                answers(pods=reply(200), configz={"authorization": {"mode": "AlwaysAllow"}}),
            ),
            "texts and lists are compared too",
        ),
        Example(
            Status.FAIL,
            (example(C, "{}"), answers(pods=reply(403, "Forbidden (user=system:anonymous, ..)"))),
            "the port says otherwise",
        ),
        Example(
            Status.FAIL,
            (_put_in_place(example(C, "{}")), OFFLINE),
            "the file came by mv or cp -p, or its mode changed: less severe",
        ),
        Example(
            Status.PASS,
            (_put_in_place(example(C, "{}")), answers(pods=reply(401), configz=SAME)),
            "only its mode changed: the kubelet itself says the same",
        ),
        Example(
            Status.FAIL,
            (replace(example(f"{C} --config-dir=/d", "{}"), folders=(("/d/", 5000.0),)), OFFLINE),
            "a file in --config-dir came or went: less severe, it may have been no drop-in",
        ),
        Example(Status.UNKNOWN, (example(C, "{}", started=False), OFFLINE), "start not known"),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
        Example(Status.NOT_APPLICABLE, NO_KUBELET, "no kubelet"),
    ],
)
def drift(kubelet: Kubelet, answers: Answers) -> Verdict:
    return each(kubelet, lambda k: _drift(k, answers if k is kubelet else OFFLINE))


def _drift(kubelet: Kubelet, answers: Answers) -> Verdict:
    if kubelet.pid is None:
        return Verdict.not_applicable("no kubelet runs here: there is nothing to differ from")
    seen = [*_newer(kubelet), *differences(kubelet, answers)]
    if seen:
        remedy = Remedy("Restart the kubelet once these say what they should.", (restart(kubelet),))
        because = f"{seen[0].what}: {seen[0].value} ({seen[0].source})"
        return Verdict.failed(because, *most(seen), remedy=remedy)
    if kubelet.started_at is None:
        return Verdict.unknown("when the kubelet started could not be told")
    if kubelet.dark:
        return Verdict.unknown(kubelet.dark)
    known = isinstance(answers, KubeletAnswers) and answers.configz is not None
    if not known and (hints := [*_placed(kubelet), *_removed(kubelet)]):
        because = f"{hints[0].source} {hints[0].what}; {hints[0].value}"
        return Verdict.failed(because, *most(hints), severity=Severity.LOW)
    by_token = answers.by_token if isinstance(answers, KubeletAnswers) else ""
    asked = [Evidence("GET /configz with the agent's token", by_token)] if by_token else []
    same = "; what the kubelet says of itself agrees" if known else ""
    return Verdict.passed(f"{_counted(kubelet)}{same}", *asked)


def _counted(kubelet: Kubelet) -> str:
    if not kubelet.files:
        return "this kubelet reads no configuration file: none can differ"
    first, more = kubelet.files[0].path, len(kubelet.files) - 1
    names = f"{first} and {more} more" if more else first
    return f"no file that was read ({names}) is newer than the process"


def _newer(kubelet: Kubelet) -> Iterator[Evidence]:
    for path, changed_at in kubelet.dated():
        if changed_after(changed_at, kubelet.started_at):
            value = f"in force from its restart{_named(kubelet, path)}"
            yield Evidence("changed after the kubelet started", value, path)
    for one in kubelet.launch.differs:
        yield Evidence("the unit would now start it otherwise", one, kubelet.launch.unit)


def _named(kubelet: Kubelet, place: str) -> str:
    """The values that count for security and that this file would then give."""
    found = ((path, kubelet.get(path)) for path in STRONGER)
    named = [f"{path} {text(s.value)}" for path, s in found if s.later and s.place == place]
    return f": {', '.join(named)}" if named else ""


def _placed(kubelet: Kubelet) -> Iterator[Evidence]:
    for file in kubelet.files:
        if changed_after(file.placed_at, kubelet.started_at):
            what = "was put in place, or had its owner or mode changed, after the kubelet started"
            told = "whether it still says what was read cannot be told"
            yield Evidence(what, f"{told}; its own time of change is older", file.path)


def _removed(kubelet: Kubelet) -> Iterator[Evidence]:
    """A directory in which a name came or went since, though no file in it is newer."""
    for folder, changed_at in kubelet.folders:
        here = [f for f in kubelet.files if posixpath.dirname(f.path) + "/" == folder]
        times = [t for f in here for t in (f.changed_at, f.placed_at)]
        if changed_after(changed_at, kubelet.started_at) and not any(
            changed_after(t, kubelet.started_at) for t in times
        ):
            what = "had a file removed, renamed or added after the kubelet started"
            told = "what a drop-in that is gone has set stays in force until the next restart"
            yield Evidence(what, f"{told}, and cannot be told", folder)


@check(
    "kubelet.config.ignored-field",
    title="Every key of the kubelet's files is one that it applies",
    why="A mistyped, misplaced or repeated key is logged once and otherwise ignored: the file reads"
    " as if the node were hardened, and it is not.",
    severity=Severity.MEDIUM,
    remedy=Remedy("Correct or remove the key, and restart.", RESTART),
    sources=[CONFIG, LENIENT],
    mappings=maps(sac=["S4b"]),
    examples=lambda: [
        Example(Status.PASS, example(C, "readOnlyPort: 0"), "all keys are fields"),
        Example(Status.FAIL, example(C, "readonlyPort: 0"), "a mistyped key"),
        Example(Status.FAIL, example(C, "anonymous: {enabled: false}"), "in the wrong place"),
        Example(Status.FAIL, example(C, "readOnlyPort: 0\nreadOnlyPort: 10255"), "given twice"),
        Example(Status.FAIL, example(C, "tlsCurvePreferences: [29]", version="v1.35.0"), "too new"),
        Example(Status.FAIL, example(C, "readOnlyPort: '0'"), "of a type that decoding refuses"),
        Example(Status.FAIL, example(C, "registerWithTaints: [{ky: a}]"), "inside a list"),
        Example(Status.FAIL, example(C, "logging: {verbose: 2}"), "inside logging"),
        Example(Status.FAIL, example(C, "featureGates: {NodeSwap: 'false'}"), "a gate as a text"),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
        Example(Status.UNKNOWN, example(C, "a: ["), "a file that is no YAML"),
        Example(Status.NOT_APPLICABLE, example("--port=10250"), "there are no files"),
    ],
)
def ignored_field(kubelet: Kubelet) -> Verdict:
    return each(kubelet, _ignored)


def _ignored(kubelet: Kubelet) -> Verdict:
    if not kubelet.files and not kubelet.dark:
        return Verdict.not_applicable("this kubelet reads no configuration file")
    found = [one for file in kubelet.files for one in _faults(file, kubelet.minor)]
    if found:
        because = f"{found[0].what} {found[0].value} ({found[0].source})"
        return Verdict.failed(because, *most(found))
    if kubelet.dark:
        return Verdict.unknown(kubelet.dark)
    count = len(kubelet.files)
    return Verdict.passed(f"every key of {count} file{'s' * (count > 1)} is a field")


def _faults(file: ConfigFile, minor: int | None) -> Iterator[Evidence]:
    document = file.document
    if document is None:
        return
    for duplicate in document.duplicates:
        name = ".".join(map(str, duplicate.path))
        source = f"{file.path}:{duplicate.line}"
        yield Evidence(name, "is given again; the last one counts", source)
    for fault in faults(file.mapping, minor):
        line = document.line(*(int(k) if k.isdigit() else k for k in fault.path.split(".")))
        why = f"{fault.why}: no kubelet starts with that" if fault.fatal else fault.why
        yield Evidence(fault.path, why, f"{file.path}:{line}" if line else file.path)
    if document.more:
        yield Evidence("a second document", "is never read", file.path)


@check(
    "kubelet.config.flag-override",
    title="No flag weakens what the kubelet's file says",
    why="Flags win over the file. Who reads or audits the file sees a hardened node.",
    severity=Severity.MEDIUM,
    remedy=Remedy("Remove the flag, and restart.", RESTART),
    sources=[CONFIG_FILE, FLAGS],
    mappings=maps(sac=["S4b"]),
    examples=lambda: [
        Example(Status.PASS, example(C, "readOnlyPort: 0"), "no flag sets a field"),
        Example(
            Status.FAIL,
            example(f"{C} --read-only-port=10255", "readOnlyPort: 0"),
            "the flag opens what the file closes",
        ),
        Example(
            Status.PASS,
            example(f"{C} --anonymous-auth=false", "authentication: {anonymous: {enabled: true}}"),
            "the flag is the stronger one",
        ),
        Example(Status.NOT_APPLICABLE, example("--anonymous-auth"), "no file to override"),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
    ],
)
def flag_override(kubelet: Kubelet) -> Verdict:
    return each(kubelet, _override)


def _override(kubelet: Kubelet) -> Verdict:
    if not kubelet.files and not kubelet.dark:
        return Verdict.not_applicable("this kubelet reads no configuration file")
    if kubelet.dark:
        return Verdict.unknown(kubelet.dark)
    found = []
    for path in STRONGER:
        setting = kubelet.get(path)
        if setting.layer is not Layer.FLAG:
            continue
        below = kubelet.without_flags(path)
        if weaker(path, setting.value, below.value):
            value = f"{text(setting.value)}, where {below.source} says {text(below.value)}"
            found.append((setting, Evidence(path, value, setting.source)))
    if not found:
        return Verdict.passed("no flag weakens a setting of the files")
    first = found[0][1]
    remedy = Remedy(f"Remove {first.source}, and restart.", (restart(kubelet),))
    because = f"{first.what} is {first.value} ({first.source})"
    return Verdict.failed(because, *most([e for _, e in found]), remedy=remedy)


@check(
    "kubelet.config.dropin-order",
    title="Every drop-in counts, and none weakens what comes before it",
    why="The last *.conf by name wins, whatever else is in the folder; other names are not read;"
    " and what may be overridden changed with 1.29 and with 1.32.",
    severity=Severity.MEDIUM,
    remedy=Remedy("Remove or rename the drop-in, and restart.", RESTART),
    sources=[CONFIG_FILE, LENIENT],
    mappings=maps(sac=["S4b"]),
    examples=lambda: [
        Example(
            Status.PASS,
            example(f"{C} --config-dir=/d", "{}", {"10.conf": _DROPIN + "readOnlyPort: 0"}),
            "one that closes",
        ),
        Example(
            Status.FAIL,
            example(
                f"{C} --config-dir=/d",
                "{}",
                {
                    "10.conf": _DROPIN + "readOnlyPort: 0",
                    "99.conf": _DROPIN + "readOnlyPort: 10255",
                },
            ),
            "a later one opens what an earlier one closes",
        ),
        Example(
            Status.FAIL,
            example(f"{C} --config-dir=/d", "{}", {"10.conf": "readOnlyPort: 0"}),
            "without apiVersion and kind no kubelet from 1.32 starts with it",
        ),
        Example(
            Status.FAIL,
            example(
                f"{C} --config-dir=/d",
                "authentication: {anonymous: {enabled: true}}",
                {"10.conf": "authentication: {anonymous: {enabled: false}}"},
                version="v1.28.4",
                gate=True,
            ),
            "1.28 ignores a false in a drop-in",
        ),
        Example(
            Status.UNKNOWN,
            example(f"{C} --config-dir=/d", "{}", {"10.conf": "a: ["}),
            "a drop-in that is no YAML",
        ),
        Example(Status.NOT_APPLICABLE, example(C, "{}"), "no --config-dir"),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
    ],
)
def dropin_order(kubelet: Kubelet) -> Verdict:
    return each(kubelet, _dropins)


def _dropins(kubelet: Kubelet) -> Verdict:
    if kubelet.arguments.given("config-dir") is None:
        return Verdict.not_applicable("this kubelet was given no --config-dir")
    if kubelet.dark:
        return Verdict.unknown(kubelet.dark)
    dropins = [f for f in kubelet.files if f.dropin]
    found = [*_weakening(kubelet), *_without_effect(kubelet, dropins), *_unread(kubelet)]
    if found:
        because = f"{found[0].what}: {found[0].value} ({found[0].source})"
        return Verdict.failed(because, *most(found))
    count = len(dropins)
    return Verdict.passed(f"{count} drop-in{'s' * (count != 1)}, each in force and none weaker")


def _weakening(kubelet: Kubelet) -> Iterator[Evidence]:
    """What the files say step by step, without flags. Without --config the drop-ins are all that
    there is: what they set otherwise than a default is judged where it counts."""
    steps = kubelet.steps()
    alone = kubelet.arguments.given("config") is None
    for before, after in pairwise(steps):
        for path in STRONGER:
            old, new = before.without_flags(path), after.without_flags(path)
            if alone and old.layer in (Layer.DEFAULT, Layer.LEGACY):
                continue
            if new.source != old.source and weaker(path, new.value, old.value):
                value = f"{text(new.value)}, where {old.source} said {text(old.value)}"
                yield Evidence(path, value, new.source)


def _without_effect(kubelet: Kubelet, dropins: list[ConfigFile]) -> Iterator[Evidence]:
    rules = kubelet.effective[0].rules if len(kubelet.effective) == 1 else None
    for file in dropins:
        if rules is Rules.PATCH and not {"apiVersion", "kind"} <= set(file.mapping):
            yield Evidence(
                "no apiVersion and kind", "no kubelet from 1.32 starts with it", file.path
            )
        if rules is Rules.MERGO:
            yield from _ignored_by_mergo(kubelet, file)
        if rules is Rules.INTERNAL and "resolvConf" in file.mapping:
            yield Evidence("resolvConf", f"has no effect by {rules}", file.path)


def _ignored_by_mergo(kubelet: Kubelet, file: ConfigFile) -> Iterator[Evidence]:
    for path in STRONGER:
        value = dig(file.mapping, path)
        if value in (False, 0, "") and value is not None:
            now = kubelet.without_flags(path)
            if now.value != value:
                text_ = f"{text(value)} has no effect by {Rules.MERGO}: {text(now.value)} in force"
                yield Evidence(path, text_, file.path)


def _unread(kubelet: Kubelet) -> Iterator[Evidence]:
    folder = kubelet.flag("config-dir")
    for path in kubelet.skipped:
        if folder is not None and path == posixpath.join(kubelet.launch.cwd, str(folder.value)):
            yield Evidence("not read", "it is a link, which the kubelet does not follow", path)
        elif path.endswith((".yaml", ".yml", ".json")):  # others are notes
            yield Evidence("not read", "only names that end in .conf are", path)


@check(
    "kubelet.standalone",
    title="The kubelet belongs to a cluster",
    why="A kubelet without a kubeconfig runs static pods only, and has nobody to ask what a caller"
    " may do.",
    severity=Severity.INFO,
    remedy=Remedy("Give the kubelet a --kubeconfig, if it is to belong to a cluster."),
    sources=[FLAGS],
    mappings=maps(sac=["S2b"]),
    examples=lambda: [
        Example(Status.PASS, example(f"{C} --kubeconfig=/k", "{}"), "it has a kubeconfig"),
        Example(Status.FAIL, example(C, "{}"), "it has none"),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
        Example(Status.NOT_APPLICABLE, NO_KUBELET, "no kubelet"),
    ],
)
def standalone(kubelet: Kubelet) -> Verdict:
    return each(kubelet, _standalone)


def _standalone(kubelet: Kubelet) -> Verdict:
    for name in ("kubeconfig", "bootstrap-kubeconfig"):
        flag = kubelet.flag(name)
        if flag is not None and flag.value:
            return Verdict.passed(f"the kubelet uses {flag.value} ({flag.source})")
    return Verdict.failed(f"{kubelet} was given no --kubeconfig")
