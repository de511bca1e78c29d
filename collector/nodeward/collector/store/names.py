"""Shared rows that everything points at: checks, state sets, platforms, clusters.

They are written once and never change, so what was read stays true and is kept in memory; but a
state set or a platform that nobody has leaves the store (unused.py), so it is looked for once more
before it is given to a node. After a
rollback the memory is dropped: an id that was given out in it may be given out again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Table, select

from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import Record, insert, is_sqlite
from nodeward.collector.posture import Order, State

MOST_CHECKS: Final = 20_000
"""Distinct check ids that a collector takes in; more is a faulty or hostile agent."""
MOST_ORDERS: Final = 200
"""Lists of checks kept in memory, as reports have them."""
MOST_STATES: Final = 100_000
"""State sets kept in memory: about 400 bytes each."""
CHUNK: Final = 500
HOLD: Final = 0x6E6F6465736574
"""The number of PostgreSQL's lock under which ids of what is shared are given to nodes, or what
nobody has is collected."""


class Platform(NamedTuple):
    """What kind of machine a node is. Empty text: it did not say."""

    os: str = ""
    os_version: str = ""
    kernel: str = ""
    kubelet: str = ""
    runtime: str = ""
    cloud: str = ""
    roles: str = ""
    agent: str = ""
    catalog: str = ""

    @classmethod
    def of(cls, inventory: Mapping[str, Any], agent: str, catalog: str) -> Platform:
        """From a report's inventory; members of another shape count as not said."""
        system, runtime = _object(inventory, "os"), _object(inventory, "runtime")
        roles = inventory.get("roles")
        name, number = _text(runtime, "name"), _text(runtime, "version")
        return cls(
            os=_text(system, "id"),
            os_version=_text(system, "version"),
            kernel=_text(inventory, "kernel"),
            kubelet=_text(_object(inventory, "kubelet"), "version"),
            runtime=f"{name} {number}".strip(),
            cloud=_text(inventory, "cloud"),
            roles=" ".join(sorted(map(str, roles)))[:200].replace("\0", "")
            if isinstance(roles, list)
            else "",
            agent=agent[:64],
            catalog=catalog[:128],
        )

    @property
    def digest(self) -> bytes:
        return hashlib.sha256("\0".join(self).encode("utf-8", "surrogatepass")).digest()[:16]


def _object(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    return value if isinstance(value, Mapping) else {}


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key)
    return value[:200].replace("\0", "") if isinstance(value, str) else ""


class Names:
    """Ids of shared rows, both ways, remembered."""

    def __init__(self) -> None:
        self.rules: dict[str, int] = {}
        self.rule_names: dict[int, str] = {}
        self._orders: dict[tuple[str, ...], Order] = {}
        self._states: dict[int, State] = {}
        self._set_ids: dict[bytes, int] = {}
        self._layouts: dict[int, tuple[int, ...]] = {}
        self._platforms: dict[bytes, int] = {}

    def forget(self) -> None:
        """After a rollback."""
        for memory in vars(self).values():
            memory.clear()

    # -- checks

    def learn_rules(self, connection: Connection) -> None:
        """All checks that any report named."""
        for row in connection.execute(select(t.rule.c.id, t.rule.c.name)):
            self.rules[row.name] = row.id
            self.rule_names[row.id] = row.name

    def want_rules(
        self, connection: Connection, lists: Iterable[tuple[str, ...]], now: int
    ) -> frozenset[tuple[str, ...]]:
        """See that all checks of these lists have an id. Those lists that were refused, since they
        name more than a collector takes in: one agent's must not stop its group."""
        if all(self.rules.keys() >= set(checks) for checks in lists):
            return frozenset()
        self.learn_rules(connection)
        new: set[str] = set()
        refused = set()
        for checks in sorted(lists, key=len):
            wanted = set(checks) - self.rules.keys() - new
            if len(self.rules) + len(new) + len(wanted) > MOST_CHECKS:
                refused.add(checks)
            else:
                new |= wanted
        if new:
            rows = [{"name": name, "created_at": now} for name in sorted(new)]
            connection.execute(insert(connection, t.rule).on_conflict_do_nothing(), rows)
            self.learn_rules(connection)
        return frozenset(refused)

    def rule_name(self, connection: Connection, rule: int) -> str:
        if rule not in self.rule_names:
            self.learn_rules(connection)
        return self.rule_names[rule]

    def order(self, checks: tuple[str, ...]) -> Order:
        """Of checks that all have an id."""
        found = self._orders.get(checks)
        if found is None:
            if len(self._orders) >= MOST_ORDERS:
                self._orders.clear()
            found = self._orders[checks] = Order.of(checks, self.rules)
        return found

    def known(self, checks: tuple[str, ...]) -> tuple[str, ...] | None:
        """The same list, if it was in a full report before."""
        found = self._orders.get(checks)
        return None if found is None else found.checks

    # -- state sets

    def states(self, connection: Connection, ids: Iterable[int]) -> dict[int, State]:
        """These state sets."""
        wanted = set(ids)
        found = {i: self._states[i] for i in wanted if i in self._states}
        for part in _chunks(sorted(wanted - found.keys())):
            query = select(t.state_set.c.id, t.state_set.c.layout, t.state_set.c.vec)
            for row in connection.execute(query.where(t.state_set.c.id.in_(part))):
                state = State(self._layout(connection, row.layout), row.vec)
                found[row.id] = state
                self._remember(row.id, state)
        return found

    def set_ids(self, connection: Connection, states: Iterable[State]) -> dict[bytes, int]:
        """Digest -> id of these states, stored if they are new; there until the transaction ends
        (store/unused.py)."""
        _hold_sets(connection)
        wanted = {state.digest: state for state in states}
        found = self._still(connection, t.state_set, self._set_ids, wanted)
        missing = [wanted[d] for d in sorted(wanted.keys() - found.keys())]
        if not missing:
            return found
        before = self._ids(connection, t.state_set, [s.digest for s in missing])
        new = [s for s in missing if s.digest not in before]
        if new:
            self._store_sets(connection, new)
            before |= self._ids(connection, t.state_set, [s.digest for s in new])
        for state in missing:
            self._remember(before[state.digest], state)
            self._set_ids[state.digest] = before[state.digest]
        return found | before

    @staticmethod
    def _still(
        connection: Connection, table: Table, memory: Mapping[bytes, int], wanted: Iterable[bytes]
    ) -> dict[bytes, int]:
        """Those of them that are remembered, and have not left the store since."""
        held = ((digest, memory.get(digest)) for digest in wanted)
        known = {digest: number for digest, number in held if number is not None}
        c, there = table.c, set[int]()
        for part in _chunks(sorted(known.values())):
            there.update(connection.execute(select(c.id).where(c.id.in_(part))).scalars())
        return {digest: number for digest, number in known.items() if number in there}

    def _store_sets(self, connection: Connection, new: Sequence[State]) -> None:
        layouts = self._layouts_of(connection, {s.layout: s.rules for s in new})
        rows = [
            {
                "digest": s.digest,
                "layout": layouts[s.layout],
                "vec": s.vec,
                "fails": s.fails,
                "score": s.score,
                "mask": s.mask,
            }
            for s in new
        ]
        connection.execute(insert(connection, t.state_set).on_conflict_do_nothing(), rows)
        ids = self._ids(connection, t.state_set, [s.digest for s in new])
        posted = [
            {"rule": rule, "value": value, "set": ids[s.digest]}
            for s in new
            for rule, value in s.posted()
        ]
        if posted:
            connection.execute(insert(connection, t.posting).on_conflict_do_nothing(), posted)

    def _layout(self, connection: Connection, layout: int) -> tuple[int, ...]:
        if layout not in self._layouts:
            query = select(t.layout_rule.c.rule).where(t.layout_rule.c.layout == layout)
            rows = connection.execute(query.order_by(t.layout_rule.c.place)).scalars()
            self._layouts[layout] = tuple(rows)
        return self._layouts[layout]

    def _layouts_of(
        self, connection: Connection, lists: Mapping[bytes, Sequence[int]]
    ) -> dict[bytes, int]:
        """Digest -> id of these lists of checks, stored if they are new."""
        found = self._ids(connection, t.layout, sorted(lists))
        missing = sorted(lists.keys() - found.keys())
        if not missing:
            return found
        statement = insert(connection, t.layout).on_conflict_do_nothing()
        connection.execute(statement, [{"digest": digest} for digest in missing])
        new = self._ids(connection, t.layout, missing)
        rows = [
            {"layout": new[digest], "place": place, "rule": rule}
            for digest in missing
            for place, rule in enumerate(lists[digest])
        ]
        if rows:
            statement = insert(connection, t.layout_rule).on_conflict_do_nothing()
            connection.execute(statement, rows)
        return found | new

    def _remember(self, set_id: int, state: State) -> None:
        if len(self._states) >= MOST_STATES:
            self._states.clear()
            self._set_ids.clear()
        # One tuple of rules for all states of a layout.
        self._states[set_id] = state

    # -- platforms

    def platform_ids(
        self, connection: Connection, kinds: Iterable[Platform]
    ) -> dict[Platform, int]:
        """Ids of these platforms, stored if they are new; there until the transaction ends."""
        wanted = {kind.digest: kind for kind in set(kinds)}
        if not wanted:
            return {}
        _hold_sets(connection)
        found = self._still(connection, t.platform, self._platforms, wanted)
        missing = sorted(wanted.keys() - found.keys())
        if missing:
            rows = [{"digest": digest, **wanted[digest]._asdict()} for digest in missing]
            connection.execute(insert(connection, t.platform).on_conflict_do_nothing(), rows)
            if len(self._platforms) >= MOST_STATES:
                self._platforms.clear()
            found |= self._ids(connection, t.platform, missing)
            self._platforms |= found
        return {kind: found[digest] for digest, kind in wanted.items()}

    @staticmethod
    def _ids(connection: Connection, table: Table, digests: Sequence[bytes]) -> dict[bytes, int]:
        out: dict[bytes, int] = {}
        for part in _chunks(digests):
            query = select(table.c.digest, table.c.id).where(table.c.digest.in_(part))
            rows: Iterable[Record] = connection.execute(query)
            out |= {bytes(row.digest): int(row.id) for row in rows}
        return out


def _hold_sets(connection: Connection) -> None:
    if not is_sqlite(connection):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock_shared({HOLD})")


def _chunks(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (items[i : i + CHUNK] for i in range(0, len(items), CHUNK))
