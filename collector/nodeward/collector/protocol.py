"""HTTP as uvicorn speaks it, but not for ever: slow headers and idle TLS connections end."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADERS_S: Final = 20.0
"""Within this time after its first byte (or after connecting) a request's headers must be there."""
SWEEP_S: Final = 5.0
LINGER_S: Final = 0.5
MOST_HEADERS: Final = 64
MOST_HEADER_BYTES: Final = 32 << 10


class Protocol(HttpToolsProtocol):
    """One connection."""

    _waiting_since: float | None = None
    _stopping = False
    _header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._waiting_since = self.loop.time()
        if not getattr(self.server_state, "swept", False):
            self.server_state.swept = True  # type: ignore[attr-defined]
            self.loop.call_later(SWEEP_S, _sweep, self.loop, self.connections)

    def data_received(self, data: bytes) -> None:
        if self._waiting_since is None and self._idle:
            self._waiting_since = self.loop.time()
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._header_bytes = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._bounded(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._bounded(len(name) + len(value))

    def _bounded(self, more: int) -> None:
        self._header_bytes += more
        if len(self.headers) > MOST_HEADERS or self._header_bytes > MOST_HEADER_BYTES:
            self.transport.abort()

    def on_headers_complete(self) -> None:
        self._waiting_since = None
        if not self.transport.is_closing():
            super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._stopping:
            self.loop.call_later(LINGER_S, self.transport.abort)

    def shutdown(self) -> None:
        """Idle connections end at once: a peer that sleeps would not answer a TLS goodbye."""
        self._stopping = True
        if self._idle:
            self.transport.abort()
        else:
            super().shutdown()

    @property
    def _idle(self) -> bool:
        cycle: Any = self.cycle  # None before the first request, whatever its annotation says
        return cycle is None or bool(cycle.response_complete)

    def dawdles(self, now: float) -> bool:
        return self._waiting_since is not None and now - self._waiting_since > HEADERS_S


def _sweep(loop: asyncio.AbstractEventLoop, connections: set[Any]) -> None:
    now = loop.time()
    for connection in list(connections):
        if isinstance(connection, Protocol) and connection.dawdles(now):
            connection.transport.abort()
    loop.call_later(SWEEP_S, _sweep, loop, connections)
