"""A NUL, which JSON can carry and PostgreSQL's text cannot, is refused and breaks nothing."""

from __future__ import annotations

from typing import Any

import pytest

FINDING = {"check": "a.x", "status": "fail", "severity": "high", "because": "seen"}


@pytest.mark.parametrize(
    "over",
    [
        {"boot": "a\x00b"},
        {"node": "a\x00b"},
        {"inventory": {"kernel": "a\x00b", "os": {"id": "\x00"}, "roles": ["\x00"]}},
        {"taken_at": "\x00"},
        {"agent": {"version": "\x00", "catalog": "\x00"}},
        {"findings": [FINDING | {"because": "a\x00b", "evidence": [
            {"what": "\x00", "value": "\x00", "source": "\x00"}]}]},
    ],
    ids=["boot", "node", "inventory", "taken_at", "agent", "finding"],
)  # fmt: skip
def test_in_a_report(collector: Any, over: dict[str, Any]) -> None:
    agent, other = collector.agent("n1"), collector.agent("n2")
    answer = agent.full(FINDING, **over)
    assert answer.status_code in (200, 400, 403), answer.text
    assert other.full(FINDING).status_code == 200
    assert [n["node"] for n in collector.items("/v1/findings", node="n2")] == ["n2"]


@pytest.mark.parametrize("over", [{"node": "a\x00b"}, {"cluster": "a\x00b"}])
def test_in_an_enrolment(collector: Any, new_agent: Any, over: dict[str, Any]) -> None:
    agent = new_agent(collector.url, collector.ca, over.get("node", "n1"))
    assert agent.enrol(collector.join_token(), **over).status_code in (400, 403)
