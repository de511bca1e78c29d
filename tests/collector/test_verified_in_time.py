"""Who signed a report is known within a minute, though more comes than can be folded.

Nothing here depends on how fast this machine is: time passes only where signatures are looked at
and reports are folded, by what that costs; what is due meanwhile is written meanwhile. That is a
core's load in small: a thousand times fewer reports that each cost a thousand times as much.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select

from nodeward.collector.center import Center
from nodeward.collector.clock import now_ms
from nodeward.collector.db import tables as t
from nodeward.collector.db.migrate import migrate
from nodeward.collector.signature import agent_id, good, signed_text
from nodeward.collector.store import fold
from nodeward.collector.store.enrol import enrol_by_token, make_join_token
from nodeward.collector.store.evidence import folded
from nodeward.collector.store.ingest import Incoming
from nodeward.collector.wire import ReportIn, decode, statuses

BOUND_S = 60
LONG_S = 150
EVERY_MS = 250
VERIFY_MS, FOLD_MS = 25, 750
"""Together three times as much as there is time for."""
NODES = 40
FORGED_EVERY = 30
GAUGE = "nodeward_collector_unverified_seconds"


class Node:
    def __init__(self, center: Center, name: str, token: str, now: int) -> None:
        self.key, self.name, self.seq = Ed25519PrivateKey.generate(), name, 0
        public = self.key.public_key().public_bytes_raw()
        self.agent = agent_id(public)
        bound = center.writer.act_now(
            lambda connection: enrol_by_token(
                connection, agent=self.agent, public_key=public, node=name, cluster="east",
                token=token, now=now,
            )
        )  # fmt: skip
        assert not isinstance(bound, Exception)
        with center.engine.connect() as connection:
            query = select(t.agent.c.node).where(t.agent.c.id == self.agent)
            self.node: int = connection.execute(query).scalar_one()

    def report(self, at: int, *, forged: bool) -> Incoming:
        """Admitted by a session's MAC; who signed it is not known yet."""
        self.seq += 1
        finding = {"check": "a.x", "status": ("pass", "fail")[self.seq % 2], "severity": "high",
                   "because": f"seen {self.seq} times"}  # fmt: skip
        told = {"schema": "nodeward.report/v1", "node": self.name, "boot": "b", "seq": self.seq,
                "taken_at": "2026-11-22T04:10:11.123Z", "kind": "full",
                "digest": f"sha256:{self.seq:064x}", "findings": [finding]}  # fmt: skip
        raw = json.dumps(told).encode()
        sent, report = gzip.compress(raw, 1), decode(raw, ReportIn)
        key = Ed25519PrivateKey.generate() if forged else self.key
        text = signed_text("POST", fold.PATH, str(at // 1000), hashlib.sha256(sent).digest())
        return Incoming(
            node=self.node, agent=self.agent, report=report, statuses=statuses(report), sent=sent,
            signature=key.sign(text), signed_at=at // 1000, verified=False, at=at,
        )  # fmt: skip


class World:
    """The time, and what comes as it passes."""

    def __init__(self, center: Center, begin: int) -> None:
        self.center, self.now = center, begin
        self.due: deque[Incoming] = deque()
        self.oldest: list[float] = []

    def spend(self, ms: int) -> None:
        for _ in range(ms // VERIFY_MS):
            self.now += VERIFY_MS
            while self.due and (self.due[0].at or 0) <= self.now:
                assert self.center.writer.submit(self.due.popleft()).result(60) == "stored"
            if not self.due:
                self.center._stopping.set()  # that is all
            if self.now % 1000 < VERIFY_MS:
                value = self.center.metrics.registry.get_sample_value(GAUGE)
                assert value is not None
                self.oldest.append(value)

    def costing(self, ms: int, act: Callable[..., Any]) -> Callable[..., Any]:
        def costly(*arguments: Any) -> Any:
            self.spend(ms)
            return act(*arguments)

        return costly


@pytest.fixture
def center(settings: Any) -> Any:
    opened = Center(settings)
    migrate(opened.engine)
    yield opened
    opened.close()


def test_while_folding_falls_behind_signatures_are_looked_at_within_a_minute(
    center: Center, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = now_ms() // 1000 * 1000
    world = World(center, begin)
    token = center.writer.act_now(
        lambda c: make_join_token(c, cluster="east", node="*", uses=10_000, ttl_ms=10**7,
                                  approve=False, by="test", now=begin)
    )  # fmt: skip
    many = LONG_S * 1000 // EVERY_MS
    nodes = [Node(center, f"n{number}", token, begin) for number in range(NODES)]
    liars = [Node(center, f"x{number}", token, begin) for number in range(many // FORGED_EVERY)]
    for number in range(many):
        forged = number % FORGED_EVERY == FORGED_EVERY - 1
        node = liars[number // FORGED_EVERY] if forged else nodes[number % NODES]
        world.due.append(node.report(begin + number * EVERY_MS, forged=forged))
    monkeypatch.setattr(center.clock, "now", lambda: world.now)
    monkeypatch.setattr(center, "_pouring", lambda: True)
    monkeypatch.setattr(fold, "good", world.costing(VERIFY_MS, good))
    monkeypatch.setattr(fold, "folded", world.costing(FOLD_MS, folded))
    monkeypatch.setattr(fold, "BATCH", 1)
    monkeypatch.setattr(fold, "MOST", 4)

    while world.due:
        center._fold()
        world.spend(1000)
    with center.engine.connect() as connection:
        waiting = select(t.report.c.node).where(t.report.c.body.is_not(None))
        unfolded = len(connection.execute(waiting.where(t.report.c.verified != 2)).all())
        events = connection.execute(
            select(t.report.c.node, (t.security_event.c.at - t.report.c.at).label("after"))
            .join(t.security_event, t.security_event.c.node == t.report.c.node)
            .where(t.security_event.c.kind == "report.bad-signature")
        ).all()
    assert unfolded > many // 2  # it was too much to fold
    assert max(world.oldest) < BOUND_S
    assert max(world.oldest) > 0
    found = {event.node for event in events}
    late = BOUND_S * 1000 // (EVERY_MS * FORGED_EVERY) + 1  # those that came in the last minute
    assert {liar.node for liar in liars[:-late]} <= found <= {liar.node for liar in liars}
    assert all(0 <= event.after < BOUND_S * 1000 for event in events)
