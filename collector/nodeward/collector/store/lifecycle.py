"""Keys and nodes after enrolment: approved, rotated, released, revoked; retired and come back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, Connection, case, select, update

from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import Record, clock_of, database_now, insert
from nodeward.collector.posture import EMPTY
from nodeward.collector.problem import Problem, gone
from nodeward.collector.store.access import Scope
from nodeward.collector.store.counters import Moves
from nodeward.collector.store.ingest import security_event
from nodeward.collector.store.names import Names
from nodeward.collector.store.shared import forget_keys

ENDS: Final = ("revoked", "superseded", "retired")
"""Statuses that no key leaves by itself; a retired one that is attested anew is as good as new."""
KEY_STATES: Final = ("pending", "active", "quarantined", "expired", *ENDS)


def key_state(now: int) -> ColumnElement[str]:
    """What becomes of a key at this time: its status, or that its own time is over."""
    a = t.agent.c
    over = a.status.not_in(ENDS) & (a.expires_at <= now)
    return case((over, "expired"), else_=a.status)


def agent_row(connection: Connection, agent: str, scope: Scope) -> Record:
    """The enrolled key, if the asker may see its cluster."""
    query = (
        select(t.agent, t.node.c.cluster, t.node.c.name)
        .join(t.node, t.node.c.id == t.agent.c.node)
        .where(t.agent.c.id == agent)
    )
    row = connection.execute(query.with_for_update(of=t.agent)).one_or_none()
    if row is None or (scope.clusters is not None and row.cluster not in scope.clusters):
        raise gone("agent")
    return row


def approve(connection: Connection, agent: str, scope: Scope) -> None:
    """A pending key becomes the node's; the one before it is superseded."""
    row = agent_row(connection, agent, scope)
    if row.status != "pending":
        raise Problem(409, "not-pending", f"this key is {row.status}")
    _let_speak(connection, row)


def release(connection: Connection, agent: str, scope: Scope) -> None:
    """A quarantined key may speak again: the operator found no second holder."""
    row = agent_row(connection, agent, scope)
    if row.status != "quarantined":
        raise Problem(409, "not-quarantined", f"this key is {row.status}")
    _let_speak(connection, row)


def revoke(connection: Connection, agent: str, scope: Scope) -> None:
    """The key speaks for nobody from now on."""
    row = agent_row(connection, agent, scope)
    if row.status in ENDS:
        raise Problem(409, "ended", f"this key is {row.status}")
    _set(connection, agent, "revoked")


def _let_speak(connection: Connection, key: Record) -> None:
    """It is the node's one live key; a node that was gone is back. Nobody else makes a key of this
    node live meanwhile."""
    if key.expires_at <= clock_of(connection):
        raise Problem(409, "expired", "this key's enrolment has expired: it must enrol again")
    connection.execute(select(t.node.c.id).where(t.node.c.id == key.node).with_for_update())
    others = update(t.agent).where(t.agent.c.node == key.node, t.agent.c.status == "active")
    connection.execute(others.values(status="superseded", changed_at=database_now(connection)))
    come_back(connection, key.node)
    _set(connection, key.id, "active")


def _set(connection: Connection, agent: str, status: str) -> None:
    this = update(t.agent).where(t.agent.c.id == agent)
    connection.execute(this.values(status=status, changed_at=database_now(connection)))


# -- nodes ------------------------------------------------------------------------------------


def retire(connection: Connection, names: Names, nodes: Sequence[int], now: int, why: str) -> None:
    """These nodes are gone: they leave the counts, and their keys end. Their history stays."""
    p, ids = t.posture.c, living(connection, nodes)
    query = select(p.node, p.cluster, p.set, p.report_at).where(p.node.in_(ids)).order_by(p.node)
    rows = connection.execute(query.with_for_update()).all()
    # After their last reports, which may have come while this waited for its locks.
    now = max([now, *(row.report_at + 1 for row in rows if row.report_at is not None)])
    states = names.states(connection, {row.set for row in rows if row.set is not None})
    connection.execute(update(t.node).where(t.node.c.id.in_(ids)).values(retired_at=now))
    for table in (t.expiry, t.look):
        connection.execute(table.delete().where(table.c.node.in_(ids)))
    forget_keys(connection, ids)
    keys = update(t.agent).where(t.agent.c.node.in_(ids), t.agent.c.status.not_in(ENDS))
    connection.execute(keys.values(status="retired", changed_at=database_now(connection)))
    moves = Moves()
    for row in rows:
        if row.set is not None:
            moves.step(row.cluster, states[row.set], EMPTY)
            moves.nodes(row.cluster, -1)
    moves.write(connection)
    told = [
        security_event("node.retired", at=now, node=i, agent=None, detail={"why": why}) for i in ids
    ]
    if told:
        connection.execute(t.security_event.insert(), told)


def living(connection: Connection, nodes: Sequence[int], *, shared: bool = False) -> list[int]:
    """Those of them that are not retired, and are not until the transaction ends. It locks them,
    before it locks anything of theirs; `shared`: for one who only relies on it."""
    n = t.node.c
    query = select(n.id).where(n.id.in_(sorted(nodes)), n.retired_at.is_(None)).order_by(n.id)
    return list(connection.execute(query.with_for_update(read=shared)).scalars())


def come_back(connection: Connection, node: int) -> None:
    """A retired node enrols again (or another machine under its name): a new life, old history."""
    n, p = t.node.c, t.posture.c
    gone = select(n.retired_at).where(n.id == node, n.retired_at.is_not(None)).with_for_update()
    retired_at = connection.execute(gone).scalar_one_or_none()
    if retired_at is None:
        return
    life = select(p.node, p.first_at, p.report_at, p.set).where(p.node == node)
    row = connection.execute(life.with_for_update()).one()
    if row.set is not None:
        ended = {"node": node, "ended_at": max(retired_at, row.report_at)}
        lived = ended | {"first_at": row.first_at, "set": row.set}
        connection.execute(insert(connection, t.life).on_conflict_do_nothing(), [lived])
    connection.execute(update(t.node).where(n.id == node).values(retired_at=None))
    empty = dict.fromkeys(
        ("set", "platform", "boot", "seq", "digest", "first_at", "report_at", "seen_at", "spool")
    )
    connection.execute(update(t.posture).where(p.node == node).values(**empty, score=0))
    for table in (t.evidence, t.report, t.boot):
        connection.execute(table.delete().where(table.c.node == node))


def forget_gone(connection: Connection, before: int) -> None:
    """What nodes said in words that are gone since before that time, and the receipts for it. Their
    postures and changes stay: they are small, and the past is asked for."""
    gone = select(t.node.c.id).where(t.node.c.retired_at < before)
    for table in (t.evidence, t.report, t.boot):
        connection.execute(table.delete().where(table.c.node.in_(gone)))


def long_silent(connection: Connection, before: int) -> list[int]:
    """Nodes not heard of since then."""
    p = t.posture.c
    query = (
        select(p.node)
        .join(t.node, t.node.c.id == p.node)
        .where(t.node.c.retired_at.is_(None), p.seen_at < before)
        .limit(1_000)
    )
    return list(connection.execute(query).scalars())


def node_id(connection: Connection, cluster: str, name: str, scope: Scope) -> int:
    """The node, if the asker may see it."""
    query = (
        select(t.node.c.id, t.node.c.cluster)
        .join(t.cluster, t.cluster.c.id == t.node.c.cluster)
        .where(t.cluster.c.name == cluster, t.node.c.name == name)
    )
    row = connection.execute(query).one_or_none()
    if row is None or (scope.clusters is not None and row.cluster not in scope.clusters):
        raise gone("node")
    return int(row.id)
