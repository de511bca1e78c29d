"""The counters counted anew. They are kept with each step, and so never differ by themselves; what
an earlier version did wrong, or hands did in the database, is put right by this.
"""

from __future__ import annotations

from collections import Counter

from sqlalchemy import Connection, func, select

from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import is_sqlite
from nodeward.collector.posture import NONE
from nodeward.collector.store.bulk import bulk
from nodeward.collector.store.counters import FLEET
from nodeward.collector.store.names import Names

Counts = Counter[tuple[int, int, int]]
"""(check, cluster, value) -> nodes, as in the tables."""


def recount(connection: Connection, names: Names) -> int:
    """Put every counter right; how many were wrong. No report is written meanwhile."""
    if not is_sqlite(connection):  # SQLite has one writer anyway
        connection.exec_driver_sql("LOCK TABLE counter, total IN EXCLUSIVE MODE")
    return sum(
        _mend(connection, *one)
        for one in zip(("counter", "total"), counted(connection, names), strict=True)
    )


def counted(connection: Connection, names: Names) -> tuple[Counts, Counts]:
    """What `counter` and `total` are to hold, from the postures of the nodes that there are."""
    p = t.posture.c
    query = (
        select(p.cluster, p.set, func.count().label("nodes"))
        .join(t.node, t.node.c.id == p.node)
        .where(p.set.is_not(None), t.node.c.retired_at.is_(None))
        .group_by(p.cluster, p.set)
    )
    counter, total = Counts(), Counts()
    rows = connection.execute(query).all()
    states = names.states(connection, {row.set for row in rows})
    for row in rows:
        state = states[row.set]
        total[0, row.cluster, NONE] += row.nodes
        for rule, value in zip(state.rules, state.vec, strict=True):
            counter[rule, row.cluster, value] += row.nodes
    for (rule, cluster, value), nodes in counter.items():
        total[rule, FLEET, value] += nodes
        total[0, cluster, value] += nodes
    return counter, total


def _mend(connection: Connection, table: str, right: Counts) -> int:
    c = t.meta.tables[table].c
    held = connection.execute(select(c.rule, c.cluster, c.value, c.nodes))
    more = Counts(right)
    more.subtract({(row.rule, row.cluster, row.value): row.nodes for row in held})
    rows = [(*key, nodes) for key, nodes in sorted(more.items()) if nodes]
    if rows:
        bulk(connection).add(table, rows)
    return len(rows)
