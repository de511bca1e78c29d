"""Heartbeats: kept in memory, written in bulk. One that is lost is repeated by the agent.

A heartbeat has no number of its own; the time that its node signed it counts. One that is older
than the last that was heard is somebody else's copy of it, or the node's clock was set back: then a
full report, which has a number, says from when on it counts anew. A copy of the last one is
answered like it and changes nothing, so nobody can make a dead node look alive.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from sqlalchemy import Connection, Engine, func, select

from nodeward.collector.db import tables as t
from nodeward.collector.store.bulk import bulk

MOST: Final = 2_000_000


@dataclass(frozen=True, slots=True)
class Beat:
    """When a node was heard of, and what it said: its own time in seconds, and how many reports
    wait there."""

    at: int
    signed_at: int
    spool: int


class Last(msgspec.Struct, gc=False):
    """What a node was last known to have and to say: one for each node is in memory."""

    mark: bytes
    signed_at: int


class Pulse:
    """What each node was last known to say, and the beats since the last flush."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._last: dict[int, Last] = {}
        self._beats: dict[int, Beat] = {}
        self._looks: dict[int, int] = {}  # node -> when it was asked, which names the request
        self._looked: set[tuple[int, int]] = set()
        self._lock = threading.Lock()

    def knows(self, node: int, mark: bytes, signed_at: int) -> bool:
        """Whether memory says that the node has this mark, and has signed nothing later. If not,
        `stored` tells."""
        last = self._last.get(node)
        return last is not None and last.mark == mark and last.signed_at <= signed_at

    def stored(self, nodes: Sequence[int]) -> Mapping[int, Last]:
        """What the database has: another replica may have taken the report.

        At most some hundred at once.
        """
        p = t.posture.c
        said = func.coalesce(p.seen_at + p.skew_ms, 0).label("said")
        query = select(p.node, p.boot, p.digest, said)
        with self._engine.connect() as connection:
            rows = connection.execute(query.where(p.node.in_(nodes), p.digest.is_not(None)))
            return {
                row.node: Last(mark_of(row.boot, bytes(row.digest)), row.said // 1000)
                for row in rows
            }

    def learn(self, node: int, last: Last) -> None:
        if len(self._last) >= MOST:
            self._last.clear()
        self._last[node] = last

    def forget(self, nodes: Iterable[int]) -> None:
        """The database has to be asked again: their postures may have been set back."""
        for node in nodes:
            self._last.pop(node, None)

    def forget_all(self) -> None:
        """So that two who speak for one node to two replicas do not both go on for ever."""
        self._last = {}

    def beat(self, node: int, beat: Beat) -> None:
        """Keep it to be written, unless one of its time or a later one was heard."""
        last, waiting = self._last.get(node), self._beats.get(node)
        if last is not None:
            if beat.signed_at <= last.signed_at:
                return
            last.signed_at = beat.signed_at
        if waiting is None or waiting.signed_at < beat.signed_at:
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
    """A posture by a report of that boot, in 16 bytes.

    Another boot with the same posture is another agent with the same key. Asked for a report, one
    of the two will speak after its boot has ended.
    """
    return hashlib.blake2b(digest + boot.encode(), digest_size=16).digest()


def flush(connection: Connection, beats: Mapping[int, Beat]) -> None:
    """Write the beats, but not over what a node signed later: another replica may have heard it.

    In order of nodes, as all writers take their locks.
    """
    rows = [
        (beat.at, beat.signed_at * 1000 - beat.at, beat.spool, node, beat.signed_at * 1000)
        for node, beat in sorted(beats.items())
    ]
    if rows:
        bulk(connection).beats(rows)


def forget_looks(connection: Connection, looked: set[tuple[int, int]]) -> None:
    """These (node, request) were done. What was asked since then stays."""
    for node, asked in sorted(looked):
        this = t.look.delete().where(t.look.c.node == node, t.look.c.asked_at == asked)
        connection.execute(this)
