"""A report for people: worst first, the value seen, where it was seen, and the fix."""

from __future__ import annotations

import os
import shutil
import textwrap

from nodeward.cli.text import safe
from nodeward.model import Finding, Report, Status

GLYPH = {
    Status.FAIL: "✗",
    Status.ERROR: "!",
    Status.UNKNOWN: "?",
    Status.PASS: "✓",
    Status.NOT_APPLICABLE: "–",
}
COLOUR = {Status.FAIL: "31", Status.ERROR: "35", Status.UNKNOWN: "33", Status.PASS: "32"}
ORDER = list(GLYPH)
MOST_SHOWN = 6  # pieces of evidence under one finding; JSON has them all


def render(report: Report, *, terminal: bool) -> str:
    """On a terminal a page to read; piped, one tab-separated line a finding."""
    findings = sorted(report.findings, key=_worst_first)
    return _page(report, findings) if terminal else _columns(findings)


def _worst_first(finding: Finding) -> tuple[int, int, str]:
    return ORDER.index(finding.status), -finding.severity.rank, finding.check


def _columns(findings: list[Finding]) -> str:
    rows = [(f.status.value, f.severity.value, f.check, safe(f.because)) for f in findings]
    return "\n".join("\t".join(row) for row in rows)


def _page(report: Report, findings: list[Finding]) -> str:
    width = min(shutil.get_terminal_size().columns, 120)
    lines = [_head(report), ""]
    for finding in findings:
        lines += _entry(finding, width)
    counts = ", ".join(f"{n} {status}" for status, n in report.summary().items() if n)
    return "\n".join([*lines, "", counts or "nothing was judged"])


def _head(report: Report) -> str:
    where = "" if report.live else f", the tree at {safe(report.root)}"
    return f"{_paint(safe(report.node), '1')}{where}, {report.taken_at}"


def _entry(finding: Finding, width: int) -> list[str]:
    colour = COLOUR.get(finding.status, "2")
    word = finding.status.value
    if finding.status is Status.FAIL:
        word = f"{word} {finding.severity.value}"
    lines = [f"{_paint(f'{GLYPH[finding.status]} {word:<14}', colour)} {finding.check}"]
    quiet = finding.status in (Status.PASS, Status.NOT_APPLICABLE)
    lines += _wrapped(safe(finding.because), width)
    if quiet:
        return lines
    shown = finding.evidence[:MOST_SHOWN]
    for piece in shown:
        source = f"  [{safe(piece.source)}]" if piece.source else ""
        lines += _wrapped(f"{piece.what}: {safe(piece.value)}{source}", width, "    · ")
    if len(finding.evidence) > len(shown):
        lines.append(f"    · and {len(finding.evidence) - len(shown)} more (-o json)")
    if finding.remedy is not None:
        lines += _wrapped(safe(finding.remedy.text), width, "    fix: ")
        lines += [f"      $ {safe(step)}" for step in finding.remedy.steps]
    return lines


def _wrapped(text: str, width: int, lead: str = "    ") -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=lead, subsequent_indent=" " * 6, break_on_hyphens=False
    )


def _paint(text: str, code: str) -> str:
    return text if os.environ.get("NO_COLOR") else f"\x1b[{code}m{text}\x1b[0m"
