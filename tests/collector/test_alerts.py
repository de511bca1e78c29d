"""Alerts: found in the transaction that looks, told once, tried again, kept over a restart."""

from __future__ import annotations

import hmac
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from nodeward.collector.clock import now_ms
from nodeward.collector.db import tables as t
from nodeward.collector.posture import pack
from nodeward.collector.store import alerts
from nodeward.collector.store.access import Role
from nodeward.model import Severity, Status

SQLITE_ONLY = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


class Listener:
    """An HTTP server that keeps what it is told, and answers as it is set to."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, str], Any]] = []
        self.status = 200
        self.refuses = b"nothing"
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                if outer.refuses not in raw:
                    outer.told.append((self.path, dict(self.headers), raw))
                self.send_response(422 if outer.refuses in raw else outer.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()


@pytest.fixture(autouse=True)
def turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the tests take turns: the collector's own would be at it before them or meanwhile."""
    monkeypatch.setattr("nodeward.collector.center.ALERT_S", 3_600.0)


@pytest.fixture
def listener() -> Iterator[Listener]:
    listening = Listener()
    yield listening
    listening.server.shutdown()
    listening.server.server_close()
    listening.thread.join()


def _f(check: str = "a.x", status: str = "fail", severity: str = "high") -> dict[str, Any]:
    return {"check": check, "status": status, "severity": severity, "because": "seen"}


def _rule(collector: Any, listener: Listener, **over: Any) -> str:
    body = {"name": "r", "kind": "change", "target": "webhook", "url": listener.url}
    answer = collector.post("/v1/alerts", body | over)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["secret"])


def _all_told(listener: Listener, many: int) -> None:
    """The collector's own round may be at it, too."""
    until = time.monotonic() + 60
    while len(listener.told) < many:
        assert time.monotonic() < until, listener.told
        time.sleep(0.02)


def _due_now(collector: Any) -> None:
    later = t.alert_out.update().values(next_at=now_ms() - 1)
    collector.center.writer.act_now(lambda c: c.execute(later))


def test_a_new_failure_is_told_once_and_signed(collector: Any, listener: Listener) -> None:
    secret = _rule(collector, listener, check="a.*")
    agent = collector.agent("n1")
    agent.full(_f("a.x", "pass"), _f("b.x", "pass"), _f("a.low", "pass"))
    agent.delta(_f("a.x", "fail"), _f("b.x", "fail"), _f("a.low", "fail", "low"))
    for _ in range(3):
        collector.center._alert()
    assert len(listener.told) == 1
    _, headers, raw = listener.told[0]
    want = hmac.new(secret.encode(), raw, "sha256").hexdigest()
    assert headers["Nodeward-Signature"] == f"sha256={want}"
    assert json.loads(raw)["labels"] == {
        "cluster": "east", "node": "n1", "check": "a.x", "severity": "high",
    }  # fmt: skip


def test_alertmanager_is_told_in_its_own_form(collector: Any, listener: Listener) -> None:
    _rule(collector, listener, target="alertmanager")
    agent = collector.agent("n1")
    agent.full(_f("a.x", "pass"))
    agent.delta(_f("a.x", "fail"))
    collector.center._alert()
    path, _, raw = listener.told[0]
    assert path == "/api/v2/alerts"
    assert json.loads(raw)[0]["labels"]["alertname"] == "r"


@SQLITE_ONLY
def test_whom_apprise_reaches_is_told(collector: Any, listener: Listener) -> None:
    """Its json:// posts to any web server, by the same way as to chat, mail and pagers."""
    _rule(collector, listener, target="apprise", url=listener.url.replace("http:", "json:"))
    agent = collector.agent("n1")
    agent.full(_f("a.x", "pass"))
    agent.delta(_f("a.x", "fail"))
    listener.status = 500
    collector.center._alert()
    listener.status = 200
    _due_now(collector)
    collector.center._alert()
    collector.center._alert()
    assert len(listener.told) == 2
    told = json.loads(listener.told[1][2])
    assert (told["title"], told["type"]) == ("nodeward: r", "failure")
    assert "a.x fails on east/n1" in told["message"]
    assert "node=n1" in told["message"]


@SQLITE_ONLY
def test_an_apprise_url_that_no_service_has_is_refused(collector: Any, listener: Listener) -> None:
    body = {"name": "r", "kind": "change", "target": "apprise", "url": "nonsense://x"}
    assert collector.post("/v1/alerts", body).json()["error"]["field"] == "url"


@SQLITE_ONLY
def test_a_target_with_a_certificate_of_ones_own_authority_is_told(
    collector: Any, listener: Listener
) -> None:
    state = Path(collector.settings.state)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(state / "tls.crt", state / "tls.key")
    listener.server.socket = context.wrap_socket(listener.server.socket, server_side=True)
    _rule(collector, listener, url=listener.url.replace("http:", "https:"))
    agent = collector.agent("n1")
    agent.full(_f("a.x", "pass"))
    agent.delta(_f("a.x", "fail"))
    collector.center._alert()
    assert listener.told == []
    trusting = replace(collector.settings, alerts_ca=collector.ca)
    collector.center.apply(trusting)
    _due_now(collector)
    collector.center._alert()
    assert len(listener.told) == 1


def test_what_could_not_be_told_is_tried_again_after_a_restart(
    start: Callable[[], Any], listener: Listener
) -> None:
    first = start()
    _rule(first, listener)
    agent = first.agent("n1")
    agent.full(_f("a.x", "pass"))
    agent.delta(_f("a.x", "fail"))
    listener.status = 500
    first.center._alert()
    assert len(listener.told) >= 1
    first.stop()
    before = len(listener.told)
    listener.status = 200
    second = start()
    _due_now(second)
    second.center._alert()
    second.center._alert()
    assert len(listener.told) == before + 1


@SQLITE_ONLY
def test_a_silent_node_and_too_much_unknown_are_told(collector: Any, listener: Listener) -> None:
    _rule(collector, listener, name="silence", kind="silence")
    _rule(collector, listener, name="dark", kind="unknown", more_than=1)
    _rule(collector, listener, name="bad", kind="threshold", more_than=1)
    agent = collector.agent("n1")
    agent.full(_f("a.x", "unknown"), _f("a.y", "error"), _f("a.z", "fail"))
    long_ago = t.posture.update().values(seen_at=now_ms() - 10**7)
    collector.center.writer.act_now(lambda c: c.execute(long_ago))
    collector.center._alert()
    assert [json.loads(raw)["rule"] for _, _, raw in listener.told] == ["dark"]  # we just came
    collector.center.began -= 10**4
    for _ in range(2):
        collector.center._alert()
    assert sorted(json.loads(raw)["rule"] for _, _, raw in listener.told) == ["dark", "silence"]


@SQLITE_ONLY
@pytest.mark.parametrize(
    "over", [{"kind": "x"}, {"target": "x"}, {"url": "file:///etc/passwd"}, {"severity": "x"}]
)
def test_a_rule_that_makes_no_sense_is_refused(
    collector: Any, listener: Listener, over: dict[str, Any]
) -> None:
    body = {"name": "r", "kind": "change", "target": "webhook", "url": listener.url}
    assert collector.post("/v1/alerts", body | over).status_code == 400


FAIL = pack(Status.FAIL, Severity.HIGH)


def _many(collector: Any, many: int, **posture: Any) -> list[int]:
    """Nodes without agents, as an outage or a policy strikes them."""
    c = collector.center.writer.act_now
    c(lambda c: c.execute(t.node.insert(), [
        {"cluster": 1, "name": f"m{i}", "created_at": now_ms()} for i in range(many)
    ]))  # fmt: skip
    with collector.center.engine.connect() as connection:
        named = select(t.node.c.id).where(t.node.c.name.like("m%"))
        ids = list(connection.execute(named).scalars())
    rows = [{"node": i, "cluster": 1, **posture} for i in ids]
    c(lambda c: c.execute(t.posture.insert(), rows))
    return ids


def _queued(collector: Any) -> int:
    with collector.center.engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(t.alert_out)).scalar_one())


def _look(collector: Any) -> None:
    """As the collector does it, but that nothing is sent."""
    center = collector.center
    alerts.evaluate(center.engine, center.writer, 900_000, now_ms(), listening_ms=10**9)


def test_of_many_failures_at_once_each_is_queued_once(
    collector: Any, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "MOST_AT_ONCE", 100)
    _rule(collector, listener)
    collector.agent("n1").full(_f("a.x", "pass"))
    nodes, at = _many(collector, 1_050), now_ms()
    rows = [{"at": at, "node": node, "rule": 1, "old": 0, "new": FAIL} for node in nodes]
    collector.center.writer.act_now(lambda c: c.execute(t.change.insert(), rows))
    for _ in range(2):
        _look(collector)
    assert _queued(collector) == 1_050


@pytest.mark.parametrize("off_ms", [-3_600_000, 3_600_000])
def test_the_clocks_of_the_collectors_do_not_matter(
    start: Callable[[], Any], listener: Listener, monkeypatch: pytest.MonkeyPatch, off_ms: int
) -> None:
    """Those of who writes a change, of who makes the rule and of who looks: two hours apart."""
    monkeypatch.setattr("nodeward.collector.clock.now_ms", lambda: now_ms() + off_ms)
    here = start()
    monkeypatch.setattr("nodeward.collector.clock.now_ms", lambda: now_ms() - off_ms)
    there = start()
    _rule(here, listener)
    _rule(there, listener, kind="silence", name="silent")
    agent = here.agent("n1")
    agent.full(_f("a.x", "pass"), _f("a.y", "pass"))
    there.center._alert()
    agent.delta(_f("a.x", "fail"))
    there.center.began -= 86_400  # it has been there for long
    there.center._alert()
    here.center._alert()
    agent.delta(_f("a.y", "fail"))
    there.center._alert()
    _all_told(listener, 2)
    told = [json.loads(raw)["labels"].get("check", "silent") for _, _, raw in listener.told]
    assert sorted(told) == ["a.x", "a.y"]
    assert [n["seen"] for n in there.items("/v1/nodes")] == ["current"]


def test_a_database_whose_clock_is_set_back_loses_no_alert(
    collector: Any, listener: Listener
) -> None:
    _rule(collector, listener)
    agent = collector.agent("n1")
    agent.full(_f("a.x", "pass"))
    ahead = t.alert_rule.update().values(upto=now_ms() + 3_600_000)
    collector.center.writer.act_now(lambda c: c.execute(ahead))
    agent.delta(_f("a.x", "fail"))
    collector.center._alert()
    _all_told(listener, 1)


def test_what_a_target_refuses_keeps_no_other_alert(collector: Any, listener: Listener) -> None:
    _rule(collector, listener)
    agents = [collector.agent(f"n{number}") for number in range(4)]
    for agent in agents:
        agent.full(_f("a.x", "pass"))
    for agent in agents:
        agent.delta(_f("a.x", "fail"))
    listener.refuses = b'"n2"'
    for _ in range(3):
        _due_now(collector)
        collector.center._alert()
    told = [json.loads(raw)["labels"]["node"] for _, _, raw in listener.told]
    assert sorted(told) == ["n0", "n1", "n3"]
    listener.refuses = b"nothing"
    _due_now(collector)
    collector.center._alert()
    assert json.loads(listener.told[-1][2])["labels"]["node"] == "n2"


@SQLITE_ONLY
def test_a_node_is_silent_after_days_where_that_is_the_setting(
    start: Callable[..., Any], settings: Any, listener: Listener
) -> None:
    collector = start(replace(settings, stale_after="3d"))
    _rule(collector, listener, kind="silence")
    collector.agent("n1").full(_f())
    center, now = collector.center, now_ms()
    for hour in range(3, 24 * 5, 6):
        at = now + hour * 3_600_000
        stale_ms = center.settings.stale_ms
        alerts.evaluate(center.engine, center.writer, stale_ms, at, listening_ms=10**12)
        assert _queued(collector) == (1 if hour > 72 else 0), hour


def test_of_many_silent_nodes_each_is_queued_once(
    collector: Any, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "MOST_AT_ONCE", 100)
    _rule(collector, listener, kind="silence")
    collector.agent("n1").full(_f("a.x", "pass"))
    _many(collector, 1_050, seen_at=now_ms() - 10**6)
    for _ in range(2):
        _look(collector)
    assert _queued(collector) == 1_050


def test_a_target_that_is_away_keeps_no_other_from_being_told(
    collector: Any, listener: Listener
) -> None:
    _rule(collector, listener, name="away", url="http://127.0.0.1:9")
    _rule(collector, listener, name="there")
    agents = [collector.agent(f"n{i}") for i in range(4)]
    for agent in agents:
        agent.full(_f("a.x", "pass"))
        agent.delta(_f("a.x", "fail"))
    collector.center._alert()
    assert len(listener.told) == 4
    with collector.center.engine.connect() as connection:
        tries = select(t.alert_out.c.tries).where(t.alert_out.c.sent_at.is_(None))
        # One was tried, and the others wait with it.
        assert sorted(connection.execute(tries).scalars()) == [0, 0, 0, 1]


def test_what_is_waived_is_told_once_the_waiver_ends(collector: Any, listener: Listener) -> None:
    _rule(collector, listener, check="a.*")
    what = {"check": "a.x", "reason": "r", "owner": "o", "until": "9d"}
    waiver = collector.post("/v1/waivers", what).json()["id"]
    other = collector.access("other", Role.OPERATOR)
    assert collector.post(f"/v1/waivers/{waiver}/approve", token=other).status_code == 200
    agent = collector.agent("n1")
    agent.full(_f("a.x", "pass"), _f("a.y", "pass"))
    agent.delta(_f("a.x", "fail"), _f("a.y", "fail"))
    collector.center._alert()
    assert [json.loads(raw)["labels"]["check"] for _, _, raw in listener.told] == ["a.y"]
    ends = t.waiver.update().values(expires_at=now_ms() - 1)
    collector.center.writer.act_now(lambda c: c.execute(ends))
    for _ in range(2):
        collector.center._alert()
    told = [json.loads(raw)["summary"] for _, _, raw in listener.told[1:]]
    assert "a waiver of a.x has ended, and 1 findings fail" in told


def test_a_rise_of_what_is_unknown_is_told_and_its_level_is_not(
    collector: Any, listener: Listener
) -> None:
    _rule(collector, listener, kind="rise", more_than=1)
    agent = collector.agent("n1")
    agent.full(*(_f(f"a.{i}", "unknown") for i in range(9)), _f("a.x", "pass"), _f("a.y", "pass"))
    _look(collector)
    assert _queued(collector) == 0
    agent.delta(_f("a.x", "unknown"), _f("a.y", "error"))
    again = t.alert_rule.update().values(upto=0)
    collector.center.writer.act_now(lambda c: c.execute(again))
    _look(collector)
    assert _queued(collector) == 1


@SQLITE_ONLY
def test_what_was_told_long_ago_is_forgotten(collector: Any, listener: Listener) -> None:
    _rule(collector, listener)
    agent = collector.agent("n1")
    agent.full(_f("a.x", "pass"))
    agent.delta(_f("a.x", "fail"))
    collector.center._alert()
    collector.center._tidy()
    assert _queued(collector) == 1
    old = t.alert_out.update().values(sent_at=1, created_at=1)
    then = t.change.update().values(at=1)  # so that it is not found anew
    for statement in (then, old):
        collector.center.writer.act_now(lambda c, one=statement: c.execute(one))
    collector.center._tidy()
    assert _queued(collector) == 0
