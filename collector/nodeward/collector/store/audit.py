"""What privileged people did, and what agents did that they should not."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, false, or_, select

from nodeward.collector.clock import rfc3339
from nodeward.collector.db import tables as t
from nodeward.collector.store.ask import Db, Filter, Page, cursor_text


def note(
    connection: Connection,
    actor: str,
    act: str,
    on: str,
    now: int,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """One privileged act, in the transaction of the act itself."""
    row = {
        "id": f"{now:012x}{secrets.token_hex(8)}",
        "at": now,
        "actor": actor,
        "act": act,
        "object": on,
        "detail": json.dumps(dict(detail or {})),
    }
    connection.execute(t.audit.insert(), [row])


def audit_log(db: Db, want: Filter) -> Page:
    """Privileged acts, the latest first. For those who may see everything."""
    query = select(t.audit).order_by(t.audit.c.id.desc())
    if want.cursor:
        query = query.where(t.audit.c.id < want.cursor[0])
    rows = db.connection.execute(query.limit(want.limit + 1)).all()
    items: list[Mapping[str, Any]] = [
        {
            "at": rfc3339(row.at),
            "actor": row.actor,
            "act": row.act,
            "object": row.object,
            "detail": json.loads(row.detail),
        }
        for row in rows[: want.limit]
    ]
    return Page(items, cursor_text(rows[want.limit - 1].id) if len(rows) > want.limit else None)


def forget_events(connection: Connection, before: int) -> None:
    """Security events from before that time: who is nobody can make some. The audit log stays."""
    connection.execute(t.security_event.delete().where(t.security_event.c.at < before))


def events(db: Db, want: Filter) -> Page:
    """Security events, the latest first: of nodes in scope; those of no node for who sees all."""
    e = t.security_event.c
    query = (
        select(t.security_event, t.node.c.name, t.cluster.c.name.label("cluster"))
        .outerjoin(t.node, t.node.c.id == e.node)
        .outerjoin(t.cluster, t.cluster.c.id == t.node.c.cluster)
        .order_by(e.id.desc())
    )
    if db.scope.clusters is not None:
        within = sorted(db.scope.clusters)
        query = query.where(t.node.c.cluster.in_(within) if within else false())
    if want.cluster is not None:
        query = query.where(t.cluster.c.name == want.cluster)
    if want.node is not None:
        query = query.where(t.node.c.name == want.node)
    if want.since is not None:
        query = query.where(e.at >= want.since)
    if want.cursor:
        query = query.where(or_(e.id < want.cursor[0]))
    rows = db.connection.execute(query.limit(want.limit + 1)).all()
    items: list[Mapping[str, Any]] = [
        {
            "at": rfc3339(row.at),
            "kind": row.kind,
            "cluster": row.cluster,
            "node": row.name,
            "agent": row.agent,
            "detail": json.loads(row.detail),
        }
        for row in rows[: want.limit]
    ]
    return Page(items, cursor_text(rows[want.limit - 1].id) if len(rows) > want.limit else None)
