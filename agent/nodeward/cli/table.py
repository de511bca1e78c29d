"""A report for people: worst first, the value seen, where it was seen, and the fix."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from nodeward.cli.accept import Accepted
from nodeward.cli.paint import GLYPH, Paint
from nodeward.cli.text import safe
from nodeward.model import CheckId, Evidence, Finding, Remedy, Report, Severity, Status

ORDER = list(GLYPH)
MOST_SHOWN = 6  # pieces of evidence under one finding; JSON has them all
WORDS = {
    Status.FAIL: "fail",
    Status.ERROR: "error",
    Status.UNKNOWN: "unknown",
    Status.PASS: "pass",
    Status.NOT_APPLICABLE: "not applicable",
}


def columns(report: Report) -> str:
    """For a pipe: one tab-separated line a finding, worst first: status, severity, check, why."""
    return "\n".join(
        "\t".join((f.status.value, f.severity.value, f.check, safe(f.because)))
        for f in worst_first(report.findings)
    )


def page(report: Report, paint: Paint, accepted: Mapping[CheckId, Accepted]) -> str:
    """For a terminal: what is wrong in full, what is well in a line, the count at the end."""
    found = worst_first(report.findings)
    lines = [*_head(report, paint), ""]
    for status in (Status.FAIL, Status.ERROR, Status.UNKNOWN):
        for finding in (f for f in found if f.status is status):
            lines += [*_entry(finding, paint, accepted.get(finding.check)), ""]
    lines += _passes([f for f in found if f.status is Status.PASS], paint)
    lines += _idle([f for f in found if f.status is Status.NOT_APPLICABLE], paint)
    return "\n".join([*lines, *_foot(found, paint, accepted)])


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda f: (ORDER.index(f.status), -f.severity.rank, f.check))


def _head(report: Report, paint: Paint) -> Iterator[str]:
    facts = [*_inventory(report.inventory)]
    if not report.live:
        facts.append(f"the tree at {safe(report.root)}")
    elif report.root != "/":
        facts.append(f"mounted at {safe(report.root)}")
    facts.append(report.taken_at[:16].replace("T", " ") + " UTC")
    head, *more = _wrapped(
        " ".join(_whole(f"{fact} {paint.sign('·')}") for fact in [safe(report.node), *facts[:-1]])
        + " " + _whole(facts[-1]),
        paint.width, "", "  ",
    )  # fmt: skip
    name, space, rest = head.partition("\u00a0")
    for line in (paint.bold(name) + space + rest, *more):
        yield line.replace("\u00a0", " ")
    if report.inventory.get("roles") == []:
        yield "This host is not a Kubernetes node: what belongs to one is not applicable."


def _inventory(inventory: Mapping[str, object]) -> Iterator[str]:
    def part(name: str, *keys: str) -> str:
        data = inventory.get(name)
        values = [data.get(k) for k in keys] if isinstance(data, Mapping) else []
        return " ".join(safe(str(v)) for v in values if v)

    yield from filter(None, [part("os", "id", "version")])
    if kernel := inventory.get("kernel"):
        yield f"Linux {safe(str(kernel))}"
    if kubelet := part("kubelet", "version"):
        yield f"kubelet {kubelet}"
    yield from filter(None, [part("runtime", "name", "version")])
    if isinstance(cloud := inventory.get("cloud"), str):
        yield safe(cloud)
    roles = inventory.get("roles")
    if isinstance(roles, list) and roles:
        made_by = inventory.get("distribution")
        by = f" ({safe(str(made_by))})" if made_by not in (None, "unknown") else ""
        yield f"{safe(', '.join(map(str, roles)))}{by}"


def _entry(finding: Finding, paint: Paint, accepted: Accepted | None) -> Iterator[str]:
    """One finding in full."""
    head = paint.status(finding.status)
    if finding.status is Status.FAIL:
        head += " " + paint.severity(finding.severity, f" {finding.severity.value} ")
    yield f"{head}  {paint.bold(finding.check)}"
    yield from _wrapped(safe(finding.because), paint.width, "  ", "  ")
    yield from _evidence([e for e in finding.evidence if not _told(e, finding.because)], paint)
    if accepted is not None:
        yield from _wrapped(f"accepted {safe(accepted.line)}", paint.width, "  ", "    ")
    elif finding.remedy is not None:
        yield from _remedy(finding, finding.remedy, paint)


def _evidence(evidence: Sequence[Evidence], paint: Paint) -> Iterator[str]:
    shown = evidence[:MOST_SHOWN]
    dot = paint.sign("·")
    for piece in shown:
        source = f"  [{safe(piece.source)}]" if piece.source else ""
        text = f"{safe(piece.what)}: {safe(piece.value)}{source}"
        for line in _wrapped(text, paint.width, f"    {dot} ", "      "):
            yield paint.dim(line)
    if len(evidence) > len(shown):
        yield paint.dim(f"    {dot} and {len(evidence) - len(shown)} more (-o json)")


def _told(piece: Evidence, because: str) -> bool:
    """Whether the sentence above already names both the value and its place."""
    return bool(piece.source) and piece.value in because and piece.source in because


def _remedy(finding: Finding, remedy: Remedy, paint: Paint) -> Iterator[str]:
    word = "fix: " if finding.status is Status.FAIL else "helps: "
    yield from _wrapped(safe(remedy.text), paint.width, f"  {word}", "  " + " " * len(word))
    for step in remedy.steps:
        for line in step.split("\n"):
            yield "       " + paint(f"$ {safe(line)}", "36")
    if remedy.breaks and finding.status is Status.FAIL:
        yield from _wrapped(f"may break: {safe(remedy.breaks)}", paint.width, "  ", "    ")


def _passes(findings: Sequence[Finding], paint: Paint) -> Iterator[str]:
    """A line each, cut at the edge of the terminal: -o json has the whole."""
    width = max((len(f.check) for f in findings), default=0)
    for finding in findings:
        room = paint.width - width - 4
        why = _cut(safe(finding.because), room, paint) if room >= 20 else ""
        yield f"{paint.status(Status.PASS, finding.check.ljust(width))}  {paint.dim(why)}"
    if findings:
        yield ""


def _idle(findings: Sequence[Finding], paint: Paint) -> Iterator[str]:
    """What is not on this host, together by its reason."""
    by_reason: dict[str, list[str]] = {}
    for finding in findings:
        by_reason.setdefault(finding.because, []).append(finding.check)
    for reason, checks in sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0])):
        first, *more = _wrapped(f"not applicable: {safe(reason)}", paint.width - 2, "", "    ")
        yield paint.status(Status.NOT_APPLICABLE, first)
        for line in more:
            yield paint.dim(line)
        for line in _wrapped(", ".join(sorted(checks)), paint.width, "    ", "    "):
            yield paint.dim(line)
    if findings:
        yield ""


def _foot(
    findings: Sequence[Finding], paint: Paint, accepted: Mapping[CheckId, Accepted]
) -> Iterator[str]:
    """How many of each, and how to go on."""
    counts = Counter(f.status for f in findings)
    failing = [f for f in findings if f.status is Status.FAIL]
    line, room = "", paint.width
    for status in (s for s in ORDER if counts[s]):
        text = f"{counts[status]} {WORDS[status]}"
        if status is Status.FAIL:
            text += f" ({_by_severity(failing)})"
        if line and room < len(text) + 5:
            yield line
            line, room = "", paint.width
        line += ("   " if line else "") + paint.status(status, text)
        room -= len(text) + 5
    yield line or "nothing was judged"
    taken = [f for f in failing if f.check in accepted]
    if taken:
        yield f"{len(taken)} of those that fail are accepted for now"
    open_ones = [f for f in failing if f.check not in accepted]
    if open_ones:
        yield paint.dim(f"why, and how it is judged: nodeward explain {open_ones[0].check}")


def _by_severity(findings: Sequence[Finding]) -> str:
    counts = Counter(f.severity for f in findings)
    return ", ".join(f"{counts[s]} {s.value}" for s in Severity if counts[s])


def _cut(text: str, room: int, paint: Paint) -> str:
    more = paint.sign("…")
    return text if len(text) <= room else text[: room - len(more)] + more


def _whole(text: str) -> str:
    """The text so that no line ends inside it."""
    return text.replace(" ", "\u00a0")


def _wrapped(text: str, width: int, first: str, rest: str) -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    )
