"""People's questions keep neither the fleet nor each other from being answered."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from sqlalchemy import text

from nodeward.collector import turns
from nodeward.collector.store import ask
from nodeward.collector.store.ask import Db, Filter, Page

FINDING = {"check": "a.x", "status": "fail", "severity": "high", "because": "seen"}
ENDLESS = "WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x) SELECT max(n) FROM x"


class Slow:
    """A question that is answered when the test says so."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Event()

    def __call__(self, _db: Db, _want: Filter) -> Page:
        self.begun.release()
        assert self.go_on.wait(120)
        return Page([], total=0)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    question = Slow()
    monkeypatch.setattr(ask, "findings", question)
    yield question
    question.go_on.set()


def _ask(collector: Any, token: str) -> int:
    """On a connection of its own."""
    headers = {"Authorization": f"Bearer {token}"}
    with requests.Session() as http:
        http.trust_env = False
        url = collector.url + "/v1/findings"
        answer = http.get(url, headers=headers, verify=collector.ca, timeout=150)
        return answer.status_code


def test_who_asks_much_waits_alone(
    collector: Any, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "MOST_WAITING", 20)
    agent = collector.agent("n1")
    agent.full(FINDING)
    token = collector.access("viewer")
    with ThreadPoolExecutor(30) as threads:
        asking = [threads.submit(_ask, collector, token) for _ in range(30)]
        for _ in range(turns.EACH):
            assert slow.begun.acquire(timeout=60)
        assert [n["node"] for n in collector.items("/v1/nodes")] == ["n1"]
        assert collector.http.get(collector.url + "/readyz", timeout=30).status_code == 200
        assert agent.beat().status_code == 200
        assert collector.agent("n2").full(FINDING).status_code == 200
        assert not slow.begun.acquire(blocking=False)
        slow.go_on.set()
        codes = sorted(each.result() for each in asking)
    assert codes[:22] == [200] * 22
    assert set(codes[22:]) <= {200, 429}


def test_a_question_of_one_long_statement_is_ended(
    collector: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodeward.collector.center.ANSWER_S", 0.3)
    monkeypatch.setattr(ask, "findings", lambda db, _: db.connection.execute(text(ENDLESS)))
    answer = collector.get("/v1/findings")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "slow")
    assert collector.get("/v1/nodes").status_code == 200


def test_a_question_of_many_short_statements_is_ended(
    collector: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def many(db: Db, _want: Filter) -> Page:
        while True:
            db.connection.execute(text("SELECT 1"))

    monkeypatch.setattr("nodeward.collector.center.ANSWER_S", 0.3)
    monkeypatch.setattr(ask, "findings", many)
    assert collector.get("/v1/findings").json()["error"]["code"] == "slow"
