"""PostgreSQL keeps the changes of each UTC day apart, so that a closed day can leave as a whole."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection, text

DAY_MS: Final = 86_400_000
AHEAD: Final = 3


def day_start(now: int) -> int:
    return now - now % DAY_MS


def make_days(connection: Connection, now: int) -> None:
    """Partitions for the next days. Today's exists unless the collector began today."""
    if connection.dialect.name != "postgresql":
        return
    there = set(
        connection.execute(
            text("SELECT inhrelid::regclass::text FROM pg_inherits"
                 " WHERE inhparent = 'change'::regclass")
        ).scalars()
    )  # fmt: skip
    for day in range(1, AHEAD + 1):
        start = day_start(now) + day * DAY_MS
        name = f"change_{datetime.fromtimestamp(start / 1000, UTC):%Y%m%d}"
        if name not in there:
            _make(connection, name, start)


def _make(connection: Connection, name: str, start: int) -> None:
    """What a clock that was ahead has put into the days without a partition moves into this one."""
    day = f"at >= {start} AND at < {start + DAY_MS}"
    for statement in (
        f"CREATE TABLE IF NOT EXISTS {name} (LIKE change)",
        f"WITH early AS (DELETE FROM change_other WHERE {day} RETURNING *)"  # noqa: S608  ours
        f" INSERT INTO {name} SELECT * FROM early",
        f"ALTER TABLE change ATTACH PARTITION {name}"
        f" FOR VALUES FROM ({start}) TO ({start + DAY_MS})",
    ):
        connection.execute(text(statement))
