"""What a TLS server shows before it knows its caller: version, cipher, certificates, client CAs.

The hello is our own, so a version or cipher that the local library would never offer can be tried,
and the names of the client CAs can be read, which Python's ssl does not show. Up to TLS 1.2 the
answers are in the clear; those of a server that speaks TLS 1.3 only are opened (host/tls13.py). The
handshake is never finished; the server may log an end of file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from nodeward.host import tls13
from nodeward.host.query import Query
from nodeward.host.tls_wire import (
    CERTIFICATE,
    CERTIFICATE_REQUEST,
    DONE,
    FINISHED,
    SERVER_HELLO,
    TLS10,
    TLS11,
    TLS12,
    TLS13,
    AlertError,
    client_hello,
    extensions,
    items,
    messages,
    record,
    records,
    sized,
)
from nodeward.host.wire import Budget, Outcome, connect, must_be_local, outcome_of
from nodeward.lazy import dataclass

if TYPE_CHECKING:
    import socket
    import ssl

    from nodeward.host.tree import TreeHost

__all__ = [
    "TLS10",
    "TLS11",
    "TLS12",
    "TLS13",
    "TlsAnswer",
    "TlsHandshake",
    "TlsHandshakes",
    "TlsOffer",
]

COMMON = (0xC02F, 0xC02B, 0xC030, 0xC02C, 0xCCA8, 0xCCA9)
"""ECDHE with AES-GCM or ChaCha20."""
OLD = (0xC013, 0xC014, 0xC009, 0xC00A, 0x009C, 0x009D, 0x002F, 0x0035, 0x000A)
"""With CBC or the server's own RSA key: what an old or careless server may insist on."""
GROUPS = (0x001D, 0x0017, 0x0018)

PROTOCOL_VERSION, HANDSHAKE_FAILURE = 70, 40
AT_ONCE = 16
_AUTHORITIES = 47


@dataclass(frozen=True, slots=True)
class TlsAnswer:
    """`version` and `cipher` are the numbers of the standard. `chain` is DER, the server's own
    first. `client_cas` are DER names; None: the server asked for no client certificate. `alert` is
    the number of RFC 8446 section 6."""

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


@dataclass(frozen=True, slots=True)
class TlsHandshakes(Query[tuple[TlsAnswer, ...]]):
    """The same of several (address, port), AT_ONCE of them at a time: servers that hang cost their
    time together and not one after another. One answer each, in order."""

    answer_type: ClassVar[object] = tuple[TlsAnswer, ...]

    ports: tuple[tuple[str, int], ...]
    seconds: float = 2.0

    def answer(self, host: TreeHost) -> tuple[TlsAnswer, ...]:
        import threading

        for address, _ in self.ports:
            must_be_local(host, address)
        answers = [TlsAnswer(Outcome.TIMEOUT)] * len(self.ports)
        todo = iter(enumerate(self.ports))  # whoever is free takes the next

        def work() -> None:
            for number, where in todo:
                answers[number] = self._one(where)

        others = min(AT_ONCE, len(self.ports)) - 1
        threads = [threading.Thread(target=work, daemon=True) for _ in range(others)]
        for thread in threads:
            thread.start()
        work()
        for thread in threads:
            thread.join()
        return tuple(answers)

    def _one(self, where: tuple[str, int]) -> TlsAnswer:
        return handshake(*where, None, Budget(self.seconds))


def handshake(address: str, port: int, name: str | None, budget: Budget) -> TlsAnswer:
    found = offer(address, port, TLS12, COMMON + OLD, budget, name)
    if found.outcome is Outcome.TLS_ALERT and found.alert == PROTOCOL_VERSION:
        return offer_13(address, port, budget, name)
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
            connection.sendall(record(client_hello(version, ciphers, name, GROUPS)))
            return _flight(connection, budget)
    except OSError as exc:
        return TlsAnswer(outcome_of(exc))


def offer_13(address: str, port: int, budget: Budget, name: str | None = None) -> TlsAnswer:
    """The same with TLS 1.3 only."""
    try:
        with connect(address, port, budget) as connection:
            return _told(_read_13(tls13.opened(connection, name, budget)))
    except OSError as exc:
        return TlsAnswer(outcome_of(exc))


def _flight(connection: socket.socket, budget: Budget) -> TlsAnswer:
    return _told(_read(messages(records(connection, budget))))


def _told(parts: Iterator[dict[str, Any]]) -> TlsAnswer:
    """What the parts of a flight say; GARBAGE for one without an end."""
    seen: dict[str, Any] = {}
    try:
        for part in parts:
            if not part:
                return TlsAnswer(Outcome.ANSWERED, **seen)
            seen |= part
    except AlertError as alert:
        return TlsAnswer(Outcome.TLS_ALERT, alert=alert.number)
    except (ValueError, IndexError, struct.error):
        pass
    return TlsAnswer(Outcome.GARBAGE)


def _read(found: Iterable[tuple[int, bytes]]) -> Iterator[dict[str, Any]]:
    """The fields of each message up to TLS 1.2; an empty one at the end of the flight."""
    version: int | None = None
    for kind, body in found:
        if kind == SERVER_HELLO:
            version = int.from_bytes(body[:2])
            yield {"version": version, "cipher": tls13.chosen(body)}
        elif kind == CERTIFICATE:
            yield {"chain": tuple(items(sized(body, 3), 3))}
        elif kind == CERTIFICATE_REQUEST and version is not None:
            yield {"client_cas": _authorities(body, version)}
        elif kind == DONE:
            yield {}


def _authorities(body: bytes, version: int) -> tuple[bytes, ...]:
    """types(1+n) [algorithms(2+n) from TLS 1.2] names(2+n of 2+n)"""
    rest = body[1 + body[0] :]
    if version >= TLS12:
        rest = rest[2 + int.from_bytes(rest[:2]) :]
    return tuple(items(sized(rest, 2), 2))


def _read_13(found: Iterable[tuple[int, bytes]]) -> Iterator[dict[str, Any]]:
    """The same of TLS 1.3, where certificate and request begin with a context(1+n)."""
    for kind, body in found:
        if kind == SERVER_HELLO:
            yield {"version": TLS13, "cipher": tls13.chosen(body)}
        elif kind == CERTIFICATE:
            yield {"chain": tuple(_chain_13(sized(body[1 + body[0] :], 3)))}
        elif kind == CERTIFICATE_REQUEST:
            names = extensions(body[1 + body[0] :]).get(_AUTHORITIES)
            yield {"client_cas": tuple(items(sized(names, 2), 2)) if names else ()}
        elif kind == FINISHED:
            yield {}


def _chain_13(entries: bytes) -> Iterator[bytes]:
    """certificate(3+n) extensions(2+n), one after the other"""
    while entries:
        certificate = sized(entries, 3)
        yield certificate
        entries = entries[3 + len(certificate) :]
        entries = entries[2 + len(sized(entries, 2)) :]


def unverified() -> ssl.SSLContext:
    """A context that takes any certificate: we look at the server, and tell it nothing."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
