"""TCP sockets that wait for connections, and whose they are."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from typing import ClassVar

from nodeward.facts.errors import ParseError
from nodeward.lazy import dataclass
from nodeward.model import Evidence, Fact, Row, Table

LISTEN = 0x0A  # TCP_LISTEN of include/net/tcp_states.h, as /proc/net/tcp prints it


@dataclass(frozen=True, slots=True)
class Listener:
    """One listening TCP socket in the host's own network namespace.

    `address` is "0.0.0.0", "::", or an address; `pid` and `program` are None where the owner could
    not be told (the socket is held by the kernel, or /proc/PID/fd may not be read).
    """

    address: str
    port: int
    inode: int
    uid: int
    pid: int | None = None
    program: str | None = None

    @property
    def loopback(self) -> bool:
        return _reached(self.address).is_loopback

    @property
    def wildcard(self) -> bool:
        return _reached(self.address).is_unspecified

    @property
    def reach(self) -> str:
        """From where a connection can come, packet filters apart."""
        if self.loopback:
            return "this node"
        if self.wildcard:
            return "every address"
        link = _reached(self.address).is_link_local
        return f"{self.address}, on its link" if link else self.address

    def evidence(self, what: str = "listens on") -> Evidence:
        """The socket and its owner, with a row for the map of listeners."""
        cells = {
            "address": self.address,
            "port": str(self.port),
            "program": self.program or "",
            "reach": self.reach,
        }
        row = Row(Table.LISTENER, str(self), tuple(cells.items()))
        return Evidence(what, str(self), self.program or "", row)

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


def _reached(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An IPv4 address that an IPv6 socket was bound to is reached as what it is."""
    found = ipaddress.ip_address(address)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


@dataclass(frozen=True, slots=True)
class Listeners(Fact):
    """All of them, by port and address. `source` says where they were read."""

    events: ClassVar[tuple[str, ...]] = ("listener",)

    rows: tuple[Listener, ...]
    source: str

    def on(self, port: int) -> tuple[Listener, ...]:
        return tuple(row for row in self.rows if row.port == port)

    def of(self, pid: int) -> tuple[Listener, ...]:
        return tuple(row for row in self.rows if row.pid == pid)

    def taking(self, address: str, port: int) -> tuple[Listener, ...]:
        """Those that a connection to this address may go to: what is bound to it goes before what
        is bound to every address, and an IPv6 socket takes IPv4 where no IPv4 one does."""
        target = ipaddress.ip_address(address)
        rows = [(row, _reached(row.address)) for row in self.on(port)]
        exact = [row for row, at in rows if at == target]
        every = [(row, at) for row, at in rows if at.is_unspecified]
        same = [row for row, at in every if at.version == target.version]
        return tuple(exact or same or (row for row, _ in every if target.version == 4))


def parse_proc_net_tcp(raw: bytes) -> tuple[Listener, ...]:
    """Listening rows of /proc/net/tcp or tcp6, proc_pid_net(5). Addresses are hex words, each in
    the byte order of the machine that wrote them (little-endian on all that Kubernetes runs on)."""
    return tuple(_rows(raw))


def _rows(raw: bytes) -> Iterator[Listener]:
    for number, line in enumerate(raw.split(b"\n")[1:], 2):
        fields = line.split()
        if not fields:
            continue
        try:
            if int(fields[3], 16) != LISTEN:
                continue
            address, port = fields[1].split(b":")
            yield Listener(_address(address), int(port, 16), int(fields[9]), int(fields[7]))
        except (ValueError, IndexError, struct.error):
            raise ParseError("/proc/net/tcp", number, line.decode("utf-8", "replace")) from None


def _address(text: bytes) -> str:
    words = bytes.fromhex(text.decode("ascii"))
    count = len(words) // 4
    packed = struct.pack(f">{count}I", *struct.unpack(f"<{count}I", words))
    return str(ipaddress.ip_address(packed))
