"""Findings in the forms of other programs: OCSF for SIEMs, JUnit for pipelines, NDJSON, CSV."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

Row = Mapping[str, Any]
VERSION: Final = "1.8.0"
CLASS: Final = 2003  # Compliance Finding
SEVERITY: Final = {"info": 1, "low": 2, "medium": 3, "high": 4, "critical": 5}
STATUS: Final = {"pass": 1, "fail": 3, "unknown": 2, "error": 2}
"""1 Pass, 2 Warning ("did not yield a result due to missing information"), 3 Fail."""
SKIPPED: Final = "not-applicable"
STANDARDS: Final = {
    "cis-kubernetes-1.12": "CIS Kubernetes Benchmark 1.12",
    "nsa-cisa-1.2": "NSA/CISA Kubernetes Hardening Guide 1.2",
    "sac": "Kubernetes security checklist",
    "stig": "Kubernetes STIG",
}


def ndjson(rows: Iterable[Row]) -> str:
    return "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)


def ocsf(rows: Iterable[Row]) -> str:
    """One event a line. What is not applicable is no finding there."""
    return ndjson(event(row) for row in rows if row["status"] != SKIPPED)


def event(row: Row) -> Row:
    """An OCSF 1.8 Compliance Finding. Its uid is the same for as long as the finding lives."""
    about = f"{row['cluster']}\0{row['node']}\0{row['check']}"
    uid = hashlib.sha256(about.encode()).hexdigest()
    code = STATUS[row["status"]]
    severity = SEVERITY[row["severity"]]
    mappings = row.get("mappings") or {}
    out: dict[str, Any] = {
        "activity_id": 2,
        "category_uid": 2,
        "class_uid": CLASS,
        "type_uid": CLASS * 100 + 2,
        "time": _ms(row["last_seen"]),
        "severity_id": severity if row["status"] == "fail" else 1,
        "status_id": 3 if row.get("waiver") else 1,
        "status_code": row["status"],
        "message": row.get("because") or f"{row['check']} is {row['status']}",
        "metadata": {
            "version": VERSION,
            "product": {"name": "nodeward", "vendor_name": "nodeward"},
            "tenant_uid": row["cluster"],
        },
        "finding_info": {
            "uid": uid,
            "title": row["check"],
            "first_seen_time": _ms(row["since"]),
            "last_seen_time": _ms(row["last_seen"]),
        },
        "compliance": {
            "control": row["check"],
            "standards": [STANDARDS.get(name, name) for name in mappings] or ["nodeward"],
            "requirements": sorted(i for ids in mappings.values() for i in ids),
            "status_id": code,
            "status_details": [_evidence(e) for e in row.get("evidence", ())],
            "checks": [
                {
                    "uid": row["check"],
                    "name": row["check"],
                    "status_id": code,
                    "severity_id": severity,
                }
            ],
        },
        "resources": [{"type": "Kubernetes node", "name": row["node"], "group": {
            "name": row["cluster"]}}],
        "device": {"hostname": row["node"], "type_id": 1},
    }  # fmt: skip
    remedy = row.get("remedy")
    if remedy:
        out["remediation"] = {"desc": remedy.get("text", "")}
    return out


def _evidence(piece: Row) -> str:
    return f"{piece.get('what')}: {piece.get('value')} [{piece.get('source')}]"


def _ms(text: str | None) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000) if text else 0


_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _xml(text: object) -> str:
    """Text that XML 1.0 can hold: what it cannot is shown as its code."""
    return _NOT_XML.sub(lambda m: f"\\u{ord(m[0]):04x}", str(text))


def junit(rows: Iterable[Row]) -> str:
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
            f' skipped="{statuses.count(SKIPPED)}">'
        )
        parts += map(_case, cases)
        parts.append("</testsuite>")
    return "\n".join([*parts, "</testsuites>", ""])


def _case(row: Row) -> str:
    name = quoteattr(_xml(row["check"]))
    head = f'<testcase classname={quoteattr(_xml(row["node"]))} name={name} time="0">'
    because = quoteattr(_xml(row.get("because") or row["status"]))
    detail = escape(_xml("\n".join(_evidence(e) for e in row.get("evidence", ()))))
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


COLUMNS: Final = (
    "cluster", "node", "check", "status", "severity", "since", "last_seen", "because"
)  # fmt: skip


_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def csv_text(rows: Iterable[Row]) -> str:
    """For spreadsheets: a cell that they would run as a formula gets an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)  # else not a lone CR
    writer.writerow([*COLUMNS, "waived_until"])
    for row in rows:
        cells = [str(row.get(name) or "") for name in COLUMNS]
        cells.append((row.get("waiver") or {}).get("until", ""))
        writer.writerow(
            ["'" + c if c[:1] in ("=", "+", "-", "@", "\t", "\r") else c for c in cells]
        )
    return out.getvalue()


FORMS: Final[Mapping[str, tuple[Callable[[Iterable[Row]], str], str]]] = {
    "ndjson": (ndjson, "application/x-ndjson"),
    "ocsf": (ocsf, "application/x-ndjson"),
    "junit": (junit, "application/xml"),
    "csv": (csv_text, "text/csv; charset=utf-8"),
}
