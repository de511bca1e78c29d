"""JUnit's XML, for pipelines."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from nodeward.collector.export.rows import NOT_APPLICABLE, Row, evidence

_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _xml(text: object) -> str:
    """Text that XML 1.0 can hold: what it cannot is shown as its code."""
    return _NOT_XML.sub(lambda m: f"\\u{ord(m[0]):04x}", str(text))


def write(rows: Iterable[Row]) -> str:
    """A suite a node, a case a check."""
    suites: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        suites.setdefault((row["cluster"], row["node"]), []).append(row)
    parts = ['<?xml version="1.0" encoding="UTF-8"?>', "<testsuites>"]
    for (cluster, node), cases in sorted(suites.items()):
        statuses = [case["status"] for case in cases]
        errors = statuses.count("unknown") + statuses.count("error")
        parts.append(
            f'<testsuite name={quoteattr(_xml(f"{cluster}/{node}"))} tests="{len(cases)}"'
            f' failures="{statuses.count("fail")}" errors="{errors}"'
            f' skipped="{statuses.count(NOT_APPLICABLE)}">'
        )
        parts += map(_case, cases)
        parts.append("</testsuite>")
    return "\n".join([*parts, "</testsuites>", ""])


def _case(row: Row) -> str:
    name = quoteattr(_xml(row["check"]))
    head = f'<testcase classname={quoteattr(_xml(row["node"]))} name={name} time="0">'
    because = quoteattr(_xml(row.get("because") or row["status"]))
    detail = escape(_xml("\n".join(evidence(e) for e in row.get("evidence", ()))))
    match row["status"]:
        case "fail":
            kind = quoteattr(_xml(row["severity"]))
            body = f"<failure message={because} type={kind}>{detail}</failure>"
        case "unknown" | "error":
            body = f'<error message={because} type="{row["status"]}">{detail}</error>'
        case "not-applicable":
            body = f"<skipped message={because}/>"
        case _:
            body = ""
    return f"{head}{body}</testcase>"
