"""What only the page asks. Like all questions, each puts the asker's scope into its SQL."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, false, func, or_, select

from nodeward.collector.clock import DAY_MS, rfc3339
from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import Record
from nodeward.collector.posture import LEVELS, WORDS, State, unpack
from nodeward.collector.store.ask import Db, Filter, Page, cursor_text, rules_of
from nodeward.collector.store.ask_rollups import of_keys
from nodeward.collector.store.asked import clusters_of
from nodeward.collector.store.expiry import days_left, end_text, left
from nodeward.collector.store.lifecycle import key_state
from nodeward.model import Severity, Status


def stale_nodes(db: Db) -> int:
    """How many nodes have not been heard of for too long, retired ones apart."""
    p = t.posture.c
    query = (
        select(func.count())
        .select_from(t.posture)
        .join(t.node, t.node.c.id == p.node)
        .where(t.node.c.retired_at.is_(None))
        .where(or_(p.seen_at.is_(None), p.seen_at < db.now - db.stale_ms))
    )
    if db.scope.clusters is not None:
        query = query.where(p.cluster.in_(sorted(db.scope.clusters)))
    return int(db.connection.execute(query).scalar_one())


def dark_nodes(db: Db) -> int:
    """How many nodes could not judge something."""
    p, dark = t.posture.c, (Status.UNKNOWN, Status.ERROR)
    bits = sum(1 << level for level, value in enumerate(LEVELS) if unpack(value)[0] in dark)
    alike = select(p.set, func.count().label("nodes")).where(p.node.not_in(_retired()))
    if db.scope.clusters is not None:
        alike = alike.where(p.cluster.in_(sorted(db.scope.clusters)))
    groups = alike.group_by(p.set).subquery()
    query = select(func.coalesce(func.sum(groups.c.nodes), 0))
    query = query.join(t.state_set, t.state_set.c.id == groups.c.set)
    return int(
        db.connection.execute(query.where(t.state_set.c.mask.op("&")(bits) != 0)).scalar_one()
    )


def trend(db: Db, days: int = 30) -> list[Mapping[str, Any]]:
    """Findings that failed, by severity, and those that could not be judged, day by day."""
    c = t.trend.c
    first = db.now // DAY_MS - days
    query = select(c.day, c.value, func.sum(c.findings).label("findings")).where(c.day > first)
    if db.scope.clusters is not None:
        query = query.where(c.cluster.in_(sorted(db.scope.clusters)))
    by_day: dict[int, Counter[str]] = defaultdict(Counter)
    for row in db.connection.execute(query.group_by(c.day, c.value).order_by(c.day)):
        status, severity = unpack(row.value)
        if status is Status.FAIL:
            by_day[row.day][severity.value] += int(row.findings)
        elif status in (Status.UNKNOWN, Status.ERROR):
            by_day[row.day]["unknown"] += int(row.findings)
    lines = (*Severity, "unknown")
    return [
        {"day": str(rfc3339(day * DAY_MS))[:10], **{str(line): counts[line] for line in lines}}
        for day, counts in sorted(by_day.items())
    ]


def heat(db: Db, groups: Mapping[int, str]) -> Mapping[str, Mapping[str, Counter[str]]]:
    """check -> group -> status -> nodes, from the counters; `groups` names each cluster's group."""
    c = t.counter.c
    query = select(c.rule, c.cluster, c.value, c.nodes).where(c.nodes > 0)
    query = query.where(c.cluster.in_(sorted(groups)) if groups else false())
    out: dict[str, dict[str, Counter[str]]] = {}
    for row in db.connection.execute(query):
        check = db.names.rule_name(db.connection, row.rule)
        group = groups[row.cluster]
        status, _ = unpack(row.value)
        out.setdefault(check, {}).setdefault(group, Counter())[status.value] += row.nodes
    return out


def agent_states(db: Db, want: Filter) -> Mapping[str, int]:
    """How many of the keys that are meant have each status: as many as its list has."""
    keys = select(key_state(db.now).label("state"))
    wanted = list(of_keys(db, want))
    if wanted:
        keys = keys.join(t.node, t.node.c.id == t.agent.c.node).where(*wanted)
    state = keys.subquery().c.state
    query = select(state, func.count().label("many")).group_by(state).order_by(state)
    return {row.state: int(row.many) for row in db.connection.execute(query)}


KINDS: Final = ("roles", "kernel", "kubelet", "os", "runtime", "cloud")
"""What nodes can be grouped by; columns of `platform`."""


def heat_of_nodes(
    db: Db, kind: str
) -> tuple[Mapping[str, Mapping[str, Counter[str]]], Mapping[str, int]]:
    """The same with nodes grouped by what they are, and the size of each group.

    No counter has it. The postures of each group are laid below each other, once for each node,
    and counted column by column: what passes and what does not apply is told apart.
    """
    p, platforms = t.posture.c, select(t.platform.c.id, t.platform.c[kind].label("name"))
    names = {row.id: row.name for row in db.connection.execute(platforms)}
    alike = select(p.set, p.platform, func.count().label("nodes"))
    alike = alike.where(p.set.is_not(None), p.node.not_in(_retired()))
    if db.scope.clusters is not None:
        alike = alike.where(p.cluster.in_(sorted(db.scope.clusters)))
    rows = db.connection.execute(alike.group_by(p.set, p.platform)).all()
    states = db.names.states(db.connection, {row.set for row in rows})
    sizes: Counter[str] = Counter()
    columns: dict[tuple[str, tuple[int, ...]], bytearray] = defaultdict(bytearray)
    for row in rows:
        name, state = names.get(row.platform, ""), states[row.set]
        sizes[name] += row.nodes
        columns[name, state.rules] += state.vec * row.nodes
    out: dict[str, dict[str, Counter[str]]] = {}
    for (name, rules), values in columns.items():
        for place, rule in enumerate(rules):
            groups = out.setdefault(db.names.rule_name(db.connection, rule), {})
            groups.setdefault(name, Counter()).update(_statuses(values[place :: len(rules)]))
    return out, sizes


def _statuses(values: bytes | bytearray) -> Counter[str]:
    """How many of the values are of each status, whatever the severity."""
    counts: Counter[str] = Counter()
    for value in set(values):
        counts[WORDS[value][0]] += values.count(value)
    return counts


def _retired() -> Select[Any]:
    """Few: to leave them out costs less than to look every other node up."""
    return select(t.node.c.id).where(t.node.c.retired_at.is_not(None))


def cluster_groups(db: Db, by: str | None) -> Mapping[int, str]:
    """Each visible cluster's name, or its value of the label `by`."""
    query = select(t.cluster.c.id, t.cluster.c.name)
    if db.scope.clusters is not None:
        query = query.where(t.cluster.c.id.in_(sorted(db.scope.clusters)))
    names = {row.id: row.name for row in db.connection.execute(query)}
    if by is None:
        return names
    label = t.cluster_label.c
    query = select(label.cluster, label.value).where(label.key == by)
    values = {row.cluster: row.value for row in db.connection.execute(query)}
    return {i: values.get(i, f"no {by}") for i in names}


def label_keys(db: Db) -> list[str]:
    """The labels that visible clusters have."""
    label = t.cluster_label.c
    query = select(label.key).distinct().order_by(label.key)
    if db.scope.clusters is not None:
        query = query.where(label.cluster.in_(sorted(db.scope.clusters)))
    return list(db.connection.execute(query).scalars())


def expiring(db: Db, want: Filter) -> Page:
    """Certificates by when they end: of each node and check the first.

    The page's rows are taken by the index first, their names after that: joined at once, the
    planner may sort all that there is.
    """
    e = t.expiry.c
    query = select(e.node, e.rule, e.at, e.renewer).order_by(e.at, e.node, e.rule)
    query = query.where(*_of_ends(db, want))
    if want.until is not None:
        query = query.where(e.at < want.until)
    if want.cursor:
        at, node, rule = want.cursor
        query = query.where(e.at >= at)
        later = or_(e.node > node, (e.node == node) & (e.rule > rule))
        query = query.where(or_(e.at > at, (e.at == at) & later))
    rows = db.connection.execute(query.limit(want.limit + 1)).all()
    shown = rows[: want.limit]
    lives = _lives(db, {row.node for row in shown})
    states = db.names.states(db.connection, {r.set for r in lives.values() if r.set is not None})
    items = [
        _end_json(db, row, lives[row.node], states.get(lives[row.node].set))
        for row in shown
        if row.node in lives
    ]
    if len(rows) <= want.limit:
        return Page(items)
    last = shown[-1]
    return Page(items, cursor_text(last.at, last.node, last.rule))


def _lives(db: Db, nodes: Collection[int]) -> Mapping[int, Record]:
    """Those of the nodes that are not retired, by id."""
    n = t.node.c
    query = (
        select(n.id, n.name, t.cluster.c.name.label("cluster"), t.posture.c.set)
        .join(t.cluster, t.cluster.c.id == n.cluster)
        .join(t.posture, t.posture.c.node == n.id)
        .where(n.id.in_(sorted(nodes)), n.retired_at.is_(None))
    )
    return {row.id: row for row in db.connection.execute(query)}


END: Final = ("cluster", "node", "check", "ends", "days", "renewer", "status", "severity")
"""What is told of a certificate's end."""


def _end_json(db: Db, row: Record, life: Record, state: State | None) -> Mapping[str, Any]:
    value = dict(zip(state.rules, state.vec, strict=True)).get(row.rule) if state else None
    status, severity = (None, None) if value is None else WORDS[value]
    return {
        "cluster": life.cluster,
        "node": life.name,
        "check": db.names.rule_name(db.connection, row.rule),
        "ends": end_text(row.at),
        "days": days_left(row.at, db.now),
        "left": left(row.at, db.now),
        "renewer": row.renewer,
        "status": status,
        "severity": severity,
    }


def _of_ends(db: Db, want: Filter) -> Iterator[ColumnElement[bool]]:
    """The clusters and checks whose certificates are meant."""
    e = t.expiry.c
    clusters = clusters_of(db, want)
    if clusters is not None:
        yield e.cluster.in_(sorted(clusters)) if clusters else false()
    rules = rules_of(db, want)
    if rules is not None:
        yield e.rule.in_(sorted(rules)) if rules else false()


def ending(db: Db, want: Filter, days: Sequence[int]) -> list[Mapping[str, Any]]:
    """How many certificates end before so many days are over, those that ended already (the whole
    of 0) among them: as many as the list of that many days has."""
    query = select(func.count()).select_from(t.expiry).where(*_of_ends(db, want))
    return [
        {
            "within": within,
            "certificates": db.connection.execute(
                query.where(t.expiry.c.at < db.now + within * DAY_MS)
            ).scalar_one(),
        }
        for within in (0, *days)
    ]
