"""One small request to each of several addresses at once, and what came back of it.

Never more than one attempt, no redirect, no proxy, no name lookup. Of a body at most MOST_BODY
bytes are read, compared with the pattern that the question brought along, and thrown away.
"""

from __future__ import annotations

import errno
import os
import re
import selectors
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import field

from nodeward.lazy import dataclass, pattern

MOST_BODY = 256
MOST_HEAD = 8192
_VALUE_SHOWN = 64
_HTML = pattern(rb"<html|<!doctype html", re.IGNORECASE)
_STATUS = pattern(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [^\r\n]*)?\r?\n")
_CHUNK = pattern(rb"(?:\r?\n)?([0-9a-fA-F]{1,8})[^\r\n]*\r?\n")
_HEAD_END = pattern(rb"\r?\n\r?\n")

UNREACHABLE = (
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ENETDOWN,
    errno.EHOSTDOWN,
    errno.EADDRNOTAVAIL,
    errno.EACCES,
    errno.EPERM,
    errno.EINVAL,
    errno.ENODEV,
    errno.EPROTO,
    errno.ENOPROTOOPT,
    errno.EAFNOSUPPORT,
)


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent to one address. Without `method` a TCP connection is made and closed.

    `keep` are the names of response headers that the answer may hold. `shape` is a pattern
    looked for in the beginning of the body; `words` are whole lines looked for there.
    """

    address: str
    port: int
    method: str = ""
    path: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    keep: tuple[str, ...] = ()
    shape: str = ""
    words: tuple[str, ...] = ()

    def text(self) -> bytes:
        """The request as it goes over the wire."""
        host = f"[{self.address.partition('%')[0]}]" if ":" in self.address else self.address
        name = host if self.port == 80 else f"{host}:{self.port}"
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {name}", "Connection: close"]
        lines += ["Accept: */*", *(f"{k}: {v}" for k, v in self.headers)]
        if self.method == "PUT":
            lines.append("Content-Length: 0")
        return "\r\n".join([*lines, "", ""]).encode("ascii")


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of it. `end` is one of:

    "answer"       an HTTP answer: `status`, `headers` (those to keep), `shape`, `html`, `words`
    "connected"    the connection was made, and no more was wanted
    "refused" "reset" "unreachable"   as the kernel said; `error` names its errno
    "timeout"      no connection in time
    "silent"       a connection, and no whole answer in time; `status` where a head had come
    "closed"       a connection, closed without an answer
    "not-http"     an answer that is no HTTP, or a head of more than 8192 bytes
    """

    end: str
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    shape: bool = False
    html: bool = False
    words: tuple[str, ...] = ()
    error: str = ""
    cut: bool = False
    """Whether the body is longer than what was read of it."""

    def header(self, name: str) -> str | None:
        return next((v for k, v in self.headers if k == name.lower()), None)


@dataclass(frozen=True, slots=True)
class Head:
    """A status line and header fields; `size` is where the body starts."""

    status: int
    fields: tuple[tuple[str, str], ...]
    size: int

    def field(self, name: str) -> str:
        """The first of this name (in small letters), "" where there is none."""
        return next((v for k, v in self.fields if k == name), "")


def parse_head(raw: bytes) -> Head | None:
    """The head of an HTTP/1 answer, RFC 9112. None while it is not whole; ValueError when it is
    no such thing. A field that is malformed is left out; values are cut and made printable."""
    if not b"HTTP/1.".startswith(raw[:7]) and not raw.startswith(b"HTTP/1."):
        raise ValueError("not HTTP/1")
    end = _HEAD_END.search(raw)
    if end is None:
        return None
    first = _STATUS.match(raw)
    if first is None:
        raise ValueError("no status line")
    lines = re.split(rb"\r?\n", raw[first.end() : end.start()]) if end.start() > first.end() else []
    fields = tuple(_field(line) for line in lines if b":" in line)
    return Head(int(first[1]), fields, end.end())


def _field(line: bytes) -> tuple[str, str]:
    name, _, value = line.partition(b":")
    return _printable(name.strip()).lower(), _printable(value.strip())


def _printable(raw: bytes) -> str:
    text = raw[:_VALUE_SHOWN].decode("ascii", "replace")
    return "".join(c if c.isprintable() else "?" for c in text)


def _content(head: Head, body: bytes) -> bytes:
    """The body without the sizes of its chunks, RFC 9112 section 7.1: a size is a number, and so
    could be taken for the id that some service answers with."""
    if head.field("transfer-encoding").lower() != "chunked":
        return body
    content = b""
    while (size := _CHUNK.match(body)) and int(size[1], 16):
        end = size.end() + int(size[1], 16)
        content += body[size.end() : end]
        body = body[end:]
    return content


@dataclass(slots=True)
class _Talk:
    """One request under way."""

    request: Request
    sock: socket.socket
    connected: bool = False
    to_send: bytes = b""
    raw: bytearray = field(default_factory=bytearray)
    head: Head | None = None

    def step(self) -> Reply | None:
        """Do what can be done without waiting. A reply when that was the end of it."""
        try:
            return self._step()
        except BlockingIOError:
            return None
        except OSError as exc:
            return of_error(exc.errno or 0, connected=self.connected)
        except ValueError:
            return Reply("not-http")

    def _step(self) -> Reply | None:
        if not self.connected:
            failed = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if failed:
                return of_error(failed, connected=False)
            self.connected = True
            if not self.request.method:
                return Reply("connected")
            self.to_send = self.request.text()
        if self.to_send:
            self.to_send = self.to_send[self.sock.send(self.to_send) :]
            return None
        return self._receive()

    def _receive(self) -> Reply | None:
        # Pieces no larger than MOST_BODY: the one that ends the head brings no more of a body.
        room = MOST_BODY - (len(self.raw) - self.head.size) if self.head else MOST_BODY
        piece = self.sock.recv(room)
        self.raw += piece
        if self.head is None:
            self.head = parse_head(bytes(self.raw))
        if self.head is None:
            if not piece:
                return Reply("not-http" if self.raw else "closed")
            return Reply("not-http", error="a head without end") if self._too_long() else None
        if not piece or self._has_enough(self.head):
            return self.reply(whole=True)
        return None

    def _too_long(self) -> bool:
        return len(self.raw) > MOST_HEAD

    def _has_enough(self, head: Head) -> bool:
        if not (self.request.shape or self.request.words):
            return True
        got = len(self.raw) - head.size
        length = head.field("content-length")
        return got >= MOST_BODY or (length.isdecimal() and got >= int(length))

    def reply(self, *, whole: bool) -> Reply:
        """The answer so far. A body that did not come in time cannot have the wrong shape."""
        head = self.head
        if head is None:
            return Reply("silent" if self.connected else "timeout")
        body = _content(head, bytes(self.raw[head.size :]))
        shape = bool(re.search(self.request.shape.encode(), body, re.MULTILINE))
        lines = {line.strip() for line in body.split(b"\n")}
        return Reply(
            "answer" if whole or shape else "silent",
            status=head.status,
            headers=tuple((k, v) for k, v in head.fields if k in self.request.keep),
            shape=shape,
            html=bool(_HTML.search(body)),
            words=tuple(w for w in self.request.words if w.encode() in lines),
            cut=self._is_cut(head),
        )

    def _is_cut(self, head: Head) -> bool:
        got = len(self.raw) - head.size
        length = head.field("content-length")
        return got < int(length) if length.isdecimal() else got >= MOST_BODY


def of_error(number: int, *, connected: bool) -> Reply:
    """What an errno of connect, send or recv means."""
    name = errno.errorcode.get(number, "EIO")
    if number == errno.ECONNREFUSED:
        return Reply("refused", error=name)
    if number in (errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED):
        return Reply("reset", error=name)
    if number == errno.ETIMEDOUT:
        return Reply("silent" if connected else "timeout", error=name)
    return Reply("unreachable", error=name)


def exchange(requests: Sequence[Request], timeout_s: float) -> tuple[Reply, ...]:
    """Send all of them at once from where we are; every answer is in after `timeout_s`."""
    end = time.monotonic() + timeout_s
    replies: dict[int, Reply] = {}
    open_now: dict[int, _Talk] = {}
    with selectors.DefaultSelector() as selector:
        try:
            for number, request in enumerate(requests):
                begun = _begin(request)
                if isinstance(begun, Reply):
                    replies[number] = begun
                else:
                    open_now[number] = begun
                    selector.register(begun.sock, selectors.EVENT_WRITE, number)
            while open_now and (left := end - time.monotonic()) > 0:
                _advance(selector, open_now, replies, left)
            for number, talk in open_now.items():
                replies[number] = talk.reply(whole=False)
        finally:
            _close(open_now.values())
    return tuple(replies[number] for number in range(len(requests)))


def _advance(
    selector: selectors.BaseSelector,
    open_now: dict[int, _Talk],
    replies: dict[int, Reply],
    left: float,
) -> None:
    for key, _ in selector.select(left):
        number: int = key.data
        talk = open_now[number]
        reply = talk.step()
        if reply is not None:
            replies[number] = reply
            selector.unregister(talk.sock)
            talk.sock.close()
            del open_now[number]
        elif talk.connected and not talk.to_send:
            selector.modify(talk.sock, selectors.EVENT_READ, number)


def _begin(request: Request) -> _Talk | Reply:
    family = socket.AF_INET6 if ":" in request.address else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as exc:
        return of_error(exc.errno or 0, connected=False)
    try:
        # What a server pours out beyond what is read stays on its side.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MOST_HEAD)
        code = sock.connect_ex(_target(request))
    except OSError as exc:
        code = exc.errno or errno.EIO
    if code in (0, errno.EINPROGRESS):
        return _Talk(request, sock)
    sock.close()
    return of_error(code, connected=False)


def _target(request: Request) -> tuple[str, int] | tuple[str, int, int, int]:
    """A link-local IPv6 address needs an interface: "%*" is the one that leads out of here."""
    address, zone, name = request.address.partition("%")
    if not zone:
        return address, request.port
    here = [(index, found) for index, found in socket.if_nameindex() if found != "lo"]
    if name == "*":
        name = _way_out() or next((found for _, found in here), "")
    index = next((i for i, found in here if found == name), None)
    if index is None:
        raise OSError(errno.ENODEV, "no such interface")
    return address, request.port, 0, index


def _way_out() -> str:
    """The interface of the default route, proc_pid_net(5); "" where there is none."""
    try:
        with open("/proc/self/net/route", "rb") as routes:
            rows = [line.split() for line in routes.readlines()[1:]]
    except OSError:
        return ""
    everywhere = b"0" * 8
    found = (row[0] for row in rows if len(row) > 7 and row[1] == row[7] == everywhere)
    return os.fsdecode(next(found, b""))


def _close(talks: Iterable[_Talk]) -> None:
    for talk in talks:
        talk.sock.close()
