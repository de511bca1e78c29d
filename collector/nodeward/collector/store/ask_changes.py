"""What went from one status to another, and when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import ColumnElement, and_, false, or_, select

from nodeward.collector.clock import rfc3339
from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import Record
from nodeward.collector.posture import LEVELS
from nodeward.collector.store.asked import (
    Db,
    Filter,
    Page,
    clusters_of,
    cursor_text,
    levels_of,
    rules_of,
    value_json,
)


def changes(db: Db, want: Filter) -> Page:
    """What went from one status to another, the latest first."""
    c = t.change.c
    query = (
        select(c.at, c.node, c.rule, c.old, c.new, t.node.c.name, t.cluster.c.name.label("cluster"))
        .join(t.node, t.node.c.id == c.node)
        .join(t.cluster, t.cluster.c.id == t.node.c.cluster)
        .order_by(c.at.desc(), c.node.desc(), c.rule.desc())
    )
    for condition in _change_conditions(db, want):
        query = query.where(condition)
    rows = db.connection.execute(query.limit(want.limit + 1)).all()
    shown = rows[: want.limit]
    items = [_change_json(db, row) for row in shown]
    if len(rows) <= want.limit:
        return Page(items)
    return Page(items, cursor_text(shown[-1].at, shown[-1].node, shown[-1].rule))


def _change_conditions(db: Db, want: Filter) -> Iterator[ColumnElement[bool]]:
    c = t.change.c
    clusters = clusters_of(db, want)
    if clusters is not None:
        yield t.node.c.cluster.in_(sorted(clusters)) if clusters else false()
    if want.node is not None:
        yield t.node.c.name == want.node
    rules = rules_of(db, want)
    if rules is not None:
        yield c.rule.in_(sorted(rules)) if rules else false()
    if want.statuses or want.severities:
        yield c.new.in_([LEVELS[level] for level in levels_of(want)])
    if want.since is not None:
        yield c.at >= want.since
    if want.until is not None:
        yield c.at <= want.until
    if want.cursor:
        at, node_id, rule = want.cursor
        yield c.at <= at
        yield or_(
            c.at < at,
            and_(c.at == at, or_(c.node < node_id, and_(c.node == node_id, c.rule < rule))),
        )


def _change_json(db: Db, row: Record) -> Mapping[str, Any]:
    return {
        "at": rfc3339(row.at),
        "cluster": row.cluster,
        "node": row.name,
        "check": db.names.rule_name(db.connection, row.rule),
        "old": value_json(row.old),
        "new": value_json(row.new),
    }
