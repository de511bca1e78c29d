"""What is asked for: filters, pages, cursors, and the conditions that they come to.

The asker's scope is in every condition; there is no other way to rows.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, false, or_, select

from nodeward.collector.db import tables as t
from nodeward.collector.posture import LEVELS, NONE, unpack
from nodeward.collector.problem import bad
from nodeward.collector.store.access import Scope
from nodeward.collector.store.names import Names
from nodeward.collector.store.retention import kept_since
from nodeward.collector.store.waivers import Waiver, active_waivers
from nodeward.model import Severity, Status

STALE_MS: Final = 15 * 60_000
"""A node not heard of for this long is stale: three heartbeats missed."""
SKEWED_MS: Final = 5 * 60_000
"""A node's clock that is further from ours is wrong; its times are not used, ours are."""
MOST: Final = 500


@dataclass(frozen=True)
class Filter:
    """What the asker wants to see; empty means no limit."""

    statuses: frozenset[Status] = frozenset()
    severities: frozenset[Severity] = frozenset()
    checks: tuple[str, ...] = ()
    cluster: str | None = None
    node: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    since: int | None = None
    until: int | None = None
    seen: str | None = None  # current, stale, retired, skewed
    state: str | None = None  # of waivers
    waived: bool | None = None
    reading: str | None = None  # of shared keys
    role: str = "control-plane"
    sort: str = "name"
    limit: int = 50
    cursor: tuple[Any, ...] | None = None


@dataclass(frozen=True)
class Page:
    """Some rows as JSON, and where to go on."""

    items: list[Mapping[str, Any]]
    next: str | None = None
    total: int | None = None


@dataclass(frozen=True)
class Db:
    """A connection with what is needed to make sense of its rows."""

    connection: Connection
    names: Names
    scope: Scope
    now: int
    stale_ms: int = STALE_MS

    @cached_property
    def waivers(self) -> list[Waiver]:
        """Those in force."""
        return active_waivers(self.connection, self.scope, self.now)

    @cached_property
    def kept_since(self) -> int:
        """Changes before this time are not remembered; 0: all are."""
        return kept_since(self.connection)


def cursor_text(*parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def cursor_of(text: str, kinds: Sequence[type]) -> tuple[Any, ...]:
    """The parts of a cursor that we gave out earlier."""
    try:
        parts = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        raise bad("cursor", "not a cursor of this list") from None
    if (
        not isinstance(parts, list)
        or len(parts) != len(kinds)
        or not all(type(p) is k for p, k in zip(parts, kinds, strict=True))
        or any(isinstance(p, int) and abs(p) > 2**62 for p in parts)
    ):
        raise bad("cursor", "not a cursor of this list")
    return tuple(parts)


def within(db: Db, want: Filter) -> list[ColumnElement[bool]]:
    """Conditions on posture and node: scope first, then what was asked for."""
    out: list[ColumnElement[bool]] = []
    clusters = clusters_of(db, want)
    if clusters is not None:
        out.append(t.posture.c.cluster.in_(sorted(clusters)) if clusters else false())
    if want.node is not None:
        out.append(t.node.c.name == want.node)
    return out


def clusters_of(db: Db, want: Filter) -> set[int] | None:
    """The clusters that scope, cluster name and labels leave; None: all."""
    found: set[int] | None = None if db.scope.clusters is None else set(db.scope.clusters)
    if want.cluster is not None:
        query = select(t.cluster.c.id).where(t.cluster.c.name == want.cluster)
        found = _and(found, db.connection.execute(query).scalars())
    for key, value in want.labels:
        label = t.cluster_label.c
        query = select(label.cluster).where(label.key == key, label.value == value)
        found = _and(found, db.connection.execute(query).scalars())
    return found


def _and(left: set[int] | None, right: Iterable[int]) -> set[int]:
    return set(right) if left is None else left & set(right)


def rules_of(db: Db, want: Filter) -> set[int] | None:
    """Ids of the checks that the globs name; None: all."""
    if not want.checks:
        return None
    db.names.learn_rules(db.connection)
    rules = db.names.rules.items()
    return {i for name, i in rules if any(fnmatchcase(name, g) for g in want.checks)}


def seen_as(db: Db, want: Filter) -> list[ColumnElement[bool]]:
    limit = db.now - db.stale_ms
    match want.seen:
        case None:
            return [t.node.c.retired_at.is_(None)]
        case "current":
            return [t.node.c.retired_at.is_(None), t.posture.c.seen_at >= limit]
        case "stale":
            stale = or_(t.posture.c.seen_at.is_(None), t.posture.c.seen_at < limit)
            return [t.node.c.retired_at.is_(None), stale]
        case "retired":
            return [t.node.c.retired_at.is_not(None)]
        case "skewed":
            skew = t.posture.c.skew_ms
            wrong = or_(skew > SKEWED_MS, skew < -SKEWED_MS)
            return [t.node.c.retired_at.is_(None), wrong]
        case _:
            raise bad("seen", "must be current, stale, retired or skewed")


def levels_of(want: Filter) -> list[int]:
    """Indexes into LEVELS that the filter lets through, the worst first."""
    out = []
    for level, value in enumerate(LEVELS):
        status, severity = unpack(value)
        if (not want.statuses or status in want.statuses) and (
            not want.severities or severity in want.severities
        ):
            out.append(level)
    return out


def value_json(value: int) -> Mapping[str, str] | None:
    if value == NONE:
        return None
    status, severity = unpack(value)
    return {"status": status.value, "severity": severity.value}
