"""OCSF Compliance Findings, for SIEMs.

Source of the form: https://schema.ocsf.io/1.8.0/classes/compliance_finding
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Final

from nodeward.collector.export import ndjson
from nodeward.collector.export.rows import NOT_APPLICABLE, STANDARDS, Row, because, evidence, ms

VERSION: Final = "1.8.0"
CLASS: Final = 2003  # Compliance Finding
CREATE, UPDATE, CLOSE = 1, 2, 3
SEVERITY: Final = {"info": 1, "low": 2, "medium": 3, "high": 4, "critical": 5}
OTHER: Final = 99
STATUS: Final = {"pass": 1, "fail": 3, "unknown": 2, "error": 2, NOT_APPLICABLE: OTHER}
"""1 Pass, 2 Warning ("did not yield a result due to missing information"), 3 Fail."""


def write(rows: Iterable[Row]) -> str:
    """One event a line. What is not applicable is no finding there."""
    return ndjson.write(event(row) for row in rows if row["status"] != NOT_APPLICABLE)


def event(row: Row, activity: int = UPDATE) -> Row:
    """An OCSF 1.8 Compliance Finding. Its uid is the same for as long as the finding lives."""
    failed = row["status"] == "fail"
    out: dict[str, Any] = {
        "activity_id": activity,
        "category_uid": 2,
        "class_uid": CLASS,
        "type_uid": CLASS * 100 + activity,
        "time": ms(row["last_seen"]),
        "severity_id": SEVERITY[row["severity"]] if failed else SEVERITY["info"],
        "status_id": _life(row, activity),
        "status_code": row["status"],
        "message": because(row),
        "metadata": {
            "version": VERSION,
            "product": {"name": "nodeward", "vendor_name": "nodeward"},
            "tenant_uid": row["cluster"],
        },
        "finding_info": {
            "uid": _uid(row),
            "title": row["check"],
            "first_seen_time": ms(row["since"]),
            "last_seen_time": ms(row["last_seen"]),
        },
        "compliance": _compliance(row),
        "resources": [_resource(row)],
        "device": {"hostname": row["node"], "type_id": 1},
    }
    remedy = row.get("remedy")
    if remedy:
        out["remediation"] = {"desc": remedy.get("text", "")}
    return out


def _uid(row: Row) -> str:
    about = f"{row['cluster']}\0{row['node']}\0{row['check']}"
    return hashlib.sha256(about.encode()).hexdigest()


def _life(row: Row, activity: int) -> int:
    """1 New, 3 Suppressed, 4 Resolved."""
    if row.get("waiver"):
        return 3
    return 4 if activity == CLOSE else 1


def _compliance(row: Row) -> Row:
    code = STATUS[row["status"]]
    mappings = row.get("mappings") or {}
    standards = [STANDARDS.get(name, name) for name in mappings] or ["nodeward"]
    check = {
        "uid": row["check"],
        "name": row["check"],
        "standards": standards,
        "status_id": code,
        "severity_id": SEVERITY[row["severity"]],
    }
    other = {"status": NOT_APPLICABLE} if code == OTHER else {}
    return other | {
        "control": row["check"],
        "standards": standards,
        "requirements": sorted(i for ids in mappings.values() for i in ids),
        "status_id": code,
        "status_details": [evidence(e) for e in row.get("evidence", ())],
        "checks": [check],
    }


def _resource(row: Row) -> Row:
    return {"type": "Kubernetes node", "name": row["node"], "group": {"name": row["cluster"]}}
