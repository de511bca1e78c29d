"""How far back the store remembers changes.

A question about a time before that is refused: today's posture with only some of its changes undone
would be a posture that never was.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, select, text

from nodeward.collector.clock import rfc3339
from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import insert, is_sqlite
from nodeward.collector.problem import Problem

CHANGES: Final = "change"


def kept_since(connection: Connection) -> int:
    """Changes before this time have left the store; 0: none has."""
    query = select(t.kept.c.since).where(t.kept.c.what == CHANGES)
    return connection.execute(query).scalar() or 0


def must_be_kept(connection: Connection, at: int, field: str) -> None:
    """Raises Problem (410) for a time that is no longer remembered."""
    since = kept_since(connection)
    if at < since:
        told = f"changes before {rfc3339(since)} are no longer kept"
        raise Problem(410, "not-kept", told, field=field)


def forget_changes(connection: Connection, before: int) -> int:
    """Changes before that time leave the store; how many did."""
    statement = insert(connection, t.kept)
    statement = statement.on_conflict_do_update(
        index_elements=["what"],
        set_={"since": statement.excluded.since},
        where=t.kept.c.since < statement.excluded.since,
    )
    connection.execute(statement, [{"what": CHANGES, "since": before}])
    connection.execute(t.life.delete().where(t.life.c.ended_at < before))
    dropped = 0 if is_sqlite(connection) else _drop_days(connection, before)
    return dropped + connection.execute(t.change.delete().where(t.change.c.at < before)).rowcount


def _drop_days(connection: Connection, before: int) -> int:
    """Days that have a partition of their own leave as a whole, which costs nothing."""
    query = text(
        "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) AS bound FROM pg_inherits i"
        " JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'change'::regclass"
    )
    dropped = 0
    for name, bound in connection.execute(query).all():
        end = bound.rpartition("TO ('")[2].rstrip("')")
        if end.isdigit() and int(end) <= before:
            quoted = connection.dialect.identifier_preparer.quote(name)
            dropped += int(connection.execute(text(f"SELECT count(*) FROM {quoted}")).scalar() or 0)  # noqa: S608
            connection.execute(text(f"DROP TABLE {quoted}"))
    return dropped
