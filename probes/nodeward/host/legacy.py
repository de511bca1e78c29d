"""Packet filter rules of the older iptables, which netlink does not show.

They come by getsockopt on a raw socket, in the form of nf_tables' rules (nodeward.host.firewall),
so that one reader serves both. Only tables that the kernel lists already are asked for: another
name would make it load a module.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from nodeward.host import rights
from nodeward.host.base import DeniedError, HostError, MissingError, OfflineError
from nodeward.host.firewall import CAP_NET_ADMIN, HOOKS, WANTED_HOOKS, ChainRow, RuleRow, Ruleset
from nodeward.host.live import LiveHost
from nodeward.host.query import Query
from nodeward.lazy import dataclass

if TYPE_CHECKING:
    from nodeward.host.tree import TreeHost

GET_INFO, GET_ENTRIES = 64, 65  # IPT_SO_GET_INFO and its sister, the same numbers for IPv6
MOST_BYTES = 8 << 20
_INFO = struct.Struct("=32sI5I5III")
_REGISTER = "NFT_REG_1"
_VERDICTS = {-1: "DROP", -2: "ACCEPT", -4: "QUEUE", -5: "RETURN"}


@dataclass(frozen=True, slots=True)
class Layout:
    """struct ipt_entry or ip6t_entry: where its fields are, in bytes."""

    family: str
    names: str
    level: int
    domain: int
    width: int
    """Of an address."""

    interfaces: int
    protocol: int
    inverted: int
    offsets: int
    size: int


LAYOUTS = (
    Layout("ip", "/proc/net/ip_tables_names", socket.IPPROTO_IP, socket.AF_INET,
           4, 16, 80, 83, 88, 112),
    Layout("ip6", "/proc/net/ip6_tables_names", socket.IPPROTO_IPV6, socket.AF_INET6,
           16, 64, 128, 132, 140, 168),
)  # fmt: skip
# Bits of invflags, linux/netfilter_ipv4/ip_tables.h.
_NOT_IN, _NOT_OUT, _NOT_FROM, _NOT_TO, _NOT_PROTOCOL = 0x01, 0x02, 0x08, 0x10, 0x40


@dataclass(frozen=True, slots=True)
class LegacyRules(Query[Ruleset]):
    """The rules of every table in use, of the chains at these hooks and those that they jump to.
    DeniedError without CAP_NET_ADMIN."""

    answer_type: ClassVar[object] = Ruleset

    hooks: tuple[str, ...] = WANTED_HOOKS

    def answer(self, host: TreeHost) -> Ruleset:
        if not isinstance(host, LiveHost) or host.same_namespace("net") is False:
            raise OfflineError("iptables", "another network namespace than the host's")
        chains: list[ChainRow] = []
        rules: list[RuleRow] = []
        for layout in LAYOUTS:
            for table in _tables(host, layout):
                if not rights.effective_capabilities() >> CAP_NET_ADMIN & 1:
                    raise DeniedError("iptables", "needs CAP_NET_ADMIN")
                found = decode(layout, table, *_fetch(layout, table), self.hooks)
                chains += found.chains
                rules += found.rules
        return Ruleset(tuple(chains), tuple(rules))


def _tables(host: TreeHost, layout: Layout) -> list[str]:
    try:
        return host.read(layout.names).decode("ascii", "replace").split()
    except MissingError:  # the older iptables is not in this kernel, or not loaded
        return []


def _fetch(layout: Layout, table: str) -> tuple[bytes, bytes]:
    name = table.encode()[:31].ljust(32, b"\0")
    with socket.socket(layout.domain, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        info = rights.getsockopt(sock.fileno(), layout.level, GET_INFO, name, _INFO.size)
        size: int = _INFO.unpack(info)[-1]
        if size > MOST_BYTES:
            raise HostError("iptables", f"more than {MOST_BYTES} bytes")
        asked = name + struct.pack("=I", size)
        raw = rights.getsockopt(sock.fileno(), layout.level, GET_ENTRIES, asked, 40 + size)
    return info, raw[40:]


@dataclass(frozen=True, slots=True)
class _Entry:
    at: int
    expressions: tuple[tuple[str, ...], ...]
    target: str
    data: bytes


def decode(
    layout: Layout, table: str, info: bytes, raw: bytes, hooks: tuple[str, ...] = WANTED_HOOKS
) -> Ruleset:
    """A table's chains and rules. ValueError where the bytes are no table."""
    try:
        _, valid, *rest = _INFO.unpack(info)
        starts, ends = rest[:5], rest[5:10]
        entries = list(_entries(layout, raw))
    except struct.error as exc:
        raise ValueError(f"iptables {table}: {exc}") from exc
    shown = f"{table} (legacy)"
    builtin = {starts[h]: (HOOKS[h], ends[h]) for h in range(5) if valid >> h & 1}
    heads = {e.at: name for e, name in _heads(entries, builtin)}
    chains, rules, here, number = [], [], "", 0
    for entry in entries:
        if entry.at in heads:
            here, number = heads[entry.at], 0
            hook, end = builtin.get(entry.at, ("", -1))
            policy = next((e for e in entries if e.at == end), None)
            dropped = policy is not None and _verdict(policy, {})[1] == "DROP"
            if not hook or hook in hooks:
                row = ChainRow(layout.family, shown, here, hook, 0, "drop" if dropped else "accept")
                chains.append(row)
        if entry.target == "ERROR" or any(entry.at == end for _, end in builtin.values()):
            continue  # a chain's name, or the policy of one
        number += 1
        told = (*entry.expressions, _verdict(entry, heads))
        rules.append(RuleRow(layout.family, shown, here, number, told))
    return Ruleset(tuple(chains), tuple(rules))


def _heads(
    entries: list[_Entry], builtin: dict[int, tuple[str, int]]
) -> Iterator[tuple[_Entry, str]]:
    """The first rule of each chain: at a hook's start, or after the entry that names the chain."""
    named = ""
    for entry in entries:
        if entry.at in builtin:
            yield entry, builtin[entry.at][0].upper()
        elif named:
            yield entry, named
        named = (
            entry.data[:30].split(b"\0")[0].decode("utf-8", "replace")
            if (entry.target == "ERROR")
            else ""
        )


def _entries(layout: Layout, raw: bytes) -> Iterator[_Entry]:
    at = 0
    while at + layout.size <= len(raw):
        target_at, size = struct.unpack_from("=HH", raw, at + layout.offsets)
        if size < layout.size or target_at < layout.size or target_at + 32 > size:
            raise ValueError("iptables: an entry of no possible size")
        whole = raw[at : at + size]
        name, data = _named(whole, target_at, size)
        yield _Entry(at, tuple(_conditions(layout, whole, target_at)), name, data)
        at += size


def _named(whole: bytes, at: int, end: int) -> tuple[str, bytes]:
    """struct xt_entry_match or xt_entry_target: size, name, revision, data."""
    size, name = struct.unpack_from("=H29s", whole, at)
    data = whole[at + 32 : min(at + size, end)]
    return name.split(b"\0")[0].decode("ascii", "replace"), data


def _conditions(layout: Layout, whole: bytes, target_at: int) -> Iterator[tuple[str, ...]]:
    width, inverted = layout.width, whole[layout.inverted]
    source, target, source_mask, target_mask = (
        whole[i * width : (i + 1) * width] for i in range(4)
    )
    place = ("12", "16") if layout.family == "ip" else ("8", "24")
    yield from _address(place[0], source, source_mask, inverted & _NOT_FROM)
    yield from _address(place[1], target, target_mask, inverted & _NOT_TO)
    for i, (key, bit) in enumerate((("IIFNAME", _NOT_IN), ("OIFNAME", _NOT_OUT))):
        name = whole[layout.interfaces + 16 * i : layout.interfaces + 16 * (i + 1)]
        if name.strip(b"\0"):
            yield "meta", key, _REGISTER
            yield "cmp", _REGISTER, "NEQ" if inverted & bit else "EQ", name.hex()
    (protocol,) = struct.unpack_from("=H", whole, layout.protocol)
    if protocol:
        yield "meta", "L4PROTO", _REGISTER
        yield "cmp", _REGISTER, "NEQ" if inverted & _NOT_PROTOCOL else "EQ", f"{protocol:02x}"
    at = layout.size
    while at < target_at:
        match, data = _named(whole, at, target_at)
        yield "match", match, data.hex()
        (size,) = struct.unpack_from("=H", whole, at)
        at += max(size, 32)


def _address(place: str, value: bytes, mask: bytes, inverted: int) -> Iterator[tuple[str, ...]]:
    if mask.strip(b"\0"):
        yield "payload", "NETWORK", place, str(len(value)), _REGISTER
        yield "bitwise", _REGISTER, _REGISTER, mask.hex(), "00" * len(mask)
        yield "cmp", _REGISTER, "NEQ" if inverted else "EQ", value.hex()


def _verdict(entry: _Entry, heads: dict[int, str]) -> tuple[str, ...]:
    if entry.target:
        return "target", entry.target, ""
    (number,) = struct.unpack_from("=i", entry.data.ljust(4, b"\0"))
    if number >= 0:
        return "verdict", "JUMP" if number in heads else "CONTINUE", heads.get(number, "")
    return "verdict", _VERDICTS.get(number, "CONTINUE"), ""
