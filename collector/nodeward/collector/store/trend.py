"""The fleet day by day: the counters as they stood when each day was last looked at."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from nodeward.collector.clock import DAY_MS
from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import insert


def note_trend(connection: Connection, now: int) -> None:
    """Today's row of each cluster and value; the last one of a day stays."""
    c = t.counter.c
    query = select(c.cluster, c.value, func.sum(c.nodes).label("findings"))
    rows = [
        {"day": now // DAY_MS, "cluster": r.cluster, "value": r.value, "findings": int(r.findings)}
        for r in connection.execute(query.group_by(c.cluster, c.value))
    ]
    if not rows:
        return
    statement = insert(connection, t.trend)
    statement = statement.on_conflict_do_update(
        index_elements=["day", "cluster", "value"],
        set_={"findings": statement.excluded.findings},
    )
    connection.execute(statement, rows)
