"""Which silence counts: that which a collector was there to hear."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from nodeward.collector.clock import DAY_MS, HOUR_MS
from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import clock_of
from nodeward.collector.store.listening import heard_for, note_listening

FINDING = {"check": "a.x", "status": "fail", "severity": "critical", "because": "seen"}


def _heard(collector: Any, *spans: tuple[int, int]) -> None:
    """Collectors listened from so long ago until so long ago."""

    def act(connection: Connection) -> None:
        now = clock_of(connection)
        connection.execute(t.listening.delete())
        rows = [{"since": now - a, "until": now - b} for a, b in spans]
        connection.execute(t.listening.insert(), rows)

    collector.center.writer.act_now(act)


def _silent_for(collector: Any, span_ms: int) -> None:
    def act(connection: Connection) -> None:
        seen = clock_of(connection) - span_ms
        connection.execute(t.posture.update().values(seen_at=seen))

    collector.center.writer.act_now(act)


def _names(collector: Any, seen: str) -> list[str]:
    return [node["node"] for node in collector.items("/v1/nodes", seen=seen)]


def test_after_an_outage_of_the_collector_nobody_is_retired(settings: Any, start: Any) -> None:
    one = start(replace(settings, retire_after="2d"))
    for name in ("n1", "n2"):
        one.agent(name).full(FINDING)
    _silent_for(one, 3 * DAY_MS)
    _heard(one, (9 * DAY_MS, 3 * DAY_MS))  # and not since then
    one.center._listen()
    one.center._tidy()
    assert _names(one, "stale") == ["n1", "n2"]
    assert _names(one, "retired") == []


def test_silence_that_was_heard_retires(settings: Any, start: Any) -> None:
    one = start(replace(settings, retire_after="2d"))
    one.agent("n1").full(FINDING)
    _silent_for(one, 4 * DAY_MS)
    _heard(one, (9 * DAY_MS, 3 * DAY_MS), (2 * DAY_MS, 0))
    one.center._tidy()
    assert _names(one, "retired") == ["n1"]


def test_spans_are_summed_and_none_counts_twice(collector: Any) -> None:
    span = 5 * HOUR_MS
    _heard(collector, (9 * HOUR_MS, 6 * HOUR_MS), (8 * HOUR_MS, 6 * HOUR_MS), (3 * HOUR_MS, 0))

    def asked(connection: Connection) -> int:
        return clock_of(connection) - (heard_for(connection, span) or 0)

    assert abs(collector.center.writer.act_now(asked) - 8 * HOUR_MS) < HOUR_MS / 2
    assert collector.center.writer.act_now(lambda c: heard_for(c, 7 * HOUR_MS)) is None


def test_notes_that_follow_each_other_are_one_span(collector: Any) -> None:
    _heard(collector, (HOUR_MS, 60_000))
    collector.center.writer.act_now(note_listening)
    collector.center.writer.act_now(note_listening)
    with collector.center.engine.connect() as connection:
        assert len(connection.execute(t.listening.select()).all()) == 1


def test_findings_of_gone_nodes_are_shown_whatever_the_others_have(collector: Any) -> None:
    collector.agent("n1").full(FINDING)
    collector.agent("n2").full(FINDING | {"status": "pass"})
    assert collector.post("/v1/nodes/east/n1/retire").status_code == 200
    gone = collector.items("/v1/findings", seen="retired")
    assert [(f["node"], f["status"], f["severity"]) for f in gone] == [("n1", "fail", "critical")]
