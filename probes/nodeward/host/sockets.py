"""Listening TCP sockets of the running machine, from the kernel through pyroute2."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from nodeward.host.base import HostError, OfflineError
from nodeward.host.live import LiveHost
from nodeward.host.query import Query

if TYPE_CHECKING:
    from nodeward.host.tree import TreeHost

LISTEN_STATES = 1 << 10  # TCP_LISTEN; without the filter every TIME_WAIT would be decoded


@dataclass(frozen=True, slots=True)
class SocketRow:
    """One listening socket; `address` as text."""

    address: str
    port: int
    inode: int
    uid: int


@dataclass(frozen=True, slots=True)
class ListeningSockets(Query[tuple[SocketRow, ...]]):
    """sock_diag(7) of our own network namespace: OfflineError unless that is the machine's. Where
    it cannot be told (an ordinary user may not compare), /proc/1/net is the surer source."""

    answer_type: ClassVar[object] = tuple[SocketRow, ...]

    def answer(self, host: TreeHost) -> tuple[SocketRow, ...]:
        if not isinstance(host, LiveHost) or not host.same_namespace("net"):
            raise OfflineError("sock_diag", "not known to be in the host's network namespace")
        from pyroute2 import DiagSocket

        rows = []
        try:
            with DiagSocket() as diag:
                diag.bind()
                for family in (socket.AF_INET, socket.AF_INET6):
                    rows += [
                        _row(m) for m in diag.get_sock_stats(family=family, states=LISTEN_STATES)
                    ]
        except OSError as exc:
            raise HostError("sock_diag", f"{type(exc).__name__} {exc.errno}") from exc
        return tuple(sorted(rows, key=lambda r: (r.port, r.address)))


def _row(message: object) -> SocketRow:
    assert isinstance(message, dict)
    return SocketRow(
        address=str(message["idiag_src"]),
        port=int(message["idiag_sport"]),
        inode=int(message["idiag_inode"]),
        uid=int(message["idiag_uid"]),
    )
