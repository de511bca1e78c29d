"""What only the page asks. Like all questions, each puts the asker's scope into its SQL."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import false, func, or_, select

from nodeward.collector.clock import rfc3339
from nodeward.collector.db import tables as t
from nodeward.collector.posture import unpack
from nodeward.collector.store.ask import Db, Filter, Page, cursor_text
from nodeward.model import Severity, Status

DAY_MS: Final = 86_400_000


def stale_nodes(db: Db) -> int:
    """How many nodes have not been heard of for too long, retired ones apart."""
    p = t.posture.c
    query = (
        select(func.count())
        .select_from(t.posture)
        .join(t.node, t.node.c.id == p.node)
        .where(t.node.c.retired_at.is_(None))
        .where(or_(p.seen_at.is_(None), p.seen_at < db.now - db.stale_ms))
    )
    if db.scope.clusters is not None:
        query = query.where(p.cluster.in_(sorted(db.scope.clusters)))
    return int(db.connection.execute(query).scalar_one())


def trend(db: Db, days: int = 30) -> list[Mapping[str, Any]]:
    """Findings that failed, by severity, and those that could not be judged, day by day."""
    c = t.trend.c
    first = db.now // DAY_MS - days
    query = select(c.day, c.value, func.sum(c.findings).label("findings")).where(c.day > first)
    if db.scope.clusters is not None:
        query = query.where(c.cluster.in_(sorted(db.scope.clusters)))
    by_day: dict[int, Counter[str]] = defaultdict(Counter)
    for row in db.connection.execute(query.group_by(c.day, c.value).order_by(c.day)):
        status, severity = unpack(row.value)
        if status is Status.FAIL:
            by_day[row.day][severity.value] += int(row.findings)
        elif status in (Status.UNKNOWN, Status.ERROR):
            by_day[row.day]["unknown"] += int(row.findings)
    lines = (*Severity, "unknown")
    return [
        {"day": str(rfc3339(day * DAY_MS))[:10], **{str(line): counts[line] for line in lines}}
        for day, counts in sorted(by_day.items())
    ]


def heat(
    db: Db, want: Filter, groups: Mapping[int, str]
) -> Mapping[str, Mapping[str, Counter[str]]]:
    """check -> group -> status -> nodes, from the counters; `groups` names each cluster's group."""
    c = t.counter.c
    query = select(c.rule, c.cluster, c.value, c.nodes).where(c.nodes > 0)
    query = query.where(c.cluster.in_(sorted(groups)) if groups else false())
    out: dict[str, dict[str, Counter[str]]] = {}
    for row in db.connection.execute(query):
        check = db.names.rule_name(db.connection, row.rule)
        group = groups[row.cluster]
        status, _ = unpack(row.value)
        out.setdefault(check, {}).setdefault(group, Counter())[status.value] += row.nodes
    return out


def cluster_groups(db: Db, by: str | None) -> Mapping[int, str]:
    """Each visible cluster's name, or its value of the label `by`."""
    query = select(t.cluster.c.id, t.cluster.c.name)
    if db.scope.clusters is not None:
        query = query.where(t.cluster.c.id.in_(sorted(db.scope.clusters)))
    names = {row.id: row.name for row in db.connection.execute(query)}
    if by is None:
        return names
    label = t.cluster_label.c
    query = select(label.cluster, label.value).where(label.key == by)
    values = {row.cluster: row.value for row in db.connection.execute(query)}
    return {i: values.get(i, f"no {by}") for i in names}


def label_keys(db: Db) -> list[str]:
    """The labels that visible clusters have."""
    label = t.cluster_label.c
    query = select(label.key).distinct().order_by(label.key)
    if db.scope.clusters is not None:
        query = query.where(label.cluster.in_(sorted(db.scope.clusters)))
    return list(db.connection.execute(query).scalars())


def expiring(db: Db, want: Filter) -> Page:
    """Nodes by the certificate of theirs that ends first."""
    e = t.expiry.c
    query = (
        select(e.node, e.at, e.rule, t.node.c.name, t.cluster.c.name.label("cluster"))
        .join(t.node, t.node.c.id == e.node)
        .join(t.cluster, t.cluster.c.id == t.node.c.cluster)
        .where(t.node.c.retired_at.is_(None))
        .order_by(e.at, e.node)
    )
    if db.scope.clusters is not None:
        query = query.where(t.node.c.cluster.in_(sorted(db.scope.clusters)))
    if want.cluster is not None:
        query = query.where(t.cluster.c.name == want.cluster)
    if want.cursor:
        at, node = want.cursor
        query = query.where(or_(e.at > at, (e.at == at) & (e.node > node)))
    rows = db.connection.execute(query.limit(want.limit + 1)).all()
    items: list[Mapping[str, Any]] = [
        {
            "cluster": row.cluster,
            "node": row.name,
            "check": db.names.rule_name(db.connection, row.rule),
            "ends": rfc3339(row.at),
            "days": (row.at - db.now) // DAY_MS,
        }
        for row in rows[: want.limit]
    ]
    more = len(rows) > want.limit
    last = rows[want.limit - 1] if more else None
    return Page(items, cursor_text(last.at, last.node) if last is not None else None)
