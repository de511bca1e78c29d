"""Whether all of the kubelet's configuration counts, and where it is overruled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nodeward.checks.kubelet_authn import NO_KUBELET, NOBODY, C
from nodeward.checks.kubelet_support import (
    CONFIG,
    CONFIG_FILE,
    FLAGS,
    LENIENT,
    NOT_ASKED,
    RESTART,
    each,
    each_on_disk,
    maps,
    mend_all,
    restart,
    supervisor,
    take_out,
)
from nodeward.facts.kubelet import ConfigFile, Kubelet, Unknown, example
from nodeward.facts.kubelet_defaults import LEGACY
from nodeward.facts.kubelet_fields import FIELDS, Fault, faults
from nodeward.facts.kubelet_merge import Layer, Rules, rules_for, spelled
from nodeward.facts.kubelet_shown import text
from nodeward.facts.kubelet_strength import counting, weaker
from nodeward.model import (
    Evidence,
    Example,
    Remedy,
    Severity,
    Status,
    Verdict,
    check,
    most,
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
        Example(Status.UNKNOWN, example(C, "a: ["), "no kubelet starts with what --config names"),
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
    return each(kubelet, NOT_ASKED, _legacy)


def _legacy(kubelet: Kubelet) -> Verdict:
    unfit = next((f for f in kubelet.files if not f.dropin and f.unfit), None)
    if unfit is not None:
        return Verdict.unknown(f"{unfit.path}, given with --config: {unfit.unfit}")
    if kubelet.untold_flags:
        return Verdict.unknown(kubelet.untold)
    if not kubelet.legacy:
        return Verdict.passed("the kubelet was given --config: the file's own defaults count")
    settings = {path: kubelet.get(path) for path in LEGACY}
    dark = [s.value.why for s in settings.values() if isinstance(s.value, Unknown)]
    told = {p: s for p, s in settings.items() if not isinstance(s.value, Unknown)}
    left = {p: s for p, s in told.items() if s.layer is Layer.LEGACY}
    seen = [Evidence(p, text(s.value), s.source) for p, s in settings.items()]
    if left:
        names = ", ".join(f"{p} is {text(s.value)}" for p, s in left.items())
        how = "only --config-dir" if kubelet.arguments.given("config-dir") else "no --config"
        return Verdict.failed(
            f"there is {how}, so {names}", *seen, remedy=_give_config(kubelet, left)
        )
    if dark:
        return Verdict.unknown(dark[0], *seen)
    return Verdict.passed("there is no --config, and all four fields are set", *seen)


_GOOD = {
    "authentication.anonymous.enabled": "false",
    "authentication.webhook.enabled": "true",
    "authorization.mode": "Webhook",
    "readOnlyPort": "0",
}


def _give_config(kubelet: Kubelet, left: Iterable[str]) -> Remedy:
    if supervisor(kubelet.launch):  # none of these gives a --config
        return mend_all(kubelet, {path: _GOOD[path] for path in left})
    return Remedy(
        f"Give {kubelet} a --config file; --config-dir alone keeps the flags' defaults."
        " At once: add --read-only-port=0 --anonymous-auth=false --authorization-mode=Webhook"
        " --authentication-token-webhook=true.",
        (restart(kubelet),),
    )


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
        Example(
            Status.PASS,
            example(
                f"{C} --config-dir=/d", "{}", {"1.conf": "readonlyport: 10255"}, version="v1.30.2"
            ),
            "which a drop-in from 1.29 on may be",
        ),
        Example(
            Status.FAIL,
            example(
                f"{C} --config-dir=/d", "{}", {"1.conf": "Authentication: {}"}, version="v1.36.2"
            ),
            "but not with a letter that comes before the right one",
        ),
        Example(Status.FAIL, example(C, "anonymous: {enabled: false}"), "in the wrong place"),
        Example(Status.FAIL, example(C, "readOnlyPort: 0\nreadOnlyPort: 10255"), "given twice"),
        Example(Status.FAIL, example(C, "tlsCurvePreferences: [29]", version="v1.35.0"), "too new"),
        Example(Status.FAIL, example(C, "readOnlyPort: '0'"), "of a type that decoding refuses"),
        Example(Status.FAIL, example(C, "registerWithTaints: [{ky: a}]"), "inside a list"),
        Example(Status.FAIL, example(C, "logging: {verbose: 2}"), "inside logging"),
        Example(Status.FAIL, example(C, "featureGates: {NodeSwap: 'false'}"), "a gate as a text"),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
        Example(Status.FAIL, example(C, "a: ["), "no YAML: no kubelet starts with it"),
        Example(Status.FAIL, example(C, "%YAML 1.2\n---\n{}"), "goyaml refuses 1.2"),
        Example(Status.FAIL, example(C, " {kind: x}"), "begins as JSON, and is none"),
        Example(
            Status.FAIL,
            example(f"{C} --config-dir=/d", "logging: {}", version="v1.27.3"),
            "1.27 has no --config-dir",
        ),
        Example(
            Status.FAIL,
            example(f"{C} --config-dir=/d", "logging: {}", version="v1.29.3"),
            "1.29 has one where its environment says so",
        ),
        Example(Status.NOT_APPLICABLE, example("--port=10250"), "there are no files"),
    ],
)
def ignored_field(kubelet: Kubelet) -> Verdict:
    return each_on_disk(kubelet, _ignored)


def _ignored(kubelet: Kubelet) -> Verdict:
    if not kubelet.files and not kubelet.dark:
        return Verdict.not_applicable("this kubelet reads no configuration file")
    found = [one for file in kubelet.files for one in _faults(file, kubelet.minor)]
    if found:
        because = f"{found[0].what} {found[0].value} ({found[0].source})"
        return Verdict.failed(because, *most(found), remedy=take_out(kubelet, found))
    if kubelet.dark:
        return Verdict.unknown(kubelet.dark)
    count = len(kubelet.files)
    return Verdict.passed(f"every key of {count} file{'s' * (count > 1)} is a field")


def _faults(file: ConfigFile, minor: int | None) -> Iterator[Evidence]:
    if file.unfit:
        yield Evidence("the file", _no_start(file.unfit), file.path)
    document = file.document
    if document is None:
        return
    for duplicate in document.duplicates:
        name = ".".join(map(str, duplicate.path))
        source = f"{file.path}:{duplicate.line}"
        yield Evidence(name, _again(file, minor), source)
    for fault in faults(file.mapping, minor):
        line = document.line(*(int(k) if k.isdigit() else k for k in fault.path.split(".")))
        why = _why(fault, file, minor)
        if not why:
            continue
        yield Evidence(fault.path, why, f"{file.path}:{line}" if line else file.path)
    if document.more:
        yield Evidence("a second document", "is never read", file.path)


def _no_start(why: str) -> str:
    return why if "no kubelet" in why else f"{why}: no kubelet starts with it"


def _again(file: ConfigFile, minor: int | None) -> str:
    if file.dropin and Rules.MERGO not in rules_for(minor, None):
        return "is given again: no kubelet from 1.29 starts with that"
    if file.json:
        return "is given again: what both say is put together, the later one counts"
    return "is given again; the last one counts"


def _why(fault: Fault, file: ConfigFile, minor: int | None) -> str:
    """From 1.29 on the key of a drop-in is applied however its letters are written ("" then), but
    for one whose bytes come before those of a spelling that the kubelet has set already."""
    if fault.fatal:
        return f"{fault.why}: no kubelet starts with that"
    if not file.dropin or fault.path in FIELDS:
        return fault.why
    found = [spelled(fault.path, rules) for rules in rules_for(minor, None)]
    if not all(field for field, _ in found):
        return fault.why
    late = any(late for _, late in found)
    return f"counts only where nothing gives {found[-1][0]}" if late else ""


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
            Status.FAIL,
            example(
                f"{C} --tls-cipher-suites=TLS_RSA_WITH_AES_128_CBC_SHA",
                "tlsCipherSuites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]",
            ),
            "and a list that holds a weaker one",
        ),
        Example(
            Status.FAIL,
            example(
                f"{C} --feature-gates=RotateKubeletServerCertificate=false",
                "featureGates: {RotateKubeletServerCertificate: true}",
            ),
            "a protecting feature gate that a flag switches off",
        ),
        Example(
            Status.FAIL,
            example(f"{C} --pod-manifest-path=/tmp/pods", "{}"),
            "static pods from a directory that no file names",
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
    return each_on_disk(kubelet, _override)


def _override(kubelet: Kubelet) -> Verdict:
    if not kubelet.files and not kubelet.dark:
        return Verdict.not_applicable("this kubelet reads no configuration file")
    if kubelet.dark:
        return Verdict.unknown(kubelet.dark)
    found = []
    for path in counting(kubelet.get("featureGates").value):
        setting = kubelet.get(path)
        if setting.layer is not Layer.FLAG:
            continue
        below = kubelet.without_flags(path)
        if weaker(path, setting.value, below.value, kubelet.minor):
            value = f"{text(setting.value)}, where {below.source} says {text(below.value)}"
            found.append((setting, Evidence(path, value, setting.source)))
    if not found:
        return Verdict.passed("no flag weakens a setting of the files")
    first = found[0][1]
    remedy = Remedy(f"Remove {first.source}, and restart.", (restart(kubelet),))
    because = f"{first.what} is {first.value} ({first.source})"
    return Verdict.failed(because, *most([e for _, e in found]), remedy=remedy)
