"""The fleet at a glance; on an empty collector, how to enrol the first node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from nodeward.collector.clock import DAY_MS
from nodeward.collector.page import questions
from nodeward.collector.page.enrol import release
from nodeward.collector.page.visit import Shown, Visit, view
from nodeward.collector.store import ask
from nodeward.collector.store.ask import Db, Filter
from nodeward.model import Severity, Status

SEVERITIES: Final = [s.value for s in Severity if s is not Severity.INFO]
CLUSTER: Final = ("cluster", "nodes", *(s.value for s in (*Status, *Severity)))
"""Of each cluster: its nodes, findings of each status, and those that fail of each severity."""
DARK: Final = (Status.UNKNOWN.value, Status.ERROR.value)


def fleet(visit: Visit, db: Db) -> Shown:
    clusters = list(ask.clusters(db, Filter()).items)
    nodes = sum(c["nodes"] for c in clusters)
    checks = ask.checks(db, Filter()).items
    data: dict[str, Any] = {
        "nodes": nodes,
        "stale": questions.stale_nodes(db),
        "summary": _sum(clusters, "summary", [s.value for s in Status]),
        "fails": _sum(clusters, "fails", [s.value for s in Severity]),
        "clusters": clusters,
        "worst_nodes": ask.nodes(db, Filter(sort="score", limit=10)).items,
        "worst_checks": [c for c in checks if c["nodes"]["fail"]][:10],
        "dark_nodes": questions.dark_nodes(db),
        "dark_checks": [_with_reason(db, row) for row in _dark(checks)],
        "changes": ask.changes(db, Filter(since=db.now - DAY_MS, limit=15)).items,
        "trend": questions.trend(db),
    }
    rows = [{**c, **c["summary"], **c["fails"]} for c in clusters]
    data["week"] = _week(data["trend"], data["fails"])
    return Shown("Fleet", data, CLUSTER, rows, {"severities": SEVERITIES, "release": release()})


def _week(trend: Sequence[Mapping[str, Any]], fails: Mapping[str, int]) -> Mapping[str, Any] | None:
    """How many more fail than a week ago, or than on the first day that is known."""
    if len(trend) < 2:
        return None
    then = trend[max(0, len(trend) - 8)]
    return {"day": then["day"], "more": {s: many - then[s] for s, many in fails.items()}}


def _with_reason(db: Db, row: Mapping[str, Any]) -> Mapping[str, Any]:
    """What one of the nodes says, why it could not judge."""
    want = Filter(checks=(row["check"],), statuses=frozenset(map(Status, DARK)), limit=1)
    said = ask.findings(db, want).items
    example = {"cluster": said[0]["cluster"], "node": said[0]["node"]} if said else None
    return {**row, "because": said[0]["because"] if said else "", "example": example}


def _sum(rows: Sequence[Mapping[str, Any]], key: str, names: Sequence[str]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for row in rows:
        total.update(row[key])
    return {name: total[name] for name in names}


def _dark(checks: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The checks that most nodes could not judge."""
    rows = [(sum(c["nodes"][s] for s in DARK), c) for c in checks]
    ordered = sorted((r for r in rows if r[0]), key=lambda r: (-r[0], r[1]["check"]))
    return [{"check": c["check"], "nodes": many} for many, c in ordered[:10]]


ROUTES: Final = [view("/", "fleet.html", fleet)]
