"""Nodes that go and come back: what is counted, what is remembered, and who may say so."""

from __future__ import annotations

import contextlib
import gzip
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

import pytest
from sqlalchemy import Connection, select, text

from nodeward.client import Client, Where
from nodeward.collector.clock import moment_ms, now_ms, rfc3339
from nodeward.collector.db import tables as t
from nodeward.collector.export import stream
from nodeward.collector.export.ocsf import CLOSE, CREATE
from nodeward.collector.settings import Settings
from nodeward.collector.store import fold
from nodeward.collector.store.ingest import Incoming, ingest
from nodeward.collector.store.names import Names, Platform
from nodeward.collector.store.recount import counted, recount
from nodeward.collector.store.retention import forget_changes
from nodeward.collector.store.unused import collect
from nodeward.collector.wire import ReportIn, decode, statuses

Running: TypeAlias = Any
Agent: TypeAlias = Any
STATUSES = ("pass", "fail", "unknown")


def finding(check: str, status: str, because: str = "seen") -> dict[str, Any]:
    return {"check": check, "status": status, "severity": "high", "because": because}


def _wrong(center: Any) -> tuple[Any, ...]:
    """Counters that differ from what is counted anew."""
    out = []
    with center.engine.connect() as connection:
        for table, right in zip((t.counter, t.total), counted(connection, Names()), strict=True):
            rows = connection.execute(select(table))
            held = {(r.rule, r.cluster, r.value): r.nodes for r in rows if r.nodes}
            out.append(
                {k: held.get(k, 0) for k in held.keys() | right if held.get(k, 0) != right[k]}
            )
    return tuple(out)


def _write(collector: Running, act: Callable[[Connection], object]) -> object:
    return collector.center.writer.act_now(act)


def _moment() -> str:
    """A time between what was before and what comes."""
    time.sleep(0.01)
    told = str(rfc3339(now_ms()))
    time.sleep(0.01)
    return told


def _retire_elsewhere(collector: Running, other: Running, node: str) -> None:
    """On the other replica, or, where there is none, without the memory of keys hearing of it."""
    if other is not collector:
        assert other.post(f"/v1/nodes/east/{node}/retire").status_code == 200
        return
    from nodeward.collector.store.access import EVERYTHING
    from nodeward.collector.store.lifecycle import node_id, retire

    names = collector.center.writer.names
    _write(
        collector,
        lambda c: retire(c, names, [node_id(c, "east", node, EVERYTHING)], now_ms(), "silent"),
    )


def test_a_report_of_a_node_that_was_retired_elsewhere_is_refused_and_not_counted(
    collector: Running, start: Callable[..., Running], settings: Settings
) -> None:
    other = start() if settings.database else collector
    agent, still = collector.agent("n1"), collector.agent("n2")
    still.full(finding("a.x", "pass"), finding("a.y", "pass"))
    agent.full(finding("a.x", "fail"), finding("a.y", "pass"))
    _retire_elsewhere(collector, other, "n1")
    refused = agent.delta(finding("a.x", "pass"))
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "retired")
    assert _wrong(collector.center) == ({}, {})
    assert agent.enrol(collector.join_token()).status_code == 200
    assert agent.full(finding("a.x", "fail")).status_code == 200
    assert [f["node"] for f in collector.items("/v1/findings", status="fail")] == ["n1"]
    assert _wrong(collector.center) == ({}, {})


class Chance:
    """Agents and operators who do as chance has it, to any replica, at the same time."""

    def __init__(self, replicas: list[Running], new_agent: Any, seed: int) -> None:
        self.replicas, self.new_agent, self.seed = replicas, new_agent, seed
        self.token = replicas[0].join_token(uses=10**6)
        self.failed: list[BaseException] = []

    def run(self, agents: int, steps: int) -> None:
        works = [partial(self._agent, i, steps) for i in range(agents)]
        works.append(partial(self._operator, steps * 2))
        threads = [threading.Thread(target=self._kept, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not self.failed, self.failed

    def _kept(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as exc:  # noqa: BLE001  told by `run`
            self.failed.append(exc)

    def _agent(self, number: int, steps: int) -> None:
        chance = random.Random(self.seed + number)
        agent: Agent | None = None
        for _ in range(steps):
            replica = chance.choice(self.replicas)
            if agent is None or chance.random() < 0.05:
                agent = self.new_agent(replica.url, replica.ca, f"n{number % 3}")
                if agent.enrol(self.token).status_code == 202:
                    chance.choice(self.replicas).post(f"/v1/agents/{agent.id}/approve")
            agent.url = replica.url
            told = [finding(c, chance.choice(STATUSES)) for c in ("a.x", "a.y", "b.z")]
            full = chance.random() < 0.5
            answer = agent.full(*told) if full else agent.delta(told[chance.randrange(3)])
            assert answer.status_code in (200, 401, 403, 409, 503), answer.text
            if answer.status_code in (401, 403):
                agent = None

    def _operator(self, steps: int) -> None:
        chance = random.Random(self.seed)
        for _ in range(steps):
            replica = chance.choice(self.replicas)
            answer = replica.post(f"/v1/nodes/east/n{chance.randrange(3)}/retire")
            assert answer.status_code in (200, 404, 503), answer.text
            with contextlib.suppress(LookupError):  # another replica folded these
                replica.fold()


def test_whatever_comes_together_every_count_is_right(
    collector: Running, start: Callable[..., Running], settings: Settings, new_agent: Any
) -> None:
    replicas = [collector, start()] if settings.database else [collector]
    Chance(replicas, new_agent, seed=8).run(agents=6, steps=15)
    assert _wrong(collector.center) == ({}, {})


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 120))
def test_whatever_comes_together_for_long_every_count_is_right(
    collector: Running, start: Callable[..., Running], settings: Settings, new_agent: Any, seed: int
) -> None:
    replicas = [collector, start()] if settings.database else [collector]
    Chance(replicas, new_agent, seed).run(agents=9, steps=150)
    assert _wrong(collector.center) == ({}, {})


def test_counts_that_are_wrong_are_put_right(collector: Running) -> None:
    for name, status in (("n1", "fail"), ("n2", "pass")):
        collector.agent(name).full(finding("a.x", status))

    def spoil(connection: Connection) -> None:
        connection.execute(t.counter.update().values(nodes=t.counter.c.nodes - 2))
        connection.execute(t.total.delete().where(t.total.c.rule == 0))

    _write(collector, spoil)
    assert _wrong(collector.center) != ({}, {})
    assert _write(collector, lambda c: recount(c, Names())) == 5
    assert _wrong(collector.center) == ({}, {})
    assert _write(collector, lambda c: recount(c, Names())) == 0


def _at(collector: Running, at: str) -> list[tuple[str, str]]:
    return [(f["check"], f["status"]) for f in collector.items("/v1/findings", at=at)]


def test_the_past_of_a_node_that_went_and_came_back_is_remembered(collector: Running) -> None:
    agent = collector.agent("n1")
    agent.full(finding("a.x", "fail"))
    first = _moment()
    agent.delta(finding("a.x", "pass"))
    second = _moment()
    collector.post("/v1/nodes/east/n1/retire")
    gone = _moment()
    assert agent.enrol(collector.join_token()).status_code == 200
    agent.full(finding("a.x", "unknown"), finding("a.y", "fail"))
    third = _moment()
    agent.delta(finding("a.x", "error"))
    told = {at: sorted(_at(collector, at)) for at in (first, second, gone, third)}
    assert told == {
        first: [("a.x", "fail")],
        second: [("a.x", "pass")],
        gone: [],
        third: [("a.x", "unknown"), ("a.y", "fail")],
    }
    between = collector.get("/v1/nodes/east/n1/diff", since=second, until=third).json()
    assert sorted(c["check"] for c in between["changes"]) == ["a.x", "a.y"]


def test_the_posture_of_a_former_life_stays_when_unused_ones_leave(collector: Running) -> None:
    agent = collector.agent("n1")
    agent.full(finding("a.x", "fail"))
    then = _moment()
    collector.post("/v1/nodes/east/n1/retire")
    agent.enrol(collector.join_token())
    agent.full(finding("a.y", "pass"))
    agent.full(finding("a.z", "pass"))
    center = collector.center
    assert collect(center.engine, center.writer.engine, center.writer.names) == 1
    center.writer.names.forget()
    assert _at(collector, then) == [("a.x", "fail")]


def test_a_key_that_waits_for_approval_brings_no_node_back(collector: Running) -> None:
    agent = collector.agent("n1")
    agent.full(finding("a.x", "fail"))
    collector.fold()
    collector.post("/v1/nodes/east/n1/retire")
    stranger = type(agent)(collector.url, collector.ca, "n1")
    assert stranger.enrol(collector.join_token(approve=True)).status_code == 202
    assert collector.items("/v1/nodes") == []
    assert [n["node"] for n in collector.items("/v1/nodes", seen="retired")] == ["n1"]
    assert collector.get("/v1/nodes/east/n1").json()["findings"][0]["because"] == "seen"
    assert collector.post(f"/v1/agents/{stranger.id}/approve").status_code == 200
    assert [n["seen"] for n in collector.items("/v1/nodes")] == ["never"]
    assert stranger.full(finding("a.x", "pass")).status_code == 200


def test_a_key_whose_time_is_over_is_not_approved(collector: Running) -> None:
    agent = collector.agent("n1")
    agent.full(finding("a.x", "fail"))
    second = type(agent)(collector.url, collector.ca, "n1")
    assert second.enrol(collector.join_token()).status_code == 202
    over = t.agent.update().where(t.agent.c.id == second.id).values(expires_at=now_ms() - 1)
    _write(collector, lambda c: c.execute(over))
    answer = collector.post(f"/v1/agents/{second.id}/approve")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "expired")
    assert agent.beat().status_code == 200


def test_a_node_that_is_retired_while_it_is_folded_keeps_no_certificates_end(
    collector: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    told_apart = fold._told_apart

    def retiring(rows: object) -> object:
        out = told_apart(rows)  # type: ignore[arg-type]
        assert collector.post("/v1/nodes/east/n1/retire").status_code == 200
        return out

    with collector.center._folding:
        collector.agent("n1").full(
            finding("cert.expiry.kubelet", "fail", because="the certificate ends on 2027-01-01")
        )
        monkeypatch.setattr(fold, "_told_apart", retiring)
        assert fold.fold_some(collector.center.engine, collector.center.writer, now_ms()) == 1
        monkeypatch.undo()
    with collector.center.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM expiry")).scalar() == 0


def _incoming(agent: Agent, node: int, status: str) -> Incoming:
    """Its next report, as the collector takes it in."""
    raw = json.dumps(agent.body("delta", [finding("a.x", status)])).encode()
    agent.findings["a.x"] = finding("a.x", status)
    agent.seq += 1
    report = decode(raw, ReportIn)
    return Incoming(
        node=node,
        agent=agent.id,
        report=report,
        statuses=statuses(report),
        sent=gzip.compress(raw),
        signature=bytes(64),
        signed_at=now_ms() // 1000,
        verified=True,
        at=None,
        platform=Platform(),
    )


def test_reports_of_one_node_in_one_transaction_have_times_of_their_own(
    collector: Running,
) -> None:
    agent = collector.agent("n1")
    agent.full(finding("a.x", "pass"))
    told = ("fail", "pass", "fail", "unknown")
    jobs = [_incoming(agent, 1, status) for status in told]
    names = collector.center.writer.names
    assert _write(collector, lambda c: ingest(c, names, jobs)) == ["stored"] * 4
    shown: list[str] = []
    cursor: dict[str, str] = {}
    while cursor.get("cursor", "") is not None:
        page = collector.get("/v1/changes", limit=1, **cursor).json()
        shown += [change["new"]["status"] for change in page["items"]]
        cursor = {"cursor": page["next"]}
    assert shown == ["unknown", "fail", "pass", "fail"]


def test_an_agent_that_repeats_what_is_wrong_makes_one_event(collector: Running) -> None:
    agent = collector.agent("n1")
    agent.seq = 100
    agent.full(finding("a.x", "fail"))
    for seq in range(5):
        assert agent.full(finding("a.x", "pass"), seq=seq).status_code == 409
        assert agent.full(finding("a.x", "pass"), node="other").status_code == 403
    kinds = [e["kind"] for e in collector.items("/v1/events", node="n1")]
    assert sorted(k for k in kinds if k.startswith("report.")) == [
        "report.other-node",
        "report.out-of-order",
    ]


# -- and what a SIEM hears of it


class Siem:
    """What the stream of events has told of each finding."""

    def __init__(self, collector: Running, *params: tuple[str, str]) -> None:
        self.client = Client(Where(collector.url, collector.ca, collector.admin))
        self.asked: list[str] = []
        self.place = stream.Place(_moment())
        self.params = params
        self.told: list[tuple[str, int, str]] = []
        self.uids: set[str] = set()

    def hear(self) -> list[tuple[str, int, str]]:
        """The check, activity and status of each event of one turn."""
        self.told.clear()
        self.asked.clear()
        stream.turn(self._ask, self.params, self.place, self._take, lambda: None)
        return self.told

    def _ask(self, path: str, params: stream.Params) -> Iterator[Any]:
        self.asked.append(path)
        return self.client.items(path, params)

    def _take(self, text: str) -> None:
        for event in map(json.loads, text.splitlines()):
            about = event["finding_info"]
            self.uids.add(about["uid"])
            self.told.append((about["title"], event["activity_id"], event["status_code"]))


def test_findings_of_a_retired_node_end_and_begin_anew_when_it_comes_back(
    collector: Running,
) -> None:
    siem = Siem(collector)
    agent = collector.agent("n1")
    agent.full(finding("a.x", "fail"), finding("a.y", "pass"), finding("a.z", "fail"))
    agent.delta(finding("a.z", "pass"))
    assert ("a.x", CREATE, "fail") in siem.hear()
    assert collector.post("/v1/nodes/east/n1/retire").status_code == 200
    assert siem.hear() == [("a.x", CLOSE, "not-applicable")]
    collector.agent("n1").full(finding("a.x", "pass"), finding("a.y", "fail"))
    assert siem.hear() == [("a.y", CREATE, "fail")]
    assert siem.hear() == []
    assert len(siem.uids) == 3


def test_a_node_that_came_back_between_two_turns_has_its_former_findings_ended(
    collector: Running,
) -> None:
    siem = Siem(collector, ("check", "a.*"))
    collector.agent("n1").full(finding("a.x", "fail"), finding("b.x", "fail"))
    assert siem.hear() == [("a.x", CREATE, "fail")]
    collector.post("/v1/nodes/east/n1/retire")
    collector.agent("n1").full(finding("a.x", "unknown"))
    assert siem.hear() == [("a.x", CLOSE, "not-applicable"), ("a.x", CREATE, "unknown")]


def test_a_node_that_came_or_went_is_asked_about_once(collector: Running) -> None:
    siem = Siem(collector)
    for node in ("n1", "n2"):
        collector.agent(node).full(finding("a.x", "fail"), finding("a.y", "pass"))
    collector.agent("n3").full(finding("a.y", "pass"))
    collector.post("/v1/nodes/east/n2/retire")
    assert len(siem.hear()) == 2
    assert siem.asked.count("/v1/findings") == 5
    assert siem.hear() == []
    assert "/v1/findings" not in siem.asked


def test_a_node_is_retired_after_its_last_report(collector: Running) -> None:
    collector.agent("n1").full(finding("a.x", "fail"))
    ahead = now_ms() + 5_000
    _write(collector, lambda c: c.execute(t.posture.update().values(report_at=ahead)))
    collector.post("/v1/nodes/east/n1/retire")
    assert [r["at"] for r in collector.items("/v1/retirements")] == [rfc3339(ahead + 1)]


def test_retirements_are_listed_while_it_is_known_how_the_node_stood(collector: Running) -> None:
    for node in ("n1", "n2", "n1", "n3"):
        collector.agent(node).full(finding("a.x", "fail"))
        collector.post(f"/v1/nodes/east/{node}/retire")
    collector.agent("n4")
    listed = collector.items("/v1/retirements")
    assert [r["node"] for r in listed] == ["n3", "n1", "n2", "n1"]
    page, first = collector.get("/v1/retirements", limit=2).json(), listed[-1]["at"]
    rest = collector.items("/v1/retirements", limit=2, cursor=page["next"])
    assert [*page["items"], *rest] == listed
    assert len(collector.items("/v1/retirements", node="n1", since=first)) == 2
    assert len(collector.items("/v1/retirements", until=first)) == 1
    assert collector.items("/v1/retirements", cluster="west") == []
    limited = collector.access("other", west="yes")
    assert collector.items("/v1/retirements", limited) == []
    _write(collector, lambda c: forget_changes(c, moment_ms(listed[1]["at"], "", 0)))
    assert [r["node"] for r in collector.items("/v1/retirements")] == ["n3"]
