"""Listening TCP sockets of the running machine, asked of the kernel: sock_diag(7).

Not through pyroute2: its import alone costs a third of a whole look (docs/agent.md), and this one
question and its answer are two structures.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from nodeward.host.base import HostError, OfflineError
from nodeward.host.live import LiveHost
from nodeward.host.query import Query
from nodeward.lazy import dataclass

if TYPE_CHECKING:
    from nodeward.host.tree import TreeHost

# linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY = 4, 20
NLM_F_REQUEST_DUMP, NLMSG_ERROR, NLMSG_DONE = 0x301, 2, 3
LISTEN_STATES = 1 << 10  # TCP_LISTEN; without the filter every TIME_WAIT would be told
HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
REQUEST = struct.Struct("=BBBBI48x")  # inet_diag_req_v2: family, protocol, ext, pad, states, id
ANSWER = struct.Struct("=B3x2s2x16s16x12x12xII")  # inet_diag_msg: family, port, source; uid, inode
MOST_BYTES = 1 << 18
"""Of one part of the answer: the kernel's are 32 KiB at most."""


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
        try:
            rows = [*_listening(socket.AF_INET), *_listening(socket.AF_INET6)]
        except (OSError, struct.error) as exc:
            code = exc.errno if isinstance(exc, OSError) else ""
            raise HostError("sock_diag", f"{type(exc).__name__} {code}".rstrip()) from exc
        return tuple(sorted(rows, key=lambda r: (r.port, r.address)))


def _listening(family: int) -> Iterator[SocketRow]:
    question = REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, LISTEN_STATES)
    size = HEADER.size + len(question)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(5.0)
        kernel.bind((0, 0))
        kernel.send(HEADER.pack(size, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, 1, 0) + question)
        while True:
            part = kernel.recv(MOST_BYTES)
            at = 0
            while at < len(part):
                length, kind, _, _, _ = HEADER.unpack_from(part, at)
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    code = -struct.unpack_from("=i", part, at + HEADER.size)[0]
                    raise OSError(code, os.strerror(code))
                yield _row(part, at + HEADER.size)
                at += max(HEADER.size, length + 3 & ~3)


def _row(part: bytes, at: int) -> SocketRow:
    family, port, source, uid, inode = ANSWER.unpack_from(part, at)
    address = source if family == socket.AF_INET6 else source[:4]
    return SocketRow(
        address=socket.inet_ntop(family, address),
        port=int.from_bytes(port, "big"),
        inode=inode,
        uid=uid,
    )
