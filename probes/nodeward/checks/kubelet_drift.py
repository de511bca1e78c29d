"""Whether the running kubelet has read what is on disk."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from nodeward.checks.kubelet_authn import NO_KUBELET, NOBODY, OFFLINE, C
from nodeward.checks.kubelet_differences import differences, in_force
from nodeward.checks.kubelet_samples import answers, reply
from nodeward.checks.kubelet_support import (
    CONFIG,
    CONFIG_FILE,
    RESTART,
    Answers,
    answers_of,
    each_on_disk,
    maps,
    restart,
    said,
)
from nodeward.facts.kubelet import Change, Kubelet, Setting, changed_after, example
from nodeward.facts.kubelet_answers import KubeletAnswers
from nodeward.facts.kubelet_defaults import plain_defaults
from nodeward.facts.kubelet_flags import FIELDS as FLAGS
from nodeward.facts.kubelet_shown import text
from nodeward.facts.kubelet_strength import counting
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
    return each_on_disk(kubelet, lambda one: _drift(one, answers_of(answers, one)))


def _drift(kubelet: Kubelet, answers: Answers) -> Verdict:
    if kubelet.pid is None:
        return Verdict.not_applicable("no kubelet runs here: there is nothing to differ from")
    seen = [*_newer(kubelet, answers), *differences(kubelet, answers)]
    asked = list(_asked(answers))
    if seen:
        remedy = Remedy("Restart the kubelet once these say what they should.", (restart(kubelet),))
        because = f"{seen[0].what}: {seen[0].value} ({seen[0].source})"
        return Verdict.failed(because, *most([*seen, *asked]), remedy=remedy)
    if kubelet.started_at is None:
        return Verdict.unknown("when the kubelet started could not be told", *asked)
    if kubelet.dark:
        return Verdict.unknown(kubelet.dark, *asked)
    known = isinstance(answers, KubeletAnswers) and answers.configz is not None
    if not known and (hints := [*_placed(kubelet), *_removed(kubelet), *_unclear(kubelet)]):
        because = f"{hints[0].source} {hints[0].what}; {hints[0].value}"
        return Verdict.failed(because, *most([*hints, *asked]), severity=Severity.LOW)
    same = "; what the kubelet says of itself agrees" if known else ""
    return Verdict.passed(f"{_counted(kubelet)}{same}", *asked)


def _asked(answers: Answers) -> Iterator[Evidence]:
    """What came of asking for /configz with a token, where there is one for that."""
    if isinstance(answers, KubeletAnswers) and answers.configz_reply:
        yield Evidence("GET /configz with the agent's token", answers.configz_reply)


def _counted(kubelet: Kubelet) -> str:
    if not kubelet.files:
        return "this kubelet reads no configuration file: none can differ"
    first, more = kubelet.files[0].path, len(kubelet.files) - 1
    names = f"{first} and {more} more" if more else first
    return f"no file that was read ({names}) is newer than the process"


def _newer(kubelet: Kubelet, answers: Answers) -> Iterator[Evidence]:
    now = in_force(answers)
    sources = [one for one in kubelet.launch.sources if _given_by(kubelet, one[0])]
    for path, changed_at in (*kubelet.dated(), *sources):
        if changed_after(changed_at, kubelet.started_at):
            value = f"in force from its restart: {_named(kubelet, path, now)}"
            yield Evidence("changed after the kubelet started", value, path)
    for one in kubelet.launch.differs:
        yield Evidence("would be given otherwise now", _change(kubelet, one), one.where)


NOT_KNOWN = "what was read at the start is not known"


def _named(kubelet: Kubelet, place: str, now: Mapping[str, Any]) -> str:
    """The values that count for security and that this file would then give, each with that in
    force, as far as the kubelet shows it."""
    found = _given_by(kubelet, place)
    known = [
        f"{path} {text(setting.value)}, now {text(now[path])}"
        for path, setting in found.items()
        if path in now and now[path] != setting.value
    ]
    dim = [f"{path} {text(s.value)}" for path, s in found.items() if path not in now]
    told = [*known, *([f"{', '.join(dim)} ({NOT_KNOWN})"] if dim else [])]
    if found and not told:
        return "what it gives is in force already"
    return "; ".join(told) or f"it gives nothing that counts for security; {NOT_KNOWN}"


def _given_by(kubelet: Kubelet, place: str) -> Mapping[str, Setting]:
    """What counts for security and stands in this changed file: as a field, or as an argument. Of
    the files of a unit that starts the kubelet's supervisor any may give its words."""
    unit = kubelet.launch.unit
    words = f", from {unit if f'/{unit}' in place else place}:"
    paths = counting(kubelet.get("featureGates").value)
    found = ((path, kubelet.get(path)) for path in paths)
    return {p: s for p, s in found if s.later and (s.place == place or words in s.source)}


def _change(kubelet: Kubelet, change: Change) -> str:
    """Both values, of which one may be that no flag is given."""
    if change.was and change.will:
        return f"{change.was} in force, {change.will} from the next restart"
    if change.was:
        return f"{change.was} is gone from the next restart"
    name = change.will.partition("=")[0].lstrip("-").replace("_", "-")
    if name not in FLAGS:
        return f"{change.will} is new"
    field = FLAGS[name][0]
    return (
        f"{change.will} is new from the next restart; in force: {said(field, kubelet.get(field))}"
    )


def _placed(kubelet: Kubelet) -> Iterator[Evidence]:
    for file in kubelet.files:
        if changed_after(file.placed_at, kubelet.started_at):
            what = "was put in place, or had its owner or mode changed, after the kubelet started"
            told = "whether it still says what was read cannot be told"
            yield Evidence(what, f"{told}; its own time of change is older", file.path)


def _unclear(kubelet: Kubelet) -> Iterator[Evidence]:
    """Files of whoever starts it, in which no value of the kubelet is seen to stand."""
    for path, changed_at in kubelet.launch.sources:
        if changed_after(changed_at, kubelet.started_at) and not _given_by(kubelet, path):
            told = f"whether {kubelet.launch.unit} would now start it otherwise cannot be told"
            yield Evidence("was changed after the kubelet started", told, path)


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
