"""Senders that keep a ledger of what was acknowledged to them, and its comparison with the store.

Each report flips one check, so the changes stored must be exactly the flips, in order.
"""

from __future__ import annotations

import gzip
import json
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import requests
from sqlalchemy import text

from collector_process import Process
from nodeward.collector.clock import now_ms
from nodeward.collector.db.engine import open_engine
from nodeward.collector.db.migrate import migrate
from nodeward.collector.store.enrol import make_join_token

SENDERS = 4


class Sender(threading.Thread):
    """One agent that flips a check with every report, and keeps a ledger of what was answered."""

    def __init__(self, agent: Any, make: Callable[[int], list[Any]]) -> None:
        super().__init__(daemon=True)
        self.agent = agent
        self.make = make
        self.acked = 0
        self.refused = 0
        self.stopping = threading.Event()
        self.fault: str | None = None

    def run(self) -> None:
        try:
            while not self.stopping.is_set():
                self._one(self.acked + 1)
        except Exception as exc:  # noqa: BLE001  told to the test
            self.fault = repr(exc)

    def _one(self, seq: int) -> None:
        """Send report `seq`, the same bytes again and again until it is answered."""
        kind = "full" if seq % 7 == 1 else "delta"
        agent = self.agent
        body = gzip.compress(json.dumps(agent.body(kind, self.make(seq), seq=seq)).encode())
        while True:
            try:
                answer = agent.send("/v1/reports", body)
            except requests.RequestException:
                if self.stopping.wait(0.05):
                    return  # sent, perhaps stored, never acknowledged
                continue
            if answer.status_code == 503:
                assert int(answer.headers["Retry-After"]) > 0
                self.refused += 1
                time.sleep(0.05)  # sooner than it was told, or the test would take minutes
                continue
            assert answer.status_code == 200, answer.text
            break
        agent.findings = {f["check"]: f for f in self.make(seq)}
        self.acked = seq


def flip(seq: int) -> list[Any]:
    status = "fail" if seq % 2 else "pass"
    return [
        {
            "check": "a.flips",
            "status": status,
            "severity": "high",
            "because": f"report {seq}",
            "evidence": [],
        }
    ]


def check_ledger(url: str, all_senders: list[Sender]) -> None:
    engine = open_engine(url)
    try:
        with engine.connect() as connection:
            for sender in all_senders:
                _check_sender(connection, sender)
    finally:
        engine.dispose()


def _check_sender(connection: Any, sender: Sender) -> None:
    of = {"name": sender.agent.node}
    where = "FROM {} x JOIN node ON node.id = x.node WHERE node.name = :name"
    seqs = [r[0] for r in connection.execute(
        text("SELECT x.seq " + where.format("report") + " ORDER BY x.seq"), of)]  # fmt: skip
    stored = len(seqs)
    assert seqs == list(range(1, stored + 1)), "a report is missing or doubled"
    assert stored in (sender.acked, sender.acked + 1), "acknowledged, and not there"
    flips = connection.execute(
        text("SELECT x.old, x.new " + where.format("change") + " ORDER BY x.at, x.old"), of
    ).all()
    assert len(flips) == stored - 1
    held = connection.execute(text("SELECT x.seq " + where.format("posture")), of).scalar()
    assert held == stored
    counted = connection.execute(text("SELECT sum(nodes) FROM counter")).scalar()
    assert counted == SENDERS


def strike_often(
    process: Process, url: str, senders: Any, times: int, strike: Callable[[], None]
) -> None:
    engine = open_engine(url)
    migrate(engine)
    with engine.execution_options(writes=True).begin() as connection:
        token = make_join_token(
            connection, cluster="east", node="*", uses=100, ttl_ms=3_600_000, approve=False,
            by="test", now=now_ms(),
        )  # fmt: skip
    engine.dispose()
    process.start()
    try:
        all_senders = senders(process, token)
        chance = random.Random(20)
        for _ in range(times):
            before = [s.acked for s in all_senders]
            time.sleep(chance.uniform(0.02, 0.4))  # the moment of the blow is what is tried
            strike()
            until_all_get_through(all_senders, before)
        all_stop(all_senders)
    finally:
        process.stop()
    check_ledger(url, all_senders)


def until_all_get_through(all_senders: list[Sender], before: list[int]) -> None:
    until = time.monotonic() + 120
    while any(s.acked == b and s.fault is None for s, b in zip(all_senders, before, strict=True)):
        assert time.monotonic() < until, "no sender gets through any more"
        time.sleep(0.01)


def all_stop(all_senders: list[Sender]) -> None:
    for sender in all_senders:
        sender.stopping.set()
    for sender in all_senders:
        sender.join(60)
        assert sender.fault is None
