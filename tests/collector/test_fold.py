"""What is done off the request path: signatures verified, evidence merged and packed."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from nodeward.collector.clock import now_ms
from nodeward.collector.store import dictionary
from nodeward.collector.store.dictionary import MOST, Dictionary, made_of, pack
from nodeward.collector.store.fold import LATEST_MS

SQLITE_ONLY = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def _finding(because: str) -> dict[str, Any]:
    return {"check": "a.x", "status": "fail", "severity": "high", "because": because}


def _rows(collector: Any, sql: str) -> list[Any]:
    with collector.center.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(sql))]


def test_evidence_is_read_back_from_a_dictionary_that_only_the_store_has(
    collector: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodeward.collector.store.fold.FEW", 2)
    agents = [collector.agent(f"n{number}") for number in range(3)]
    with collector.center._folding:  # the background work waits for all of them
        for agent in agents:
            agent.full(_finding(f"long words of {agent.node} " * 40))
    collector.center._fold()
    marks = _rows(collector, "SELECT substr(blob, 1, 1) FROM evidence")
    assert {bytes(mark[0]) for mark in marks} == {b"\x01"}
    assert len(_rows(collector, "SELECT id FROM dictionary")) == 1
    # As another replica, or this one after a restart.
    dictionary._known.clear()
    monkeypatch.setattr(dictionary, "_local", type(dictionary._local)())
    got = {row["node"]: row["because"] for row in collector.items("/v1/findings")}
    assert got == {agent.node: f"long words of {agent.node} " * 40 for agent in agents}


@given(st.binary(max_size=2_000), st.lists(st.lists(st.binary(max_size=300)), max_size=5))
def test_what_was_packed_comes_back(raw: bytes, sayings: list[list[bytes]]) -> None:
    held = made_of(sayings)
    dictionary._known[held.id] = held
    for of in (None, held):
        blob = pack(raw, of)
        assert dictionary.unpack(None, blob, 10_000) == raw  # type: ignore[arg-type]
        assert len(blob) <= len(raw) + 40


def test_a_dictionary_holds_each_text_once_and_no_more_than_it_may() -> None:
    assert made_of([[b"a", b"b"], [b"b", b"c"]]) == Dictionary.of(b"cab")
    three_fit = MOST // 4 + 1
    assert len(made_of([[bytes([n]) * three_fit] for n in range(9)]).content) == 3 * three_fit


@SQLITE_ONLY
def test_while_reports_pour_in_only_the_oldest_are_folded(
    collector: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    center = collector.center
    with center._folding:  # the background work waits
        old, new = collector.agent("n1"), collector.agent("n2")
        for agent in (old, new):
            agent.full(_finding("seen"))
        center.writer.act_now(
            lambda connection: (
                connection.execute(
                    text("UPDATE report SET at = :at WHERE node = 1"),
                    {"at": now_ms() - LATEST_MS - 1_000},
                ).rowcount
            )
        )
        monkeypatch.setattr(center, "_pouring", lambda: True)
    center._fold()
    waiting = "SELECT node FROM report WHERE body IS NOT NULL"
    assert _rows(collector, waiting) == [(2,)]
    monkeypatch.undo()
    center._fold()
    assert _rows(collector, waiting) == []


def test_who_signed_a_report_is_known_in_time_though_folding_is_far_behind(
    collector: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No report waits for its verification for longer than LATEST_MS and the look after that."""
    assert LATEST_MS + 10_000 <= 60_000
    center = collector.center
    monkeypatch.setattr("nodeward.collector.center.fold_some", lambda *_: 0)
    agents = [collector.agent(f"n{i}") for i in range(3)]
    for agent in agents:
        agent.open_session()
        body = gzip.compress(json.dumps(agent.body("full", [_finding("seen")])).encode())
        signed = agent.sign("/v1/reports", body + b"x"[: agent is agents[1]])
        name = "Nodeward-Signature"
        assert agent.send_mac("/v1/reports", body, **{name: signed[name]}).status_code == 200
    hour = 3_600_000  # no machine is as slow as that
    late = text("UPDATE report SET at = at + CASE node WHEN 3 THEN :by ELSE -:by END")
    center.writer.act_now(lambda c: c.execute(late, {"by": hour}).rowcount)
    center._fold()
    assert _rows(collector, "SELECT node, verified FROM report ORDER BY node") == [
        (1, 1), (2, 2), (3, 0),
    ]  # fmt: skip
    known = {a["node"]: a["status"] for a in collector.items("/v1/agents")}
    assert known == {"n0": "active", "n1": "quarantined", "n2": "active"}
    monkeypatch.undo()
    collector.fold()
    waiting = "SELECT node FROM report WHERE body IS NOT NULL"
    assert _rows(collector, waiting) == [(2,)]  # kept as proof


def test_reports_pour_when_many_come_in_a_second(collector: Any) -> None:
    center = collector.center
    with center._folding:  # nobody else asks meanwhile
        center._pouring()
        assert not center._pouring()
        center.writer.reports += 10**6
        assert center._pouring()
        assert not center._pouring()
