"""A report that its key did not sign, found after it was taken in: as if it had not been.

Its session admitted it, so its posture was counted before its signature was looked at. The node is
set back to what it was before, the key is out, and whoever speaks for the node next is asked for a
full report.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select, update

from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import Record, database_now
from nodeward.collector.posture import EMPTY, NONE, State
from nodeward.collector.store.counters import Moves
from nodeward.collector.store.ingest import security_event, tell
from nodeward.collector.store.lifecycle import living
from nodeward.collector.store.names import Names


def distrust(connection: Connection, names: Names, rows: Sequence[Record], now: int) -> None:
    """These reports are kept as proof and never shown. Those that another replica has set aside,
    or that went with a former life of their node, were dealt with."""
    rows = _waiting(connection, rows)
    for row in rows:
        set_aside(connection, row, "report.bad-signature", now)
    if not rows:
        return
    agents = update(t.agent).where(
        t.agent.c.id.in_(sorted({row.agent for row in rows})), t.agent.c.status == "active"
    )
    changed_at = database_now(connection)
    connection.execute(agents.values(status="quarantined", changed_at=changed_at))
    since: dict[int, int] = {}
    for row in rows:
        since[row.node] = min(row.at, since.get(row.node, row.at))
    for node, at in sorted(since.items()):
        _set_back(connection, names, node, at)


def _waiting(connection: Connection, rows: Sequence[Record]) -> list[Record]:
    if not rows:
        return []
    living(connection, [row.node for row in rows])
    r = t.report.c
    query = select(r.node, r.boot, r.seq).where(
        r.node.in_(sorted({row.node for row in rows})), r.body.is_not(None), r.verified != 2
    )
    there = {tuple(row) for row in connection.execute(query.with_for_update())}
    return [row for row in rows if (row.node, row.boot, row.seq) in there]


def set_aside(connection: Connection, row: Record, kind: str, now: int) -> None:
    """Its words are never shown, and it is not looked at again."""
    r = t.report.c
    this = update(t.report).where(r.node == row.node, r.boot == row.boot, r.seq == row.seq)
    connection.execute(this.values(verified=2))
    detail = {"boot": row.boot, "seq": row.seq}
    event = security_event(kind, at=now, node=row.node, agent=row.agent, detail=detail)
    tell(connection, [event])


def _set_back(connection: Connection, names: Names, node: int, at: int) -> None:
    """The node as it was before that time. What came after it was built on it, and goes too."""
    p = t.posture.c
    query = select(p.set, p.cluster, p.first_at).where(p.node == node, p.set.is_not(None))
    held = connection.execute(query.with_for_update()).one_or_none()
    if held is None or not living(connection, [node]):
        return
    now = names.states(connection, {held.set})[held.set]
    known = held.first_at < at
    before = _undone(connection, node, at, now) if known else EMPTY
    values = {
        "set": names.set_ids(connection, [before])[before.digest] if known else None,
        "score": before.score,
        "digest": None,
        "first_at": held.first_at if known else None,
    }
    connection.execute(update(t.posture).where(p.node == node).values(**values))
    connection.execute(t.change.delete().where(t.change.c.node == node, t.change.c.at >= at))
    moves = Moves()
    moves.step(held.cluster, now, before)
    moves.nodes(held.cluster, 0 if known else -1)
    moves.write(connection)


def _undone(connection: Connection, node: int, at: int, state: State) -> State:
    c = t.change.c
    query = select(c.rule, c.old).where(c.node == node, c.at >= at).order_by(c.at.desc())
    values = state.values()
    for row in connection.execute(query):
        values[row.rule] = row.old  # the earliest comes last and stays
    return State.of({rule: value for rule, value in values.items() if value != NONE})
