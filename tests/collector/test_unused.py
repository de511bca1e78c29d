"""Postures that no node has leave the store; none that a report is about to name."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from nodeward.collector.clock import now_ms, rfc3339
from nodeward.collector.store import unused
from nodeward.collector.store.names import HOLD


def _f(status: str, check: str = "a.x") -> dict[str, Any]:
    return {"check": check, "status": status, "severity": "high", "because": "seen"}


def _count(running: Any, table: str, where: str = "true") -> int:
    with running.center.engine.connect() as connection:
        query = text(f"SELECT count(*) FROM {table} WHERE {where}")
        return int(connection.execute(query).scalar_one())


def _collect(running: Any) -> int:
    center = running.center
    return unused.collect(center.engine, center.writer.engine, center.writer.names)


def _pass_through(agent: Any, *severities: str) -> None:
    """Each is a posture of its own."""
    for severity in severities:
        agent.full(_f("fail") | {"severity": severity})


def test_postures_that_no_node_has_leave_with_what_points_at_them(
    collector: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(unused, "AT_ONCE", 2)
    agent, other = collector.agent("n1"), collector.agent("n2")
    _pass_through(agent, "low", "medium", "high", "critical", "info")
    other.full(_f("pass"))
    other.full(_f("unknown"))
    agent.full(_f("fail") | {"severity": "medium"})
    collector.post("/v1/nodes/east/n2/retire")
    before = collector.get("/v1/nodes/east/n1").json()["findings"]
    collector.center._tidy()
    # What the two nodes have: a node that is gone keeps its posture, for the past is asked for.
    assert _count(collector, "state_set") == 2
    assert _count(collector, "posting") == 2
    assert _count(collector, "posting", '"set" NOT IN (SELECT id FROM state_set)') == 0
    assert collector.get("/v1/nodes/east/n1").json()["findings"] == before


def test_the_past_can_be_asked_for_after_its_posture_left(collector: Any) -> None:
    agent = collector.agent("n1")
    agent.full(_f("pass"))
    at = now_ms()
    while now_ms() == at:  # what comes now comes later
        pass
    _pass_through(agent, "low", "high", "medium", "info")
    _collect(collector)
    assert _count(collector, "state_set") == 1
    then = collector.items("/v1/findings", at=rfc3339(at))
    assert [f["status"] for f in then] == ["pass"]


def test_a_replica_that_remembers_a_posture_that_left_stores_it_again(
    collector: Any, start: Any
) -> None:
    agent = collector.agent("n1")
    _pass_through(agent, "low", "medium", "high")
    _collect(start())
    assert _count(collector, "state_set") == 1
    _pass_through(agent, "low", "medium")
    assert _count(collector, "posture", '"set" NOT IN (SELECT id FROM state_set)') == 0
    [finding] = collector.items("/v1/findings", status="fail")
    assert finding["severity"] == "medium"


def test_an_id_is_never_given_to_another_posture(collector: Any) -> None:
    """Whoever remembers what it meant would show the wrong findings."""
    agent = collector.agent("n1")
    _pass_through(agent, "low", "medium", "high")
    agent.full(_f("fail") | {"severity": "low"})  # the newest is unused, and stays
    with collector.center.engine.connect() as connection:
        newest = connection.execute(text("SELECT max(id) FROM state_set")).scalar_one()
    _collect(collector)
    agent.full(_f("pass"))
    assert _count(collector, "posture", f'"set" > {newest}') == 1


def test_a_posture_that_a_report_is_about_to_name_stays(collector: Any) -> None:
    """The transaction is open, so nobody sees yet that the node has it."""
    agent = collector.agent("n1")
    _pass_through(agent, "low", "medium", "high")
    center, done = collector.center, threading.Event()

    def collect() -> None:
        with contextlib.suppress(OperationalError):  # it waits for 2 s at most
            _collect(collector)
        done.set()

    names = center.writer.names
    with center.writer.engine.begin() as connection:
        [low, *_] = names.states(connection, [_lowest(connection)]).values()
        number = names.set_ids(connection, [low])[low.digest]
        thread = threading.Thread(target=collect)
        thread.start()
        if connection.dialect.name == "postgresql":
            waits = text(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                f" AND (classid::bigint << 32 | objid::bigint) = {HOLD}"
            )
            while not done.is_set() and not connection.execute(waits).scalar_one():
                done.wait(0.01)
        connection.execute(text('UPDATE posture SET "set" = :it'), {"it": number})
    thread.join()
    assert _count(collector, "state_set", f"id = {number}") == 1


def test_platforms_and_lists_of_checks_that_nobody_has_leave(collector: Any) -> None:
    agent, other = collector.agent("n1"), collector.agent("n2")
    for number, checks in enumerate((["a.x"], ["a.x", "a.y"], ["a.y"], ["a.x", "a.z"]), 1):
        _as(agent, number, f"6.1.{number}", checks)
    _as(other, 1, "6.1.2", ["a.x", "a.y"])
    before = collector.items("/v1/findings")
    _collect(collector)
    assert _kernels(collector) == ["6.1.2", "6.1.4"]
    assert _count(collector, "layout") == 2
    assert _count(collector, "layout_rule") == 4
    assert collector.items("/v1/findings") == before


def test_a_replica_that_remembers_a_platform_that_left_stores_it_again(
    collector: Any, start: Any
) -> None:
    agent = collector.agent("n1")
    for number in (1, 2, 3):
        _as(agent, number, f"6.1.{number}", ["a.x", f"a.{number}"])
    _collect(start())
    assert _kernels(collector) == ["6.1.3"]
    _as(agent, 4, "6.1.1", ["a.x", "a.1"])
    _as(agent, 5, "6.1.2", ["a.x", "a.2"])
    (kind,) = collector.items("/v1/platforms")
    assert (kind["kernel"], kind["nodes"]) == ("6.1.2", 1)
    assert [f["check"] for f in collector.items("/v1/findings")] == ["a.x", "a.2"]
    _collect(collector)
    assert _count(collector, "layout") == 1


def _as(agent: Any, seq: int, kernel: str, checks: list[str]) -> None:
    """A full report of a node of this kind."""
    findings = [_f("pass", check) for check in checks]
    answer = agent.full(*findings, seq=seq, inventory={"kernel": kernel})
    assert answer.status_code == 200


def _kernels(running: Any) -> list[str]:
    with running.center.engine.connect() as connection:
        return list(connection.execute(text("SELECT kernel FROM platform ORDER BY 1")).scalars())


def _lowest(connection: Any) -> int:
    return int(connection.execute(text("SELECT min(id) FROM state_set")).scalar_one())
