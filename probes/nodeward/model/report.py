"""All that one node said at one moment, and its JSON (contracts: nodeward.scan/v1, report/v1)."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import TypeAlias

from nodeward.lazy import dataclass
from nodeward.model.verdict import CheckId, Evidence, Finding, Remedy, Row, Severity, Status

JSON: TypeAlias = "Mapping[str, JSON] | list[JSON] | str | int | float | bool | None"

SCAN_SCHEMA = "nodeward.scan/v1"
REPORT_SCHEMA = "nodeward.report/v1"


@dataclass(frozen=True, slots=True)
class Report:
    """A scan. `inventory` is JSON: os, kernel, kubelet, runtime, cloud, roles, machine_id.

    `taken_at` is RFC 3339 in UTC with milliseconds; `catalog` is a digest of the rule
    definitions, so that a changed verdict can be told from a changed rule.
    """

    node: str
    taken_at: str
    root: str
    live: bool
    version: str
    catalog: str
    inventory: Mapping[str, JSON]
    findings: tuple[Finding, ...]
    extra: Mapping[str, JSON] = field(default_factory=dict)
    """Members that this version does not know, kept as they came."""

    def summary(self) -> dict[str, int]:
        """How many findings have each status, all five named."""
        counts = Counter(f.status for f in self.findings)
        return {status.value: counts[status] for status in Status}


def finding_to_json(finding: Finding) -> dict[str, JSON]:
    """The contract's form of one finding; `remedy` only where there is something to mend."""
    out: dict[str, JSON] = {
        "check": finding.check,
        "status": finding.status.value,
        "severity": finding.severity.value,
        "because": finding.because,
        "evidence": [evidence_to_json(e) for e in finding.evidence],
    }
    if finding.remedy is not None:
        out["remedy"] = remedy_to_json(finding.remedy)
    out["mappings"] = {name: list(ids) for name, ids in finding.mappings.items()}
    return out


def evidence_to_json(evidence: Evidence) -> dict[str, JSON]:
    """`row` only where the value has one."""
    out: dict[str, JSON] = {
        "what": evidence.what,
        "value": evidence.value,
        "source": evidence.source,
    }
    if evidence.row is not None:
        row = evidence.row
        out["row"] = {"table": str(row.table), "name": row.name, "cells": dict(row.cells)}
    return out


def remedy_to_json(remedy: Remedy) -> dict[str, JSON]:
    return {"text": remedy.text, "steps": list(remedy.steps), "breaks": remedy.breaks}


def report_to_json(report: Report) -> dict[str, JSON]:
    """The contract's nodeward.scan/v1."""
    return {
        "schema": SCAN_SCHEMA,
        "node": report.node,
        "taken_at": report.taken_at,
        "root": report.root,
        "live": report.live,
        "agent": {"version": report.version, "catalog": report.catalog},
        "inventory": report.inventory,
        "summary": dict(report.summary()),
        "findings": [finding_to_json(f) for f in report.findings],
    }


class WireError(ValueError):
    """JSON that is not a report. `field` is the path of the member at fault."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}")
        self.field = field
        self.why = why


def finding_from_json(raw: object, where: str = "finding") -> Finding:
    """The other way. Raises WireError naming the member; unknown members are ignored."""
    data = _mapping(raw, where)
    remedy = data.get("remedy")
    return Finding(
        check=CheckId(_text(data, "check", where)),
        status=_status(_text(data, "status", where), f"{where}.status"),
        severity=_severity(_text(data, "severity", where), f"{where}.severity"),
        because=_text(data, "because", where),
        evidence=tuple(
            _evidence(e, f"{where}.evidence[{i}]")
            for i, e in enumerate(_sequence(data.get("evidence", []), f"{where}.evidence"))
        ),
        remedy=None if remedy is None else _remedy(remedy, f"{where}.remedy"),
        mappings={
            str(k): tuple(str(i) for i in _sequence(v, f"{where}.mappings.{k}"))
            for k, v in _mapping(data.get("mappings", {}), f"{where}.mappings").items()
        },
    )


def _evidence(raw: object, where: str) -> Evidence:
    data = _mapping(raw, where)
    return Evidence(
        _text(data, "what", where),
        _text(data, "value", where),
        str(data.get("source", "")),
        row_from_json(data.get("row")),
    )


def row_from_json(raw: object) -> Row | None:
    """None where there is none, or one of a form that we do not know: `value` says the same."""
    match raw:
        case {"table": str(table), "name": str(name), "cells": {**cells}}:
            return Row(table, name, tuple((str(k), str(v)) for k, v in cells.items()))
        case _:
            return None


def _remedy(raw: object, where: str) -> Remedy:
    data = _mapping(raw, where)
    steps = _sequence(data.get("steps", []), f"{where}.steps")
    return Remedy(_text(data, "text", where), tuple(map(str, steps)), str(data.get("breaks", "")))


def _mapping(raw: object, where: str) -> Mapping[str, object]:
    if not isinstance(raw, Mapping):
        raise WireError(where, "must be an object")
    return raw


def _sequence(raw: object, where: str) -> list[object]:
    if not isinstance(raw, list):
        raise WireError(where, "must be an array")
    return raw


def _text(data: Mapping[str, object], key: str, where: str) -> str:
    value = data.get(key)
    if not isinstance(value, str):
        raise WireError(f"{where}.{key}", "must be a string")
    return value


def _status(text: str, where: str) -> Status:
    try:
        return Status(text)
    except ValueError:
        raise WireError(where, "must be pass, fail, not-applicable, unknown or error") from None


def _severity(text: str, where: str) -> Severity:
    try:
        return Severity(text)
    except ValueError:
        raise WireError(where, "must be critical, high, medium, low or info") from None


def posture_digest(findings: Iterable[Finding]) -> str:
    """Digest of what a posture says: check, status, severity, because and evidence of each finding.

    Agent and collector compute it alike, so that a heartbeat can say "nothing changed".
    Remedies and mappings are left out: they follow from the catalogue; rows, from the values.
    """
    return digest_of_rows(
        [
            f.check,
            f.status.value,
            f.severity.value,
            f.because,
            [[e.what, e.value, e.source] for e in f.evidence],
        ]
        for f in findings
    )


def digest_of_rows(rows: Iterable[list[object]]) -> str:
    """The same of rows that were made from findings as JSON."""
    text = json.dumps(sorted(rows), ensure_ascii=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
