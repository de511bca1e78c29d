"""The wire form of TLS: hellos, records and handshake messages (RFC 5246, RFC 8446)."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from nodeward.host.wire import Budget, receive

if TYPE_CHECKING:
    import socket

TLS10, TLS11, TLS12, TLS13 = 0x0301, 0x0302, 0x0303, 0x0304

MOST_BYTES = 1 << 18
MOST_RECORD = (1 << 14) + 256  # a sealed one of TLS 1.3
CHANGE_CIPHER, ALERT, HANDSHAKE, SEALED = 20, 21, 22, 23
SERVER_HELLO, ENCRYPTED_EXTENSIONS, CERTIFICATE, CERTIFICATE_REQUEST, DONE = 2, 8, 11, 13, 14
CERTIFICATE_VERIFY, FINISHED = 15, 20

ALGORITHMS = (
    *(0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806),
    *(0x0401, 0x0501, 0x0601, 0x0201, 0x0807),
)


class AlertError(Exception):
    """The server ended the handshake; `number` is that of RFC 8446 section 6."""

    def __init__(self, number: int) -> None:
        self.number = number


def client_hello(
    version: int, ciphers: Iterable[int], name: str | None, groups: Iterable[int], more: bytes = b""
) -> bytes:
    """A ClientHello message. `more` are extensions beside the usual ones."""
    suites = _numbers(ciphers)
    extensions = extension(10, vector(_numbers(groups), 2)) + extension(11, b"\x01\x00")
    extensions += extension(0xFF01, b"\x00")
    if version >= TLS12:
        extensions += extension(13, vector(_numbers(ALGORITHMS), 2))
    if name:
        entry = b"\x00" + vector(name.encode("idna"), 2)
        extensions += extension(0, vector(entry, 2))
    body = struct.pack(">H", version) + os.urandom(32) + b"\x00"
    body += vector(suites, 2) + b"\x01\x00" + vector(extensions + more, 2)
    return b"\x01" + vector(body, 3)


def record(message: bytes) -> bytes:
    return struct.pack(">BH", HANDSHAKE, TLS10) + vector(message, 2)


def extension(number: int, data: bytes) -> bytes:
    return struct.pack(">H", number) + vector(data, 2)


def vector(data: bytes, width: int) -> bytes:
    """The data behind its length in `width` bytes."""
    return len(data).to_bytes(width) + data


def _numbers(values: Iterable[int]) -> bytes:
    return b"".join(struct.pack(">H", v) for v in values)


def records(connection: socket.socket, budget: Budget) -> Iterator[tuple[int, bytes]]:
    """Kind and content, until the stream ends. ValueError for what is no TLS, or has no end."""
    buffer, total = b"", 0
    while chunk := receive(connection, budget):
        buffer, total = buffer + chunk, total + len(chunk)
        if total > MOST_BYTES:
            raise ValueError("endless")
        while len(buffer) >= 5:
            kind, version, size = struct.unpack(">BHH", buffer[:5])
            if version >> 8 != 3 or size > MOST_RECORD:
                raise ValueError("no TLS record")
            if len(buffer) < 5 + size:
                break
            yield kind, buffer[5 : 5 + size]
            buffer = buffer[5 + size :]


def messages(found: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Handshake messages, put together over records. AlertError, or ValueError for others."""
    pending = b""
    for kind, data in found:
        if kind == ALERT:
            raise AlertError(data[1])
        if kind != HANDSHAKE:
            raise ValueError("neither handshake nor alert")
        pending += data
        while len(pending) >= 4:
            size = int.from_bytes(pending[1:4])
            if len(pending) < 4 + size:
                break
            yield pending[0], pending[4 : 4 + size]
            pending = pending[4 + size :]


def sized(data: bytes, width: int) -> bytes:
    """What stands behind a length of `width` bytes. ValueError where it is cut off."""
    size = int.from_bytes(data[:width])
    if len(data) < width + size:
        raise ValueError("cut off")
    return data[width : width + size]


def items(data: bytes, width: int) -> Iterator[bytes]:
    while data:
        item = sized(data, width)
        yield item
        data = data[width + len(item) :]


def extensions(data: bytes) -> dict[int, bytes]:
    """By number, of a block that starts with its length."""
    found, rest = {}, sized(data, 2)
    while rest:
        number, content = int.from_bytes(rest[:2]), sized(rest[2:], 2)
        found[number] = content
        rest = rest[4 + len(content) :]
    return found
