"""A TCP connection to this machine itself, within one time budget. For the port queries only."""

from __future__ import annotations

import errno
import ipaddress
import socket
import time
from enum import StrEnum
from typing import TYPE_CHECKING

from nodeward.host.base import OfflineError

if TYPE_CHECKING:
    from nodeward.host.tree import TreeHost


class Outcome(StrEnum):
    """What came of asking a port."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """Nothing listens there."""
    TIMEOUT = "timeout"
    TLS_ALERT = "tls-alert"
    """It speaks TLS, and ended the handshake."""
    GARBAGE = "garbage"
    """It answered in no form that we know, or closed without a word."""
    UNREACHABLE = "unreachable"


class Budget:
    """Seconds left for all that follows."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Raises TimeoutError when there is nothing left."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def must_be_local(host: TreeHost, address: str) -> None:
    """Refuse to send anything to another machine, or from another network namespace."""
    from nodeward.host.live import LiveHost

    if not isinstance(host, LiveHost) or host.same_namespace("net") is False:
        raise OfflineError(address, "another network namespace than the host's")
    must_be_own(address)


def must_be_own(address: str) -> None:
    """Refuse an address that is none of the network namespace that we are in."""
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as own:
            own.bind((address, 0))  # only an address of this machine can be bound
    except OSError:
        raise OfflineError(address, "not an address of this machine") from None


def connect(address: str, port: int, budget: Budget) -> socket.socket:
    """Raises OSError; `outcome_of` says what it means."""
    connection = socket.create_connection((address, port), timeout=budget.left())
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def receive(connection: socket.socket, budget: Budget, most: int = 1 << 14) -> bytes:
    """Some bytes; none at the end of the stream."""
    connection.settimeout(budget.left())
    return connection.recv(most)


def outcome_of(exc: OSError) -> Outcome:
    if isinstance(exc, TimeoutError):
        return Outcome.TIMEOUT
    if exc.errno == errno.ECONNREFUSED:
        return Outcome.REFUSED
    if isinstance(exc, ConnectionError):
        return Outcome.GARBAGE
    return Outcome.UNREACHABLE
