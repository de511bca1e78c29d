"""OpenReports' ClusterReport, one a node, for what shows reports in a cluster (Policy Reporter).

Source of the form: openreports.io/v1alpha1, https://github.com/openreports/reports-api.
Only what does not pass is listed, because an object in etcd has its limit; the counts are whole.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final

from nodeward.collector.export import ndjson
from nodeward.collector.export.rows import Row, because, evidence, ms

API: Final = "openreports.io/v1alpha1"
SOURCE: Final = "nodeward"
RESULT: Final = {
    "pass": "pass",
    "fail": "fail",
    "unknown": "warn",
    "error": "error",
    "not-applicable": "skip",
}
"""What could not be judged is a warning there: neither a pass, nor skipped."""
SHORT: Final = 1_000
"""Characters of a text: 121 results of four of them stay far below etcd's 1.5 MiB an object."""


def write(rows: Iterable[Row]) -> str:
    """A ClusterReport a line, as `kubectl apply -f -` takes them. Each node's rows together."""
    return ndjson.write(reports(rows))


def reports(rows: Iterable[Row], uids: dict[str, str] | None = None) -> Iterator[dict[str, Any]]:
    """ClusterReports of all the findings of some nodes of one cluster.

    `uids` names the Node objects: a report whose owner is known goes when its node goes.
    """
    nodes: dict[str, list[Row]] = {}
    for row in rows:
        nodes.setdefault(row["node"], []).append(row)
    for name, found in sorted(nodes.items()):
        yield report(name, found, (uids or {}).get(name))


def report(name: str, found: list[Row], uid: str | None = None) -> dict[str, Any]:
    counts = Counter(RESULT[row["status"]] for row in found)
    node = {"apiVersion": "v1", "kind": "Node", "name": name} | ({"uid": uid} if uid else {})
    metadata: dict[str, Any] = {
        "name": object_name(name),
        "labels": {"app.kubernetes.io/managed-by": SOURCE},
    }
    if uid:
        metadata["ownerReferences"] = [node]
    return {
        "apiVersion": API,
        "kind": "ClusterReport",
        "metadata": metadata,
        "source": SOURCE,
        "scope": node,
        "summary": {result: counts[result] for result in RESULT.values()},
        "results": [
            _result(row) for row in found if RESULT[row["status"]] in ("fail", "warn", "error")
        ],
    }


def object_name(node: str) -> str:
    """A name that the API takes, whatever a node is called."""
    return f"{SOURCE}-" + re.sub(r"[^a-z0-9.-]", "-", node.lower()).strip("-.")[:200]


def _result(row: Row) -> dict[str, Any]:
    seen = ms(row["last_seen"])
    properties = {"status": row["status"], "since": row["since"] or ""}
    if row.get("evidence"):
        properties["evidence"] = "\n".join(map(evidence, row["evidence"]))[:SHORT]
    if row.get("remedy"):
        properties["remedy"] = row["remedy"].get("text", "")[:SHORT]
    if row.get("waiver"):
        properties["waived-until"] = row["waiver"]["until"]
    return {
        "policy": row["check"].partition(".")[0],
        "rule": row["check"],
        "result": RESULT[row["status"]],
        "severity": row["severity"],
        "message": because(row)[:SHORT],
        "scored": not row.get("waiver"),
        "timestamp": {"seconds": seen // 1_000, "nanos": seen % 1_000 * 1_000_000},
        "properties": properties,
    }
