"""What a node's packet filter does to a packet for the kubelet's port, against a simulation."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeward.facts.firewall import BLOCKS, Chain, Effect, Packet, Rule
from nodeward.facts.port_rules import Gate, PortRules, gates

PACKET = Packet.to("port 10250", "8.8.4.4", "8.8.4.4", 10250)
NAMES = ("a", "b", "c")
TABLE = "inet f"
VERDICTS = ["accept", "drop", "reject", "return", "", "jump one", "jump two", "goto two"]


def rule(verdict: str, conditions: tuple[str, ...] = (), chain: str = "input") -> Rule:
    return Rule(TABLE, chain, 1, conditions=conditions, verdict=verdict)


def chain(name: str, *rules: Rule, policy: str = "accept", priority: int = 0) -> Chain:
    return Chain(TABLE, name, "input" if name == "input" else "", priority, policy, rules)


RULES = st.builds(
    rule, st.sampled_from(VERDICTS), st.lists(st.sampled_from(NAMES), max_size=2).map(tuple)
)
# Chain one may jump to two, which jumps nowhere: the kernel allows no loop.
FLAT = RULES.filter(lambda r: "one" not in r.verdict and "two" not in r.verdict)
CHAINS = st.builds(
    lambda base, one, two, policy: [
        chain("input", *base, policy=policy),
        chain("one", *(r for r in one if "one" not in r.verdict)),
        chain("two", *two),
    ],
    st.lists(RULES, max_size=4),
    st.lists(RULES, max_size=3),
    st.lists(FLAT, max_size=3),
    st.sampled_from(["accept", "drop"]),
)


def simulate(chains: list[Chain], true: frozenset[str]) -> str:
    """The kernel's nft_do_chain, in which a packet has some of the properties."""
    by_name = {c.name: c for c in chains}

    def run(one: Chain) -> str:
        for r in one.rules:
            if not set(r.conditions) <= true:
                continue
            verb, _, target = r.verdict.partition(" ")
            if verb in ("accept", "drop", "reject"):
                return verb
            if verb == "return":
                return ""
            if verb in ("jump", "goto"):
                found = run(by_name[target])
                if found or verb == "goto":
                    return found
        return ""

    return run(chains[0]) or chains[0].policy


def holds(effect: Effect, true: frozenset[str]) -> bool:
    def one(condition: str) -> bool:
        kind, _, inside = condition.partition("not (")
        if kind:
            return condition in true
        return not set(inside.removesuffix(")").split(", ")) <= true

    return all(map(one, effect.conditions))


def every_packet() -> Iterator[frozenset[str]]:
    for bits in product((False, True), repeat=len(NAMES)):
        yield frozenset(n for n, bit in zip(NAMES, bits, strict=True) if bit)


@settings(max_examples=600)
@given(CHAINS)
def test_what_gets_through_is_among_the_exceptions(chains: list[Chain]) -> None:
    (gate,) = gates(PACKET, chains)
    for packet in every_packet():
        passed = simulate(chains, packet) not in BLOCKS
        if gate.closed and passed:
            assert any(holds(e, packet) for e in gate.exceptions)
        if not gate.closed and not passed:
            assert any(holds(e, packet) for e in gate.under if e.what in BLOCKS)


def of(*rules: Rule, policy: str = "drop") -> Gate:
    (gate,) = gates(PACKET, [chain("input", *rules, policy=policy)])
    return gate


NEAR = [
    "iifname lo",
    "iif lo",
    "ct state established,related",
    "saddr 10.0.0.0/8",
    "saddr fd00::/8",
]
FAR = ["iifname eth0", "ct state established,new", "saddr 8.8.0.0/16", "saddr != 10.0.0.0/8",
       "limit", "not (saddr 10.0.0.0/8)", "not (ct state established)"]  # fmt: skip


@pytest.mark.parametrize("condition", [*NEAR, *FAR])
def test_a_port_is_shut_where_only_those_near_get_through(condition: str) -> None:
    assert of(rule("accept", (condition,))).shut == (condition in NEAR)
    assert of(rule("accept", ("ct mark", condition))).shut == (condition in NEAR)


@pytest.mark.parametrize("verdict", ["vmap", "queue", "dnat"])
def test_what_a_map_or_another_program_decides_is_not_known(verdict: str) -> None:
    gate = of(rule(verdict, ("saddr 10.0.0.0/8",)))
    assert gate.closed
    assert not gate.shut


def test_a_chain_that_accepts_does_not_save_what_another_drops() -> None:
    chains = [
        chain("input", rule("accept")),
        Chain(TABLE, "late", "input", 10, "accept", (rule("drop"),)),
        Chain("bridge f", "input", "input", 20, "drop", ()),
        Chain("ip6 f", "input", "input", 20, "drop", ()),
        Chain(TABLE, "forward", "forward", 0, "drop", ()),
    ]
    found = list(gates(PACKET, chains))
    assert [g.last.where for g in found] == ["inet f input handle 1"] * 2
    closing = PortRules(tuple(found)).closing("8.8.4.4", 10250)
    assert closing is found[1]
    assert PortRules(tuple(found)).closing("8.8.8.8", 10250) is None


def test_a_rule_about_another_port_decides_nothing() -> None:
    other = Rule(TABLE, "input", 1, ports=((22, 22),), verdict="drop")
    assert not of(other, policy="accept").closed
