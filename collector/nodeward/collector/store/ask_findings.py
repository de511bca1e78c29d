"""What is wrong, the worst first, over the whole fleet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, Table, false, func, select

from nodeward.collector.clock import rfc3339
from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import Record
from nodeward.collector.posture import LEVELS, NONE, POSTED, unpack
from nodeward.collector.store.asked import (
    Db,
    Filter,
    Page,
    clusters_of,
    cursor_text,
    levels_of,
    rules_of,
    seen_as,
    within,
)
from nodeward.collector.store.evidence import words_of
from nodeward.collector.store.node_rows import NODE
from nodeward.collector.store.waivers import covering
from nodeward.model import Status

FEW_NODES: Final = 2_000
"""Up to so many nodes with a finding are gathered by their sets and sorted; more are walked."""


@dataclass(frozen=True)
class _Hit:
    level: int
    row: Record
    rule: int


def findings(db: Db, want: Filter) -> Page:
    """Findings of the whole fleet, the worst first; each with its words, and since when."""
    hits = list(islice(_hits(db, want), want.limit + 1))
    shown = hits[: want.limit]
    named = [(hit.row.id, db.names.rule_name(db.connection, hit.rule)) for hit in shown]
    said = words_of(db.connection, named)
    since = since_when(db, [(hit.row.id, hit.rule) for hit in shown])
    items = [
        finding_row_json(db, hit.row, hit.rule, LEVELS[hit.level], said.get(name, {}), since)
        for hit, name in zip(shown, named, strict=True)
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
    gone = want.seen == "retired"  # no counter counts these
    there = _values_of_gone(db, want, rules) if gone else _counts_by_value(db, want, rules)
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


def statuses(db: Db, want: Filter) -> Mapping[str, int] | None:
    """How many findings each status has, whichever of them is asked for; None where there is a
    filter that no counter knows."""
    if want.waived is not None or want.seen is not None:
        return None
    rules, counts = rules_of(db, want), Counter[str]()
    if want.node is None:
        found: Mapping[int, int] = _counts_by_value(db, want, rules)
    else:
        found = _values_of_node(db, want, rules)
    for value, many in found.items():
        status, severity = unpack(value)
        if not want.severities or severity in want.severities:
            counts[status.value] += many
    return {s.value: counts[s.value] for s in Status}


def _values_of_gone(db: Db, want: Filter, rules: set[int] | None) -> Mapping[int, int]:
    """The same of nodes that are retired."""
    columns = t.posture.c.set, func.count().label("nodes")
    query = NODE.with_only_columns(*columns).group_by(t.posture.c.set)
    found = query.where(*within(db, want), *seen_as(db, want), t.posture.c.set.is_not(None))
    rows = db.connection.execute(found).all()
    states = db.names.states(db.connection, {row.set for row in rows})
    out = Counter[int]()
    for row in rows:
        for rule, value in zip(states[row.set].rules, states[row.set].vec, strict=True):
            if rules is None or rule in rules:
                out[value] += row.nodes
    return out


def _values_of_node(db: Db, want: Filter, rules: set[int] | None) -> Mapping[int, int]:
    """The same of all nodes of that name: one at most in each cluster."""
    query = NODE.where(*within(db, want), *seen_as(db, want), t.posture.c.set.is_not(None))
    rows = db.connection.execute(query).all()
    states = db.names.states(db.connection, {row.set for row in rows})
    return Counter(
        value
        for row in rows
        for rule, value in zip(states[row.set].rules, states[row.set].vec, strict=True)
        if rules is None or rule in rules
    )


def _counted(
    db: Db, want: Filter, rules: set[int] | None
) -> tuple[Table, list[ColumnElement[bool]]]:
    """The smallest table that has the counts: totals wherever all checks or all clusters meet."""
    within = clusters_of(db, want)
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
    the nodes in order. The counters tell which, the planner cannot know: the other index is hidden
    from it. Names come in a second step: joining first would join all.
    """
    p = t.posture.c
    of_set, in_order = (p.set, p.node + 0) if few else (p.set + 0, p.node)
    query = select(p.node).where(in_order >= node_id, of_set.in_(sets))
    clusters = clusters_of(db, want)
    if clusters is not None:
        query = query.where(p.cluster.in_(sorted(clusters)) if clusters else false())
    if want.node is not None or want.seen is not None:
        query = query.join(t.node, t.node.c.id == p.node).where(*seen_as(db, want))
    if want.node is not None:
        query = query.where(t.node.c.name == want.node)
    return db.connection.execute(query.order_by(in_order).limit(batch)).all()


def _rows_of(db: Db, want: Filter, nodes: Sequence[int]) -> Sequence[Record]:
    """These nodes with all that is shown of them, without those that `seen` leaves out."""
    if not nodes:
        return []
    p = t.posture.c
    query = NODE.where(p.node.in_(nodes), p.set.is_not(None), *seen_as(db, want))
    return db.connection.execute(query.order_by(p.node)).all()


def _is_waived(db: Db, row: Record, rule: int) -> bool:
    if not db.waivers:
        return False
    check = db.names.rule_name(db.connection, rule)
    return any(w.covers(row.cluster_id, row.name, check) for w in db.waivers)


def since_when(db: Db, pairs: Sequence[tuple[int, int]]) -> Mapping[tuple[int, int], int]:
    """(node, check) -> when it came to its status; missing: for as long as we remember."""
    if not pairs:
        return {}
    c = t.change.c
    query = (
        select(c.node, c.rule, func.max(c.at).label("at"))
        .where(c.node.in_(sorted({n for n, _ in pairs})))
        .group_by(c.node, c.rule)
    )
    return {(row.node, row.rule): row.at for row in db.connection.execute(query)}


def finding_row_json(
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
        "since": rfc3339(max(since.get((row.id, rule), db.kept_since), row.first_at)),
        "last_seen": rfc3339(row.seen_at),
        "waiver": covering(db.waivers, row.cluster_id, row.name, check),
    }
