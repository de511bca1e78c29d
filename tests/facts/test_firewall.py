"""Rules as the kernel keeps them, and what they do to a packet to a metadata endpoint."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeward.facts.firewall import Chain, Effect, Packet, Rule, effects, read_rule

IMDS = Packet.to("aws-imds", "169.254.169.254:80", "169.254.169.254", 80)
IMDS6 = Packet.to("aws-imds", "[fd00:ec2::254]:80", "fd00:ec2::254", 80)
WIRE = Packet.to("azure-hostgaplugin", "168.63.129.16:32526", "168.63.129.16", 32526)

R = "NFT_REG_1"
DADDR = ("payload", "NETWORK", "16", "4", R)
DPORT = ("payload", "TRANSPORT", "2", "2", R)
DROP = ("verdict", "DROP", "")


def eq(value: str, op: str = "EQ") -> tuple[str, ...]:
    return "cmp", R, op, value


def rule(*expressions: tuple[str, ...], family: str = "ip", **sets: Any) -> Rule:
    return read_rule(family, "filter", "FORWARD", 3, expressions, sets)


def met(it: Rule, *packets: Packet) -> list[bool]:
    return [it.names(p.version, p.number, p.port) for p in packets]


def test_an_address_is_compared_whole() -> None:
    assert met(rule(DADDR, eq("a9fea9fe"), DROP), IMDS, WIRE) == [True, False]


def test_a_prefix_of_whole_bytes_is_a_shorter_comparison() -> None:
    it = rule(("payload", "NETWORK", "16", "2", R), eq("a9fe"), DROP)
    assert it.to == ((0xA9FE0000, 0xA9FEFFFF),)


def test_another_prefix_comes_with_a_mask() -> None:
    it = rule(DADDR, ("bitwise", R, R, "ffffff80", "00000000"), eq("a9fea980"), DROP)
    assert it.to == ((0xA9FEA980, 0xA9FEA9FF),)


def test_all_but_a_network_meets_the_rest() -> None:
    it = rule(("payload", "NETWORK", "16", "1", R), eq("0a", "NEQ"), DROP)
    assert met(it, IMDS) == [True]
    assert not it.names(4, 0x0A000001, 80)


def test_a_range_is_two_comparisons() -> None:
    it = rule(DADDR, eq("a9fea9fd", "GTE"), eq("a9fea9ff", "LTE"), DROP)
    assert it.to == ((0xA9FEA9FD, 0xA9FEA9FF),)


@pytest.mark.parametrize(("family", "offset"), [("ip", "9"), ("ip6", "6")])
def test_tcp_is_no_condition_however_it_is_asked_for(family: str, offset: str) -> None:
    """iptables-nft of Debian 13 loads a byte of the header, that of Debian 12 meta l4proto."""
    byte = ("payload", "NETWORK", offset, "1", R)
    assert rule(byte, eq("06"), DROP, family=family).conditions == ()
    assert rule(byte, eq("11"), DROP, family=family).conditions == ("meta l4proto 11",)


def test_the_other_port_is_not_met() -> None:
    it = rule(DADDR, eq("a83f8110"), DPORT, eq("0050"), DROP)
    assert met(it, WIRE) == [False]


def test_multiport_of_iptables_lists_ports() -> None:
    info = "0102" + "5000" + "0e7f" + "00" * 42
    assert met(rule(DADDR, eq("a83f8110"), ("match", "multiport", info), DROP), WIRE) == [True]


def test_tcp_of_iptables_has_a_range_of_ports() -> None:
    info = "0000ffff" + "5000" + "5000" + "00" * 4
    it = rule(("match", "tcp", info), DROP)
    assert it.ports == ((80, 80),)


@pytest.mark.parametrize("inverted", ["", "inverted"])
def test_a_set_that_was_not_read_is_nowhere_said_to_block(inverted: str) -> None:
    it = rule(DADDR, ("lookup", "s", R, inverted), DROP)
    assert not it.names(4, 0xA9FEA9FE, 80)
    assert "was not read" in it.conditions[0]


def test_a_set_holds_single_addresses() -> None:
    it = rule(DADDR, ("lookup", "s", R, ""), DROP, s=(("a83f8110", ""), ("a9fea9fe", "")))
    assert met(it, IMDS, WIRE) == [True, True]


def test_an_interval_set_holds_starts_and_ends() -> None:
    elements = (("00000000", "end"), ("a9feaa00", ""), ("a9feab00", "end"))
    it = rule(DADDR, ("lookup", "s", R, ""), DROP, s=elements)
    assert it.to == ((0xA9FEAA00, 0xA9FEAAFF),)


def test_intervals_may_touch() -> None:
    elements = (("a9fea900", ""), ("a9feaa00", "end"), ("a9feaa00", ""), ("a9feab00", "end"))
    it = rule(DADDR, ("lookup", "s", R, ""), DROP, s=elements)
    assert it.to == ((0xA9FEA900, 0xA9FEA9FF), (0xA9FEAA00, 0xA9FEAAFF))


def test_a_rule_that_is_not_about_addresses_names_none() -> None:
    it = rule(("ct", "STATE", R), ("bitwise", R, R, "06000000", "0"), eq("0"), DROP)
    assert met(it, IMDS) == [False]
    assert it.conditions == ("ct STATE",)


def test_an_inet_rule_is_of_the_family_that_it_compares() -> None:
    proto = ("meta", "NFPROTO", R)
    six = ("payload", "NETWORK", "24", "16", R)
    address = "fd000ec2000000000000000000000254"
    it = rule(proto, eq("0a"), six, eq(address), DROP, family="inet")
    assert met(it, IMDS, IMDS6) == [False, True]


def chain(name: str, *rules: Rule, hook: str = "", policy: str = "accept") -> Chain:
    return Chain("ip filter", name, hook, 0, policy, rules)


def a(verdict: str, *conditions: str, to: Packet | None = IMDS, handle: int = 1) -> Rule:
    where = None if to is None else ((to.number, to.number),)
    return Rule("ip filter", "any", handle, 4, where, None, conditions, verdict)


def whats(*chains: Chain, packet: Packet = IMDS) -> list[str]:
    return [str(e) for e in effects(packet, chains)]


def test_a_jump_carries_its_conditions_into_the_chain() -> None:
    forward = chain("FORWARD", a("jump guard", "iifname veth2"), hook="forward")
    assert whats(forward, chain("guard", a("drop", to=None))) == ["drop where iifname veth2"]


def test_nothing_gets_past_a_rule_without_conditions() -> None:
    assert whats(chain("FORWARD", a("accept"), a("drop"), hook="forward")) == ["accept"]


def test_a_drop_of_everything_else_is_not_about_the_endpoint() -> None:
    assert whats(chain("FORWARD", a("drop", "ct STATE", to=None), hook="forward")) == []


def test_a_policy_of_dropping_is_told() -> None:
    assert whats(chain("FORWARD", hook="forward", policy="drop")) == [
        "drop where no rule accepts it"
    ]


def test_a_policy_of_the_other_family_is_not() -> None:
    assert whats(chain("FORWARD", hook="forward", policy="drop"), packet=IMDS6) == []


def test_chains_that_jump_in_a_circle_end() -> None:
    forward = chain("FORWARD", a("jump one"), hook="forward")
    assert whats(forward, chain("one", a("jump one"))) == []


def test_an_effect_says_where() -> None:
    found = list(effects(IMDS, [chain("FORWARD", a("drop", handle=7), hook="forward")]))
    assert found == [
        Effect("aws-imds", "169.254.169.254:80", "forward", "drop", "ip filter any handle 7")
    ]


WORDS = st.sampled_from(
    ["payload", "cmp", "meta", "bitwise", "lookup", "verdict", "match", "target", "NETWORK", "16",
     "4", R, "EQ", "NEQ", "a9fe", "s", "", "DROP", "multiport", "tcp", "00" * 48, "NFPROTO", "02"]
)  # fmt: skip


@given(st.lists(st.lists(WORDS, min_size=1, max_size=5).map(tuple), max_size=8))
def test_expressions_of_any_shape_make_a_rule_or_a_value_error(
    expressions: list[tuple[str, ...]],
) -> None:
    try:
        it = rule(*expressions, s=(("a9fea9fe", ""),))
    except ValueError:
        return
    assert isinstance(it.conditions, tuple)


@pytest.mark.parametrize("length", range(33))
def test_a_prefix_of_any_length_covers_what_it_says(length: int) -> None:
    mask = (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF
    it = rule(DADDR, ("bitwise", R, R, f"{mask:08x}", "0"), eq(f"{IMDS.number & mask:08x}"), DROP)
    assert it.to == ((IMDS.number & mask, IMDS.number | (~mask & 0xFFFFFFFF)),)
