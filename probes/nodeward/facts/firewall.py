"""Which packet filter rules and routes of the node meet the metadata addresses.

A rule comes as the kernel keeps it: a list of expressions that load a field into a register and
compare it (linux/netfilter/nf_tables.h). Only what decides about destination addresses and ports
is read; every other condition is kept as text, so that a rule for one pod is not taken for one for
all.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from functools import reduce
from operator import or_
from typing import ClassVar

from nodeward.lazy import dataclass
from nodeward.model import Fact

Expressions = Sequence[tuple[str, ...]]
Elements = Sequence[tuple[str, str]]
Interval = tuple[int, int]
"""From and to, both included."""

DEEPEST = 8
BLOCKS = frozenset({"drop", "reject"})


@dataclass(frozen=True, slots=True)
class Rule:
    """`version` is 4, 6 or 0 for both. `to` None: any address; `ports` None: any port.
    `verdict` is drop, reject, accept, return, dnat, queue, "jump X", "goto X", "vmap" for what a
    map says, or "" for none."""

    table: str
    chain: str
    handle: int
    version: int = 0
    to: tuple[Interval, ...] | None = None
    ports: tuple[Interval, ...] | None = None
    conditions: tuple[str, ...] = ()
    verdict: str = ""

    def names(self, version: int, address: int, port: int) -> bool:
        """Whether the rule says this address, and not only lets it in among all."""
        return self.to is not None and self.meets(version, address, port)

    def meets(self, version: int, address: int, port: int) -> bool:
        """Whether a packet to there can meet the rule, its other conditions aside."""
        if self.version not in (0, version):
            return False
        return _inside(self.to, address) and _inside(self.ports, port)

    @property
    def where(self) -> str:
        return f"{self.table} {self.chain} handle {self.handle}"


def _inside(intervals: tuple[Interval, ...] | None, value: int) -> bool:
    return intervals is None or any(low <= value <= high for low, high in intervals)


@dataclass(frozen=True, slots=True)
class Chain:
    """`hook` is "" for one that others jump to; `policy` accept or drop."""

    table: str
    name: str
    hook: str
    priority: int
    policy: str
    rules: tuple[Rule, ...]

    def holds(self, version: int) -> bool:
        """Whether packets of this IP version pass it."""
        return _FAMILY_VERSION.get(self.table.partition(" ")[0], version) == version


@dataclass(frozen=True, slots=True)
class Effect:
    """What the rules of one hook do to a packet to one endpoint: the rule that names it, and under
    which conditions. `what` is drop, reject, accept or dnat."""

    endpoint: str
    address: str
    hook: str
    what: str
    where: str
    conditions: tuple[str, ...] = ()

    def __str__(self) -> str:
        under = f" where {', '.join(self.conditions)}" if self.conditions else ""
        return f"{self.what}{under}"


@dataclass(frozen=True, slots=True)
class RouteTo:
    """How the node would send to an address. `kind` is the kernel's word (unicast, blackhole) or
    an error (ENETUNREACH)."""

    address: str
    kind: str
    device: str = ""
    gateway: str = ""

    def __str__(self) -> str:
        via = f" via {self.gateway}" if self.gateway else ""
        return f"{self.kind}{via}" + (f" dev {self.device}" if self.device else "")


@dataclass(frozen=True, slots=True)
class NodeRules(Fact):
    """What stands between pods and the endpoints on this node, in the order in which it is met.

    `problem` says why rules could not be read; `complete` is False where a limit cut the look.
    """

    events: ClassVar[tuple[str, ...]] = ("route",)

    effects: tuple[Effect, ...] = ()
    routes: tuple[RouteTo, ...] = ()
    problem: str = ""
    complete: bool = True

    def blocking(self, address: str) -> tuple[Effect, ...]:
        return tuple(
            e
            for e in self.effects
            if e.address == address and e.what in BLOCKS and e.hook != "output"
        )


# --- from expressions to a rule ---------------------------------------------------------------


@dataclass(slots=True)
class _Reading:
    """A rule while its expressions are read. `loaded` is what each register holds."""

    version: int
    sets: Mapping[str, Elements]
    loaded: dict[str, tuple[str, ...]] = field(default_factory=dict)
    masks: dict[str, str] = field(default_factory=dict)
    to: list[Interval] | None = None
    ports: list[Interval] | None = None
    conditions: list[str] = field(default_factory=list)
    verdict: str = ""

    @property
    def bits(self) -> int:
        return 128 if self.version == 6 else 32

    def narrow(self, what: str, intervals: list[Interval], top: int, *, inverted: bool) -> None:
        """A further condition on address or port: both must hold."""
        found = _complement(intervals, top) if inverted else intervals
        if what == "daddr":
            self.to = found if self.to is None else _both(self.to, found)
        else:
            self.ports = found if self.ports is None else _both(self.ports, found)


_FAMILY_VERSION = {"ip": 4, "ip6": 6}
_NFPROTO = {"02": 4, "0a": 6}
_NAMES = {"IIFNAME": "iifname", "OIFNAME": "oifname", "SKUID": "skuid", "SKGID": "skgid"}
_TCP = "06"
_LOOPBACK = "01000000"  # lo is the first interface of every network namespace
_TARGETS = {
    "REJECT": "reject",
    "DNAT": "dnat",
    "REDIRECT": "dnat",
    "TPROXY": "dnat",
    "DROP": "drop",
}
_SILENT = frozenset({"comment", "immediate", "objref", "notrack", "byteorder"})


def read_rule(
    family: str,
    table: str,
    chain: str,
    handle: int,
    expressions: Expressions,
    sets: Mapping[str, Elements],
) -> Rule:
    """One rule from its expressions; `sets` are those of its table, by name."""
    reading = _Reading(_FAMILY_VERSION.get(family, 0), sets)
    for expression in expressions:
        _read(reading, expression)
    return Rule(
        f"{family} {table}",
        chain,
        handle,
        reading.version,
        None if reading.to is None else tuple(reading.to),
        None if reading.ports is None else tuple(reading.ports),
        tuple(reading.conditions),
        reading.verdict,
    )


def _read(r: _Reading, e: tuple[str, ...]) -> None:
    match e:
        case ("payload", base, offset, length, reg):
            r.loaded[reg] = _field(r.version, base, int(offset), int(length))
        case ("meta", key, reg):
            r.loaded[reg] = ("meta", key)  # without a register it sets a mark: no condition
        case ("ct" | "socket" as kind, key, reg):
            r.loaded[reg] = (kind, key)
        case ("bitwise", source, reg, mask, _):
            r.loaded[reg] = r.loaded.get(source, ("?",))
            r.masks[reg] = mask
        case ("cmp", reg, op, value):
            _compare(r, r.loaded.get(reg, ("?",)), op, value, r.masks.pop(reg, ""))
        case ("range", reg, op, low, high):
            _range(r, r.loaded.get(reg, ("?",)), op, low, high)
        case ("lookup", name, reg, inverted):
            _look_up(r, name, reg, inverted=bool(inverted))
        case ("verdict", code, target):
            r.verdict = f"{code.lower()} {target}".strip()
        case ("reject",):
            r.verdict = "reject"
        case ("vmap", name, reg):
            r.conditions.append(f"{' '.join(r.loaded.get(reg, ('?',)))} in map {name}")
            r.verdict = "vmap"
        case ("nat", kind):
            r.verdict = "dnat" if kind == "DNAT" else ""
        case ("redir" | "tproxy",):
            r.verdict = "dnat"
        case ("match", name, info):
            _old_match(r, name, bytes.fromhex(info))
        case ("target", name, _):
            r.verdict = _TARGETS.get(name, "")
        case (name, *_) if name not in _SILENT:
            r.conditions.append(name)
        case _:
            pass


def _field(version: int, base: str, offset: int, length: int) -> tuple[str, ...]:
    """Which field of a packet this is; "daddr" carries how many bytes of it are compared."""
    if base == "NETWORK" and length > 0:
        start, size = (24, 16) if version == 6 else (16, 4)
        if offset == start and length <= size:
            return "daddr", str(length)
        if offset == (8 if version == 6 else 12) and length <= size:
            return "saddr", str(length)
        if (offset, length) == (6 if version == 6 else 9, 1):
            return "meta", "L4PROTO"  # what iptables asks for since 1.8.10
    if base == "TRANSPORT" and length == 2:
        return ("dport",) if offset == 2 else ("sport",)
    return ("field", f"{base.lower()} {offset}+{length}")


_COMPARISONS = {"EQ": "", "NEQ": "!= ", "LT": "< ", "LTE": "<= ", "GT": "> ", "GTE": ">= "}


def _compare(r: _Reading, what: tuple[str, ...], op: str, value: str, mask: str) -> None:
    match what:
        case ("meta", "NFPROTO") if op == "EQ":
            r.version = _NFPROTO.get(value, r.version)
        case ("meta", "L4PROTO") if op == "EQ" and value == _TCP:
            pass
        case ("meta", key):
            r.conditions.append(_shown(key, op, value))
        case ("daddr", *_):
            found = _of_comparison(op, value, mask, r.bits)
            r.narrow("daddr", found, (1 << r.bits) - 1, inverted=op == "NEQ")
        case ("dport",):
            r.narrow("dport", _of_comparison(op, value, mask, 16), 0xFFFF, inverted=op == "NEQ")
        case ("saddr", *_):
            text = _prefix_text(value, mask, r.bits)
            r.conditions.append(f"saddr {_COMPARISONS.get(op, '')}{text}")
        case ("ct", "STATE") if op == "NEQ" and mask and not int(value or "0", 16):
            r.conditions.append(_states(int.from_bytes(bytes.fromhex(mask), "little")))
        case (*words,):
            r.conditions.append(" ".join(words))


def _states(bits: int) -> str:
    """Those of a connection: include/uapi/linux/netfilter/nf_conntrack_common.h."""
    names = ("invalid", "established", "related", "new")
    known = [name for i, name in enumerate(names) if bits >> i & 1]
    return "ct state " + ",".join(known + ["others"] * bool(bits >> len(names)))


def _shown(key: str, op: str, value: str) -> str:
    name = _NAMES.get(key, f"meta {key.lower()}")
    if key.endswith("NAME"):
        text = bytes.fromhex(value).rstrip(b"\0").decode("utf-8", "replace")
    elif (key, op, value) == ("IIF", "EQ", _LOOPBACK):
        return "iif lo"
    elif key in ("SKUID", "SKGID"):
        text = str(int.from_bytes(bytes.fromhex(value), "little"))
    else:
        text = value
    return f"{name} {_COMPARISONS.get(op, '')}{text}"


def _of_comparison(op: str, value: str, mask: str, bits: int) -> list[Interval]:
    """The interval that a comparison leaves; of NEQ, the one that it takes out."""
    raw = bytes.fromhex(value)
    width = bits // 8
    number = int.from_bytes(raw.ljust(width, b"\0"), "big")
    top = (1 << bits) - 1
    if op in ("EQ", "NEQ"):
        free = (1 << 8 * max(width - len(raw), 0)) - 1
        if mask:
            free = top & ~int.from_bytes(bytes.fromhex(mask).ljust(width, b"\0"), "big")
        return [(number, number | free)]
    return {
        "LT": [(0, number - 1)],
        "LTE": [(0, number)],
        "GT": [(number + 1, top)],
        "GTE": [(number, top)],
    }.get(op, [(0, top)])


def _prefix_text(value: str, mask: str, bits: int) -> str:
    low, high = _of_comparison("EQ", value, mask, bits)[0]
    length = bits - (high - low).bit_length()
    address = ipaddress.IPv6Address(low) if bits == 128 else ipaddress.IPv4Address(low)
    return str(address) if length == bits else f"{address}/{length}"


def _range(r: _Reading, what: tuple[str, ...], op: str, low: str, high: str) -> None:
    interval = (int(low or "0", 16), int(high or "0", 16))
    if what[0] == "daddr":
        r.narrow("daddr", [interval], (1 << r.bits) - 1, inverted=op.endswith("NEQ"))
    elif what[0] == "dport":
        r.narrow("dport", [interval], 0xFFFF, inverted=op.endswith("NEQ"))
    else:
        r.conditions.append(" ".join(what))


def _look_up(r: _Reading, name: str, reg: str, *, inverted: bool) -> None:
    what = r.loaded.get(reg, ("?",))
    elements = r.sets.get(name)
    if elements is None:
        r.conditions.append(f"{' '.join(what)} in set {name}, which was not read")
    elif what[0] == "daddr":
        digits = r.bits // 4
        r.narrow("daddr", _intervals(elements, digits), (1 << r.bits) - 1, inverted=inverted)
        if any(len(key) > digits for key, _ in elements):
            r.conditions.append(f"further fields in set {name}")
    elif what[0] == "dport":
        r.narrow("dport", _intervals(elements, 4), 0xFFFF, inverted=inverted)
    elif what == ("ct", "STATE") and not inverted:
        keys = (int.from_bytes(bytes.fromhex(key), "little") for key, _ in elements)
        r.conditions.append(_states(reduce(or_, keys, 0)))
    else:
        r.conditions.append(f"{' '.join(what)} in set {name}")


def _intervals(elements: Elements, digits: int) -> list[Interval]:
    """A set's elements: single keys, or in an interval set starts and ends by turns."""
    # Where one interval ends the next may start: the end comes first.
    keys = sorted((int(k[:digits], 16), not end) for k, end in elements if len(k) >= digits)
    if all(starts for _, starts in keys):
        return [(key, key) for key, _ in keys]
    found: list[Interval] = []
    start: int | None = None
    for key, starts in keys:
        if not starts:
            if start is not None:
                found.append((start, key - 1))
            start = None
        elif start is None:
            start = key
    if start is not None:
        found.append((start, (1 << 4 * digits) - 1))
    return found


_STATE_ONLY = (b"\x01\x00\x00\x00", b"\x01\x20\x00\x00")
"""match_flags and invert_flags of xt_conntrack: XT_CONNTRACK_STATE, for `-m state` with an alias's
bit, and nothing inverted."""


def _old_match(r: _Reading, name: str, info: bytes) -> None:
    """The matches of iptables that are no expressions: struct xt_tcp, struct xt_multiport_v1,
    struct xt_conntrack_mtinfo3 where it looks at nothing but the state, without inversion.
    Their numbers are in the machine's byte order, little-endian on all that Kubernetes runs on."""
    if name == "tcp" and len(info) >= 12:
        low, high = (int.from_bytes(info[i : i + 2], "little") for i in (4, 6))
        r.narrow("dport", [(low, high)], 0xFFFF, inverted=bool(info[11] & 2))
    elif name == "multiport" and len(info) >= 48 and info[0] in (1, 2):
        ports = [int.from_bytes(info[2 + 2 * i : 4 + 2 * i], "little") for i in range(info[1])]
        r.narrow("dport", [(port, port) for port in ports], 0xFFFF, inverted=bool(info[47]))
    elif name == "conntrack" and len(info) >= 152 and info[146:150] in _STATE_ONLY:
        r.conditions.append(_states(int.from_bytes(info[150:152], "little")))
    elif name != "comment":
        r.conditions.append(f"match {name}")


def _complement(intervals: Iterable[Interval], top: int) -> list[Interval]:
    found, at = [], 0
    for low, high in sorted(intervals):
        if low > at:
            found.append((at, low - 1))
        at = max(at, high + 1)
    if at <= top:
        found.append((at, top))
    return found


def _both(some: Iterable[Interval], others: Sequence[Interval]) -> list[Interval]:
    pairs = ((max(a, c), min(b, d)) for a, b in some for c, d in others)
    return [(low, high) for low, high in pairs if low <= high]


# --- what the rules do to a packet -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Packet:
    """Where a request to an endpoint goes."""

    endpoint: str
    shown: str
    version: int
    number: int
    port: int

    @classmethod
    def to(cls, endpoint: str, shown: str, address: str, port: int) -> Packet:
        parsed = ipaddress.ip_address(address.partition("%")[0])
        return cls(endpoint, shown, parsed.version, int(parsed), port)


def effects(packet: Packet, chains: Sequence[Chain]) -> Iterator[Effect]:
    """Every rule that names the packet's address and decides, and a hook's policy of dropping."""
    by_name = {(c.table, c.name): c for c in chains}
    for chain in sorted((c for c in chains if c.hook), key=lambda c: (c.hook, c.priority)):
        yield from _walk(packet, chain, by_name, chain.hook, (), named=False, depth=0)
        if chain.policy == "drop" and chain.holds(packet.version):
            where = f"{chain.table} {chain.name} policy"
            yield Effect(
                packet.endpoint, packet.shown, chain.hook, "drop", where, ("no rule accepts it",)
            )


def _walk(
    packet: Packet,
    chain: Chain,
    by_name: Mapping[tuple[str, str], Chain],
    hook: str,
    conditions: tuple[str, ...],
    *,
    named: bool,
    depth: int,
) -> Iterator[Effect]:
    for rule in chain.rules:
        if not rule.meets(packet.version, packet.number, packet.port):
            continue
        says = named or rule.names(packet.version, packet.number, packet.port)
        under = tuple(dict.fromkeys([*conditions, *rule.conditions]))
        verb, _, target = rule.verdict.partition(" ")
        following = by_name.get((rule.table, target))
        if verb in ("jump", "goto") and following is not None and depth < DEEPEST:
            yield from _walk(packet, following, by_name, hook, under, named=says, depth=depth + 1)
        elif says and verb in ("drop", "reject", "accept", "dnat"):
            yield Effect(packet.endpoint, packet.shown, hook, verb, rule.where, under)
            if not under:
                return  # nothing gets past it
