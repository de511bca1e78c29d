"""Heartbeats: kept in memory, written in bulk. One that is lost is repeated by the agent."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Engine, select

from nodeward.collector.db import tables as t
from nodeward.collector.store.bulk import bulk

MOST: Final = 2_000_000


@dataclass(frozen=True, slots=True)
class Beat:
    """When a node was last heard of, and what it said of itself."""

    at: int
    skew_ms: int
    spool: int


class Pulse:
    """The posture that each node was last known to have, and the beats since the last flush."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._marks: dict[int, bytes] = {}
        self._beats: dict[int, Beat] = {}
        self._looks: dict[int, int] = {}  # node -> when it was asked, which names the request
        self._looked: set[tuple[int, int]] = set()
        self._lock = threading.Lock()

    def knows(self, node: int, mark: bytes) -> bool:
        """Whether memory says that the node has this mark. If not, `stored` tells."""
        return self._marks.get(node) == mark

    def stored(self, nodes: Sequence[int]) -> Mapping[int, bytes]:
        """The marks of what the database has: another replica may have taken the report.

        At most some hundred at once.
        """
        p = t.posture.c
        query = select(p.node, p.boot, p.digest).where(p.node.in_(nodes), p.digest.is_not(None))
        with self._engine.connect() as connection:
            rows = connection.execute(query)
            return {row.node: mark_of(row.boot, bytes(row.digest)) for row in rows}

    def learn(self, node: int, mark: bytes) -> None:
        if len(self._marks) >= MOST:
            self._marks.clear()
        self._marks[node] = mark

    def forget(self, nodes: Iterable[int]) -> None:
        """The database has to be asked again: their postures may have been set back."""
        for node in nodes:
            self._marks.pop(node, None)

    def forget_all(self) -> None:
        """So that two who speak for one node to two replicas do not both go on for ever."""
        self._marks = {}

    def beat(self, node: int, beat: Beat) -> None:
        self._beats[node] = beat

    def look(self, node: int, looked: int | None) -> int | None:
        """The request for a look that this node is to be told of.

        It is told until it says that it `looked` for it: the answer may not arrive, nor the node
        live to look. One that does not say (None) is told once, or it would look without end.
        """
        asked = self._looks.get(node)
        if asked is None:
            return None
        if looked is None or looked == asked:
            self._looks.pop(node, None)
            self._looked.add((node, asked))
        return None if looked == asked else asked

    def poll_looks(self) -> None:
        """Hear of looks that were asked for on any replica."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(t.look.c.node, t.look.c.asked_at)).all()
        self._looks = {node: at for node, at in rows if (node, at) not in self._looked}

    def take_looked(self) -> set[tuple[int, int]]:
        """(node, request) of those that were done since the last call."""
        looked, self._looked = self._looked, set()
        return looked

    def take(self) -> Mapping[int, Beat]:
        """The beats since the last call."""
        with self._lock:
            beats, self._beats = self._beats, {}
        return beats


def mark_of(boot: str, digest: bytes) -> bytes:
    """A posture by a report of that boot, in 16 bytes: one for each node is in memory.

    Another boot with the same posture is another agent with the same key. Asked for a report, one
    of the two will speak after its boot has ended.
    """
    return hashlib.blake2b(digest + boot.encode(), digest_size=16).digest()


def flush(connection: Connection, beats: Mapping[int, Beat]) -> None:
    """Write the beats. In order of nodes, as all writers take their locks."""
    rows = [(beat.at, beat.skew_ms, beat.spool, node) for node, beat in sorted(beats.items())]
    if rows:
        bulk(connection).beats(rows)


def forget_looks(connection: Connection, looked: set[tuple[int, int]]) -> None:
    """These (node, request) were done. What was asked since then stays."""
    for node, asked in sorted(looked):
        this = t.look.delete().where(t.look.c.node == node, t.look.c.asked_at == asked)
        connection.execute(this)
