"""Finding a node or a check by a part of its name."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import select

from nodeward.checks import catalog
from nodeward.collector.db import tables as t
from nodeward.collector.page.visit import Shown, Visit, view
from nodeward.collector.store import ask
from nodeward.collector.store.ask import Db, Filter
from nodeward.model import CheckId

MOST: Final = 12
"""Of either kind; where there are more it says so."""
LONGEST: Final = 100


def find(visit: Visit, db: Db) -> Shown:
    """Only what the asker may see: checks that their nodes told of, and those nodes."""
    part = visit.query.get("q", "").strip()[:LONGEST]
    checks = _checks(db, part.lower()) if part else []
    nodes = _nodes(db, part) if part else []
    data: dict[str, Any] = {
        "q": part,
        "checks": checks[:MOST],
        "nodes": nodes[:MOST],
        "truncated": max(len(checks), len(nodes)) > MOST,
    }
    rows = [{"kind": "check", "name": c["check"]} for c in data["checks"]]
    rows += [{"kind": "node", "name": n["node"], "cluster": n["cluster"]} for n in data["nodes"]]
    return Shown("Find", data, ("kind", "name", "cluster"), rows)


def _checks(db: Db, part: str) -> list[dict[str, Any]]:
    """By id or title; those that fail come first, as in the list of checks."""
    found = []
    for row in ask.checks(db, Filter()).items:
        rule = catalog().get(CheckId(row["check"]))
        title = rule.title if rule else ""
        if part in row["check"].lower() or part in title.lower():
            found.append({"check": row["check"], "title": title, "fail": row["nodes"]["fail"]})
    return found


def _nodes(db: Db, part: str) -> list[dict[str, Any]]:
    n = t.node.c
    query = (
        select(n.name, t.cluster.c.name.label("cluster"))
        .join(t.cluster, t.cluster.c.id == n.cluster)
        .where(n.retired_at.is_(None), n.name.contains(part, autoescape=True))
        .order_by(n.name, n.cluster)
        .limit(MOST + 1)
    )
    if db.scope.clusters is not None:
        query = query.where(n.cluster.in_(sorted(db.scope.clusters)))
    return [{"node": row.name, "cluster": row.cluster} for row in db.connection.execute(query)]


ROUTES: Final = [view("/find", "find.html", find, "q")]
