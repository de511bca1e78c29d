"""What nodes there are, and all that one of them says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select, union_all

from nodeward.collector.clock import rfc3339
from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import Record
from nodeward.collector.posture import LEVEL_OF, WORDS, State
from nodeward.collector.store.ask_findings import finding_row_json, since_when
from nodeward.collector.store.asked import (
    SKEWED_MS,
    Db,
    Filter,
    Page,
    cursor_text,
    seen_as,
    within,
)
from nodeward.collector.store.evidence import finding_json, said_by
from nodeward.collector.store.node_rows import NODE, node_row
from nodeward.collector.wire import digest_text
from nodeward.model import Status


def nodes(db: Db, want: Filter) -> Page:
    """Nodes by name, or the worst first (`sort=score`)."""
    query = NODE.where(*within(db, want), *seen_as(db, want), *_first_seen(want))
    score, node, name = t.posture.c.score, t.posture.c.node, t.node.c.name
    if want.sort == "score":
        if want.cursor:
            query = query.where(
                or_(score < want.cursor[0], and_(score == want.cursor[0], node < want.cursor[1]))
            )
        query = query.order_by(score.desc(), node.desc())
    else:
        where = t.cluster.c.name
        if want.cursor:
            query = query.where(
                or_(where > want.cursor[0], and_(where == want.cursor[0], name > want.cursor[1]))
            )
        query = query.order_by(where, name)
    rows = db.connection.execute(query.limit(want.limit + 1)).all()
    shown = rows[: want.limit]
    states = db.names.states(db.connection, {r.set for r in shown if r.set is not None})
    items = [_node_json(db, row, states.get(row.set)) for row in shown]
    if len(rows) <= want.limit:
        return Page(items)
    last = shown[-1]
    by_score = want.sort == "score"
    following = (last.score, last.id) if by_score else (last.cluster, last.name)
    return Page(items, cursor_text(*following))


def _first_seen(want: Filter) -> Iterator[ColumnElement[bool]]:
    """`since` and `until` are about when a node was first heard of."""
    first = t.posture.c.first_at
    if want.since is not None:
        yield first >= want.since
    if want.until is not None:
        yield first <= want.until


def retirements(db: Db, want: Filter) -> Page:
    """Nodes that were retired, the latest first; also those that have come back since. None from
    before the changes that are kept: nobody knows any more how they stood."""
    n, life = t.node.c, t.life.c
    gone = select(n.id.label("node"), n.retired_at.label("at")).where(n.retired_at.is_not(None))
    ends = union_all(gone, select(life.node, life.ended_at.label("at"))).subquery().c
    query = (
        select(ends.at, ends.node, t.node.c.name, t.cluster.c.name.label("cluster"))
        .join(t.node, t.node.c.id == ends.node)
        .join(t.posture, t.posture.c.node == ends.node)
        .join(t.cluster, t.cluster.c.id == t.node.c.cluster)
        .where(*within(db, want), ends.at >= max(want.since or 0, db.kept_since + 1))
        .order_by(ends.at.desc(), ends.node.desc())
    )
    if want.until is not None:
        query = query.where(ends.at <= want.until)
    if want.cursor:
        at, last = want.cursor
        query = query.where(or_(ends.at < at, and_(ends.at == at, ends.node < last)))
    rows = db.connection.execute(query.limit(want.limit + 1)).all()
    shown = rows[: want.limit]
    items: list[Mapping[str, Any]] = [
        {"at": rfc3339(r.at), "cluster": r.cluster, "node": r.name} for r in shown
    ]
    if len(rows) <= want.limit:
        return Page(items)
    return Page(items, cursor_text(shown[-1].at, shown[-1].node))


def node(db: Db, cluster: str, name: str) -> Mapping[str, Any]:
    """One node with all it says."""
    row = node_row(db, cluster, name)
    states = db.names.states(db.connection, set() if row.set is None else {row.set})
    state = states.get(row.set)
    said = dict(said_by(db.connection, [row.id])).get(row.id)
    out = dict(_node_json(db, row, state))
    out["inventory"] = said.inventory if said else {}
    out["taken_at"] = said.taken_at if said else None
    since = since_when(db, [(row.id, rule) for rule in state.rules] if state else [])
    pairs = sorted(
        zip(state.rules, state.vec, strict=True) if state else [],
        key=lambda pair: (LEVEL_OF[pair[1]], db.names.rule_name(db.connection, pair[0])),
    )
    out["findings"] = [
        finding_row_json(db, row, rule, value, said_finding, since)
        for rule, value in pairs
        for said_finding in [finding_json(said, db.names.rule_name(db.connection, rule))]
    ]
    return out


def _node_json(db: Db, row: Record, state: State | None) -> Mapping[str, Any]:
    counts = Counter(WORDS[value][0] for value in state.vec) if state else Counter[str]()
    return {
        "cluster": row.cluster,
        "node": row.name,
        "seen": _seen_word(db, row),
        "summary": {s.value: counts[s.value] for s in Status},
        "score": row.score,
        "first_seen": rfc3339(row.first_at),
        "last_seen": rfc3339(row.seen_at),
        "last_report": rfc3339(row.report_at),
        "clock_skew_ms": row.skew_ms,
        "clock": _clock_word(row.skew_ms),
        "spool": row.spool,
        "digest": digest_text(row.digest),
        "os": {"id": row.os, "version": row.os_version},
        "kernel": row.kernel,
        "kubelet": row.kubelet,
        "runtime": row.runtime,
        "cloud": row.cloud,
        "roles": row.roles.split() if row.roles else [],
        "agent": row.agent,
    }


def _clock_word(skew_ms: int | None) -> str | None:
    if skew_ms is None:
        return None
    return "skewed" if abs(skew_ms) > SKEWED_MS else "right"


def _seen_word(db: Db, row: Record) -> str:
    if row.retired_at is not None:
        return "retired"
    if row.seen_at is None:
        return "never"
    return "current" if row.seen_at >= db.now - db.stale_ms else "stale"
