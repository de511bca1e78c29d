"""The fleet summed: by check, by cluster, by platform; and who is enrolled."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, false, func, select

from nodeward.collector.clock import rfc3339
from nodeward.collector.db import tables as t
from nodeward.collector.posture import LEVEL_OF, LEVELS, NONE, WORDS, pack, unpack
from nodeward.collector.problem import bad
from nodeward.collector.store.asked import (
    Db,
    Filter,
    Page,
    clusters_of,
    cursor_text,
    rules_of,
    seen_as,
    within,
)
from nodeward.collector.store.lifecycle import KEY_STATES, key_state
from nodeward.model import Severity, Status


def checks(db: Db, want: Filter) -> Page:
    """How many nodes have each check at each status, from the counters."""
    rules = rules_of(db, want)
    within = clusters_of(db, want)
    c = t.total.c if within is None else t.counter.c
    query = select(c.rule, c.value, func.sum(c.nodes).label("nodes")).group_by(c.rule, c.value)
    query = query.where(c.rule != 0)
    if within is None:
        query = query.where(c.cluster == 0)
    else:
        query = query.where(c.cluster.in_(sorted(within)) if within else false())
    by_check: dict[str, Counter[str]] = {}
    worst: dict[str, int] = {}
    for row in db.connection.execute(query):
        if row.nodes == 0 or (rules is not None and row.rule not in rules):
            continue
        name = db.names.rule_name(db.connection, row.rule)
        status, _ = unpack(row.value)
        by_check.setdefault(name, Counter())[status.value] += int(row.nodes)
        worst[name] = min(worst.get(name, len(LEVELS)), LEVEL_OF[row.value])
    ordered = sorted(by_check, key=lambda n: (worst[n], -by_check[n][Status.FAIL.value], n))
    items: list[Mapping[str, Any]] = [
        {
            "check": name,
            "severity": unpack(LEVELS[worst[name]])[1].value,
            "nodes": {s.value: by_check[name][s.value] for s in Status},
        }
        for name in ordered
    ]
    return Page(items, total=len(items))


def clusters(db: Db, want: Filter) -> Page:
    """The posture of each cluster: nodes, and findings by status, from the counters."""
    within = clusters_of(db, want)
    c = t.total.c
    counts: dict[int, dict[int, int]] = defaultdict(dict)
    query = select(c.cluster, c.value, c.nodes).where(c.rule == 0)
    for cluster, value, many in db.connection.execute(query):
        counts[cluster][value] = many
    names = select(t.cluster.c.id, t.cluster.c.name).order_by(t.cluster.c.name)
    items: list[Mapping[str, Any]] = [
        _cluster_json(name, counts.get(number, {}))
        for number, name in db.connection.execute(names)
        if within is None or number in within
    ]
    return Page(items, total=len(items))


_BY_STATUS: Final = {
    status.value: [value for value, words in WORDS.items() if words[0] == status.value]
    for status in Status
}
_FAILS: Final = {severity.value: pack(Status.FAIL, severity) for severity in Severity}


def _cluster_json(name: str, counts: Mapping[int, int]) -> Mapping[str, Any]:
    """`counts`: findings by value; NONE counts the nodes."""
    return {
        "cluster": name,
        "nodes": counts.get(NONE, 0),
        "summary": {
            status: sum(counts[value] for value in values if value in counts)
            for status, values in _BY_STATUS.items()
        },
        "fails": {severity: counts.get(value, 0) for severity, value in _FAILS.items()},
    }


KEY: Final = ("agent", "cluster", "node", "status", "method", "enrolled_at", "expires_at")
"""What is told of an enrolled key."""


def of_keys(db: Db, want: Filter) -> Iterator[ColumnElement[bool]]:
    """The nodes whose keys are meant, whatever became of the keys."""
    within = clusters_of(db, want)
    if within is not None:
        yield t.node.c.cluster.in_(sorted(within)) if within else false()
    if want.node is not None:
        yield t.node.c.name == want.node


def agents(db: Db, want: Filter) -> Page:
    """Enrolled keys and what became of them."""
    a, state = t.agent.c, key_state(db.now)
    query = (
        select(t.agent, state.label("state"), t.node.c.name, t.cluster.c.name.label("cluster_name"))
        .join(t.node, t.node.c.id == a.node)
        .join(t.cluster, t.cluster.c.id == t.node.c.cluster)
        .where(*of_keys(db, want))
        .order_by(a.id)
    )
    if want.state is not None:
        if want.state not in KEY_STATES:
            raise bad("state", f"must be one of {', '.join(KEY_STATES)}")
        query = query.where(state == want.state)
    if want.cursor:
        query = query.where(a.id > want.cursor[0])
    rows = db.connection.execute(query.limit(want.limit + 1)).all()
    items: list[Mapping[str, Any]] = [
        {
            "agent": row.id,
            "cluster": row.cluster_name,
            "node": row.name,
            "status": row.state,
            "method": row.method,
            "enrolled_at": rfc3339(row.created_at),
            "expires_at": rfc3339(row.expires_at),
        }
        for row in rows[: want.limit]
    ]
    more = len(rows) > want.limit
    return Page(items, cursor_text(rows[want.limit - 1].id) if more else None)


def platforms(db: Db, want: Filter) -> Page:
    """How many nodes run what."""
    p = t.platform.c
    columns = (p.os, p.os_version, p.kernel, p.kubelet, p.runtime, p.cloud, p.roles, p.agent)
    many = func.count().label("nodes")
    query = (
        select(*columns, many)
        .select_from(t.posture)
        .join(t.node, t.node.c.id == t.posture.c.node)
        .join(t.platform, p.id == t.posture.c.platform)
        .where(*within(db, want), *seen_as(db, want))
        .group_by(*columns)
        .order_by(many.desc(), *columns)
    )
    items: list[Mapping[str, Any]] = [dict(row._mapping) for row in db.connection.execute(query)]
    return Page(items, total=len(items))
