"""The keys of agents in memory, and what became of them, at most a few seconds old."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Engine, select

from nodeward.collector.clock import SharedClock
from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import Record, clock_of

POLL_S: Final = 1.0
OVERLAP_MS: Final = 60_000
"""A transaction may commit later than the time that it wrote down."""
MOST: Final = 300_000


@dataclass(frozen=True, slots=True)
class Key:
    """An enrolled agent. Only `active` and unexpired ones may speak."""

    agent: str
    node: int
    node_name: str
    cluster: str
    public_key: bytes
    status: str
    expires_at: int


class Keys:
    """Looks up keys; `poll` must be called at least every few seconds to hear of revocations.

    `changed` hears of the nodes whose keys another replica may have changed, and `clock` what the
    database's says.
    """

    def __init__(
        self,
        engine: Engine,
        clock: SharedClock,
        changed: Callable[[Iterable[int]], object] = lambda _nodes: None,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._changed = changed
        self._keys: dict[str, Key] = {}
        self._lock = threading.Lock()
        self._upto: int | None = None  # by the database's clock, which may be set back
        self._fresh = time.monotonic()

    def get(self, agents: Sequence[str]) -> Mapping[str, Key]:
        """From memory, or else from the database (which may take a moment): those that there are.

        At most some hundred at once.
        """
        if self.stale:
            self.poll()
        found = {agent: self._keys[agent] for agent in agents if agent in self._keys}
        missing = [agent for agent in agents if agent not in found]
        return found | self._load(missing) if missing else found

    def held(self, agent: str) -> Key | None:
        """From memory only, and only while that is fresh."""
        return None if self.stale else self._keys.get(agent)

    @property
    def stale(self) -> bool:
        return time.monotonic() - self._fresh > 4 * POLL_S

    def forget(self, agent: str) -> None:
        self._keys.pop(agent, None)

    def poll(self) -> None:
        """Drop from memory what changed since the last poll."""
        with self._lock, self._engine.connect() as connection:
            begun = time.monotonic()
            a = t.agent.c
            now = clock_of(connection)
            self._clock.heard(now)
            since = min(now, now if self._upto is None else self._upto) - OVERLAP_MS
            query = select(a.id, a.node).where(a.changed_at > since)
            rows = connection.execute(query).all()
            for row in rows:
                self._keys.pop(row.id, None)
            self._changed({row.node for row in rows})
            self._upto, self._fresh = now, begun

    def _load(self, agents: Sequence[str]) -> dict[str, Key]:
        query = (
            select(t.agent, t.node.c.name, t.cluster.c.name.label("cluster_name"))
            .join(t.node, t.node.c.id == t.agent.c.node)
            .join(t.cluster, t.cluster.c.id == t.node.c.cluster)
            .where(t.agent.c.id.in_(agents))
        )
        with self._engine.connect() as connection:
            found = {row.id: _key(row) for row in connection.execute(query)}
        if len(self._keys) >= MOST:
            self._keys.clear()
        self._keys |= found
        return found


def _key(row: Record) -> Key:
    return Key(
        agent=row.id,
        node=row.node,
        node_name=row.name,
        cluster=row.cluster_name,
        public_key=bytes(row.public_key),
        status=row.status,
        expires_at=row.expires_at,
    )
