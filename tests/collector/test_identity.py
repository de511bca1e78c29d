"""Who may write whose rows: keys, enrolment, sessions, rotation, revocation, retirement."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, text

from nodeward.collector.clock import now_ms
from nodeward.collector.store.access import EVERYTHING
from nodeward.collector.store.enrol import enrol_by_token
from nodeward.collector.store.lifecycle import approve

SQLITE_ONLY = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
POSTGRESQL_ONLY = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


def _f(check: str = "a.x", status: str = "fail") -> dict[str, Any]:
    return {"check": check, "status": status, "severity": "high", "because": "seen"}


def _status(collector: Any, agent: Any) -> str:
    found = {a["agent"]: a["status"] for a in collector.items("/v1/agents")}
    return str(found[agent.id])


def _until(condition: Callable[[], bool], within_s: float) -> None:
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


# -- join tokens


@SQLITE_ONLY
@pytest.mark.parametrize(
    "how",
    [
        {"cluster": "west"},
        {"node": "other-*"},
        {"ttl_ms": 0},
        {"uses": 0},
    ],
    ids=["another cluster", "another node", "expired", "used up"],
)
def test_a_join_token_is_good_for_what_it_was_made_for(
    collector: Any, new_agent: Any, how: dict[str, Any]
) -> None:
    agent = new_agent(collector.url, collector.ca, "n1")
    answer = agent.enrol(collector.join_token(**how))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "join-token")
    assert agent.full(_f()).status_code == 401


@SQLITE_ONLY
def test_a_token_of_one_use_enrols_one_key_and_that_one_again(
    collector: Any, new_agent: Any
) -> None:
    token = collector.join_token(uses=1)
    first, second = (new_agent(collector.url, collector.ca, n) for n in ("n1", "n2"))
    assert first.enrol(token).status_code == 200
    assert first.enrol(token).json() == first.enrol(token).json()
    assert second.enrol(token).status_code == 403


@SQLITE_ONLY
def test_a_proof_by_another_key_is_refused(collector: Any, new_agent: Any) -> None:
    agent, other = (new_agent(collector.url, collector.ca, "n1") for _ in range(2))
    stolen = agent.enrol("x", public_key=__import__("base64").b64encode(other.public).decode())
    assert (stolen.status_code, stolen.json()["error"]["field"]) == (400, "proof")


def test_a_token_that_names_no_node_leaves_the_key_pending_until_approved(
    collector: Any, new_agent: Any
) -> None:
    agent = new_agent(collector.url, collector.ca, "n1")
    token = collector.join_token(approve=True, node=None)
    assert agent.enrol(token).json() == {"status": "pending", "agent_id": agent.id}
    assert agent.full(_f()).json()["error"]["code"] == "pending"
    assert collector.post(f"/v1/agents/{agent.id}/approve").status_code == 200
    assert agent.enrol(token).status_code == 200
    assert agent.full(_f()).status_code == 200


@SQLITE_ONLY
def test_a_second_key_for_a_live_node_waits_and_then_supersedes(
    collector: Any, new_agent: Any
) -> None:
    first = collector.agent("n1")
    second = new_agent(collector.url, collector.ca, "n1")
    assert second.enrol(collector.join_token()).status_code == 202
    assert first.full(_f()).status_code == 200
    collector.post(f"/v1/agents/{second.id}/approve")
    assert first.full(_f()).json()["error"]["code"] == "superseded"
    assert second.full(_f()).status_code == 200
    assert "agent.second-key" in {e["kind"] for e in collector.items("/v1/events")}


# -- sessions


def test_within_a_session_a_mac_admits_and_the_signature_is_verified_later(collector: Any) -> None:
    agent = collector.agent("n1")
    assert agent.open_session().status_code == 200
    body = gzip.compress(json.dumps(agent.body("full", [_f()])).encode())
    assert agent.send_mac("/v1/reports", body).status_code == 200
    _until(lambda: _verified(collector) == [1], 60)


def _verified(collector: Any) -> list[int]:
    with collector.center.engine.connect() as connection:
        rows = connection.execute(text("SELECT verified FROM report WHERE body IS NULL"))
        return [row[0] for row in rows]


def test_a_report_that_its_key_did_not_sign_quarantines_the_key(collector: Any) -> None:
    agent = collector.agent("n1")
    agent.open_session()
    body = gzip.compress(json.dumps(agent.body("full", [_f()])).encode())
    forged = agent.sign("/v1/reports", body + b"x")["Nodeward-Signature"]
    assert agent.send_mac("/v1/reports", body, **{"Nodeward-Signature": forged}).ok
    _until(lambda: _status(collector, agent) == "quarantined", 60)
    assert collector.items("/v1/findings") == []  # what it said is not shown
    assert agent.send_mac("/v1/heartbeat", b"{}").status_code == 403


def _forge(agent: Any, kind: str, *findings: Any) -> None:
    """A report within the session, under another's signature."""
    body = gzip.compress(json.dumps(agent.body(kind, list(findings))).encode())
    forged = agent.sign("/v1/reports", body + b"x")["Nodeward-Signature"]
    assert agent.send_mac("/v1/reports", body, **{"Nodeward-Signature": forged}).ok


def _shown(collector: Any) -> list[Any]:
    return [found | {"last_seen": None} for found in collector.items("/v1/findings")]


def _failing(collector: Any) -> dict[str, int]:
    return {c["check"]: c["nodes"]["fail"] for c in collector.items("/v1/checks")}


def test_what_a_key_did_not_sign_is_as_if_it_had_not_been_said(collector: Any) -> None:
    agent = collector.agent("n1")
    agent.full(_f("a.x", "fail"), _f("a.y", "pass"))
    collector.fold()
    before = _shown(collector)
    agent.open_session()
    _forge(agent, "delta", _f("a.x", "pass"), _f("a.z", "fail"))
    collector.fold()
    assert _shown(collector) == before
    assert _failing(collector) == {"a.x": 1, "a.y": 0}
    assert collector.items("/v1/changes") == []
    assert collector.post(f"/v1/agents/{agent.id}/release").status_code == 200
    agent.findings |= {"a.x": _f("a.x", "pass"), "a.z": _f("a.z", "fail")}
    _until(lambda: agent.beat().status_code == 409, 60)  # though it names the forged posture


def test_a_first_report_that_its_key_did_not_sign_makes_no_posture(collector: Any) -> None:
    agent = collector.agent("n1")
    agent.open_session()
    _forge(agent, "full", _f("a.x", "fail"))
    collector.fold()
    assert collector.items("/v1/findings") == []
    assert _failing(collector) == {}
    assert collector.items("/v1/nodes")[0]["first_seen"] is None
    assert collector.items("/v1/clusters")[0]["nodes"] == 0


@SQLITE_ONLY
@pytest.mark.parametrize(
    "spoil",
    [
        {"Nodeward-MAC": "AAAA"},
        {"Nodeward-MAC": ""},
        {"Nodeward-Session": "ffffffffffff.aaaa"},
        {"Nodeward-Session": "0.aaaa"},
        {"Nodeward-Session": "x"},
        {"Nodeward-Time": "7"},
        {"Nodeward-Signature": ""},
    ],
)
def test_a_session_does_not_admit_what_it_did_not_mac(
    collector: Any, spoil: dict[str, str]
) -> None:
    agent = collector.agent("n1")
    agent.open_session()
    body = gzip.compress(json.dumps(agent.body("full", [_f()])).encode())
    assert agent.send_mac("/v1/reports", body, **spoil).status_code == 401


@SQLITE_ONLY
def test_a_session_is_of_one_key_only(collector: Any) -> None:
    one, two = collector.agent("n1"), collector.agent("n2")
    one.open_session()
    two.session = one.session
    assert two.send_mac("/v1/heartbeat", b"{}").json()["error"]["code"] == "bad-mac"


@SQLITE_ONLY
@pytest.mark.parametrize("off_s", [-400, 400])
def test_no_session_is_opened_by_a_request_of_another_time(collector: Any, off_s: int) -> None:
    """A node whose clock is wrong still heartbeats and reports: it signs each request."""
    agent = collector.agent("n1")
    sign = agent.sign
    agent.sign = lambda path, body: sign(path, body, int(time.time()) + off_s)
    assert agent.open_session().json()["error"]["code"] == "clock"
    assert agent.full(_f()).status_code == 200
    assert agent.beat().status_code == 200


# -- heartbeats that somebody keeps


def _signs_at(agent: Any, off_s: int) -> None:
    """From now on, by a clock that stands so far off."""
    agent.sign = lambda path, body: type(agent).sign(agent, path, body, int(time.time()) + off_s)


def _again(agent: Any, answer: Any, url: str) -> int:
    """What was sent, sent once more, by anyone."""
    copy = answer.request.copy()
    copy.url = url + "/v1/heartbeat"
    return int(agent.http.send(copy, verify=agent.http.verify, timeout=30).status_code)


def _last_seen(*collectors: Any) -> str:
    for collector in collectors:
        collector.center._flush()
    seen: str = collectors[0].items("/v1/nodes")[0]["last_seen"]
    return seen


@pytest.mark.parametrize("within", ["signatures", "a session"])
def test_a_heartbeat_that_is_played_back_makes_no_dead_node_look_alive(
    start: Callable[[], Any], within: str
) -> None:
    here, there = start(), start()
    agent = here.agent("n1")
    agent.full(_f())
    if within == "a session":
        agent.open_session()
        agent.send = agent.send_mac
    sent = []
    for off_s, replica in ((20, there), (40, here), (60, here)):
        _signs_at(agent, off_s)
        agent.url = replica.url
        sent.append(agent.beat())
        assert sent[-1].status_code == 200
    seen = _last_seen(there, here)
    replayed = [[_again(agent, old, r.url) for r in (here, there)] for old in sent]
    # The second replica has not heard of the last two: it tells nobody that they are old.
    assert replayed == [[409, 200], [409, 200], [200, 200]]
    assert _last_seen(there, here) == seen
    _signs_at(agent, 80)
    assert agent.beat().status_code == 200
    assert _last_seen(here) > seen


def test_a_node_whose_clock_was_set_back_is_heard_again_after_a_full_report(
    start: Callable[[], Any],
) -> None:
    here, there = start(), start()
    agent = here.agent("n1")
    agent.full(_f())
    for off_s in (3_600, 7_200):
        for replica in (there, here):
            _signs_at(agent, off_s)
            agent.url = replica.url
            assert agent.beat().status_code == 200
    seen = _last_seen(there, here)
    for off_s, replica in ((0, here), (1, there), (2, here)):
        _signs_at(agent, off_s)
        agent.url = replica.url
        if off_s == 0:
            assert agent.beat().json()["error"]["code"] == "send-full"
            assert _last_seen(there, here) == seen
            assert agent.full(_f()).status_code == 200
        assert agent.beat().status_code == 200
        assert _last_seen(there, here) > seen


# -- rotation, revocation


def test_a_rotated_key_goes_on_where_the_old_one_ended(collector: Any) -> None:
    agent = collector.agent("n1")
    agent.full(_f("a.x", "fail"))
    old = agent.key
    assert agent.rotate().status_code == 200
    assert agent.delta(_f("a.x", "pass")).status_code == 200
    agent.key = old
    assert agent.delta(_f("a.x", "fail")).json()["error"]["code"] == "superseded"


def test_revocation_reaches_every_replica_within_five_seconds(
    start: Callable[[], Any], settings: Any
) -> None:
    here, there = start(), start()
    agent = here.agent("n1")
    agent.full(_f())
    agent.url = there.url
    assert agent.beat().status_code == 200
    agent.open_session()
    assert here.post(f"/v1/agents/{agent.id}/revoke").status_code == 200
    _until(lambda: agent.beat().status_code == 403, 5)
    assert agent.send_mac("/v1/heartbeat", b"{}").status_code == 403


def test_a_replica_whose_clock_is_ahead_hides_no_revocation(start: Callable[[], Any]) -> None:
    here, there = start(), start()
    agents = [here.agent("n1"), here.agent("n2")]
    for agent in agents:
        agent.full(_f())
        agent.url = there.url
        assert agent.beat().status_code == 200
    ahead = text("UPDATE agent SET changed_at = changed_at + 600000 WHERE id = :id")
    here.center.writer.act_now(lambda c: c.execute(ahead, {"id": agents[1].id}))
    there.center.keys.poll()
    assert agents[0].beat().status_code == 200
    assert here.post(f"/v1/agents/{agents[0].id}/revoke").status_code == 200
    _until(lambda: agents[0].beat().status_code == 403, 60)  # else in ten minutes


@pytest.mark.root
@POSTGRESQL_ONLY
def test_keys_that_enrol_for_one_node_at_once_do_not_both_live(collector: Any) -> None:
    revoked = collector.agent("n1")
    collector.post(f"/v1/agents/{revoked.id}/revoke")
    tokens = [collector.join_token() for _ in range(2)]

    def enrol(connection: Connection, number: int) -> str:
        made = enrol_by_token(
            connection,
            agent=f"key{number}",
            public_key=bytes(32),
            node="n1",
            cluster="east",
            token=tokens[number],
            now=now_ms(),
        )
        return str(getattr(made, "status", made))

    assert _at_once(collector, enrol) == ["active", "pending"]


@pytest.mark.root
@POSTGRESQL_ONLY
def test_keys_that_are_approved_for_one_node_at_once_do_not_both_live(
    collector: Any, new_agent: Any
) -> None:
    agents = [new_agent(collector.url, collector.ca, "n1") for _ in range(2)]
    for agent in agents:
        assert agent.enrol(collector.join_token(approve=True)).status_code == 202

    def approved(connection: Connection, number: int) -> None:
        approve(connection, agents[number].id, EVERYTHING)

    _at_once(collector, approved)
    assert [_status(collector, agent) for agent in agents] == ["superseded", "active"]


def _at_once(collector: Any, act: Callable[[Connection, int], Any]) -> list[Any]:
    """Done by two transactions, the second of which begins before the first has ended."""
    done: dict[int, Any] = {}

    def second() -> None:
        with collector.center.engine.begin() as connection:
            done[1] = act(connection, 1)

    other = threading.Thread(target=second)
    with collector.center.engine.begin() as connection:
        done[0] = act(connection, 0)
        other.start()
        other.join(1)  # it waits for us, or has ended too early
    other.join(30)
    return [done[0], done[1]]


@SQLITE_ONLY
def test_a_quarantined_key_speaks_again_once_released(collector: Any) -> None:
    agent = collector.agent("n1")
    agent.full(_f("a.x", "fail"), seq=1)
    agent.full(_f("a.x", "pass"), seq=1)
    assert _status(collector, agent) == "quarantined"
    assert collector.post(f"/v1/agents/{agent.id}/release").status_code == 200
    assert agent.full(_f("a.x", "pass"), seq=2).status_code == 200


# -- nodes that are gone


def test_a_retired_node_leaves_the_counts_and_its_key_ends(collector: Any) -> None:
    agent, other = collector.agent("n1"), collector.agent("n2")
    agent.full(_f())
    other.full(_f())
    assert collector.post("/v1/nodes/east/n1/retire").status_code == 200
    assert [n["node"] for n in collector.items("/v1/nodes")] == ["n2"]
    assert [n["node"] for n in collector.items("/v1/nodes", seen="retired")] == ["n1"]
    assert [n["node"] for n in collector.items("/v1/findings")] == ["n2"]
    assert collector.items("/v1/checks")[0]["nodes"]["fail"] == 1
    assert agent.full(_f()).json()["error"]["code"] == "retired"


def test_a_node_that_is_gone_is_not_counted_as_stale(collector: Any) -> None:
    for name in ("n1", "n2"):
        collector.agent(name).full(_f())
    collector.post("/v1/nodes/east/n1/retire")
    lines = collector.get("/metrics").text.splitlines()
    counted = {line for line in lines if line.startswith("nodeward_fleet_nodes{")}
    assert counted == {
        'nodeward_fleet_nodes{cluster="east",seen="current"} 1.0',
        'nodeward_fleet_nodes{cluster="east",seen="stale"} 0.0',
    }


def test_a_name_used_again_begins_a_new_life(collector: Any) -> None:
    collector.agent("n1").full(_f("a.x", "fail"))
    collector.post("/v1/nodes/east/n1/retire")
    again = collector.agent("n1")
    assert collector.items("/v1/findings") == []
    assert again.full(_f("a.y", "pass")).status_code == 200
    assert [f["check"] for f in collector.items("/v1/findings")] == ["a.y"]
    assert collector.items("/v1/changes") == []
    assert {c["check"]: c["nodes"]["pass"] for c in collector.items("/v1/checks")} == {"a.y": 1}


def test_a_new_life_is_asked_for_its_posture_by_every_replica(start: Callable[[], Any]) -> None:
    here, there = start(), start()
    agent = here.agent("n1")
    agent.full(_f())
    agent.url = there.url
    assert agent.beat().status_code == 200
    here.post("/v1/nodes/east/n1/retire")
    again = here.agent("n1")
    again.findings = agent.findings
    for url in (here.url, there.url):
        again.url = url
        _until(lambda: again.beat().status_code == 409, 60)


def test_of_a_node_that_is_gone_for_long_its_posture_is_kept_without_words(
    collector: Any,
) -> None:
    for name in ("n1", "n2"):
        collector.agent(name).full(_f())
    collector.fold()
    collector.post("/v1/nodes/east/n1/retire")
    long_ago = text("UPDATE node SET retired_at = 1 WHERE retired_at IS NOT NULL")
    collector.center.writer.act_now(lambda c: c.execute(long_ago).rowcount)
    collector.center._tidy()
    with collector.center.engine.connect() as connection:
        for table in ("evidence", "report"):
            rows = connection.execute(text(f"SELECT node FROM {table}"))
            assert [row[0] for row in rows] == [2], table
    finding = collector.get("/v1/nodes/east/n1").json()["findings"][0]
    assert (finding["status"], finding["because"]) == ("fail", "")


def test_a_node_that_was_taken_for_gone_comes_back_with_its_key(collector: Any) -> None:
    agent = collector.agent("n1")
    agent.full(_f())
    collector.post("/v1/nodes/east/n1/retire")
    assert agent.enrol("a guess").status_code == 403
    assert agent.enrol(collector.join_token()).status_code == 200
    assert agent.full(_f()).status_code == 200
    assert [n["node"] for n in collector.items("/v1/nodes")] == ["n1"]


# -- look now


def test_a_node_is_told_to_look_until_it_says_that_it_has(collector: Any, start: Any) -> None:
    agent, other = collector.agent("n1"), collector.agent("n2")
    agent.full(_f())
    other.full(_f())
    collector.post("/v1/look", {"cluster": "east", "node": "n1"})
    _until(lambda: agent.beat(looked=0).json()["look"], 10)
    told = agent.beat(looked=0).json()  # the answer before was lost on its way
    assert agent.beat(looked=7).json() == told
    assert other.beat(looked=0).json() == {"look": False}
    replica = start()
    replica.center._looks()
    away = agent.url
    agent.url = replica.url
    assert agent.beat(looked=0).json() == told
    agent.url = away
    assert agent.beat(looked=told["request"]).json() == {"look": False}
    collector.center._looks()
    with collector.center.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM look")).scalar_one() == 0
    replica.center._looks()
    agent.url = replica.url
    assert agent.beat(looked=0).json() == {"look": False}


def test_who_asks_for_a_look_again_wants_another(collector: Any) -> None:
    agent = collector.agent("n1")
    agent.full(_f())

    def asked() -> int:
        collector.post("/v1/look", {"cluster": "east", "node": "n1"})
        collector.center._looks()
        request: int = agent.beat(looked=0).json()["request"]
        return request

    first = asked()
    _until(lambda: asked() != first, 10)  # another millisecond
    again = agent.beat(looked=first).json()
    assert again["look"]
    assert again["request"] > first


def test_an_agent_that_does_not_say_that_it_looked_is_told_once(collector: Any) -> None:
    agent, other = collector.agent("n1"), collector.agent("n2")
    agent.full(_f())
    other.full(_f())
    assert collector.post("/v1/look", {"cluster": "east", "node": "n1"}).json() == {"nodes": 1}
    _until(lambda: agent.beat().json()["look"], 10)
    assert agent.beat().json() == {"look": False}
    assert other.beat().json() == {"look": False}
