"""What one node says in all is bounded, in the store, in memory and in answers."""

from __future__ import annotations

import gzip
import json
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from nodeward.collector.db import tables as t
from nodeward.collector.store.dictionary import TooLongError, pack, unpack
from nodeward.collector.store.evidence import (
    MOST_BODIES,
    MOST_FINDING,
    MOST_SAID,
    Said,
    first_part,
    folded,
    left_out,
    unpack_said,
)


def finding(check: str, size: int = 0) -> dict[str, Any]:
    evidence = [{"what": "w", "value": "x" * size, "source": "s"}] if size else []
    seen = {"because": "seen", "evidence": evidence}
    return {"check": check, "status": "fail", "severity": "high"} | seen


def report(kind: str, *findings: dict[str, Any], **more: Any) -> bytes:
    body = {"taken_at": "", "kind": kind, "findings": list(findings)} | more
    return gzip.compress(json.dumps(body).encode(), 1)


def test_a_finding_that_is_too_long_keeps_its_status_and_loses_its_words() -> None:
    said = folded(Said(), report("full", finding("a.x", MOST_FINDING), finding("a.y", 9)))
    long, short = (msgspec.json.decode(said.findings[c]) for c in ("a.x", "a.y"))
    assert (long["status"], long["severity"]) == ("fail", "high")
    assert long["because"].startswith("left out")
    assert short == finding("a.y", 9)
    assert left_out(said)


def test_of_many_findings_the_longest_lose_their_words_until_all_fit() -> None:
    said = folded(Said(), report("full", finding("small", 100)))
    for number in range(40):
        said = folded(said, report("delta", finding(f"b.c{number}", MOST_FINDING - 1_000)))
        assert sum(map(len, said.findings.values())) <= MOST_SAID
    assert len(said.findings) == 41
    assert msgspec.json.decode(said.findings["small"]) == finding("small", 100)
    assert left_out(said)


def test_what_usual_nodes_say_is_left_as_it_is() -> None:
    findings = [finding(f"a.c{n}", 3_000) for n in range(300)]
    said = folded(Said(), report("full", *findings, inventory={"roles": ["worker"]}))
    assert [msgspec.json.decode(raw) for raw in said.findings.values()] == findings
    assert said.inventory == {"roles": ["worker"]}
    assert not left_out(said)


def test_an_inventory_that_is_too_long_is_left_out() -> None:
    said = folded(Said(), report("full", inventory={"os": {"id": "x" * MOST_FINDING}}))
    assert said.inventory == {}


def test_no_more_is_unpacked_than_was_asked_for() -> None:
    connection: Any = None  # a blob without a dictionary needs none
    packed = pack(bytes(10_000), None)
    assert len(unpack(connection, packed, 10_000)) == 10_000
    with pytest.raises(TooLongError):
        unpack(connection, packed, 9_999)
    assert unpack_said(connection, pack(bytes(4 * MOST_SAID), None)) == Said()


def test_few_bodies_are_in_memory_at_once() -> None:
    class Row(msgspec.Struct):
        size: int

    rows = [Row(MOST_BODIES // 3)] * 10
    assert len(first_part(rows)) == 3
    assert len(first_part([Row(2 * MOST_BODIES)])) == 1
    assert list(first_part([])) == []


def test_a_node_that_says_more_and_more_is_told_of_and_answered_in_short(collector: Any) -> None:
    agent = collector.agent("n1")
    agent.full(finding("a.x"))
    for number in range(4):
        body = agent.body("delta", [finding(f"b.c{number}", 5_000_000)])
        agent.findings[f"b.c{number}"] = body["findings"][0]
        assert agent.send("/v1/reports", gzip.compress(json.dumps(body).encode())).ok
        agent.seq += 1
    for _ in ("waiting", "folded"):
        one = collector.get("/v1/nodes/east/n1")
        assert len(one.content) < 10_000
        assert {f["status"] for f in one.json()["findings"]} == {"fail"}
        words = {f["check"]: f["because"] for f in collector.items("/v1/findings")}
        assert words["a.x"] == "seen"
        assert words["b.c3"].startswith("left out")
        collector.fold()
    with collector.center.engine.connect() as connection:
        assert (
            connection.execute(select(t.report.c.node).where(t.report.c.body.is_not(None))).all()
            == []
        )
    events = [e["kind"] for e in collector.items("/v1/events", node="n1")]
    assert events.count("report.too-long") == 1
