"""Who an agent is: a key, attested once for one node of one cluster."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

from sqlalchemy import Connection, select, update

from nodeward.collector.clock import rfc3339
from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import Record, database_now, insert
from nodeward.collector.problem import Problem, gone
from nodeward.collector.store.access import Scope
from nodeward.collector.store.hashing import secret_hash
from nodeward.collector.store.ingest import security_event, tell
from nodeward.collector.store.lifecycle import come_back, retire
from nodeward.collector.store.names import Names

JOIN_PREFIX: Final = "nwj_"
BINDING_MS: Final = 30 * 86_400_000
"""How long an enrolment by join token holds before it must be renewed."""
ATTESTED_MS: Final = 86_400_000
"""The same for one that the cluster attested, which costs the agent nothing to repeat."""


@dataclass(frozen=True)
class Binding:
    """The answer to an enrolment."""

    agent: str
    node: int
    node_name: str
    cluster: str
    status: Literal["active", "pending"]
    expires_at: int


def cluster_id(connection: Connection, name: str, now: int) -> int:
    """The cluster of that name, made if it is new."""
    statement = insert(connection, t.cluster).on_conflict_do_nothing()
    connection.execute(statement, [{"name": name, "created_at": now}])
    query = select(t.cluster.c.id).where(t.cluster.c.name == name)
    return int(connection.execute(query).scalar_one())


def make_join_token(
    connection: Connection,
    *,
    cluster: str,
    node: str | None,
    uses: int,
    ttl_ms: int,
    approve: bool,
    by: str,
    now: int,
) -> str:
    """A new join token, shown here for the only time. `node` is a glob."""
    token = JOIN_PREFIX + secrets.token_urlsafe(32)
    row = {
        "id": secrets.token_hex(6),
        "hash": secret_hash(token),
        "cluster": cluster_id(connection, cluster, now),
        "node": node,
        "uses": uses,
        "approve": int(approve),
        "created_at": now,
        "expires_at": now + ttl_ms,
        "created_by": by,
    }
    connection.execute(t.join_token.insert(), [row])
    return token


def join_tokens_json(connection: Connection, scope: Scope, now: int) -> list[dict[str, Any]]:
    """Those by which somebody can still join, the first to end first."""
    j = t.join_token.c
    query = (
        select(t.join_token, t.cluster.c.name.label("cluster_name"))
        .join(t.cluster, t.cluster.c.id == j.cluster)
        .where(j.expires_at > now, j.uses > 0)
        .order_by(j.expires_at, j.id)
    )
    if scope.clusters is not None:
        query = query.where(j.cluster.in_(sorted(scope.clusters)))
    return [
        {
            "id": row.id,
            "cluster": row.cluster_name,
            "node": row.node,
            "uses": row.uses,
            "approve": bool(row.approve),
            "created_by": row.created_by,
            "created_at": rfc3339(row.created_at),
            "expires_at": rfc3339(row.expires_at),
        }
        for row in connection.execute(query)
    ]


def revoke_join_token(connection: Connection, which: str, scope: Scope) -> None:
    j = t.join_token.c
    this = t.join_token.delete().where(j.id == which)
    if scope.clusters is not None:
        this = this.where(j.cluster.in_(sorted(scope.clusters)))
    if connection.execute(this).rowcount != 1:
        raise gone("join token")


def enrol_by_token(
    connection: Connection,
    *,
    agent: str,
    public_key: bytes,
    node: str,
    cluster: str,
    token: str,
    now: int,
) -> Binding | Problem:
    """Bind the key to the node. A Problem is returned, not raised: its event must be kept."""
    known = _known(connection, agent)
    if known is not None:
        again = _again(connection, known, node, cluster, now)
        if again is not None:
            return again
    ticket = _ticket(connection, token, node, cluster, now)
    if isinstance(ticket, Problem):
        note_refused(connection, ticket, agent, node, now)
        return ticket
    row = _node(connection, ticket.cluster, node, now)
    live = _live_agent(connection, row, now)
    pending = bool(ticket.approve) or live is not None  # until it is approved nothing changes
    if live is not None:
        _event(connection, "agent.second-key", row, agent, now, holds=live, wants=agent)
    if not pending:
        come_back(connection, row)
    expires_at = now + BINDING_MS
    word = "pending" if pending else "active"
    _store(connection, agent, row, public_key, word, expires_at, now, "join-token")
    _event(connection, "agent.enrolled", row, agent, now, method="join-token", status=word)
    status: Literal["active", "pending"] = "pending" if pending else "active"
    return Binding(agent, row, node, cluster, status, expires_at)


def enrol_attested(
    connection: Connection,
    names: Names,
    *,
    agent: str,
    public_key: bytes,
    node: str,
    uid: str,
    cluster: str,
    now: int,
) -> Binding | Problem:
    """Bind the key to the node that the cluster itself named. It supersedes the key before it.

    Another uid under the same name is another machine: the one before it is retired.
    """
    known = _known(connection, agent)
    if known is not None and (known.name, known.cluster) != (node, cluster):
        return Problem(403, "other-node", "this key is enrolled for another node", field="node")
    if known is not None and known.status not in ("active", "pending", "retired"):
        return Problem(403, known.status, f"this key is {known.status}: make a new one")
    row = _node(connection, cluster_id(connection, cluster, now), node, now)
    before = connection.execute(select(t.node.c.uid).where(t.node.c.id == row)).scalar_one()
    if before is not None and before != uid:
        retire(connection, names, [row], now, "another machine has its name")
    come_back(connection, row)
    connection.execute(update(t.node).where(t.node.c.id == row).values(uid=uid))
    live = _live_agent(connection, row, now)
    if live is not None and live != agent:
        this = update(t.agent).where(t.agent.c.node == row, t.agent.c.status == "active")
        connection.execute(this.values(status="superseded", changed_at=database_now(connection)))
        _event(connection, "agent.rekeyed", row, agent, now, old=live, new=agent)
    expires_at = now + ATTESTED_MS
    _store(connection, agent, row, public_key, "active", expires_at, now, "k8s-psat")
    if known is None or known.status != "active":
        _event(connection, "agent.enrolled", row, agent, now, method="k8s-psat", status="active")
    return Binding(agent, row, node, cluster, "active", expires_at)


def _known(connection: Connection, agent: str) -> Record | None:
    query = (
        select(
            t.agent.c.id,
            t.agent.c.status,
            t.agent.c.expires_at,
            t.agent.c.method,
            t.agent.c.node,
            t.node.c.name,
            t.cluster.c.name.label("cluster"),
        )
        .join(t.node, t.node.c.id == t.agent.c.node)
        .join(t.cluster, t.cluster.c.id == t.node.c.cluster)
    )
    return connection.execute(query.where(t.agent.c.id == agent)).one_or_none()


def _again(
    connection: Connection, known: Record, node: str, cluster: str, now: int
) -> Binding | Problem | None:
    """The same key enrols again: no token is used up, and a live binding is renewed.

    None: it has expired, or its node was taken for gone, so it must be attested anew.
    """
    if (known.name, known.cluster) != (node, cluster):
        return Problem(403, "other-node", "this key is enrolled for another node", field="node")
    if known.status not in ("active", "pending", "retired"):
        return Problem(403, known.status, f"this key is {known.status}: make a new one")
    if known.status == "retired" or known.expires_at <= now:
        return None
    expires_at = known.expires_at
    mine = known.method == "join-token"  # what was attested by the cluster is so again
    if mine and known.status == "active" and expires_at - now < BINDING_MS // 2:
        expires_at = now + BINDING_MS
        this = update(t.agent).where(t.agent.c.id == known.id)
        values = {"expires_at": expires_at, "changed_at": database_now(connection)}
        connection.execute(this.values(**values))
    return Binding(known.id, known.node, node, cluster, known.status, expires_at)


_NO_TOKEN = "the join token is not known, used up, expired, or for another node or cluster"  # noqa: S105


def _ticket(
    connection: Connection, token: str, node: str, cluster: str, now: int
) -> Record | Problem:
    """The token's row, one use of it taken. One answer for every reason: no guessing."""
    refusal = Problem(403, "join-token", _NO_TOKEN, field="attestation.token")
    j = t.join_token.c
    query = select(
        j.id, j.cluster, j.node, j.approve, j.expires_at, t.cluster.c.name.label("cluster_name")
    ).join(t.cluster, t.cluster.c.id == j.cluster)
    row = connection.execute(query.where(j.hash == secret_hash(token))).one_or_none()
    if row is None or row.expires_at <= now or row.cluster_name != cluster:
        return refusal
    if row.node is not None and not fnmatchcase(node, row.node):
        return refusal
    used = connection.execute(
        update(t.join_token).where(j.id == row.id, j.uses > 0).values(uses=j.uses - 1)
    )
    return row if used.rowcount == 1 else refusal


def note_refused(connection: Connection, refusal: Problem, agent: str, node: str, now: int) -> None:
    """Somebody was not enrolled: an event of no node, since it is nobody's word."""
    _event(connection, "enroll.refused", None, agent, now, code=refusal.code, node=node)


def _event(
    connection: Connection, kind: str, on: int | None, agent: str, now: int, **detail: str
) -> None:
    event = security_event(kind, at=now, node=on, agent=agent, detail=detail)
    connection.execute(t.security_event.insert(), [event])


def _node(connection: Connection, cluster: int, name: str, now: int) -> int:
    """The node's id, with an empty posture if it is new. Nobody else enrols a key for it until the
    transaction ends."""
    row = {"cluster": cluster, "name": name, "created_at": now}
    connection.execute(insert(connection, t.node).on_conflict_do_nothing(), [row])
    query = select(t.node.c.id).where(t.node.c.cluster == cluster, t.node.c.name == name)
    node = int(connection.execute(query.with_for_update()).scalar_one())
    empty = {"node": node, "cluster": cluster}
    connection.execute(insert(connection, t.posture).on_conflict_do_nothing(), [empty])
    return node


def _live_agent(connection: Connection, node: int, now: int) -> str | None:
    """The key that speaks for the node already."""
    query = select(t.agent.c.id).where(
        t.agent.c.node == node, t.agent.c.status == "active", t.agent.c.expires_at > now
    )
    return connection.execute(query.with_for_update()).scalars().first()


def _store(
    connection: Connection,
    agent: str,
    node: int,
    public_key: bytes,
    status: str,
    expires_at: int,
    now: int,
    method: str,
) -> None:
    row = {
        "id": agent,
        "node": node,
        "public_key": public_key,
        "method": method,
        "status": status,
        "created_at": now,
        "expires_at": expires_at,
        "changed_at": database_now(connection),
    }
    statement = insert(connection, t.agent).values(**row)
    names = ("status", "expires_at", "changed_at", "method")
    renewed = {name: statement.excluded[name] for name in names}
    connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=renewed))


def rotate_key(
    connection: Connection, *, old: str, new: str, public_key: bytes, now: int
) -> Binding | Problem:
    """The new key takes the old one's place, for the same node. An agent that did not hear the
    answer enrols with the new key, which is known then, or goes on with the old one."""
    row = _known(connection, old)
    assert row is not None
    if _known(connection, new) is not None:
        return Problem(409, "known-key", "this key was enrolled before: make a new one")
    # A rotation attests nothing anew: what the cluster attested ends when it would have ended.
    expires_at = now + BINDING_MS if row.method == "join-token" else row.expires_at
    _store(connection, new, row.node, public_key, "active", expires_at, now, row.method)
    this = update(t.agent).where(t.agent.c.id == old, t.agent.c.status == "active")
    over = this.values(status="superseded", changed_at=database_now(connection))
    if connection.execute(over).rowcount != 1:
        raise Problem(403, "ended", "this key may not speak any more")
    _event(connection, "agent.rotated", row.node, new, now, old=old, new=new)
    return Binding(new, row.node, row.name, row.cluster, "active", expires_at)


def tell_both(connection: Connection, *, agent: str, node: int, named: str, now: int) -> None:
    """An agent named another node: an event on its own node, and on the other if there is one."""
    query = select(t.node.c.cluster).where(t.node.c.id == node)
    cluster = connection.execute(query).scalar_one()
    other = select(t.node.c.id).where(t.node.c.cluster == cluster, t.node.c.name == named)
    nodes = [node, *connection.execute(other).scalars()]
    detail = {"named": named[:253]}
    events = [
        security_event("report.other-node", at=now, node=n, agent=agent, detail=detail)
        for n in nodes
    ]
    tell(connection, events)
