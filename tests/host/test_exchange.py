"""One small request to each of several addresses, on loopback."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeward.host.exchange import MOST_BODY, Reply, Request, exchange, of_error, parse_head


@contextmanager
def answering(
    raw: bytes, *, then_close: bool = True, quietly: bool = False
) -> Iterator[tuple[int, list[bytes]]]:
    """A server that says this to one client; its port, and what it was told."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            conn, _ = server.accept()
            with conn:
                heard.append(conn.recv(4096))
                with suppress(OSError) if quietly else nullcontext():
                    conn.sendall(raw)  # the other side may have seen enough
                if not then_close:
                    conn.settimeout(5)
                    conn.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1], heard
        thread.join()


def get(port: int, **more: object) -> Request:
    return Request("127.0.0.1", port, "GET", "/x", **more)  # type: ignore[arg-type]


def test_an_answer_is_its_status_and_the_headers_that_are_kept() -> None:
    raw = b"HTTP/1.1 401 Unauthorized\r\nServer: EC2ws\r\nX-Secret: abc\r\n\r\nbody"
    with answering(raw) as (port, _):
        (reply,) = exchange([get(port, keep=("server",))], 5)
    assert reply == Reply("answer", 401, (("server", "EC2ws"),), shape=True)


def test_a_request_is_sent_as_it_is_written_down() -> None:
    with answering(b"HTTP/1.1 200 OK\r\n\r\n") as (port, heard):
        exchange([get(port, headers=(("Metadata", "true"),))], 5)
    assert heard == [
        f"GET /x HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
        "Accept: */*\r\nMetadata: true\r\n\r\n".encode()
    ]


def test_the_shape_is_looked_for_in_the_first_bytes_only() -> None:
    body = b"a" * MOST_BODY + b"instance-id"
    with answering(b"HTTP/1.1 200 OK\r\n\r\n" + body) as (port, _):
        (reply,) = exchange([get(port, shape="instance-id")], 5)
    assert (reply.end, reply.shape) == ("answer", False)


@pytest.mark.parametrize("head", [b"", b"X-Pad: " + b"p" * 700 + b"\r\n"])
@pytest.mark.parametrize("shape", ["", "instance-id"])
def test_of_a_body_no_more_than_its_first_bytes_are_taken(
    monkeypatch: pytest.MonkeyPatch, head: bytes, shape: str
) -> None:
    taken: list[int] = []

    class Counting(socket.socket):
        def recv(self, size: int, flags: int = 0) -> bytes:
            piece = super().recv(size, flags)
            if threading.current_thread() is threading.main_thread():  # the server's is another
                taken.append(len(piece))
            return piece

    raw = b"HTTP/1.1 200 OK\r\n" + head + b"\r\n"
    with answering(raw + b"b" * 60_000, quietly=True) as (port, _):
        monkeypatch.setattr("nodeward.host.exchange.socket.socket", Counting)
        (reply,) = exchange([get(port, shape=shape)], 5)
        monkeypatch.undo()
    assert reply.end == "answer"
    assert len(raw) <= sum(taken) <= len(raw) + MOST_BODY


def test_the_kernel_takes_little_of_a_body_without_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        gone: list[int] = []

        def pour() -> None:
            conn, _ = server.accept()
            with conn:
                conn.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
                conn.recv(4096)
                gone.append(conn.send(b"HTTP/1.1 200 OK\r\n\r\n"))
                try:
                    while True:
                        gone.append(conn.send(b"b" * 1024))
                except OSError:
                    return

        thread = threading.Thread(target=pour)
        thread.start()
        (reply,) = exchange([get(server.getsockname()[1], shape="^x")], 5)
        thread.join()
    assert (reply.end, reply.shape, reply.cut) == ("answer", False, True)
    assert sum(gone) < 64 * 1024


@pytest.mark.parametrize(
    ("raw", "cut"),
    [
        (b"\r\nshort", False),
        (b"Content-Length: 5\r\n\r\nshort", False),
        (b"Content-Length: 9\r\n\r\nshort", True),
        (b"Content-Length: 256\r\n\r\n" + b"b" * 256, False),
        (b"Content-Length: 257\r\n\r\n" + b"b" * 257, True),
        (b"\r\n" + b"b" * 300, True),
    ],
)
def test_a_body_that_is_not_read_whole_says_so(raw: bytes, cut: bool) -> None:
    with answering(b"HTTP/1.1 200 OK\r\n" + raw, quietly=True) as (port, _):
        (reply,) = exchange([get(port, words=("kube-env",))], 5)
    assert (reply.end, reply.cut) == ("answer", cut)


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        (b"12\r\nwelcome to our hut\r\n0\r\n\r\n", False),
        (b"4\r\n1234\r\n0\r\n\r\n", True),
        (b"2\r\n12\r\n2\r\n34\r\n0\r\n\r\n", True),
        (b"ff\r\n", False),
        (b"1234", False),
    ],
)
def test_the_size_of_a_chunk_is_no_content(body: bytes, shape: bool) -> None:
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    with answering(raw) as (port, _):
        (reply,) = exchange([get(port, shape=r"\A[0-9]+\s*\Z")], 5)
    assert reply.shape is shape


def test_words_are_whole_lines() -> None:
    body = b"kube-env\nkubelet-config-old\n"
    with answering(b"HTTP/1.1 200 OK\r\n\r\n" + body) as (port, _):
        (reply,) = exchange([get(port, words=("kube-env", "kubelet-config"))], 5)
    assert reply.words == ("kube-env",)


def test_no_more_is_awaited_than_is_wanted() -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nlatest"
    with answering(raw, then_close=False) as (port, _):
        begin = time.monotonic()
        (reply,) = exchange([get(port, shape="^lat")], 30)
    assert reply.shape
    assert time.monotonic() - begin < 20


def test_all_are_asked_at_the_same_time() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        port = server.getsockname()[1]
        begin = time.monotonic()
        replies = exchange([get(port)] * 20, 0.5)
    assert {r.end for r in replies} == {"silent"}
    assert time.monotonic() - begin < 5


def test_a_closed_port_refuses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert exchange([Request("127.0.0.1", port)], 5)[0].end == "refused"


def test_a_connection_alone_sends_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        (reply,) = exchange([Request("127.0.0.1", server.getsockname()[1])], 5)
        conn, _ = server.accept()
        with conn:
            assert conn.recv(16) == b""
    assert reply == Reply("connected")


def test_where_no_way_leads_it_is_unreachable() -> None:
    (reply,) = exchange([Request("192.0.2.1", 80)], 5)  # the tests' namespace has no route
    assert reply == Reply("unreachable", error="ENETUNREACH")


def test_a_link_local_address_needs_an_interface() -> None:
    (reply,) = exchange([Request("fe80::1%*", 80)], 5)
    assert reply == Reply("unreachable", error="ENODEV")


def test_an_unknown_error_is_still_one_of_ours() -> None:
    assert of_error(9999, connected=False) == Reply("unreachable", error="EIO")


HEADS = st.lists(
    st.sampled_from(
        [b"HTTP/1.1 200 OK", b"HTTP/1.0 404", b"\r\n", b"\n", b"Server: x", b":", b" ", b"\x00",
         b"HTTP/", b"\xff", b"Content-Length: 99999999999999999999"]
    ),
    max_size=12,
).map(b"".join)  # fmt: skip


@given(HEADS | st.binary(max_size=64))
def test_any_bytes_are_a_head_no_head_yet_or_a_value_error(raw: bytes) -> None:
    try:
        head = parse_head(raw)
    except ValueError:
        return
    if head is not None:
        assert 100 <= head.status <= 999
        assert head.size <= len(raw)
        assert all(len(v) <= 64 and v.isprintable() for _, v in head.fields if v)


@given(
    st.integers(100, 599),
    st.dictionaries(
        st.text("abcdefgh-", min_size=1, max_size=9), st.text("xyz 0123;=/", max_size=20),
        max_size=5,
    ),
)  # fmt: skip
def test_what_a_server_writes_is_read_back(status: int, fields: dict[str, str]) -> None:
    lines = [f"HTTP/1.1 {status} X", *(f"{k}: {v}" for k, v in fields.items()), "", "body"]
    raw = "\r\n".join(lines).encode()
    head = parse_head(raw)
    assert head is not None
    assert head.status == status
    assert dict(head.fields) == {k: v.strip() for k, v in fields.items()}
    assert raw[head.size :] == b"body"
    for cut in range(head.size):
        assert raw[:cut] == b"" or _whole(raw[:cut]) is None


def _whole(raw: bytes) -> object:
    return parse_head(raw)


@pytest.mark.parametrize("length", ["-1", "x", "99999999999999999999", ""])
def test_a_nonsensical_length_is_no_reason_to_wait_for_ever(length: str) -> None:
    raw = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nnothing".encode()
    with answering(raw) as (port, _):
        (reply,) = exchange([get(port, shape="^x")], 5)
    assert (reply.end, reply.shape) == ("answer", False)
