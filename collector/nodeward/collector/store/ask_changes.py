"""What went from one status to another, and when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

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

FIRST_REACH_MS: Final = 10_000
LAST_REACH_MS: Final = 86_400_000


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
    rows: Sequence[Record] = []
    for after in _reaches(db, want):
        part = query if after is None else query.where(c.at > after)
        rows = db.connection.execute(part.limit(want.limit + 1)).all()
        if len(rows) > want.limit:
            break
    shown = rows[: want.limit]
    items = [_change_json(db, row) for row in shown]
    if len(rows) <= want.limit:
        return Page(items)
    return Page(items, cursor_text(shown[-1].at, shown[-1].node, shown[-1].rule))


def _reaches(db: Db, want: Filter) -> Iterator[int | None]:
    """How far back to look for the latest: a little, then more; at last without an end.

    PostgreSQL keeps changes in the order of time under an index of a few bytes a page, which finds
    a span of time quickly but cannot tell the latest. SQLite's index can.
    """
    if want.node is None and db.connection.dialect.name == "postgresql":
        last = db.now if want.cursor is None else min(db.now, want.cursor[0])
        last = last if want.until is None else min(last, want.until)
        first = want.since or 0
        reach = FIRST_REACH_MS
        while reach <= LAST_REACH_MS and last - reach > first:
            yield last - reach
            reach *= 6
    yield None


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
