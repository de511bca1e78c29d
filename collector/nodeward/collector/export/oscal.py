"""OSCAL assessment results, for those who must show a control satisfied.

Source of the form: https://pages.nist.gov/OSCAL-Reference/models/v1.1.3/assessment-results/
An observation a check, with each node as its subject; a finding a control that some check maps to.
A control is satisfied only where every check of it passed on every node it applies to.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from nodeward.collector.export.rows import NOT_APPLICABLE, STANDARDS, Row, because

VERSION: Final = "1.1.3"
NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "urn:nodeward")
"""Ours, so that the same node, check and control have the same uuid in every document."""
PROPERTY_NS: Final = "urn:nodeward"


def write(rows: Iterable[Row]) -> str:
    """One document of all the rows."""
    return json.dumps({"assessment-results": results([*rows], datetime.now(UTC))}, indent=1) + "\n"


def results(rows: Sequence[Row], at: datetime) -> Mapping[str, Any]:
    """The body of the document. `at` is when it is made."""
    made = at.isoformat()
    controls = _controls(rows)
    result: dict[str, Any] = {
        "uuid": _id("result", made),
        "title": "Posture of Kubernetes nodes",
        "description": "What nodeward saw on each node, from the node itself.",
        "start": min((_last(row) for row in rows), default=made),
        "end": max((_last(row) for row in rows), default=made),
        "reviewed-controls": {"control-selections": [_selection(controls)]},
    }
    if rows:
        result["local-definitions"] = {"inventory-items": _nodes(rows)}
        result["observations"] = [_observation(c, of) for c, of in sorted(_by_check(rows).items())]
    if controls:
        result["findings"] = [_finding(c, of) for c, of in sorted(controls.items())]
    return {
        "uuid": _id("document", made),
        "metadata": {
            "title": "nodeward: posture of Kubernetes nodes",
            "last-modified": made,
            "version": made,
            "oscal-version": VERSION,
        },
        "import-ap": {"href": "#", "remarks": "The nodes are looked at continuously."},
        "results": [result],
    }


def _id(*words: str) -> str:
    return str(uuid.uuid5(NAMESPACE, "\0".join(words)))


def _last(row: Row) -> str:
    return str(row["last_seen"] or row["since"])


def _node_id(row: Row) -> str:
    return _id("node", row["cluster"], row["node"])


def _line(text: str) -> str:
    """A title or a property's value: one line, without space at its ends, never empty."""
    return " ".join(text.split()) or "-"


def _property(name: str, value: str) -> Row:
    return {"name": name, "ns": PROPERTY_NS, "value": _line(value)}


def _nodes(rows: Iterable[Row]) -> list[Row]:
    seen = {_node_id(row): row for row in rows}
    return [
        {
            "uuid": key,
            "description": f"Kubernetes node {row['node']} of cluster {row['cluster']}",
            "props": [_property("cluster", row["cluster"]), _property("node", row["node"])],
        }
        for key, row in seen.items()
    ]


def _by_check(rows: Iterable[Row]) -> dict[str, list[Row]]:
    out: dict[str, list[Row]] = {}
    for row in rows:
        out.setdefault(row["check"], []).append(row)
    return out


def _controls(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    """Rows by the standard and the identifier that their check maps to."""
    out: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        for standard, identifiers in (row.get("mappings") or {}).items():
            for identifier in identifiers:
                out.setdefault((standard, identifier), []).append(row)
    return out


def _control_id(control: tuple[str, str]) -> str:
    """A token of letters, digits, dots, dashes and underscores that begins with a letter."""
    return "_".join(re.sub(r"[^A-Za-z0-9._-]", "-", part) for part in control)


def _selection(controls: Mapping[tuple[str, str], Any]) -> Row:
    if not controls:
        return {"description": "No check maps to a control.", "include-all": {}}
    return {"include-controls": [{"control-id": _control_id(c)} for c in sorted(controls)]}


def _observation(check: str, rows: Sequence[Row]) -> Row:
    return {
        "uuid": _id("check", check),
        "title": check,
        "description": f"{check} on {len(rows)} nodes",
        "methods": ["TEST"],
        "types": ["finding"],
        "collected": max(map(_last, rows)),
        "subjects": [
            {"subject-uuid": _node_id(row), "type": "inventory-item", "title": _line(row["node"])}
            for row in rows
        ],
        "relevant-evidence": [_seen(row) for row in rows],
    }


def _seen(row: Row) -> Row:
    properties = [_property("node", row["node"]), _property("status", row["status"])]
    if row.get("waiver"):
        properties.append(_property("waived-until", row["waiver"]["until"]))
    return {"description": because(row), "props": properties}


def _finding(control: tuple[str, str], rows: Sequence[Row]) -> Row:
    standard, identifier = control
    state, reason = _state({row["status"] for row in rows})
    failed = sorted({f"{row['cluster']}/{row['node']}" for row in rows if row["status"] == "fail"})
    return {
        "uuid": _id("control", standard, identifier),
        "title": _line(f"{STANDARDS.get(standard, standard)} {identifier}"),
        "description": f"{len(failed)} nodes fail"
        + (f": {', '.join(failed[:50])}" if failed else ""),
        "target": {
            "type": "objective-id",
            "target-id": _control_id(control),
            "status": {"state": state, "reason": reason},
        },
        "related-observations": [
            {"observation-uuid": _id("check", check)} for check in sorted(_by_check(rows))
        ],
    }


def _state(statuses: set[str]) -> tuple[str, str]:
    """What could not be judged is not satisfied; a control that applies nowhere neither."""
    if "fail" in statuses:
        return "not-satisfied", "fail"
    if statuses - {NOT_APPLICABLE} == {"pass"}:
        return "satisfied", "pass"
    return "not-satisfied", "other"
