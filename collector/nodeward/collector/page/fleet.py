"""The fleet at a glance; on an empty collector, how to enrol the first node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from nodeward.collector.page import questions
from nodeward.collector.page.visit import Shown, Visit, view
from nodeward.collector.store import ask
from nodeward.collector.store.ask import Db, Filter
from nodeward.model import Severity, Status

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
        "dark_checks": _dark(checks),
        "changes": ask.changes(db, Filter(since=db.now - questions.DAY_MS, limit=15)).items,
        "trend": questions.trend(db),
    }
    more = {"address": f"{visit.request.url.scheme}://{visit.request.headers.get('Host', '')}"}
    return Shown("Fleet", data, clusters, more)


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
