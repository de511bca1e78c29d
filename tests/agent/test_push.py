"""The agent and its collector, over real HTTP and TLS."""

from __future__ import annotations

import contextlib
import json
import select
import signal
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeward.agent.backoff import CAP_S, full_jitter
from nodeward.agent.clock import moment
from nodeward.agent.config import Collector, SpoolBounds
from nodeward.agent.identity import Enrolment, Identity, agent_id
from nodeward.agent.push import Centre, Pusher, retry_after, within
from nodeward.agent.spool import Body, Spool

HEAD: Body = {"schema": "nodeward.report/v1", "node": "n1", "taken_at": "2026-11-22T04:00:00.000Z"}


def finding(check: str, status: str = "pass") -> Body:
    return {
        "check": check, "status": status, "severity": "high", "because": "so",
        "evidence": [], "mappings": {},
    }  # fmt: skip


class Node:
    """One agent's state and its way to a collector."""

    def __init__(self, folder: Path, *urls: str, machine: str = "m1", **how: Any) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.spool = Spool(folder, SpoolBounds(), moment)
        self.identity = Identity(folder / "identity", machine)
        self.token: str | None = "join-me"
        self.centre = Centre(Collector(urls=urls, timeout_s=30, **how), folder)
        self.pusher = Pusher(self.centre, self.identity, self.spool, "n1", "c1", self.vouch, HEAD)

    def vouch(self) -> dict[str, str] | None:
        return {"kind": "join-token", "token": self.token} if self.token else None

    def put(self, *findings: Body) -> None:
        self.spool.put(HEAD, {f["check"]: f for f in findings}, whole=True)

    def close(self) -> None:
        self.spool.close()
        self.centre.close()


@pytest.fixture
def node(tmp_path: Path, stand: Any) -> Iterator[Node]:
    with contextlib.closing(Node(tmp_path / "n", stand.url)) as made:
        yield made


def test_it_enrols_and_sends_what_waits_in_order(node: Node, stand: Any) -> None:
    node.put(finding("a"))
    node.put(finding("a", "fail"))
    outcome = node.pusher.push()
    assert (outcome.pushed, outcome.left, outcome.failed) == (2, 0, None)
    assert [r["kind"] for r in stand.history] == ["full", "delta"]
    assert stand.posture == {"a": finding("a", "fail")}


def test_when_nothing_changed_it_says_so(node: Node, stand: Any) -> None:
    node.put(finding("a"))
    node.pusher.push()
    stand.want_look = True
    assert node.pusher.push().look
    assert stand.heartbeats[0]["spool"] == {"depth": 0, "dropped": 0}


def test_it_looks_once_for_a_request_however_often_it_is_told(node: Node, stand: Any) -> None:
    node.put(finding("a"))
    node.pusher.push()
    stand.want_look, stand.request = True, 41
    for _ in range(2):  # heard, and not looked yet
        outcome = node.pusher.push()
        assert (outcome.look, outcome.request) == (True, 41)
    node.spool.keep_looked(41)
    assert not node.pusher.push().look
    assert [beat["looked"] for beat in stand.heartbeats] == [0, 0, 41]
    stand.request = 42
    assert node.pusher.push().request == 42


@pytest.mark.parametrize("odd", [True, -1, 2**62, "41", None])
def test_a_request_of_an_odd_name_is_looked_for_without_one(
    node: Node, stand: Any, odd: Any
) -> None:
    node.put(finding("a"))
    node.pusher.push()
    stand.want_look, stand.request = True, odd
    outcome = node.pusher.push()
    assert (outcome.look, outcome.request) == (True, 0)


def test_a_heartbeat_is_signed_once_an_hour(node: Node, stand: Any) -> None:
    """The rest carry the MAC of a session."""
    node.put(finding("a"))
    node.pusher.push()
    for _ in range(3):
        assert node.pusher.push().failed is None
    assert len(stand.heartbeats) == 3
    assert stand.signed == ["/v1/reports", "/v1/session"]
    node.put(finding("a", "fail"))
    node.pusher.push()
    assert stand.signed[-1] == "/v1/reports"
    later = replace(moment(), up=moment().up + 3601)
    node.pusher.instant = lambda: later
    node.pusher.push()
    assert stand.signed[-1] == "/v1/session"


def test_the_next_worker_goes_on_with_the_session(tmp_path: Path, stand: Any) -> None:
    signs = []
    for _ in range(3):
        with contextlib.closing(Node(tmp_path / "n", stand.url)) as ours:
            ours.put(finding("a"))
            ours.pusher.push()
            signs.append("_key" in vars(ours.identity))  # what costs an import
    assert signs == [True, True, False]
    assert stand.signed == ["/v1/reports", "/v1/session"]
    kept = tmp_path / "n/identity/session.json"
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_session_that_is_refused_is_signed_for_and_begun_anew(node: Node, stand: Any) -> None:
    node.put(finding("a"))
    node.pusher.push()
    node.pusher.push()
    stand.sessions.clear()
    assert node.pusher.push().failed is None
    assert stand.signed[-1] == "/v1/heartbeat"
    node.pusher.push()
    assert stand.signed[-1] == "/v1/session"
    stand.sessions.clear()
    node.put(finding("a", "fail"))
    assert node.pusher.push().failed is None
    assert len(stand.history) == 2


def test_a_collector_without_sessions_is_asked_once_and_signed_to(node: Node, stand: Any) -> None:
    stand.sessions = None
    node.put(finding("a"))
    for _ in range(3):
        assert node.pusher.push().failed is None
    assert len(stand.heartbeats) == 2
    assert stand.signed == ["/v1/reports", "/v1/session", "/v1/heartbeat", "/v1/heartbeat"]


def test_an_overloaded_collector_is_asked_for_a_session_later(
    node: Node, stand: Any, refusal: Any
) -> None:
    node.put(finding("a"))
    node.pusher.push()
    stand.moods = [refusal(503, "overloaded", after="7")]
    assert node.pusher.push().after_s == 7.0
    node.pusher.push()
    assert "/v1/session" in stand.signed


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"agent": 1, "id": 2}'])
def test_a_session_file_that_is_none_is_no_session(node: Node, stand: Any, content: bytes) -> None:
    node.put(finding("a"))
    node.pusher.push()
    (node.folder / "identity/session.json").write_bytes(content)
    assert node.pusher.push().failed is None
    assert len(stand.heartbeats) == 1


def test_a_collector_that_lost_its_memory_gets_everything_again(node: Node, stand: Any) -> None:
    node.put(finding("a"), finding("b"))
    node.pusher.push()
    stand.posture = {}
    assert node.pusher.push().failed is None
    assert stand.posture == {"a": finding("a"), "b": finding("b")}
    stand.posture = {}
    node.put(finding("a", "fail"), finding("b"))
    assert node.pusher.push().failed is None
    assert stand.posture == {"a": finding("a", "fail"), "b": finding("b")}


def test_a_day_without_a_collector_loses_no_change(tmp_path: Path, stand: Any) -> None:
    """A look every 15 minutes of 24 hours, each with a change."""
    url, day = stand.url, 24 * 4
    with contextlib.closing(Node(tmp_path / "n", "http://127.0.0.1:9")) as away:
        for n in range(day):
            away.put(finding("a", ("pass", "fail")[n % 2]), finding("b"))
        assert away.pusher.push().left == day
    with contextlib.closing(Node(tmp_path / "n", url)) as back:
        while back.pusher.push().left:
            pass
        assert back.spool.tally().dropped == 0
    told = [f["status"] for report in stand.history for f in report["findings"]
            if f["check"] == "a"]  # fmt: skip
    assert told == ["pass", "fail"] * (day // 2)


def test_an_answer_that_was_lost_doubles_nothing(node: Node, stand: Any) -> None:
    node.put(finding("a"))
    node.pusher.push()
    node.put(finding("a", "fail"))
    stand.lose = 1
    assert node.pusher.push().left == 1
    assert node.pusher.push().left == 0
    assert len(stand.history) == 2


def test_an_overloaded_collector_is_left_alone_for_as_long_as_it_asks(
    node: Node, stand: Any, refusal: Any
) -> None:
    node.put(finding("a"))
    node.pusher.push()
    node.put(finding("a", "fail"))
    stand.moods = [refusal(503, "overloaded", after="7")]
    outcome = node.pusher.push()
    assert (outcome.after_s, outcome.left) == (7.0, 1)
    assert "503 overloaded" in str(outcome.failed)


@pytest.mark.parametrize("status", [400, 413])
def test_a_report_that_is_never_taken_does_not_block_the_next(
    node: Node, stand: Any, refusal: Any, status: int
) -> None:
    node.put(finding("a"))
    node.pusher.push()
    node.put(finding("a", "fail"))
    node.put(finding("a", "unknown"))
    stand.moods = [refusal(status, "bad")]
    assert node.pusher.push().left == 0
    assert node.spool.tally().refused == 1
    assert stand.posture == {"a": finding("a", "unknown")}


def test_a_foreign_node_is_kept_and_told(node: Node, stand: Any, refusal: Any) -> None:
    node.put(finding("a"))
    node.pusher.push()
    node.put(finding("a", "fail"))
    stand.moods = [refusal(403, "other-node")]
    outcome = node.pusher.push()
    assert (outcome.left, outcome.conflict) == (1, "403 other-node: no")


def test_an_enrolment_that_ends_is_renewed_without_a_token(node: Node, stand: Any) -> None:
    node.put(finding("a"))
    stand.expires_at = "2026-01-01T00:00:00Z"
    node.pusher.push()
    stand.tokens, stand.expires_at, node.token = {""}, "2999-01-01T00:00:00Z", None
    node.pusher.push()
    assert node.identity.enrolment is not None
    assert node.identity.enrolment.expires_at == "2999-01-01T00:00:00Z"


def test_an_enrolment_for_a_day_is_renewed_in_its_second_half(node: Node, stand: Any) -> None:
    begun = datetime(2027, 1, 1, tzinfo=UTC)
    stand.expires_at = "2027-01-02T00:00:00Z"
    node.pusher.clock = begun.timestamp
    node.put(finding("a"))
    stand.skew_s = 10**9
    node.pusher.push()
    stand.expires_at = "2027-01-02T11:00:00Z"
    for hours, expected in ((11, "2027-01-02T00:00:00Z"), (13, "2027-01-02T11:00:00Z")):
        node.pusher.clock = (begun + timedelta(hours=hours)).timestamp
        node.pusher.push()
        assert node.identity.enrolment is not None
        assert node.identity.enrolment.expires_at == expected


def test_a_spool_from_an_old_snapshot_begins_a_new_boot(
    node: Node, stand: Any, refusal: Any
) -> None:
    node.put(finding("a"))
    node.pusher.push()
    node.put(finding("a", "fail"))
    stand.moods = [refusal(409, "old-seq")]
    assert node.pusher.push().left == 0
    assert len({boot for boot, _ in stand.seen}) == 2
    assert stand.posture == {"a": finding("a", "fail")}


def test_it_waits_for_approval(node: Node, stand: Any) -> None:
    stand.approve = False
    node.put(finding("a"))
    outcome = node.pusher.push()
    assert (outcome.pending, outcome.left) == (True, 1)
    stand.approve = True
    assert node.pusher.push().left == 0


def test_without_a_token_nothing_is_sent(node: Node, stand: Any) -> None:
    node.token = None
    node.put(finding("a"))
    assert "no join token" in str(node.pusher.push().failed)
    assert not stand.keys


def test_a_collector_that_forgot_the_agent_is_joined_again(node: Node, stand: Any) -> None:
    node.put(finding("a"))
    node.pusher.push()
    stand.keys.clear()
    node.put(finding("a", "fail"))
    assert node.pusher.push().left == 0
    assert len(stand.keys) == 1


@pytest.mark.parametrize("code", ["retired", "expired"])
def test_a_node_that_was_taken_for_gone_joins_again(
    node: Node, stand: Any, refusal: Any, code: str
) -> None:
    node.put(finding("a"))
    node.pusher.push()
    node.put(finding("a", "fail"))
    stand.moods = [refusal(403, code)]
    assert node.pusher.push().left == 0
    assert stand.posture == {"a": finding("a", "fail")}


def test_it_reports_under_the_name_that_the_collector_gave_it(node: Node, stand: Any) -> None:
    stand.node = "worker-7"
    node.put(finding("a"))
    node.pusher.push()
    assert stand.history[0]["node"] == "worker-7"


def test_the_next_collector_is_tried_and_remembered(tmp_path: Path, stand: Any) -> None:
    nobody = "http://127.0.0.1:9"
    with contextlib.closing(Node(tmp_path / "n", nobody, stand.url)) as ours:
        ours.put(finding("a"))
        assert ours.pusher.push().left == 0
        assert ours.centre._order() == [stand.url, nobody]


class Imposter(BaseHTTPRequestHandler):
    """Answers, and is no collector."""

    status, content, after = 502, b"<html>bad gateway</html>", ""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.content)))
        if self.after:
            self.send_header("Retry-After", self.after)
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *words: object) -> None:
        pass


@contextlib.contextmanager
def imposter(status: int, content: bytes, after: str = "") -> Iterator[str]:
    kind = type("Told", (Imposter,), {"status": status, "content": content, "after": after})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


NO_COLLECTOR: dict[str, tuple[int, bytes]] = {
    "a balancer in front of none": (502, b"<html>bad gateway</html>"),
    "a balancer that answers in JSON": (504, b'{"message": "upstream"}'),
    "a page to log in at": (200, b"<html>log in</html>"),
    "a way elsewhere": (302, b""),
    "nothing": (200, b""),
    "a list": (200, b"[]"),
    "a collector that cannot serve": (503, b'{"error": {"code": "busy", "message": ""}}'),
}


@pytest.mark.parametrize("case", NO_COLLECTOR)
def test_what_cannot_take_a_report_is_passed_over(tmp_path: Path, stand: Any, case: str) -> None:
    with (
        imposter(*NO_COLLECTOR[case]) as bad,
        contextlib.closing(Node(tmp_path / "n", bad, stand.url)) as ours,
    ):
        ours.put(finding("a"))
        assert ours.pusher.push().left == 0
        assert ours.centre._order() == [stand.url, bad]
        assert [report["seq"] for report in stand.history] == [1]


def test_a_report_is_let_go_only_against_its_receipt(tmp_path: Path, stand: Any) -> None:
    with contextlib.closing(Node(tmp_path / "n", stand.url)) as ours:
        ours.put(finding("a"))
        assert ours.pusher.push().left == 0  # and is enrolled
    with imposter(200, b"{}") as bad, contextlib.closing(Node(tmp_path / "n", bad)) as ours:
        ours.put(finding("a", "fail"))
        outcome = ours.pusher.push()
        assert (outcome.pushed, outcome.left) == (0, 1)
        assert "no receipt" in str(outcome.failed)


def test_a_balancer_is_left_alone_for_as_long_as_it_asks(tmp_path: Path) -> None:
    with (
        imposter(503, b"busy", "70") as bad,
        contextlib.closing(Node(tmp_path / "n", bad, "http://127.0.0.1:9")) as ours,
    ):
        ours.put(finding("a"))
        assert ours.pusher.push().after_s == 70


@pytest.mark.parametrize(
    "content", [b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"HTTP/1.1 200 OK\r\nA:"]
)
def test_an_answer_that_never_ends_is_given_up_and_the_next_collector_asked(
    tmp_path: Path, stand: Any, dripping: Any, content: bytes
) -> None:
    with dripping(content) as url, contextlib.closing(Node(tmp_path, url, stand.url)) as node:
        config = Collector(urls=(url, stand.url), timeout_s=0.5)
        node.centre.close()
        node.pusher.centre = node.centre = Centre(config, tmp_path, time.monotonic() + 120)
        node.put(finding("a"))
        assert node.pusher.push().pushed == 1


def test_a_block_that_takes_too_long_is_left() -> None:
    with pytest.raises(TimeoutError), within(60, time.monotonic() + 0.05):
        threading.Event().wait(60)
    with within(0.01, None):
        pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_nobody_there_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    with contextlib.closing(Node(tmp_path / "n", "http://127.0.0.1:9")) as ours:
        ours.put(finding("a"))
        outcome = ours.pusher.push()
        assert outcome.left == 1
        assert "http://127.0.0.1:9: ConnectionRefusedError" in str(outcome.failed)


def test_only_the_pinned_authorities_are_trusted_both_while_one_is_rotated(
    tmp_path: Path,
    authority: Callable[[str], Any],
    serve: Any,
    new_stand: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The environment names the other authority and a proxy; neither may count."""
    old, new = authority("old"), authority("new")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(old.file))
    monkeypatch.setenv("SSL_CERT_FILE", str(old.file))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    served = serve(new_stand(), old.context)
    stand = next(served)
    failures = []
    for pins in ([new.file], [new.file, old.file]):
        ca = tuple(map(str, pins))
        with contextlib.closing(Node(tmp_path / "n", stand.url, ca=ca)) as ours:
            ours.put(finding("a"))
            failures.append(ours.pusher.push().failed)
    served.close()
    assert "CERTIFICATE_VERIFY_FAILED" in str(failures[0])
    assert failures[1] is None


class Proxy(socketserver.BaseRequestHandler):
    """CONNECT of RFC 9110, for one host: ours. The rest of it is bytes in both directions."""

    asked: ClassVar[list[str]] = []

    def handle(self) -> None:
        words = b""
        while b"\r\n\r\n" not in words:
            words += self.request.recv(4096)
        method, where = words.decode().split(" ")[:2]
        self.asked.append(f"{method} {where}")
        host, _, port = where.partition(":")
        with socket.create_connection((host, int(port))) as centre:
            self.request.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            ends = {self.request: centre, centre: self.request}
            while ready := select.select(list(ends), [], [], 30)[0]:
                for end in ready:
                    data = end.recv(65536)
                    if not data:
                        return
                    ends[end].sendall(data)


def test_an_explicit_proxy_is_gone_through_and_sees_no_more_than_bytes(
    tmp_path: Path, authority: Callable[[str], Any], serve: Any, new_stand: Any
) -> None:
    """TLS ends at the collector, which is still checked against the pinned authority."""
    trusted, other = authority("trusted"), authority("other")
    served = serve(new_stand(), trusted.context)
    stand = next(served)
    Proxy.asked.clear()
    outcomes = []
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Proxy) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        way = f"http://127.0.0.1:{proxy.server_address[1]}"
        for pin in (trusted, other):
            node = Node(tmp_path / pin.file.stem, stand.url, ca=(str(pin.file),), proxy=way)
            with contextlib.closing(node):
                node.put(finding("a"))
                outcomes.append(node.pusher.push().failed)
        proxy.shutdown()
    served.close()
    assert outcomes[0] is None
    assert "CERTIFICATE_VERIFY_FAILED" in str(outcomes[1])
    assert set(Proxy.asked) == {f"CONNECT {stand.url.removeprefix('https://')}"}
    assert len(stand.history) == 1


def test_a_key_stays_with_its_machine(tmp_path: Path) -> None:
    """A node started from an image into which a key was captured makes its own."""
    first = Identity(tmp_path, "m1")
    again = Identity(tmp_path, "m1")
    clone = Identity(tmp_path, "m2")
    assert (first.public == again.public, again.cloned) == (True, False)
    assert (first.public == clone.public, clone.cloned) == (False, True)


def test_a_key_stays_while_nobody_knows_the_machine(tmp_path: Path) -> None:
    """An id that cannot be read is no other one; only another one is another machine."""
    first = Identity(tmp_path, "m1")
    first.enrolled(Enrolment(first.agent_id, "n1", "c1"))
    dark = Identity(tmp_path, "")
    assert (dark.public == first.public, dark.cloned) == (True, False)
    assert dark.enrolment is not None
    again = Identity(tmp_path, "m1")
    assert (again.public == first.public, again.enrolment) == (True, dark.enrolment)
    assert Identity(tmp_path, "m2").cloned


def test_a_key_that_follows_while_nobody_knows_the_machine_is_of_the_same_one(
    tmp_path: Path,
) -> None:
    Identity(tmp_path, "m1")
    dark = Identity(tmp_path, "")
    successor = dark.successor()
    assert dark.succeed()
    assert Identity(tmp_path, "m1").public == successor.public
    assert Identity(tmp_path, "m2").cloned


def test_a_key_file_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path) -> None:
    Identity(tmp_path, "m1")
    (tmp_path / "key").rename(tmp_path / "kept")
    (tmp_path / "key").symlink_to("key")
    with pytest.raises(OSError, match="symbolic links"):
        Identity(tmp_path, "m1")
    assert (tmp_path / "key").is_symlink()


def test_a_key_of_an_earlier_version_stays_and_learns_its_public_half(tmp_path: Path) -> None:
    made = Identity(tmp_path, "m1")
    kept = json.loads((tmp_path / "key").read_text())
    older = {name: kept[name] for name in ("seed", "machine")}
    (tmp_path / "key").write_text(json.dumps(older))
    assert Identity(tmp_path, "m1").public == made.public
    assert json.loads((tmp_path / "key").read_text()) == kept


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"\xff", b'{"seed": "AA==", "machine": ""}', b"[]"]
)
def test_a_key_file_that_is_none_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    made = Identity(tmp_path, "m1")
    assert made.public == Identity(tmp_path, "m1").public
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_the_name_of_a_key() -> None:
    assert agent_id(bytes(32)) == "mzuhvlpymk6xo3epygfy5h4oea"


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_bounded_and_never_negative(attempt: int, luck: float) -> None:
    assert 0 <= full_jitter(attempt, lambda: luck) <= min(CAP_S, 2.0 ** min(attempt, 20))


@given(st.none() | st.text(max_size=40), st.floats(0, 4e9))
def test_retry_after_is_understood_or_ignored(text: str | None, now: float) -> None:
    found = retry_after(text, now)
    assert found is None or 0 <= found <= 3600


def test_retry_after_takes_a_date() -> None:
    assert retry_after("Sun, 22 Nov 2026 04:00:10 GMT", 1795320000.0) == 10.0
