"""What a TLS server shows before any secret is agreed: version, cipher, certificates, client CAs.

The hello is our own, up to TLS 1.2 (RFC 5246), whose answers are in the clear: so a version or
cipher that the local library would never offer can be tried, and the names of the client CAs can
be read, which Python's ssl does not show. The handshake is never finished; the server may log an
end of file. A server that speaks TLS 1.3 only is asked once more through ssl.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from nodeward.host.query import Query
from nodeward.host.wire import Budget, Outcome, connect, must_be_local, outcome_of, receive

if TYPE_CHECKING:
    import socket
    import ssl

    from nodeward.host.tree import TreeHost

TLS10, TLS11, TLS12, TLS13 = 0x0301, 0x0302, 0x0303, 0x0304

COMMON = (0xC02F, 0xC02B, 0xC030, 0xC02C, 0xCCA8, 0xCCA9)
"""ECDHE with AES-GCM or ChaCha20."""
OLD = (0xC013, 0xC014, 0xC009, 0xC00A, 0x009C, 0x009D, 0x002F, 0x0035, 0x000A)
"""With CBC or the server's own RSA key: what an old or careless server may insist on."""

MOST_BYTES = 1 << 18
PROTOCOL_VERSION, HANDSHAKE_FAILURE = 70, 40
_ALERT, _HANDSHAKE = 21, 22
_SERVER_HELLO, _CERTIFICATE, _CERTIFICATE_REQUEST, _DONE = 2, 11, 13, 14


@dataclass(frozen=True, slots=True)
class TlsAnswer:
    """`version` and `cipher` are the numbers of the standard. `chain` is DER, the server's own
    first. `client_cas` are DER names; None: the server asked for no client certificate, or (TLS
    1.3) we could not see. `alert` is the number of RFC 8446 section 6."""

    outcome: Outcome
    version: int | None = None
    cipher: int | None = None
    chain: tuple[bytes, ...] = ()
    client_cas: tuple[bytes, ...] | None = None
    alert: int | None = None


@dataclass(frozen=True, slots=True)
class TlsOffer(Query[TlsAnswer]):
    """One hello with exactly this highest version (up to TLS 1.2) and these ciphers."""

    answer_type: ClassVar[object] = TlsAnswer

    address: str
    port: int
    version: int = TLS12
    ciphers: tuple[int, ...] = COMMON + OLD
    seconds: float = 2.0

    def answer(self, host: TreeHost) -> TlsAnswer:
        must_be_local(host, self.address)
        return offer(self.address, self.port, self.version, self.ciphers, Budget(self.seconds))


@dataclass(frozen=True, slots=True)
class TlsHandshake(Query[TlsAnswer]):
    """What a server on this machine presents: an offer of TLS 1.2, and of 1.3 if it wants no
    other. `name` is the server name asked for (SNI)."""

    answer_type: ClassVar[object] = TlsAnswer

    address: str
    port: int
    name: str | None = None
    seconds: float = 2.0

    def answer(self, host: TreeHost) -> TlsAnswer:
        must_be_local(host, self.address)
        return handshake(self.address, self.port, self.name, Budget(self.seconds))


def handshake(address: str, port: int, name: str | None, budget: Budget) -> TlsAnswer:
    found = offer(address, port, TLS12, COMMON + OLD, budget, name)
    if found.outcome is Outcome.TLS_ALERT and found.alert == PROTOCOL_VERSION:
        return _tls13(address, port, name, budget)
    return found


def offer(
    address: str,
    port: int,
    version: int,
    ciphers: tuple[int, ...],
    budget: Budget,
    name: str | None = None,
) -> TlsAnswer:
    """Send one hello and read the server's flight. Never raises."""
    try:
        with connect(address, port, budget) as connection:
            connection.sendall(client_hello(version, ciphers, name))
            return _flight(connection, budget)
    except OSError as exc:
        return TlsAnswer(outcome_of(exc))


def client_hello(version: int, ciphers: tuple[int, ...], name: str | None) -> bytes:
    """One record with a ClientHello."""
    suites = b"".join(struct.pack(">H", c) for c in ciphers)
    groups = struct.pack(">HHHH", 6, 0x001D, 0x0017, 0x0018)
    extensions = _extension(10, groups) + _extension(11, b"\x01\x00") + _extension(0xFF01, b"\x00")
    if version >= TLS12:
        algorithms = (
            0x0403,
            0x0503,
            0x0603,
            0x0804,
            0x0805,
            0x0806,
            0x0401,
            0x0501,
            0x0601,
            0x0201,
        )
        listed = b"".join(struct.pack(">H", a) for a in (*algorithms, 0x0807))
        extensions += _extension(13, struct.pack(">H", len(listed)) + listed)
    if name:
        host = name.encode("idna")
        entry = b"\x00" + struct.pack(">H", len(host)) + host
        extensions += _extension(0, struct.pack(">H", len(entry)) + entry)
    body = struct.pack(">H", version) + os.urandom(32) + b"\x00"
    body += struct.pack(">H", len(suites)) + suites + b"\x01\x00"
    body += struct.pack(">H", len(extensions)) + extensions
    message = b"\x01" + struct.pack(">I", len(body))[1:] + body
    return struct.pack(">BHH", _HANDSHAKE, TLS10, len(message)) + message


def _extension(number: int, data: bytes) -> bytes:
    return struct.pack(">HH", number, len(data)) + data


class _Alert(Exception):
    def __init__(self, number: int) -> None:
        self.number = number


def _flight(connection: socket.socket, budget: Budget) -> TlsAnswer:
    version = cipher = None
    chain: tuple[bytes, ...] = ()
    names: tuple[bytes, ...] | None = None
    try:
        for kind, body in _messages(connection, budget):
            if kind == _SERVER_HELLO:
                version, cipher = _hello(body)
            elif kind == _CERTIFICATE:
                chain = tuple(_items(_sized(body, 3), 3))
            elif kind == _CERTIFICATE_REQUEST and version is not None:
                names = _authorities(body, version)
            elif kind == _DONE:
                return TlsAnswer(Outcome.ANSWERED, version, cipher, chain, names)
    except _Alert as alert:
        return TlsAnswer(Outcome.TLS_ALERT, alert=alert.number)
    except (ValueError, IndexError, struct.error):
        pass
    return TlsAnswer(Outcome.GARBAGE)


def _messages(connection: socket.socket, budget: Budget) -> Iterator[tuple[int, bytes]]:
    """Handshake messages, put together over records. Ends with the stream, raises on an alert."""
    pending = b""
    for kind, data in _records(connection, budget):
        if kind == _ALERT:
            raise _Alert(data[1])
        if kind != _HANDSHAKE:
            raise ValueError("neither handshake nor alert")
        pending += data
        while len(pending) >= 4:
            size = int.from_bytes(pending[1:4])
            if len(pending) < 4 + size:
                break
            yield pending[0], pending[4 : 4 + size]
            pending = pending[4 + size :]


def _records(connection: socket.socket, budget: Budget) -> Iterator[tuple[int, bytes]]:
    buffer, total = b"", 0
    while chunk := receive(connection, budget):
        buffer, total = buffer + chunk, total + len(chunk)
        if total > MOST_BYTES:
            raise ValueError("endless")
        while len(buffer) >= 5:
            kind, version, size = struct.unpack(">BHH", buffer[:5])
            if version >> 8 != 3 or size > 1 << 14:
                raise ValueError("no TLS record")
            if len(buffer) < 5 + size:
                break
            yield kind, buffer[5 : 5 + size]
            buffer = buffer[5 + size :]


def _hello(body: bytes) -> tuple[int, int]:
    """version(2) random(32) session(1+n) cipher(2) ..."""
    session = body[34]
    version, cipher = struct.unpack(">H", body[:2])[0], body[35 + session : 37 + session]
    return version, struct.unpack(">H", cipher)[0]


def _authorities(body: bytes, version: int) -> tuple[bytes, ...]:
    """types(1+n) [algorithms(2+n) from TLS 1.2] names(2+n of 2+n)"""
    rest = body[1 + body[0] :]
    if version >= TLS12:
        rest = rest[2 + int.from_bytes(rest[:2]) :]
    return tuple(_items(_sized(rest, 2), 2))


def _sized(data: bytes, width: int) -> bytes:
    size = int.from_bytes(data[:width])
    if len(data) < width + size:
        raise ValueError("cut off")
    return data[width : width + size]


def _items(data: bytes, width: int) -> Iterator[bytes]:
    while data:
        item = _sized(data, width)
        yield item
        data = data[width + len(item) :]


_NAMES_13 = {"TLS_AES_128_GCM_SHA256": 0x1301, "TLS_AES_256_GCM_SHA384": 0x1302,
             "TLS_CHACHA20_POLY1305_SHA256": 0x1303}  # fmt: skip


def _tls13(address: str, port: int, name: str | None, budget: Budget) -> TlsAnswer:
    """Python's ssl shows only the server's own certificate, and never the client CAs."""
    import ssl

    try:
        with connect(address, port, budget) as plain:
            plain.settimeout(budget.left())
            with unverified().wrap_socket(plain, server_hostname=name) as secure:
                leaf = secure.getpeercert(binary_form=True)
                cipher = secure.cipher()
    except ssl.SSLError:
        return TlsAnswer(Outcome.TLS_ALERT)
    except OSError as exc:
        return TlsAnswer(outcome_of(exc))
    number = _NAMES_13.get(cipher[0]) if cipher else None
    return TlsAnswer(Outcome.ANSWERED, TLS13, number, (leaf,) if leaf else ())


def unverified() -> ssl.SSLContext:
    """A context that takes any certificate: we look at the server, and tell it nothing."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
