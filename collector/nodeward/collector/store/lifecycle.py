"""Keys and nodes after enrolment: approved, rotated, released, revoked; retired and come back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, Connection, case, select, update

from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import Record, database_now
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
    _supersede(connection, row.node)
    _set(connection, agent, "active")


def release(connection: Connection, agent: str, scope: Scope) -> None:
    """A quarantined key may speak again: the operator found no second holder."""
    row = agent_row(connection, agent, scope)
    if row.status != "quarantined":
        raise Problem(409, "not-quarantined", f"this key is {row.status}")
    _supersede(connection, row.node)
    _set(connection, agent, "active")


def revoke(connection: Connection, agent: str, scope: Scope) -> None:
    """The key speaks for nobody from now on."""
    row = agent_row(connection, agent, scope)
    if row.status in ENDS:
        raise Problem(409, "ended", f"this key is {row.status}")
    _set(connection, agent, "revoked")


def _supersede(connection: Connection, node: int) -> None:
    """Nobody else makes a key of this node live meanwhile."""
    connection.execute(select(t.node.c.id).where(t.node.c.id == node).with_for_update())
    others = update(t.agent).where(t.agent.c.node == node, t.agent.c.status == "active")
    connection.execute(others.values(status="superseded", changed_at=database_now(connection)))


def _set(connection: Connection, agent: str, status: str) -> None:
    this = update(t.agent).where(t.agent.c.id == agent)
    connection.execute(this.values(status=status, changed_at=database_now(connection)))


# -- nodes ------------------------------------------------------------------------------------


def retire(connection: Connection, names: Names, nodes: Sequence[int], now: int, why: str) -> None:
    """These nodes are gone: they leave the counts, and their keys end. Their history stays."""
    p = t.posture.c
    query = (
        select(p.node, p.cluster, p.set)
        .join(t.node, t.node.c.id == p.node)
        .where(p.node.in_(nodes), t.node.c.retired_at.is_(None))
        .order_by(p.node)
    )
    rows = connection.execute(query.with_for_update(of=t.posture)).all()
    ids = [row.node for row in rows]
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


def come_back(connection: Connection, node: int) -> None:
    """A retired node enrols again (or another machine under its name): a new life, old history."""
    this = update(t.node).where(t.node.c.id == node, t.node.c.retired_at.is_not(None))
    if connection.execute(this.values(retired_at=None)).rowcount == 0:
        return
    empty = dict.fromkeys(
        ("set", "platform", "boot", "seq", "digest", "first_at", "report_at", "seen_at", "spool")
    )
    connection.execute(update(t.posture).where(t.posture.c.node == node).values(**empty, score=0))
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
