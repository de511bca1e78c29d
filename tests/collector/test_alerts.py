"""Alerts: found in the transaction that looks, told once, tried again, kept over a restart."""

from __future__ import annotations

import hmac
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from nodeward.collector.clock import now_ms
from nodeward.collector.db import tables as t

SQLITE_ONLY = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


class Listener:
    """An HTTP server that keeps what it is told, and answers as it is set to."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, str], Any]] = []
        self.status = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                outer.told.append((self.path, dict(self.headers), raw))
                self.send_response(outer.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()


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
