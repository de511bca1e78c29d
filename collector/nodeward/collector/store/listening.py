"""When a collector was there to hear nodes: whom nobody could hear was not silent.

Each replica notes it once a minute, by the database's clock. A store that comes back from a backup
has heard nobody since then either.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, select, update

from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import clock_of, insert

NOTE_S: Final = 60.0
GAP_MS: Final = 150_000
"""Notes that are further apart are about two spans of time."""


def note_listening(connection: Connection) -> None:
    """Somebody listens now."""
    table, now = t.listening.c, clock_of(connection)
    latest = select(t.listening).order_by(table.until.desc(), table.since).limit(1)
    row = connection.execute(latest.with_for_update()).one_or_none()
    if row is None or now - row.until > GAP_MS:
        new = insert(connection, t.listening).on_conflict_do_nothing()
        connection.execute(new, [{"since": now, "until": now}])
    elif now > row.until:
        this = update(t.listening).where(table.since == row.since)
        connection.execute(this.values(until=now))


def heard_for(connection: Connection, span_ms: int) -> int | None:
    """The time since when collectors have listened for so long, all spans together. None: they have
    not yet. What lies before it is forgotten."""
    table = t.listening.c
    left, end = span_ms, clock_of(connection)
    for row in connection.execute(select(t.listening).order_by(table.since.desc())).all():
        end = min(end, row.until)
        if end - row.since >= left:
            connection.execute(t.listening.delete().where(table.until < end - left))
            return int(end - left)
        left -= max(0, end - row.since)
        end = min(end, row.since)
    return None
