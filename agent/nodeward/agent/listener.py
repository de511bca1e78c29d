"""An optional listener on loopback that serves the metrics file the worker last wrote. Part of the
resident's one loop: no thread, no waiting for a slow client."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

MOST_CLIENTS = 8
MOST_REQUEST = 8192


class Listener:
    """Answers GET /metrics with `file`; anything else with 404."""

    def __init__(self, address: tuple[str, int], file: Path) -> None:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(address)
            self._socket.listen(MOST_CLIENTS)
        except OSError:
            self._socket.close()
            raise
        self._socket.setblocking(False)
        self._file = file
        self._clients: dict[int, tuple[socket.socket, bytearray]] = {}

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    @property
    def fds(self) -> list[int]:
        """Those to wait for."""
        return [self._socket.fileno(), *self._clients]

    def read(self, fd: int) -> None:
        """One of `fds` is readable."""
        if fd == self._socket.fileno():
            self._accept()
            return
        client, request = self._clients[fd]
        with contextlib.suppress(BlockingIOError):
            try:
                chunk = client.recv(4096)
            except ConnectionError:
                chunk = b""
            request += chunk
            if (
                not chunk
                or b"\n\r\n" in request
                or b"\n\n" in request
                or len(request) > MOST_REQUEST
            ):
                if chunk:
                    self._answer(client, bytes(request))
                self._drop(fd)

    def close(self) -> None:
        for fd in list(self._clients):
            self._drop(fd)
        self._socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            client, _ = self._socket.accept()
            client.setblocking(False)
            if len(self._clients) >= MOST_CLIENTS:  # the one that has been silent for longest
                self._drop(next(iter(self._clients)))
            self._clients[client.fileno()] = (client, bytearray())

    def _drop(self, fd: int) -> None:
        client, _ = self._clients.pop(fd)
        client.close()

    def _answer(self, client: socket.socket, request: bytes) -> None:
        words = request.split(b"\r\n", 1)[0].split(b" ")
        content, status = b"", b"404 Not Found"
        if words[:2] == [b"GET", b"/metrics"]:
            try:
                content, status = self._file.read_bytes(), b"200 OK"
            except OSError:
                status = b"503 Service Unavailable"
        head = (
            b"HTTP/1.0 " + status + b"\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8"
            b"\r\nContent-Length: " + str(len(content)).encode() + b"\r\n\r\n"
        )
        # What does not fit into the socket's buffer at once is lost to a client that does not read.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, len(content) + 65536)
        with contextlib.suppress(OSError):
            client.sendall(head + content)
