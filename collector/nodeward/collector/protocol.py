"""HTTP as uvicorn speaks it, but not for ever: slow headers and idle TLS connections end.

A report or a heartbeat in the plain form that agents send (head.py) is answered by the connection
itself. All else, and those that come in another form, go through the parser and the application.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from nodeward.collector.api.answer import BODY_S, HEADERS, coming
from nodeward.collector.api.caller import Call
from nodeward.collector.api.reporting import Desk, encode
from nodeward.collector.center import Center
from nodeward.collector.head import MOST_BYTES, MOST_HEADERS, plain_head
from nodeward.collector.problem import Problem, busy

HEADERS_S: Final = 20.0
"""Within this time after its first byte (or after connecting) a request's headers must be there."""
SWEEP_S: Final = 5.0
LINGER_S: Final = 0.5
_STATUS: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_ALWAYS: Final = b"".join(
    name + b": " + value + b"\r\n"
    for name, value in ((b"content-type", b"application/json"), *HEADERS)
)


def protocol_of(center: Center) -> type[Protocol]:
    """The protocol for uvicorn, which makes one a connection."""
    return type("Protocol", (Protocol,), {"desk": Desk(center), "center": center})


@dataclass(slots=True)
class Coming:
    """A plain request of which a part of the body is there."""

    path: str
    headers: dict[bytes, bytes]
    start: int
    whole: int
    data: bytearray


class Protocol(HttpToolsProtocol):
    """One connection."""

    desk: ClassVar[Desk]
    center: ClassVar[Center]
    _waiting_since: float | None = None
    _resting_since: float | None = None
    _stopping = False
    _header_bytes = 0
    _parsing = False  # the parser is within a message
    _coming: Coming | None = None
    _asked = ""  # the path of the plain request that is being answered
    _asked_at = 0.0
    _after = b""  # what came meanwhile

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._waiting_since = self.loop.time()
        if not getattr(self.server_state, "swept", False):
            self.server_state.swept = True  # type: ignore[attr-defined]
            self.loop.call_later(SWEEP_S, _sweep, self.loop, self.connections)

    def connection_lost(self, exc: Exception | None) -> None:
        self._drop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._asked:
            self._after += data
            self.transport.pause_reading()
            return
        if self._coming is not None:
            self._more(self._coming, data)
            return
        ready = not self._parsing and self._idle and not self._crowded
        head = plain_head(data) if ready else None
        if head is None:
            self._parse(data)
            return
        path, headers, start, size = head
        if len(data) == start + size:
            self._ask(path, headers, data[start:])
        elif len(data) < start + size and coming(0, size):
            coming(len(data))
            self._coming = Coming(path, headers, start, start + size, bytearray(data))
            self._waiting_since = self.loop.time() + BODY_S - HEADERS_S
            self._resting_since = None
        else:
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        if self._waiting_since is None and self._idle:
            self._waiting_since = self.loop.time()
        self._resting_since = None
        self._parsing = True
        super().data_received(data)

    # -- plain requests

    def _more(self, come: Coming, data: bytes) -> None:
        come.data += data
        room = coming(len(data))
        if len(come.data) < come.whole and room:
            return
        self._drop()
        if len(come.data) < come.whole:
            self._refuse(come.path, busy("too many bodies at once"))
        elif len(come.data) > come.whole:
            self._parse(bytes(come.data))  # more than one request: the parser's work
        else:
            self._ask(come.path, come.headers, bytes(come.data[come.start :]))

    def _drop(self) -> None:
        """Forget the part of a request that came."""
        if self._coming is not None:
            coming(-len(self._coming.data))
            self._coming = None

    def _ask(self, path: str, headers: dict[bytes, bytes], body: bytes) -> None:
        self._unset_keepalive_if_required()
        self._waiting_since = self._resting_since = None
        self._asked, self._asked_at = path, time.perf_counter()
        self.desk.ask(Call(path, headers, body), self._reply)

    def _refuse(self, path: str, problem: Problem) -> None:
        """Answer and close: the rest of the request would be taken for the next one."""
        self._asked, self._asked_at = path, time.perf_counter()
        self._reply(int(problem.status), encode(problem.to_json()), problem.retry_after)
        self.transport.close()

    def _reply(self, status: int, content: bytes, retry_after: int | None) -> None:
        path, self._asked = self._asked, ""
        self.center.metrics.request(path, status, time.perf_counter() - self._asked_at)
        if self.transport.is_closing():
            return
        more = b"" if retry_after is None else b"retry-after: %d\r\n" % retry_after
        self.transport.write(
            b"%b%b%b%bx-request-id: %b\r\ncontent-length: %d\r\n\r\n%b"
            % (
                _STATUS[status], _dated(self.server_state.default_headers), _ALWAYS, more,
                secrets.token_hex(8).encode(), len(content), content,
            )
        )  # fmt: skip
        self.server_state.total_requests += 1
        if self._stopping:
            self.loop.call_later(LINGER_S, self.transport.abort)
            return
        self._resting_since = self.loop.time()
        if self._after:
            after, self._after = self._after, b""
            self.transport.resume_reading()
            self.data_received(after)

    # -- what the parser calls

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._parsing = True
        self._header_bytes = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._bounded(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._bounded(len(name) + len(value))

    def _bounded(self, more: int) -> None:
        self._header_bytes += more
        if len(self.headers) > MOST_HEADERS or self._header_bytes > MOST_BYTES:
            self.transport.abort()

    def on_headers_complete(self) -> None:
        self._waiting_since = None
        if not self.transport.is_closing():
            self.app = _crowded if self._crowded else self.config.loaded_app
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._parsing = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._stopping:
            self.loop.call_later(LINGER_S, self.transport.abort)

    # -- how it ends

    def shutdown(self) -> None:
        """Idle connections end at once: a peer that sleeps would not answer a TLS goodbye."""
        self._stopping = True
        if self._asked or self._coming is not None:
            return
        if self._idle:
            self.transport.abort()
        else:
            super().shutdown()

    @property
    def _idle(self) -> bool:
        cycle: Any = self.cycle  # None before the first request, whatever its annotation says
        return cycle is None or bool(cycle.response_complete)

    @property
    def _crowded(self) -> bool:
        return len(self.connections) > self.center.settings.connections

    def sweep(self, now: float) -> None:
        """End it if it dawdles, or has rested for too long."""
        if self._waiting_since is not None and now - self._waiting_since > HEADERS_S:
            if self._coming is None:
                self.transport.abort()
                return
            path = self._coming.path
            self._drop()
            self._refuse(path, Problem(408, "slow", f"the body did not come within {BODY_S} s"))
        elif (
            self._resting_since is not None
            and now - self._resting_since > self.timeout_keep_alive
            and not self._asked
        ):
            self.transport.close()


_date: tuple[Sequence[tuple[bytes, bytes]], bytes] = ([], b"")


def _dated(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """uvicorn's own headers, which it makes anew once a second."""
    global _date
    if _date[0] is not headers:
        _date = headers, b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    return _date[1]


async def _crowded(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401  ASGI's own
    """More connections than the settings allow."""
    problem = busy("too many connections", 10)
    content = encode(problem.to_json())
    headers = [
        (b"content-type", b"application/json"), (b"content-length", b"%d" % len(content)),
        (b"retry-after", b"%d" % (problem.retry_after or 0)), (b"connection", b"close"), *HEADERS,
    ]  # fmt: skip
    await send({"type": "http.response.start", "status": int(problem.status), "headers": headers})
    await send({"type": "http.response.body", "body": content})


def _sweep(loop: asyncio.AbstractEventLoop, connections: set[Any]) -> None:
    now = loop.time()
    for connection in list(connections):
        if isinstance(connection, Protocol):
            connection.sweep(now)
    loop.call_later(SWEEP_S, _sweep, loop, connections)
