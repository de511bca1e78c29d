"""Postures and platforms that no node has any more leave the store, and lists of checks that no
posture has; some at a time.

They are named by their content and shared, so nobody knows who had one last: it is looked for. The
past does not need them: it is today's posture with its changes undone (store/past.py).

A replica remembers ids, and may be about to write one of them to a node. So whoever writes an id
holds them all until its transaction ends, and asks once more whether they are there; who collects
waits for all of them, and looks after that.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Table,
    bindparam,
    delete,
    func,
    or_,
    select,
)

from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import is_sqlite
from nodeward.collector.store.names import HOLD, Names

AT_ONCE: Final = 100
"""Postures in one transaction: while it lasts, no report is written."""
MOST: Final = 20_000
"""Postures in one go; the rest have their turn in the next."""
MOST_OTHERS: Final = 2_000
"""The same of platforms and of lists, which go in one transaction."""


def collect(engine: Engine, writing: Engine, names: Names) -> int:
    """How many postures left. `writing`: transactions of their own, for they are to begin with the
    lock."""
    gone = _sets(engine, writing, names)
    _others(engine, writing, t.layout, t.state_set.c.layout)
    _others(engine, writing, t.platform, t.posture.c.platform)
    return gone


def _others(engine: Engine, writing: Engine, table: Table, used: Column[int]) -> None:
    """Rows of the table that no `used` names, except the newest, as with postures. All that are
    used are read once: there is no index for them."""
    c = table.c
    newest = select(func.max(table.alias("newer").c.id)).scalar_subquery()
    unused = select(c.id).where(c.id < newest, c.id.not_in(select(used).where(used.is_not(None))))
    with engine.connect() as connection:
        found = set(connection.execute(unused.limit(MOST_OTHERS)).scalars())
    if not found:
        return
    with writing.begin() as connection:
        _alone(connection)
        still = select(used).where(used.in_(sorted(found))).distinct()
        gone = sorted(found - set(connection.execute(still).scalars()))
        if table is t.layout:
            connection.execute(delete(t.layout_rule).where(t.layout_rule.c.layout.in_(gone)))
        connection.execute(delete(table).where(c.id.in_(gone)))


def _sets(engine: Engine, writing: Engine, names: Names) -> int:
    with engine.connect() as connection:
        found = _unused(connection)
        states = names.states(connection, found)
    gone = 0
    for start in range(0, len(found), AT_ONCE):
        part = [number for number in found[start : start + AT_ONCE] if number in states]
        with writing.begin() as connection:
            _alone(connection)
            s = t.state_set.c
            these = delete(t.state_set).where(s.id.in_(part), ~_had()).returning(s.id)
            ids = connection.execute(these).scalars().all()
            posted = [
                {"r": rule, "v": value, "s": number}
                for number in ids
                for rule, value in states[number].posted()
            ]
            if posted:
                q = t.posting.c
                row = (q.rule == bindparam("r"), q.value == bindparam("v"), q.set == bindparam("s"))
                connection.execute(delete(t.posting).where(*row), posted)
        gone += len(ids)
    return gone


def _unused(connection: Connection) -> list[int]:
    """The newest stays whatever it is: SQLite would give its id to the next one, and a replica may
    remember what it meant."""
    s = t.state_set.c
    newest = select(func.max(t.state_set.alias("newer").c.id)).scalar_subquery()
    query = select(s.id).where(s.id < newest, ~_had()).order_by(s.id).limit(MOST)
    return list(connection.execute(query).scalars())


def _had() -> ColumnElement[bool]:
    """Whether a node has it, or had it at the end of a former life."""
    s, p, f = t.state_set.c, t.posture.c, t.life.c
    now, last = select(p.node).where(p.set == s.id), select(f.node).where(f.set == s.id)
    return or_(now.exists(), last.exists())


def _alone(connection: Connection) -> None:
    """Nobody writes ids of postures until this transaction ends. SQLite has one writer anyway."""
    if not is_sqlite(connection):
        connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")  # all others wait behind us
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({HOLD})")
