"""Reports: durable before the answer, once each, under the node of the key."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from time import sleep
from typing import Any

import pytest
from sqlalchemy import text

from nodeward.collector import wire
from nodeward.collector.posture import State, pack
from nodeward.collector.store.evidence import folded
from nodeward.model import Severity, Status

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def f() -> Make:
    def make(check: str, status: str, severity: str = "high", because: str = "seen") -> Any:
        return {"check": check, "status": status, "severity": severity, "because": because}

    return make


SQLITE_ONLY = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def _rows(collector: Any, sql: str) -> list[Any]:
    with collector.center.engine.connect() as connection:
        return list(connection.execute(text(sql)))


def test_a_full_report_is_the_nodes_posture(collector: Any, f: Make) -> None:
    agent = collector.agent("n1")
    assert agent.full(f("a.x", "fail", "high", "it is open"), f("a.y", "pass")).status_code == 200
    rows = collector.items("/v1/findings")
    assert [(r["check"], r["status"], r["because"]) for r in rows] == [
        ("a.x", "fail", "it is open"),
        ("a.y", "pass", "seen"),
    ]


def test_the_same_report_again_gives_the_same_answer_and_no_row(collector: Any, f: Make) -> None:
    agent = collector.agent("n1")
    body = gzip.compress(json.dumps(agent.body("full", [f("a.x", "fail")])).encode())
    first = agent.send("/v1/reports", body)
    again = agent.send("/v1/reports", body)
    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert _rows(collector, "SELECT count(*) FROM report")[0][0] == 1


@pytest.mark.parametrize("folded", [False, True])
def test_compressing_it_anew_does_not_make_it_another_report(
    collector: Any, f: Make, folded: bool
) -> None:
    agent = collector.agent("n1")
    body = agent.body("full", [f("a.x", "fail")])
    raw = json.dumps(body).encode()
    with collector.center._folding:  # the background work waits
        assert agent.send("/v1/reports", gzip.compress(raw, 1)).status_code == 200
        if not folded:
            assert agent.send("/v1/reports", gzip.compress(raw, 9)).status_code == 200
    collector.fold()
    assert agent.send("/v1/reports", gzip.compress(raw, 9)).status_code == 200
    other = json.dumps(body | {"root": "/other"}).encode()  # the same posture in other words
    assert agent.send("/v1/reports", gzip.compress(other)).json()["error"]["code"] == "conflict"


def test_a_delta_changes_what_it_names_and_leaves_the_rest(collector: Any, f: Make) -> None:
    agent = collector.agent("n1")
    agent.full(f("a.x", "fail"), f("a.y", "pass"))
    assert agent.delta(f("a.x", "pass", "high", "mended")).status_code == 200
    got = {r["check"]: (r["status"], r["because"]) for r in collector.items("/v1/findings")}
    assert got == {"a.x": ("pass", "mended"), "a.y": ("pass", "seen")}


def test_a_delta_from_another_posture_is_asked_for_in_full(collector: Any, f: Make) -> None:
    agent = collector.agent("n1")
    agent.full(f("a.x", "fail"))
    answer = agent.delta(f("a.x", "pass"), base="sha256:" + "0" * 64)
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "send-full"
    assert agent.full(f("a.x", "pass")).status_code == 200


def test_the_first_posture_is_no_change_and_later_ones_are(collector: Any, f: Make) -> None:
    agent = collector.agent("n1")
    agent.full(f("a.x", "fail"))
    assert collector.items("/v1/changes") == []
    agent.full(f("a.x", "pass"), f("a.new", "unknown"))
    got = {(c["check"], c["old"] and c["old"]["status"], c["new"]["status"]) for c in
           collector.items("/v1/changes")}  # fmt: skip
    assert got == {("a.x", "fail", "pass"), ("a.new", None, "unknown")}


def test_a_foreign_node_in_the_body_is_refused_and_both_are_told(collector: Any, f: Make) -> None:
    agent, _other = collector.agent("n1"), collector.agent("n2")
    answer = agent.full(f("a.x", "pass"), node="n2")
    assert answer.status_code == 403
    assert answer.json()["error"]["field"] == "node"
    events = _rows(
        collector,
        "SELECT node.name FROM security_event JOIN node ON node.id = security_event.node"
        " WHERE kind = 'report.other-node' ORDER BY 1",
    )
    assert [e[0] for e in events] == ["n1", "n2"]
    assert collector.items("/v1/findings") == []


@SQLITE_ONLY
def test_a_lower_seq_is_refused(collector: Any, f: Make) -> None:
    agent = collector.agent("n1")
    agent.full(f("a.x", "fail"), seq=7)
    answer = agent.full(f("a.x", "pass"), seq=6)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "old-seq")


def test_another_report_under_a_seq_that_was_used_quarantines_the_key(
    collector: Any, f: Make
) -> None:
    agent = collector.agent("n1")
    agent.full(f("a.x", "fail"), seq=7)
    assert agent.full(f("a.x", "pass"), seq=7).json()["error"]["code"] == "conflict"
    assert agent.full(f("a.x", "pass"), seq=8).json()["error"]["code"] == "quarantined"
    assert collector.items("/v1/findings")[0]["status"] == "fail"


@SQLITE_ONLY
def test_a_boot_that_had_ended_and_speaks_again_is_a_clone(collector: Any, f: Make) -> None:
    agent = collector.agent("n1")
    assert agent.full(f("a.x", "fail"), boot="one", seq=1).status_code == 200
    assert agent.full(f("a.x", "fail"), boot="two", seq=1).status_code == 200
    answer = agent.full(f("a.x", "pass"), boot="one", seq=2)
    assert answer.json()["error"]["code"] == "conflict"


def test_counters_say_what_the_postures_say(collector: Any, f: Make) -> None:
    for number in range(3):
        agent = collector.agent(f"n{number}")
        agent.full(f("a.x", "fail"), f("a.y", "pass"))
        agent.delta(f("a.y", "fail" if number else "unknown"))
    got = {c["check"]: c["nodes"] for c in collector.items("/v1/checks")}
    _totals_are_the_sums(collector)
    collector.post("/v1/nodes/east/n0/retire")
    _totals_are_the_sums(collector)
    none = {"pass": 0, "fail": 0, "not-applicable": 0, "unknown": 0, "error": 0}
    assert got == {"a.x": none | {"fail": 3}, "a.y": none | {"fail": 2, "unknown": 1}}


def _totals_are_the_sums(collector: Any) -> None:
    rows = _rows(collector, "SELECT rule, cluster, value, nodes FROM total WHERE nodes <> 0")
    sums = _rows(
        collector,
        "SELECT 0, cluster, value, sum(nodes) FROM counter GROUP BY cluster, value"
        " UNION ALL SELECT rule, 0, value, sum(nodes) FROM counter GROUP BY rule, value"
        " UNION ALL SELECT 0, p.cluster, 0, count(*) FROM posture p JOIN node n ON n.id = p.node"
        ' WHERE p."set" IS NOT NULL AND n.retired_at IS NULL GROUP BY p.cluster',
    )
    assert sorted(map(tuple, rows)) == sorted(tuple(r) for r in sums if r[3])


def test_folding_changes_nothing_that_is_shown(collector: Any, f: Make) -> None:
    agent = collector.agent("n1")
    agent.full(f("a.x", "fail"), f("a.y", "pass"))
    agent.delta(f("a.x", "pass", "high", "mended"))
    before = collector.get("/v1/nodes/east/n1").json()["findings"]
    collector.center._fold()
    assert _rows(collector, "SELECT count(*) FROM report WHERE body IS NOT NULL")[0][0] == 0
    assert collector.get("/v1/nodes/east/n1").json()["findings"] == before


def test_a_report_that_cannot_be_folded_stops_no_other(
    collector: Any, f: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = collector.agent("n1"), collector.agent("n2")

    def fails(said: Any, body: bytes) -> Any:
        if b'"node":"n1"' in gzip.decompress(body).replace(b" ", b""):
            raise ValueError("cannot be")
        return folded(said, body)

    monkeypatch.setattr("nodeward.collector.store.fold.folded", fails)
    first.full(f("a.x", "fail"))
    second.full(f("a.x", "fail", "high", "open"))
    collector.center._fold()
    rows = _rows(collector, "SELECT verified, body IS NULL FROM report ORDER BY node")
    assert [(r[0], bool(r[1])) for r in rows] == [(2, False), (1, True)]
    got = {r["node"]: r["because"] for r in collector.items("/v1/findings")}
    assert got == {"n1": "", "n2": "open"}
    assert "report.unreadable" in {e["kind"] for e in collector.items("/v1/events")}


def test_an_agent_that_invents_checks_is_refused_and_stops_no_other(
    collector: Any, f: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodeward.collector.store.names.MOST_CHECKS", 3)
    honest, other = collector.agent("n1"), collector.agent("n2")
    writer, begun, gate = collector.center.writer, Event(), Event()

    def hold(_: Any) -> None:  # until both wait for one transaction
        begun.set()
        gate.wait(60)

    writer.submit(hold)
    assert begun.wait(60)
    with ThreadPoolExecutor(2) as pool:
        invented = pool.submit(other.full, *(f(f"z.{i}", "pass") for i in range(4)))
        kept = pool.submit(honest.full, f("a.x", "fail"))
        while writer.waiting < 2 and not (invented.done() or kept.done()):
            sleep(0.01)
        gate.set()
        assert kept.result().status_code == 200
        assert invented.result().status_code == 400
    assert "distinct checks" in invented.result().json()["error"]["message"]
    assert [(r["node"], r["check"]) for r in collector.items("/v1/findings")] == [("n1", "a.x")]
    assert other.full(f("a.x", "pass"), f("z.0", "pass")).status_code == 200


def test_what_was_acknowledged_is_there_after_a_restart(start: Callable[[], Any], f: Make) -> None:
    first = start()
    agent = first.agent("n1")
    agent.full(f("a.x", "fail"))
    first.stop()
    second = start()
    assert [r["check"] for r in second.items("/v1/findings")] == ["a.x"]


def test_two_agents_of_one_key_are_told_apart_by_their_heartbeats(
    start: Callable[..., Any], f: Make
) -> None:
    """The second has the same posture, so neither would ever report."""
    here, there = start(), start()
    agent = here.agent("n1")
    agent.full(f("a.x", "fail"))
    first = agent.boot
    assert agent.beat().status_code == 200
    for url in (here.url, there.url):
        agent.url = url
        assert agent.beat(boot="another").json()["error"]["code"] == "send-full"
    agent.full(f("a.x", "fail"), boot="another")
    agent.url = here.url
    here.center._tidy()
    assert agent.beat().json()["error"]["code"] == "send-full"
    assert agent.full(f("a.x", "fail"), boot=first).json()["error"]["code"] == "conflict"


def test_what_an_act_that_failed_has_stored_is_not_remembered(collector: Any, f: Make) -> None:
    """A set of statuses gets its number in an act that is undone; the number is given out again."""
    center = collector.center
    agent = collector.agent("n1")
    agent.full(f("a.x", "pass"), f("a.y", "pass"))
    names = center.writer.names
    rules = [names.rules[check] for check in ("a.x", "a.y")]
    fails = State.of({rule: pack(Status.FAIL, Severity.HIGH) for rule in rules})

    def act(connection: Any) -> None:
        names.set_ids(connection, [fails])
        raise LookupError("undone")

    with pytest.raises(LookupError):
        center.writer.act_now(act)
    agent.delta(f("a.x", "unknown"))
    agent.delta(f("a.x", "fail"), f("a.y", "fail"))
    assert {r["status"] for r in collector.items("/v1/findings")} == {"fail"}


def test_a_heartbeat_with_the_posture_we_hold_is_well(collector: Any, f: Make) -> None:
    agent = collector.agent("n1")
    agent.full(f("a.x", "fail"))
    assert agent.beat().json() == {"look": False}
    answer = agent.beat(digest="sha256:" + "0" * 64)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "send-full")


@SQLITE_ONLY
@pytest.mark.parametrize(
    ("over", "field"),
    [
        ({"schema": "nodeward.scan/v1"}, "schema"),
        ({"seq": -1}, "seq"),
        ({"seq": "1"}, "seq"),
        ({"boot": ""}, "boot"),
        ({"kind": "half"}, "kind"),
        ({"digest": "md5:0"}, "digest"),
        ({"kind": "delta"}, "base"),
        ({"findings": {}}, "findings"),
        ({"findings": [{"check": "a.x"}]}, "findings[0].status"),
        ({"findings": [{"check": "A X", "status": "pass", "severity": "low", "because": "x"}]},
         "findings[0].check"),
        ({"findings": [{"check": "a", "status": "pass", "severity": "low", "because": "x",
                        "remedy": 5}]}, "findings[0].remedy"),
        ({"findings": [{"check": "a", "status": "pass", "severity": "low", "because": "x",
                        "mappings": {"cis": 5}}]}, "findings[0].mappings[...]"),
        ({"findings": [{"check": "a", "status": "ok", "severity": "low", "because": "x"}]},
         "findings[0].status"),
        ({"findings": [{"check": "a", "status": "pass", "severity": "low", "because": "x"}] * 2},
         "findings"),
    ],
)  # fmt: skip
def test_a_malformed_report_is_a_400_that_names_the_member(
    collector: Any, over: dict[str, Any], field: str
) -> None:
    answer = collector.agent("n1").full(**over)
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, field)


@SQLITE_ONLY
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{}", 400),
        (gzip.compress(b"[1,"), 400),
        (gzip.compress(b"\xff\xfe"), 400),
        (gzip.compress(b"{}")[:-4], 400),
        (gzip.compress(b"{}") + b"more", 400),
        (gzip.compress(b"[" * 100_000), 400),
        (gzip.compress(b" " * (wire.MOST_UNPACKED + 1)), 413),
        (os.urandom(wire.MOST_SENT + 1), 413),
    ],
    ids=["plain", "cut", "no-utf8", "cut-gzip", "trailing", "deep", "bomb", "large"],
)
def test_a_hostile_body_is_refused(collector: Any, body: bytes, status: int) -> None:
    agent = collector.agent("n1")
    answer = agent.send("/v1/reports", body)
    assert answer.status_code == status, answer.text
    assert agent.beat().status_code == 409  # and the collector lives


@SQLITE_ONLY
@pytest.mark.parametrize(
    "spoil",
    [
        {"Nodeward-Agent": "a" * 26},
        {"Nodeward-Time": "1"},
        {"Nodeward-Time": "now"},
        {"Nodeward-Signature": "AAAA"},
        {"Nodeward-Signature": "A" * 86 + "=="},
        {"Nodeward-Signature": "not base64"},
        {"Nodeward-Agent": ""},
    ],
)
def test_a_request_that_is_not_signed_well_is_nobodys(
    collector: Any, f: Make, spoil: dict[str, str]
) -> None:
    agent = collector.agent("n1")
    body = gzip.compress(json.dumps(agent.body("full", [f("a.x", "fail")])).encode())
    assert agent.send("/v1/reports", body, **spoil).status_code == 401
    assert collector.items("/v1/findings") == []
