"""People and programs that ask: API tokens, roles, and the clusters a token may see."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from sqlalchemy import Connection, select, update

from nodeward.collector.clock import rfc3339
from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import Record
from nodeward.collector.problem import Problem, gone
from nodeward.collector.store.hashing import secret_hash

PREFIX: Final = "nwt_"


class Role(IntEnum):
    """Each may do what those before it may."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3

    @classmethod
    def named(cls, name: str) -> Role:
        return cls[name.upper()]


@dataclass(frozen=True)
class Scope:
    """The clusters whose rows may be read; None: all. Every question takes one."""

    clusters: frozenset[int] | None

    @property
    def everything(self) -> bool:
        return self.clusters is None


EVERYTHING: Final = Scope(None)


@dataclass(frozen=True)
class Asker:
    """Who asks, and what they may."""

    name: str
    role: Role
    scope: Scope
    labels: str = "{}"
    """What the scope was given as: JSON, its keys in order."""

    def needs(self, role: Role) -> None:
        if self.role < role:
            raise Problem(403, "role", f"this needs the role {role.name.lower()}")


def make_access(
    connection: Connection,
    *,
    name: str,
    role: Role,
    labels: Mapping[str, str],
    ttl_ms: int,
    now: int,
    subject: str | None = None,
) -> str:
    """A new API token, shown here for the only time; limited to clusters with all these labels.

    `subject`: who logged in, where it is a session of the page and no token that somebody made.
    """
    token = PREFIX + secrets.token_urlsafe(32)
    row = {
        "id": secrets.token_hex(6),
        "name": name,
        "hash": secret_hash(token),
        "role": role.name.lower(),
        "labels": json.dumps(dict(labels), sort_keys=True),
        "created_at": now,
        "expires_at": now + ttl_ms,
        "revoked_at": None,
        "subject": subject,
    }
    connection.execute(t.access.insert(), [row])
    return token


def revoke_access(connection: Connection, access: str, now: int) -> None:
    this = update(t.access).where(t.access.c.id == access, t.access.c.revoked_at.is_(None))
    if connection.execute(this.values(revoked_at=now)).rowcount != 1:
        raise gone("token that could be revoked")


def access_json(connection: Connection, now: int) -> list[Mapping[str, Any]]:
    """Tokens and sessions that were not pruned, the latest first."""
    a = t.access.c
    rows = connection.execute(select(t.access).order_by(a.created_at.desc(), a.id)).all()
    return [
        {
            "id": row.id,
            "name": row.name,
            "role": row.role,
            "labels": json.loads(row.labels),
            "state": _state(row, now),
            "subject": row.subject,
            "created_at": rfc3339(row.created_at),
            "expires_at": rfc3339(row.expires_at),
        }
        for row in rows
    ]


def _state(row: Record, now: int) -> str:
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at <= now else "active"


def end_session(connection: Connection, token: str, now: int) -> None:
    """Somebody who logged in logs out. A token that was made stays good: others may use it."""
    a = t.access.c
    this = update(t.access).where(
        a.hash == secret_hash(token), a.subject.is_not(None), a.revoked_at.is_(None)
    )
    connection.execute(this.values(revoked_at=now))


def forget_sessions(connection: Connection, now: int) -> None:
    """Sessions that are over say nothing that the audit log does not."""
    a = t.access.c
    connection.execute(t.access.delete().where(a.subject.is_not(None), a.expires_at < now))


def asker_of(connection: Connection, token: str, now: int) -> Asker | None:
    """Whose token this is; None when it is nobody's, expired or revoked."""
    if not token.startswith(PREFIX):
        return None
    a = t.access.c
    query = select(a.name, a.role, a.labels, a.expires_at, a.revoked_at)
    row = connection.execute(query.where(a.hash == secret_hash(token))).one_or_none()
    if row is None or row.revoked_at is not None or row.expires_at <= now:
        return None
    scope = scope_of(connection, json.loads(row.labels))
    return Asker(row.name, Role.named(row.role), scope, row.labels)


def scope_of(connection: Connection, labels: Mapping[str, Any]) -> Scope:
    """The clusters that have all these labels; `cluster=NAME` counts as one. No labels: all."""
    if not labels:
        return EVERYTHING
    clusters: set[int] | None = None
    for key, value in labels.items():
        if key == "cluster":
            query = select(t.cluster.c.id).where(t.cluster.c.name == value)
        else:
            label = t.cluster_label.c
            query = select(label.cluster).where(label.key == key, label.value == value)
        found = set(connection.execute(query).scalars())
        clusters = found if clusters is None else clusters & found
    return Scope(frozenset(clusters or ()))
