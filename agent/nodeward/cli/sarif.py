"""A report as SARIF 2.1.0 (https://docs.oasis-open.org/sarif/sarif/v2.1.0/), for code scanning.

Every finding is a result: `kind` is pass, fail, notApplicable, or open where we could not tell;
only a failure has a level. An accepted failure is a suppressed result.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from nodeward.cli.accept import Accepted
from nodeward.cli.table import worst_first
from nodeward.cli.text import safe
from nodeward.model import JSON, Check, CheckId, Evidence, Finding, Report, Severity, Status

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
KIND = {
    Status.PASS: "pass",
    Status.FAIL: "fail",
    Status.NOT_APPLICABLE: "notApplicable",
    Status.UNKNOWN: "open",
    Status.ERROR: "open",
}
LEVEL = {
    Severity.CRITICAL: "error",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "note",
    Severity.INFO: "note",
}
# What code scanning sorts by; the middle of each band of CVSS.
SCORE = {
    Severity.CRITICAL: "9.5",
    Severity.HIGH: "8.0",
    Severity.MEDIUM: "5.5",
    Severity.LOW: "2.5",
    Severity.INFO: "0.0",
}
# A path, maybe a line, maybe more words: "/etc/x.conf:3 (changed after the start)".
_PLACE = re.compile(r"^(?P<path>/[^\0 ]*?)(?::(?P<line>[1-9]\d{0,8}))?(?=[ ,]|$)")


def to_json(
    report: Report, rules: Sequence[Check[...]], accepted: Mapping[CheckId, Accepted]
) -> dict[str, JSON]:
    place = {rule.id: n for n, rule in enumerate(rules)}
    results: list[JSON] = [
        _result(f, place[f.check], report.node, accepted.get(f.check))
        for f in worst_first(report.findings)
    ]
    run: dict[str, JSON] = {
        "tool": {
            "driver": {
                "name": "nodeward",
                "semanticVersion": _semantic(report.version),
                "rules": [_rule(rule) for rule in rules],
            }
        },
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {"NODE": {"uri": "file:///"}},
        "invocations": [
            {
                "executionSuccessful": not any(f.status is Status.ERROR for f in report.findings),
                "endTimeUtc": report.taken_at,
                "machine": safe(report.node),
            }
        ],
        "results": results,
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _semantic(version: str) -> str:
    return version if re.fullmatch(r"\d+\.\d+\.\d+.*", version) else "0.0.0"


def _rule(rule: Check[...]) -> JSON:
    steps = "".join(f"\n    {step}" for step in rule.remedy.steps)
    tags: list[JSON] = ["security"]
    tags += [f"{name}/{i}" for name, ids in rule.mappings.items() for i in ids]
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.why},
        "help": {"text": f"{rule.remedy.text}{steps}"},
        "helpUri": rule.sources[0].url,
        "defaultConfiguration": {"level": LEVEL[rule.severity]},
        "properties": {"security-severity": SCORE[rule.severity], "tags": tags},
    }


def _result(finding: Finding, index: int, node: str, accepted: Accepted | None) -> JSON:
    failing = finding.status is Status.FAIL
    places: list[JSON] = [p for p in map(_location, finding.evidence) if p is not None]
    identity = hashlib.sha256(f"{node}\0{finding.check}".encode()).hexdigest()
    out: dict[str, JSON] = {
        "ruleId": finding.check,
        "ruleIndex": index,
        "kind": KIND[finding.status],
        "level": LEVEL[finding.severity] if failing else "none",
        "message": {"text": safe(finding.because)},
        # Code scanning shows nothing without a place: the root stands for "somewhere on it".
        "locations": places[:1] or [_at("/", None)],
        "partialFingerprints": {"nodeAndCheck/v1": identity},
        "properties": {
            "status": finding.status.value,
            "severity": finding.severity.value,
            "evidence": [
                {"what": safe(e.what), "value": safe(e.value), "source": safe(e.source)}
                for e in finding.evidence
            ],
        },
    }
    if places[1:]:
        out["relatedLocations"] = places[1:]
    if accepted is not None and failing:
        out["suppressions"] = [{"kind": "external", "justification": accepted.line}]
    return out


def _location(evidence: Evidence) -> JSON:
    """The file and line that a piece of evidence names; None where it names none."""
    match = _PLACE.match(evidence.source)
    return _at(match["path"], match["line"]) if match else None


def _at(path: str, line: str | None) -> JSON:
    place: dict[str, JSON] = {
        "artifactLocation": {
            "uri": quote(path.lstrip("/"), safe="/", errors="surrogateescape") or ".",
            "uriBaseId": "NODE",
        }
    }
    if line is not None:
        place["region"] = {"startLine": int(line)}
    return {"physicalLocation": place}
