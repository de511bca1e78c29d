"""Postures of another time, and what lies between two.

Nothing of the past is stored but the changes: the posture at a time is today's, with every change
since then undone. A node that was gone and came back has the last posture of its former life too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import select

from nodeward.collector.clock import rfc3339
from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import Record
from nodeward.collector.posture import EMPTY, LEVEL_OF, NONE, State, differences, unpack
from nodeward.collector.problem import gone
from nodeward.collector.store import ask
from nodeward.collector.store.ask import Db, Filter, Page, cursor_text
from nodeward.collector.store.retention import must_be_kept


def states_at(db: Db, rows: Sequence[Record], at: int) -> Mapping[int, State]:
    """Node id -> its posture at that time. Nodes not known then, or gone, are missing."""
    now = {r.id: r.set for r in rows if r.first_at is not None and r.first_at <= at}
    former = _former(db, {r.id for r in rows} - now.keys(), at)
    last = now | {node: life.set for node, life in former.items()}
    states = db.names.states(db.connection, {one for one in last.values() if one is not None})
    undone = _undone(db, last, at, {node: life.ended_at for node, life in former.items()})
    return {node: _with(states.get(one, EMPTY), undone.get(node, {})) for node, one in last.items()}


def _former(db: Db, nodes: Iterable[int], at: int) -> Mapping[int, Record]:
    """The life that each node had then, of those that have come back since."""
    f = t.life.c
    query = select(f.node, f.set, f.ended_at).where(
        f.node.in_(sorted(nodes)), f.first_at <= at, f.ended_at > at
    )
    return {row.node: row for row in db.connection.execute(query)}


def _undone(
    db: Db, nodes: Iterable[int], at: int, until: Mapping[int, int]
) -> Mapping[int, Mapping[int, int]]:
    """Node -> check -> the value it had: the `old` of its first change after that time. `until`:
    what came later was in another life."""
    c = t.change.c
    query = (
        select(c.at, c.node, c.rule, c.old)
        .where(c.node.in_(sorted(nodes)), c.at > at)
        .order_by(c.at.desc())
    )
    out: dict[int, dict[int, int]] = defaultdict(dict)
    for row in db.connection.execute(query):
        if row.at <= until.get(row.node, row.at):
            out[row.node][row.rule] = row.old  # the earliest comes last and stays
    return out


def _with(state: State, values: Mapping[int, int]) -> State:
    if not values:
        return state
    merged = state.values() | dict(values)
    return State.of({rule: value for rule, value in merged.items() if value != NONE})


def findings_at(db: Db, want: Filter, at: int) -> Page:
    """Findings as they were, by node and then the worst first. Their words are not kept."""
    must_be_kept(db.connection, at, "at")
    hits = list(islice(_hits(db, want, at), want.limit + 1))
    items = [_json(db, row, rule, value, at) for row, rule, value in hits[: want.limit]]
    if len(hits) <= want.limit:
        return Page(items)
    row, rule, _ = hits[want.limit - 1]
    return Page(items, cursor_text(row.id, rule))


def _hits(db: Db, want: Filter, at: int) -> Iterator[tuple[Record, int, int]]:
    rules = ask.rules_of(db, want)
    levels = set(ask.levels_of(want))
    node_id, rule_id = want.cursor or (0, None)
    while True:
        rows = ask.nodes_from(db, want, node_id, 200, at)
        states = states_at(db, rows, at)
        for row in rows:
            pairs = _ordered(states.get(row.id, EMPTY))
            if row.id == node_id and rule_id is not None:
                pairs = _after(pairs, rule_id)
            yield from (
                (row, rule, value)
                for rule, value in pairs
                if LEVEL_OF[value] in levels and (rules is None or rule in rules)
            )
        if len(rows) < 200:
            return
        node_id, rule_id = rows[-1].id + 1, None


def _ordered(state: State) -> list[tuple[int, int]]:
    pairs = zip(state.rules, state.vec, strict=True)
    return sorted(pairs, key=lambda pair: (LEVEL_OF[pair[1]], pair[0]))


def _after(pairs: list[tuple[int, int]], rule: int) -> list[tuple[int, int]]:
    places = [i for i, (r, _) in enumerate(pairs) if r == rule]
    return pairs[places[0] + 1 :] if places else pairs


def _json(db: Db, row: Record, rule: int, value: int, at: int) -> Mapping[str, Any]:
    status, severity = unpack(value)
    return {
        "cluster": row.cluster,
        "node": row.name,
        "check": db.names.rule_name(db.connection, rule),
        "status": status.value,
        "severity": severity.value,
        "at": rfc3339(at),
    }


def diff(db: Db, cluster: str, name: str, since: int, until: int) -> Mapping[str, Any]:
    """What one node's posture came to between two times; steps that were undone cancel out."""
    must_be_kept(db.connection, since, "since")
    row = ask.node_row(db, cluster, name)
    before = states_at(db, [row], since).get(row.id)
    after = states_at(db, [row], until).get(row.id, EMPTY)
    return {
        "cluster": cluster,
        "node": name,
        "since": rfc3339(since),
        "until": rfc3339(until),
        "known": before is not None,
        "changes": [
            {
                "check": db.names.rule_name(db.connection, rule),
                "old": ask.value_json(old),
                "new": ask.value_json(new),
            }
            for rule, old, new in differences(before or EMPTY, after)
        ],
    }


def divergence(db: Db, want: Filter, role: str) -> Page:
    """Checks on which the nodes of one role in a cluster differ from each other."""
    rows = ask.rows_of_role(db, want, role)
    if not rows:
        raise gone("node of that role")
    states = db.names.states(db.connection, {r.set for r in rows if r.set is not None})
    by_rule: dict[tuple[str, int], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    size: dict[str, int] = defaultdict(int)
    for row in rows:
        size[row.cluster] += 1
        for rule, value in states.get(row.set, EMPTY).values().items():
            by_rule[row.cluster, rule][unpack(value)[0].value].append(row.name)
    items: list[Mapping[str, Any]] = [
        {
            "cluster": cluster,
            "check": db.names.rule_name(db.connection, rule),
            "nodes": {status: sorted(names) for status, names in sorted(values.items())},
        }
        for (cluster, rule), values in by_rule.items()
        if len(values) > 1 or sum(map(len, values.values())) != size[cluster]
    ]
    items.sort(key=lambda item: (item["cluster"], item["check"]))
    return Page(items, total=len(items))
