"""The questions: what nodes there are, what is wrong with them, what changed.

Every function takes the asker's scope and puts it into the SQL; there is no other way to rows.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import islice
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, false, func, or_, select

from nodeward.collector.clock import rfc3339
from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import Record
from nodeward.collector.posture import LEVEL_OF, LEVELS, NONE, POSTED, WORDS, State, unpack
from nodeward.collector.problem import bad, gone
from nodeward.collector.store.access import Scope
from nodeward.collector.store.evidence import finding_json, said_by
from nodeward.collector.store.names import Names
from nodeward.collector.store.waivers import Waiver, active_waivers, covering
from nodeward.collector.wire import digest_text
from nodeward.model import Severity, Status

STALE_MS: Final = 15 * 60_000
"""A node not heard of for this long is stale: three heartbeats missed."""
MOST: Final = 500
FEW_NODES: Final = 2_000
"""Up to so many nodes with a finding are gathered by their sets and sorted; more are walked."""


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
    seen: str | None = None  # current, stale, retired
    state: str | None = None  # of waivers
    waived: bool | None = None
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
        return active_waivers(self.connection, self.now)


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


# -- which nodes ------------------------------------------------------------------------------


def _within(db: Db, want: Filter) -> list[ColumnElement[bool]]:
    """Conditions on posture and node: scope first, then what was asked for."""
    out: list[ColumnElement[bool]] = []
    clusters = _clusters(db, want)
    if clusters is not None:
        out.append(t.posture.c.cluster.in_(sorted(clusters)) if clusters else false())
    if want.node is not None:
        out.append(t.node.c.name == want.node)
    return out


def _clusters(db: Db, want: Filter) -> set[int] | None:
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


_NODE: Final = (
    select(
        t.node.c.id,
        t.node.c.name,
        t.node.c.retired_at,
        t.node.c.cluster.label("cluster_id"),
        t.cluster.c.name.label("cluster"),
        t.posture.c.set,
        t.posture.c.score,
        t.posture.c.digest,
        t.posture.c.first_at,
        t.posture.c.report_at,
        t.posture.c.seen_at,
        t.posture.c.skew_ms,
        t.posture.c.spool,
        *(t.platform.c[n] for n in (
            "os", "os_version", "kernel", "kubelet", "runtime", "cloud", "roles", "agent",
        )),
    )
    .select_from(t.posture)
    .join(t.node, t.node.c.id == t.posture.c.node)
    .join(t.cluster, t.cluster.c.id == t.node.c.cluster)
    .outerjoin(t.platform, t.platform.c.id == t.posture.c.platform)
)  # fmt: skip


def _seen(db: Db, want: Filter) -> list[ColumnElement[bool]]:
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
        case _:
            raise bad("seen", "must be current, stale or retired")


def nodes(db: Db, want: Filter) -> Page:
    """Nodes by name, or the worst first (`sort=score`)."""
    query = _NODE.where(*_within(db, want), *_seen(db, want))
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


def node_row(db: Db, cluster: str, name: str) -> Record:
    """The node of that name, if the asker may see it."""
    query = _NODE.where(
        *_within(db, Filter(cluster=cluster)), t.cluster.c.name == cluster, t.node.c.name == name
    )
    row = db.connection.execute(query).one_or_none()
    if row is None:
        raise gone("node")
    return row


def nodes_from(db: Db, want: Filter, first: int, count: int) -> Sequence[Record]:
    """Nodes that the filter lets through, by id, from that id on."""
    query = _NODE.where(*_within(db, want), *_seen(db, want), t.posture.c.node >= first)
    return db.connection.execute(query.order_by(t.posture.c.node).limit(count)).all()


def rows_of_role(db: Db, want: Filter, role: str) -> Sequence[Record]:
    """Nodes that say they have this role."""
    query = _NODE.where(*_within(db, want), *_seen(db, want), t.posture.c.set.is_not(None))
    rows = db.connection.execute(query.where(t.platform.c.roles.contains(role, autoescape=True)))
    return [row for row in rows if role in row.roles.split()]


def node(db: Db, cluster: str, name: str) -> Mapping[str, Any]:
    """One node with all it says."""
    row = node_row(db, cluster, name)
    states = db.names.states(db.connection, set() if row.set is None else {row.set})
    state = states.get(row.set)
    said = said_by(db.connection, [row.id]).get(row.id)
    out = dict(_node_json(db, row, state))
    out["inventory"] = said.inventory if said else {}
    out["taken_at"] = said.taken_at if said else None
    since = _since(db, [(row.id, rule) for rule in state.rules] if state else [])
    pairs = sorted(
        zip(state.rules, state.vec, strict=True) if state else [],
        key=lambda pair: (LEVEL_OF[pair[1]], db.names.rule_name(db.connection, pair[0])),
    )
    out["findings"] = [
        _finding_json(db, row, rule, value, said_finding, since)
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


def _seen_word(db: Db, row: Record) -> str:
    if row.retired_at is not None:
        return "retired"
    if row.seen_at is None:
        return "never"
    return "current" if row.seen_at >= db.now - db.stale_ms else "stale"


# -- findings ---------------------------------------------------------------------------------


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


@dataclass(frozen=True)
class _Hit:
    level: int
    row: Record
    rule: int


def findings(db: Db, want: Filter) -> Page:
    """Findings of the whole fleet, the worst first; each with its words, and since when."""
    hits = list(islice(_hits(db, want), want.limit + 1))
    shown = hits[: want.limit]
    said = said_by(db.connection, {hit.row.id for hit in shown})
    since = _since(db, [(hit.row.id, hit.rule) for hit in shown])
    items = [
        _finding_json(db, hit.row, hit.rule, LEVELS[hit.level], words, since)
        for hit in shown
        for words in [
            finding_json(said.get(hit.row.id), db.names.rule_name(db.connection, hit.rule))
        ]
    ]
    if len(hits) <= want.limit:
        return Page(items)
    last = shown[-1]
    return Page(items, cursor_text(last.level, last.row.id, last.rule))


def _hits(db: Db, want: Filter) -> Iterator[_Hit]:
    rules = rules_of(db, want)
    if rules is not None and not rules:
        return
    start, node_id, rule_id = want.cursor or (0, 0, -1)
    there = _counts_by_value(db, want, rules)
    for level in levels_of(want):
        if level < start or not there.get(LEVELS[level]):
            continue
        after = (node_id, rule_id) if level == start else (0, -1)
        few = there[LEVELS[level]] <= FEW_NODES
        yield from _hits_at(db, want, level, rules, after, few=few)


def _counts_by_value(db: Db, want: Filter, rules: set[int] | None) -> Mapping[int, int]:
    """How many findings there are at each value, from the counters."""
    table, conditions = _counted(db, want, rules)
    c = table.c
    query = select(c.value, func.sum(c.nodes).label("nodes")).where(*conditions).group_by(c.value)
    return {row.value: int(row.nodes) for row in db.connection.execute(query)}


def _counted(
    db: Db, want: Filter, rules: set[int] | None
) -> tuple[Table, list[ColumnElement[bool]]]:
    """The smallest table that has the counts: totals wherever all checks or all clusters meet."""
    within = _clusters(db, want)
    table = t.counter if rules is not None and within is not None else t.total
    c = table.c
    out: list[ColumnElement[bool]] = [c.value != NONE]
    if rules is not None:
        out.append(c.rule.in_(sorted(rules)))
    elif table is t.total:
        out.append(c.rule == 0)
    if within is not None:
        out.append(c.cluster.in_(sorted(within)) if within else false())
    elif rules is not None:
        out.append(c.cluster == 0)
    else:
        out.append(c.cluster != 0)
    return table, out


def _hits_at(
    db: Db, want: Filter, level: int, rules: set[int] | None, after: tuple[int, int], *, few: bool
) -> Iterator[_Hit]:
    """Findings at one level by node, after (node, rule)."""
    value, sets = LEVELS[level], _sets_at(level, rules)
    node_id, rule_id = after
    batch = 2 * want.limit + 2
    while True:
        pairs = _nodes_with(db, want, sets, node_id, batch, few=few)
        rows = _rows_of(db, want, [pair.node for pair in pairs])
        states = db.names.states(db.connection, {row.set for row in rows})
        for row in rows:
            state = states[row.set]
            for rule, at in zip(state.rules, state.vec, strict=True):
                if at != value or (rules is not None and rule not in rules):
                    continue
                if row.id == node_id and rule <= rule_id:
                    continue
                if want.waived is not None and want.waived != _is_waived(db, row, rule):
                    continue
                yield _Hit(level, row, rule)
        if len(pairs) < batch:
            return
        node_id, rule_id = pairs[-1].node + 1, -1


def _sets_at(level: int, rules: set[int] | None) -> Select[Any]:
    """Ids of the state sets that have something at this level."""
    status, _ = unpack(LEVELS[level])
    if rules is not None and status in POSTED:
        p = t.posting.c
        return select(p.set).where(p.rule.in_(sorted(rules)), p.value == LEVELS[level])
    s = t.state_set.c
    return select(s.id).where(s.mask.op("&")(1 << level) != 0)


def _nodes_with(
    db: Db, want: Filter, sets: Select[Any], node_id: int, batch: int, *, few: bool
) -> Sequence[Record]:
    """Ids of nodes that have one of these sets, from that id on.

    Few are gathered by the index on sets and sorted; of many the first are found sooner by walking
    the nodes in order, so the index is hidden from the planner. Names come in a second step:
    joining first would join all.
    """
    p = t.posture.c
    of_set = p.set if few else p.set + 0
    query = select(p.node).where(p.node >= node_id, of_set.in_(sets))
    clusters = _clusters(db, want)
    if clusters is not None:
        query = query.where(p.cluster.in_(sorted(clusters)) if clusters else false())
    if want.node is not None or want.seen is not None:
        query = query.join(t.node, t.node.c.id == p.node).where(*_seen(db, want))
    if want.node is not None:
        query = query.where(t.node.c.name == want.node)
    return db.connection.execute(query.order_by(p.node).limit(batch)).all()


def _rows_of(db: Db, want: Filter, nodes: Sequence[int]) -> Sequence[Record]:
    """These nodes with all that is shown of them, without those that `seen` leaves out."""
    if not nodes:
        return []
    p = t.posture.c
    query = _NODE.where(p.node.in_(nodes), p.set.is_not(None), *_seen(db, want))
    return db.connection.execute(query.order_by(p.node)).all()


def _is_waived(db: Db, row: Record, rule: int) -> bool:
    if not db.waivers:
        return False
    check = db.names.rule_name(db.connection, rule)
    return any(w.covers(row.cluster_id, row.name, check) for w in db.waivers)


def _since(db: Db, pairs: Sequence[tuple[int, int]]) -> Mapping[tuple[int, int], int]:
    """(node, check) -> when it came to its status; missing: since the node is known."""
    if not pairs:
        return {}
    c = t.change.c
    query = (
        select(c.node, c.rule, func.max(c.at).label("at"))
        .where(c.node.in_(sorted({n for n, _ in pairs})))
        .group_by(c.node, c.rule)
    )
    return {(row.node, row.rule): row.at for row in db.connection.execute(query)}


def _finding_json(
    db: Db,
    row: Record,
    rule: int,
    value: int,
    words: Mapping[str, Any],
    since: Mapping[tuple[int, int], int],
) -> Mapping[str, Any]:
    status, severity = unpack(value)
    same = words.get("status") == status.value
    check = db.names.rule_name(db.connection, rule)
    return {
        "cluster": row.cluster,
        "node": row.name,
        "check": check,
        "status": status.value,
        "severity": severity.value,
        "because": words.get("because", "") if same else "",
        "evidence": words.get("evidence", []) if same else [],
        "remedy": words.get("remedy"),
        "mappings": words.get("mappings", {}),
        "since": rfc3339(since.get((row.id, rule), row.first_at)),
        "last_seen": rfc3339(row.seen_at),
        "waiver": covering(db.waivers, row.cluster_id, row.name, check),
    }


# -- changes ----------------------------------------------------------------------------------


def changes(db: Db, want: Filter) -> Page:
    """What went from one status to another, the latest first."""
    c = t.change.c
    query = (
        select(c.at, c.node, c.rule, c.old, c.new, t.node.c.name, t.cluster.c.name.label("cluster"))
        .join(t.node, t.node.c.id == c.node)
        .join(t.cluster, t.cluster.c.id == t.node.c.cluster)
        .order_by(c.at.desc(), c.node.desc(), c.rule.desc())
    )
    for condition in _change_conditions(db, want):
        query = query.where(condition)
    rows = db.connection.execute(query.limit(want.limit + 1)).all()
    shown = rows[: want.limit]
    items = [_change_json(db, row) for row in shown]
    if len(rows) <= want.limit:
        return Page(items)
    return Page(items, cursor_text(shown[-1].at, shown[-1].node, shown[-1].rule))


def _change_conditions(db: Db, want: Filter) -> Iterator[ColumnElement[bool]]:
    c = t.change.c
    clusters = _clusters(db, want)
    if clusters is not None:
        yield t.node.c.cluster.in_(sorted(clusters)) if clusters else false()
    if want.node is not None:
        yield t.node.c.name == want.node
    rules = rules_of(db, want)
    if rules is not None:
        yield c.rule.in_(sorted(rules)) if rules else false()
    if want.statuses or want.severities:
        yield c.new.in_([LEVELS[level] for level in levels_of(want)])
    if want.since is not None:
        yield c.at >= want.since
    if want.until is not None:
        yield c.at <= want.until
    if want.cursor:
        at, node_id, rule = want.cursor
        yield c.at <= at
        yield or_(
            c.at < at,
            and_(c.at == at, or_(c.node < node_id, and_(c.node == node_id, c.rule < rule))),
        )


def _change_json(db: Db, row: Record) -> Mapping[str, Any]:
    return {
        "at": rfc3339(row.at),
        "cluster": row.cluster,
        "node": row.name,
        "check": db.names.rule_name(db.connection, row.rule),
        "old": value_json(row.old),
        "new": value_json(row.new),
    }


def value_json(value: int) -> Mapping[str, str] | None:
    if value == NONE:
        return None
    status, severity = unpack(value)
    return {"status": status.value, "severity": severity.value}


# -- roll-ups ---------------------------------------------------------------------------------


def checks(db: Db, want: Filter) -> Page:
    """How many nodes have each check at each status, from the counters."""
    rules = rules_of(db, want)
    within = _clusters(db, want)
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
    within = _clusters(db, want)
    c = t.total.c
    counts: dict[int, Counter[str]] = {}
    sizes: dict[int, int] = {}
    for row in db.connection.execute(select(c.cluster, c.value, c.nodes).where(c.rule == 0)):
        if row.value == NONE:
            sizes[row.cluster] = row.nodes
            continue
        status, severity = WORDS[row.value]
        counter = counts.setdefault(row.cluster, Counter())
        counter[status] += int(row.nodes)
        if status == "fail":
            counter[f"fail.{severity}"] += int(row.nodes)
    names = select(t.cluster.c.id, t.cluster.c.name).order_by(t.cluster.c.name)
    items: list[Mapping[str, Any]] = [
        _cluster_json(row.name, sizes.get(row.id, 0), counts.get(row.id, Counter()))
        for row in db.connection.execute(names)
        if within is None or row.id in within
    ]
    return Page(items, total=len(items))


def _cluster_json(name: str, size: int, counts: Counter[str]) -> Mapping[str, Any]:
    return {
        "cluster": name,
        "nodes": size,
        "summary": {s.value: counts[s.value] for s in Status},
        "fails": {s.value: counts[f"fail.{s.value}"] for s in Severity},
    }


def agents(db: Db, want: Filter) -> Page:
    """Enrolled keys and what became of them."""
    a = t.agent.c
    query = (
        select(t.agent, t.node.c.name, t.cluster.c.name.label("cluster_name"))
        .join(t.node, t.node.c.id == a.node)
        .join(t.cluster, t.cluster.c.id == t.node.c.cluster)
        .order_by(a.id)
    )
    within = _clusters(db, want)
    if within is not None:
        query = query.where(t.node.c.cluster.in_(sorted(within)) if within else false())
    if want.node is not None:
        query = query.where(t.node.c.name == want.node)
    if want.cursor:
        query = query.where(a.id > want.cursor[0])
    rows = db.connection.execute(query.limit(want.limit + 1)).all()
    items: list[Mapping[str, Any]] = [
        {
            "agent": row.id,
            "cluster": row.cluster_name,
            "node": row.name,
            "status": row.status,
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
        .where(*_within(db, want), *_seen(db, want))
        .group_by(*columns)
        .order_by(many.desc(), *columns)
    )
    items: list[Mapping[str, Any]] = [
        dict(row._mapping) for row in db.connection.execute(query.limit(MOST))
    ]
    return Page(items, total=len(items))
