"""Dated, owned, reasoned exceptions.

A waived finding keeps its status; the waiver stands beside it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from sqlalchemy import Connection, func, select, update

from nodeward.collector.clock import rfc3339
from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import Record
from nodeward.collector.problem import Problem, bad, gone
from nodeward.collector.store.access import EVERYTHING, Scope, scope_of

LONGEST_MS: Final = 366 * 86_400_000
STATES: Final = ("pending", "active", "expired", "ended")
TOLD: Final = (
    "id", "state", "check", "node", "labels", "reason", "owner", "created_by", "created_at",
    "until", "approved_by", "approved_at", "ended_by", "ended_at",
)  # fmt: skip
"""What is told of a waiver."""
WITHHELD: Final = "it covers clusters that you may not see as well"
"""In place of a reason that may speak of others' nodes."""


@dataclass(frozen=True)
class Waiver:
    """One in force: what it covers. `clusters` None: all."""

    id: str
    check: str
    node: str
    clusters: frozenset[int] | None
    reason: str
    owner: str
    expires_at: int

    def covers(self, cluster: int, node: str, check: str) -> bool:
        return (
            (self.clusters is None or cluster in self.clusters)
            and fnmatchcase(check, self.check)
            and fnmatchcase(node, self.node)
        )

    def to_json(self) -> Mapping[str, Any]:
        return {
            "id": self.id,
            "reason": self.reason,
            "owner": self.owner,
            "until": rfc3339(self.expires_at),
        }


def make_waiver(
    connection: Connection,
    *,
    check: str,
    node: str,
    labels: Mapping[str, str],
    reason: str,
    owner: str,
    expires_at: int,
    scope: Scope,
    by: str,
    approved: bool,
    now: int,
) -> str:
    """A new waiver's id. Not in force until somebody else approves it (or `approved`)."""
    clusters = scope_of(connection, labels).clusters
    if not _within(scope, clusters):
        raise bad("labels", "a waiver must stay within the clusters of your token")
    if clusters is not None and not clusters:
        raise bad("labels", "no cluster is called so, or has these labels")
    if not now < expires_at <= now + LONGEST_MS:
        raise bad("until", "must be in the future, and within 366 days")
    if not reason.strip() or not owner.strip():
        raise bad("reason" if not reason.strip() else "owner", "must be given")
    row = {
        "id": secrets.token_hex(6),
        "check": check,
        "node": node,
        "labels": json.dumps(dict(labels), sort_keys=True),
        "reason": reason,
        "owner": owner,
        "created_by": by,
        "created_at": now,
        "expires_at": expires_at,
        "approved_by": by if approved else None,
        "approved_at": now if approved else None,
    }
    connection.execute(t.waiver.insert(), [row])
    return str(row["id"])


def approve_waiver(connection: Connection, waiver: str, scope: Scope, by: str, now: int) -> None:
    """In force from now on. Nobody approves their own."""
    row = _row(connection, waiver, scope)
    if row.created_by == by:
        raise Problem(403, "own-waiver", "somebody else must approve it")
    if _state(row, now) != "pending":
        raise Problem(409, "not-pending", f"this waiver is {_state(row, now)}")
    this = update(t.waiver).where(t.waiver.c.id == waiver)
    connection.execute(this.values(approved_by=by, approved_at=now))


def end_waiver(connection: Connection, waiver: str, scope: Scope, by: str, now: int) -> None:
    """Over before its time."""
    row = _row(connection, waiver, scope)
    if _state(row, now) not in ("pending", "active"):
        raise Problem(409, "over", f"this waiver is {_state(row, now)}")
    this = update(t.waiver).where(t.waiver.c.id == waiver)
    connection.execute(this.values(ended_by=by, ended_at=now))


def _row(connection: Connection, waiver: str, scope: Scope) -> Record:
    query = select(t.waiver).where(t.waiver.c.id == waiver)
    row = connection.execute(query.with_for_update()).one_or_none()
    if row is None or not _within(scope, _clusters(connection, row)):
        raise gone("waiver")
    return row


def _within(scope: Scope, clusters: frozenset[int] | None) -> bool:
    """Whether a waiver stays inside what the asker may see.

    One of no cluster does not: a cluster that comes later may have its name.
    """
    if scope.clusters is None:
        return True
    return clusters is not None and frozenset() < clusters <= scope.clusters


def _clusters(connection: Connection, row: Record) -> frozenset[int] | None:
    return scope_of(connection, json.loads(row.labels)).clusters


def _state(row: Record, now: int) -> str:
    if row.ended_at is not None:
        return "ended"
    if row.expires_at <= now:
        return "expired"
    return "pending" if row.approved_at is None else "active"


def active_waivers(connection: Connection, scope: Scope, now: int) -> list[Waiver]:
    """Those in force, each with its text if the asker may see all that it covers."""
    w = t.waiver.c
    query = select(t.waiver).where(
        w.approved_at.is_not(None), w.ended_at.is_(None), w.expires_at > now
    )
    rows = connection.execute(query.order_by(w.created_at)).all()
    return [_active(row, scope, _clusters(connection, row)) for row in rows]


def ended_waivers(connection: Connection, after: int, now: int) -> list[Waiver]:
    """Those that were in force and ended between these times."""
    w = t.waiver.c
    ended = func.coalesce(w.ended_at, w.expires_at)
    query = select(t.waiver).where(w.approved_at.is_not(None), ended > after, ended <= now)
    rows = connection.execute(query.order_by(w.created_at)).all()
    return [_active(row, EVERYTHING, _clusters(connection, row)) for row in rows]


def _active(row: Record, scope: Scope, clusters: frozenset[int] | None) -> Waiver:
    told = _within(scope, clusters)
    return Waiver(
        id=row.id,
        check=row.check,
        node=row.node,
        clusters=clusters,
        reason=row.reason if told else WITHHELD,
        owner=row.owner if told else "somebody else",
        expires_at=row.expires_at,
    )


def covering(
    waivers: Iterable[Waiver], cluster: int, node: str, check: str
) -> Mapping[str, Any] | None:
    """The waiver beside a finding."""
    return next((w.to_json() for w in waivers if w.covers(cluster, node, check)), None)


def waivers_json(
    connection: Connection, scope: Scope, now: int, state: str | None
) -> list[Mapping[str, Any]]:
    """All that were ever made, the latest first, whose clusters the asker may all see."""
    if state is not None and state not in STATES:
        raise bad("state", f"must be one of {', '.join(STATES)}")
    rows = connection.execute(select(t.waiver).order_by(t.waiver.c.created_at.desc())).all()
    return [
        _json(row, now)
        for row in rows
        if (state is None or _state(row, now) == state)
        and _within(scope, _clusters(connection, row))
    ]


def _json(row: Record, now: int) -> Mapping[str, Any]:
    return {
        "id": row.id,
        "state": _state(row, now),
        "check": row.check,
        "node": row.node,
        "labels": json.loads(row.labels),
        "reason": row.reason,
        "owner": row.owner,
        "created_by": row.created_by,
        "created_at": rfc3339(row.created_at),
        "until": rfc3339(row.expires_at),
        "approved_by": row.approved_by,
        "approved_at": rfc3339(row.approved_at),
        "ended_by": row.ended_by,
        "ended_at": rfc3339(row.ended_at),
    }
