"""Killed in the midst of ingest: nothing acknowledged is lost, nothing is stored twice.

The truth is the senders' own ledger: each report flips one check, so the changes stored must be
exactly the flips, in order.
"""

from __future__ import annotations

import gzip
import json
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import text

from collector_process import Process
from nodeward.collector import pki
from nodeward.collector.clock import now_ms
from nodeward.collector.db.engine import open_engine
from nodeward.collector.db.migrate import migrate
from nodeward.collector.store.enrol import make_join_token

# A connection that is cut in its handshake is left to the garbage collector by urllib3.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
SENDERS = 4


class Sender(threading.Thread):
    """One agent that flips a check with every report, and keeps a ledger of what was answered."""

    def __init__(self, agent: Any, make: Callable[[int], list[Any]]) -> None:
        super().__init__(daemon=True)
        self.agent = agent
        self.make = make
        self.acked = 0
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
                time.sleep(0.05)
                continue
            assert answer.status_code == 200, answer.text
            break
        agent.findings = {f["check"]: f for f in self.make(seq)}
        self.acked = seq


def _flip(seq: int) -> list[Any]:
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


@pytest.fixture
def state(tmp_path: Path) -> Path:
    pki.write_ca(tmp_path)
    pki.write_server(tmp_path, ["127.0.0.1"])
    return tmp_path


@pytest.fixture
def senders(new_agent: Callable[..., Any]) -> Iterator[Callable[[Process, str], list[Sender]]]:
    started: list[Sender] = []

    def start(process: Process, token: str) -> list[Sender]:
        for number in range(SENDERS):
            agent = new_agent(process.url, str(process.state / "ca.crt"), f"n{number}")
            assert agent.enrol(token).status_code == 200
            started.append(Sender(agent, _flip))
        for sender in started:
            sender.start()
        return started

    yield start
    for sender in started:
        sender.stopping.set()
        sender.join(60)
        sender.agent.http.close()


def _check_ledger(url: str, all_senders: list[Sender]) -> None:
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


def _run(process: Process, url: str, senders: Any, kills: int, strike: Callable[[], None]) -> None:
    engine = open_engine(url)
    migrate(engine)
    with engine.execution_options(writes=True).begin() as connection:
        token = make_join_token(
            connection, cluster="east", node="*", uses=100, ttl_ms=3_600_000, approve=False,
            by="test", now=now_ms(),
        )  # fmt: skip
    engine.dispose()
    process.start()
    all_senders = senders(process, token)
    chance = random.Random(20)
    for _ in range(kills):
        before = [s.acked for s in all_senders]
        time.sleep(chance.uniform(0.02, 0.4))  # the moment of the kill is what is tried
        strike()
        until = time.monotonic() + 60
        while any(
            s.acked == b and s.fault is None for s, b in zip(all_senders, before, strict=True)
        ):
            assert time.monotonic() < until, "no sender gets through any more"
            time.sleep(0.01)
    for sender in all_senders:
        sender.stopping.set()
    for sender in all_senders:
        sender.join(60)
        assert sender.fault is None
    process.stop()
    _check_ledger(url, all_senders)


KILLS = [pytest.param(20), pytest.param(200, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]


@pytest.mark.parametrize("kills", KILLS)
def test_sqlite_collector_killed_in_ingest(state: Path, senders: Any, kills: int) -> None:
    process = Process(state, "")

    def strike() -> None:
        process.stop(signal.SIGKILL)
        process.start()

    _run(process, f"sqlite:///{state / 'collector.db'}", senders, kills, strike)


@pytest.mark.root
@pytest.mark.parametrize("kills", KILLS)
def test_postgresql_and_collector_killed_in_ingest(
    state: Path, senders: Any, own_postgres: Any, kills: int
) -> None:
    """In turn: the collector, and PostgreSQL with all its processes."""
    url = own_postgres.database()
    process = Process(state, url)
    turn = iter(range(kills))

    def strike() -> None:
        if next(turn) % 2:
            process.stop(signal.SIGKILL)
            process.start()
        else:
            own_postgres.kill()
            own_postgres.start()

    _run(process, url, senders, kills, strike)
