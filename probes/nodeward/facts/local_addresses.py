"""The addresses of this machine's own interfaces."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import ClassVar

from nodeward.facts.errors import ParseError
from nodeward.lazy import dataclass, pattern
from nodeward.model import Fact


@dataclass(frozen=True, slots=True)
class LocalAddresses(Fact):
    """Both families as text, loopback included."""

    events: ClassVar[tuple[str, ...]] = ("route",)

    rows: tuple[str, ...]

    @property
    def public(self) -> tuple[str, ...]:
        return tuple(row for row in self.rows if is_public(row))


def is_public(address: str) -> bool:
    """Whether the whole internet may route to it; False for what is no address."""
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


_LEAF = pattern(rb"\|-- (\d+\.\d+\.\d+\.\d+)\n\s+/32 host LOCAL")


def parse_fib_trie(raw: bytes) -> tuple[str, ...]:
    """The local addresses of /proc/net/fib_trie: leaves that say `/32 host LOCAL`."""
    return tuple(dict.fromkeys(m[1].decode("ascii") for m in _LEAF.finditer(raw)))


def parse_if_inet6(raw: bytes) -> tuple[str, ...]:
    """/proc/net/if_inet6: 32 hex digits, then index, prefix length, scope, flags, name."""
    return tuple(_inet6(raw))


def _inet6(raw: bytes) -> Iterator[str]:
    for number, line in enumerate(raw.split(b"\n"), 1):
        fields = line.split()
        if not fields:
            continue
        try:
            yield str(ipaddress.IPv6Address(bytes.fromhex(fields[0].decode("ascii"))))
        except ValueError:
            raise ParseError(
                "/proc/net/if_inet6", number, line.decode("utf-8", "replace")
            ) from None
