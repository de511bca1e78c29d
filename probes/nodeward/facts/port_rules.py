"""What the packet filter rules of a node do to a packet that comes for one of its own ports.

A packet passes one hooked chain after the other, and each of them may drop it: an "accept" ends its
way through one chain only. So it is enough for a port to be closed that one chain drops all that no
rule with a condition has let through.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from nodeward.facts.firewall import BLOCKS, DEEPEST, Chain, Effect, Packet
from nodeward.lazy import dataclass
from nodeward.model import Fact

HOOKS = ("prerouting", "input")
"""Where a packet for this machine itself passes."""

ENDS = frozenset({*BLOCKS, "accept", "dnat", "queue"})

Chains = Mapping[tuple[str, str], Chain]


@dataclass(frozen=True, slots=True)
class Gate:
    """One chain, for the packet to one address. `last` decides about every packet about which none
    of `under` did, whose conditions are not worked out."""

    last: Effect
    under: tuple[Effect, ...] = ()

    @property
    def closed(self) -> bool:
        return self.last.what in BLOCKS

    @property
    def exceptions(self) -> tuple[Effect, ...]:
        """Who gets through all the same."""
        return tuple(e for e in self.under if e.what not in BLOCKS)

    @property
    def shut(self) -> bool:
        """Whether it lets nobody of the internet through who was not spoken to first."""
        return self.closed and all(map(_near, self.exceptions))

    def __str__(self) -> str:
        let = "; ".join(", ".join(e.conditions) or f"{e.what} ({e.where})" for e in self.exceptions)
        return f"{self.last.what} ({self.last.where})" + (f", but for: {let}" if let else "")


@dataclass(frozen=True, slots=True)
class PortRules(Fact):
    """The gates before each kubelet's port on each public address. `problem` says why rules could
    not be read; `complete` is False where a limit cut the look."""

    events: ClassVar[tuple[str, ...]] = ("route",)

    gates: tuple[Gate, ...] = ()
    problem: str = ""
    complete: bool = True

    def closing(self, address: str, port: int) -> Gate | None:
        """The gate that drops, and lets the fewest through."""
        place = (address, endpoint(port))
        here = [g for g in self.gates if (g.last.address, g.last.endpoint) == place and g.closed]
        return min(here, key=lambda g: (not g.shut, len(g.exceptions)), default=None)


def endpoint(port: int) -> str:
    """What a packet for this port is called."""
    return f"port {port}"


def _near(effect: Effect) -> bool:
    """Whether one of its conditions leaves nobody of the internet: this machine itself, answers to
    what it sent, private addresses."""
    return effect.what == "accept" and any(
        c in ("iifname lo", "iif lo") or _answers_only(c) or _private(c) for c in effect.conditions
    )


def _answers_only(condition: str) -> bool:
    kind, _, states = condition.partition("ct state ")
    return not kind and bool(states) and set(states.split(",")) <= {"established", "related"}


def _private(condition: str) -> bool:
    kind, _, network = condition.partition("saddr ")
    try:
        return not kind and ipaddress.ip_network(network).is_private
    except ValueError:
        return False


def gates(packet: Packet, chains: Sequence[Chain]) -> Iterator[Gate]:
    """One for each chain on the way, in its order."""
    by_name = {(c.table, c.name): c for c in chains}
    met = [c for c in chains if c.hook in HOOKS and _on_the_way(c, packet)]
    for chain in sorted(met, key=lambda c: (HOOKS.index(c.hook), c.priority)):
        found = [replace(e, hook=chain.hook) for e in _until_decided(packet, chain, by_name)]
        yield Gate(found[-1], tuple(found[:-1]))


def _on_the_way(chain: Chain, packet: Packet) -> bool:
    return chain.holds(packet.version) and not chain.table.startswith("bridge ")


def _until_decided(packet: Packet, chain: Chain, by_name: Chains) -> Iterator[Effect]:
    decided = yield from _effects(packet, chain, by_name, (), 0)
    if not decided:
        where = f"{chain.table} {chain.name} policy"
        yield Effect(packet.endpoint, packet.shown, chain.hook, chain.policy, where)


def _effects(
    packet: Packet, chain: Chain, by_name: Chains, under: tuple[str, ...], depth: int
) -> Generator[Effect, None, bool]:
    """What the rules decide, in their order. Returns whether they decide about every packet."""
    some_left = False
    for rule in chain.rules:
        if not rule.meets(packet.version, packet.number, packet.port):
            continue
        here = tuple(dict.fromkeys([*under, *rule.conditions]))
        verb, _, target = rule.verdict.partition(" ")
        following = by_name.get((rule.table, target))
        decided = verb in ENDS
        if verb in ("jump", "goto") and following is not None and depth < DEEPEST:
            decided = yield from _effects(packet, following, by_name, here, depth + 1)
        elif decided or verb == "vmap" or following is not None:
            yield Effect(packet.endpoint, packet.shown, chain.hook, verb, rule.where, here)
        leaves = verb in ("return", "goto") and not decided
        if not rule.conditions and (decided or leaves):
            return decided and not some_left
        if leaves:
            some_left = True
            under = (*under, f"not ({', '.join(rule.conditions)})")
    return False
