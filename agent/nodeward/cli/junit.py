"""A report as JUnit XML, the form that every CI system shows: a test case a check.

A failing check that is accepted is skipped, and so is what is not applicable. What is unknown is
skipped too, never passed; with --strict it is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import escape, quoteattr

from nodeward.cli.accept import Accepted
from nodeward.cli.table import worst_first
from nodeward.cli.text import safe
from nodeward.model import CheckId, Finding, Report, Status


def render(report: Report, accepted: Mapping[CheckId, Accepted], *, strict: bool) -> str:
    cases = [_case(f, accepted.get(f.check), strict) for f in worst_first(report.findings)]
    kinds = [kind for kind, _ in cases]
    counts = (
        f'tests="{len(cases)}" failures="{kinds.count("failure")}"'
        f' errors="{kinds.count("error")}" skipped="{kinds.count("skipped")}"'
    )
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<testsuites name="nodeward" {counts} time="0">',
            f' <testsuite name="nodeward" {counts} time="0" hostname={_quoted(report.node)}'
            f" timestamp={_quoted(report.taken_at)}>",
            *(text for _, text in cases),
            " </testsuite>",
            "</testsuites>",
        ]
    )


def _case(finding: Finding, accepted: Accepted | None, strict: bool) -> tuple[str, str]:
    """Which element the case holds ("" for none), and its text."""
    family = finding.check.rpartition(".")[0] or finding.check
    head = f'  <testcase classname={_quoted(family)} name={_quoted(finding.check)} time="0"'
    message = finding.because
    if accepted is not None:
        message = f"{finding.status.value}, accepted {accepted.line}: {message}"
    kind = _kind(finding.status, accepted is not None, strict)
    if not kind:
        return kind, f"{head}/>"
    if kind == "skipped":
        return (
            kind,
            f"{head}><skipped message={_quoted(f'{finding.status}: {message}')}/></testcase>",
        )
    word = finding.severity.value if finding.status is Status.FAIL else finding.status.value
    return kind, (
        f"{head}><{kind} type={_quoted(word)} message={_quoted(message)}>"
        f"{escape(_body(finding))}</{kind}></testcase>"
    )


def _kind(status: Status, accepted: bool, strict: bool) -> str:
    match status:
        case Status.PASS:
            return ""
        case Status.FAIL:
            return "skipped" if accepted else "failure"
        case Status.ERROR:
            return "error"
        case Status.UNKNOWN:
            return "error" if strict and not accepted else "skipped"
        case Status.NOT_APPLICABLE:
            return "skipped"


def _body(finding: Finding) -> str:
    lines = [safe(finding.because)]
    lines += [f"{safe(e.what)}: {safe(e.value)} [{safe(e.source)}]" for e in finding.evidence]
    if finding.remedy is not None:
        lines += [
            f"fix: {safe(finding.remedy.text)}",
            *(f"$ {safe(s)}" for s in finding.remedy.steps),
        ]
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return quoteattr(safe(text))
