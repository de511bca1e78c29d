"""The plain form of agents' requests is a shortcut, never another meaning."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import ssl
from collections.abc import Iterator
from typing import IO, Any

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeward.collector.head import plain_head
from nodeward.collector.wire import MOST_SENT

HEAD = b"POST /v1/heartbeat HTTP/1.1\r\nhost: c\r\nContent-Length: 2\r\nNodeward-Agent: a\r\n\r\n"


def test_what_agents_send_is_plain() -> None:
    assert plain_head(HEAD + b"{}") == (
        "/v1/heartbeat",
        {b"host": b"c", b"content-length": b"2", b"nodeward-agent": b"a"},
        len(HEAD),
        2,
    )


@pytest.mark.parametrize(
    "odd",
    [
        b"POST /v1/heartbeat?x HTTP/1.1\r\ncontent-length: 2\r\n\r\n",
        b"GET /v1/heartbeat HTTP/1.1\r\ncontent-length: 2\r\n\r\n",
        b"POST /v1/heartbeat HTTP/1.0\r\ncontent-length: 2\r\n\r\n",
        b"POST /v1/heartbeat HTTP/1.1\r\ncontent-length: 2\r\nContent-Length: 3\r\n\r\n",
        b"POST /v1/heartbeat HTTP/1.1\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST /v1/heartbeat HTTP/1.1\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n",
        b"POST /v1/heartbeat HTTP/1.1\r\ncontent-length: 2\r\nconnection: close\r\n\r\n",
        b"POST /v1/heartbeat HTTP/1.1\r\ncontent-length: +2\r\n\r\n",
        b"POST /v1/heartbeat HTTP/1.1\r\n\r\n",
        b"POST /v1/heartbeat HTTP/1.1\r\ncontent-length : 2\r\n\r\n",
        b"POST /v1/heartbeat HTTP/1.1\r\ncontent-length: 2\r\n folded: x\r\n\r\n",
        b"POST /v1/heartbeat HTTP/1.1\r\ncontent-length: 2\r\na: b\nc: d\r\n\r\n",
        b"POST /v1/heartbeat HTTP/1.1\r\ncontent-length: 2\r\na: b\rc: d\r\n\r\n",
        b"POST /v1/heartbeat HTTP/1.1\r\ncontent-length: 2\r\na: \0\r\n\r\n",
        b"POST /v1/heartbeat HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % (MOST_SENT + 1),
        b"POST /v1/heartbeat HTTP/1.1\r\ncontent-length: 2\r\n",
        b"POST /v1/heartbeat HTTP/1.1\r\ncontent-length: 2\r\n"
        + b"a: "
        + b"x" * 40_000
        + b"\r\n\r\n",
    ],
)
def test_what_is_special_is_left_to_the_parser(odd: bytes) -> None:
    assert plain_head(odd) is None


class _Heard:
    """What the parser makes of a request."""

    def __init__(self) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.whole = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.whole += 1


WORD = st.sampled_from(
    [b"POST /v1/heartbeat HTTP/1.1", b"\r\n", b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\0", b" ",
     b"\t", b"content-length: 2", b"Content-Length:2 ", b"content-length: 0", b"nodeward-agent: a",
     b"Transfer-Encoding: chunked", b"x:", b":", b"a", b"\xff", b"Host: c", b"{}"]
)  # fmt: skip


@given(st.lists(WORD, max_size=12).map(b"".join), st.booleans())
def test_what_is_plain_means_to_the_parser_the_same(words: bytes, begun: bool) -> None:
    data = (b"POST /v1/heartbeat HTTP/1.1\r\n" if begun else b"") + words
    head = plain_head(data)
    if head is None:
        return
    path, headers, start, size = head
    heard = _Heard()
    parser = httptools.HttpRequestParser(heard)
    parser.feed_data(data[:start] + b"x" * size)
    assert (path, parser.get_method(), heard.whole) == ("/v1/heartbeat", b"POST", 1)
    assert {n: v.strip(b" \t") for n, v in heard.headers.items()} == {
        n: v.strip(b" \t") for n, v in headers.items()
    }
    assert heard.body == b"x" * size


SQLITE_ONLY = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@contextlib.contextmanager
def _connected(collector: Any) -> Iterator[ssl.SSLSocket]:
    port = int(collector.url.rpartition(":")[2])
    context = ssl.create_default_context(cafile=collector.ca)
    raw = socket.create_connection(("127.0.0.1", port), 30)
    with context.wrap_socket(raw, server_hostname="127.0.0.1") as connection:
        yield connection


def _request(agent: Any, path: str, data: Any, **more: str) -> bytes:
    body = gzip.compress(json.dumps(data).encode())
    headers = agent.sign(path, body) | {"Host": "c", "Content-Length": str(len(body))} | more
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


def _beat(agent: Any, **more: str) -> bytes:
    body = agent.body("delta", [])
    beat = {"boot": agent.boot, "seq": agent.seq, "digest": body["base"]}
    return _request(agent, "/v1/heartbeat", beat, **more)


def _answers(connection: ssl.SSLSocket, count: int) -> list[tuple[int, Any]]:
    with connection.makefile("rb") as file:
        return [_answer(file) for _ in range(count)]


def _answer(file: IO[bytes]) -> tuple[int, Any]:
    status, length = int(file.readline().split()[1]), 0
    while (line := file.readline()) != b"\r\n":
        name, _, value = line.lower().partition(b":")
        length = int(value) if name == b"content-length" else length
    return status, json.loads(file.read(length))


@SQLITE_ONLY
def test_requests_that_come_byte_by_byte_or_together_are_answered_in_order(collector: Any) -> None:
    agent = collector.agent("n1")
    finding = {"check": "a.x", "status": "fail", "severity": "high", "because": "seen"}
    report = _request(agent, "/v1/reports", agent.body("full", [finding]))
    agent.findings, agent.seq = {"a.x": finding}, 1
    beat, odd = _beat(agent), _beat(agent, Connection="keep-alive, x")
    with _connected(collector) as connection:
        # Plain, then another while that waits for its commit, then one that only the parser takes.
        connection.sendall(report)
        connection.sendall(beat + odd + beat)
        for place in range(0, len(beat), 97):
            connection.sendall(beat[place : place + 97])
        head = beat.index(b"\r\n\r\n") + 4
        connection.sendall(beat[:head])
        connection.sendall(beat[head:])
        got = _answers(connection, 6)
    assert [status for status, _ in got] == [200] * 6
    assert got[0][1]["seq"] == 1
    assert all(answer == {"look": False} for _, answer in got[1:])


@SQLITE_ONLY
def test_a_body_that_stops_coming_is_a_408(collector: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("HEADERS_S", 0.2), ("SWEEP_S", 0.1), ("BODY_S", 0.3)):
        monkeypatch.setattr(f"nodeward.collector.protocol.{name}", seconds)
    agent = collector.agent("n1")
    with _connected(collector) as connection:
        connection.sendall(_beat(agent)[:-1])
        assert _answers(connection, 1)[0][0] == 408
        assert connection.recv(1) == b""


@SQLITE_ONLY
def test_more_connections_than_allowed_are_told_to_come_later(
    collector: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = collector.agent("n1")
    monkeypatch.setattr(type(collector.center.settings), "connections", 0)
    object.__delattr__(collector.center.settings, "connections")
    answer = agent.beat()
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    assert answer.json()["error"]["code"] == "busy"
