"""Whether the kubelet's port can be reached from the internet."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from nodeward.checks.kubelet_authn import NO_KUBELET, NOBODY, OFFLINE, C
from nodeward.checks.kubelet_samples import answers
from nodeward.checks.kubelet_support import (
    AUTHN,
    PORTS,
    Answers,
    each_asked,
    maps,
    unknown,
)
from nodeward.facts.firewall import Effect
from nodeward.facts.kubelet import Kubelet, Unknown, example
from nodeward.facts.kubelet_answers import (
    SECURE,
    KubeletAnswers,
)
from nodeward.facts.kubelet_shown import text
from nodeward.facts.local_addresses import LocalAddresses, is_public
from nodeward.facts.port_rules import Gate, PortRules, endpoint
from nodeward.model import (
    Absent,
    Evidence,
    Example,
    Remedy,
    Severity,
    Status,
    Unreadable,
    Verdict,
    check,
)

MOST_SHOWN = 20
DEFAULT_PORT = 10250
PUBLIC = LocalAddresses(("127.0.0.1", "8.8.4.4"))
NO_RULES = PortRules()


def _rules(last: str, conditions: tuple[str, ...]) -> PortRules:
    """A chain that lets through what meets the conditions, and ends like this."""
    let = Effect(
        endpoint(DEFAULT_PORT), "8.8.4.4", "input", "accept", "inet f input handle 4", conditions
    )
    return PortRules((Gate(replace(let, what=last, where="inet f input policy"), (let,)),))


@check(
    "kubelet.port.exposure",
    title="The kubelet's port is not open on a public address",
    why="A kubelet that the internet can reach is one stolen credential, or one mistake in its"
    " configuration, away from every container of the node.",
    severity=Severity.HIGH,
    remedy=Remedy(
        "Close port 10250 to all but the API servers with a firewall or security group, or set"
        " address to the node's private address.",
        breaks="kubectl logs, exec and metrics need the API server to reach the port.",
    ),
    sources=[PORTS, AUTHN],
    mappings=maps(nsa=["WN"], sac=["B5", "S9c"]),
    examples=lambda: [
        Example(
            Status.PASS,
            (example(C, "{}"), answers(), LocalAddresses(("127.0.0.1", "10.0.0.5")), NO_RULES),
            "private addresses only",
        ),
        Example(
            Status.FAIL,
            (example(C, "{}"), answers(), PUBLIC, NO_RULES),
            "everywhere, and one address is public",
        ),
        Example(
            Status.FAIL,
            (example(C, "{}"), answers(), PUBLIC, PortRules(problem="EPERM", complete=False)),
            "and the node's packet filter cannot be read",
        ),
        Example(
            Status.PASS,
            (example(C, "{}"), answers(), PUBLIC, _rules("drop", ("saddr 10.0.0.0/8",))),
            "the node's own rules let only private addresses through",
        ),
        Example(
            Status.FAIL,
            (example(C, "{}"), answers(), PUBLIC, _rules("drop", ("iifname eth0",))),
            "they drop, but for a condition that may hold for anyone",
        ),
        Example(
            Status.PASS,
            (example(C, "address: 10.0.0.5"), OFFLINE, OFFLINE, OFFLINE),
            "bound to a private address",
        ),
        Example(
            Status.FAIL,
            (example(C, "address: 8.8.4.4"), OFFLINE, OFFLINE, OFFLINE),
            "bound to a public one",
        ),
        Example(
            Status.UNKNOWN,
            (example(C, "{}"), OFFLINE, OFFLINE, OFFLINE),
            "a tree has no addresses",
        ),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
        Example(Status.NOT_APPLICABLE, NO_KUBELET, "no kubelet"),
    ],
)
def exposure(
    kubelet: Kubelet,
    answers: Answers,
    addresses: LocalAddresses | Absent | Unreadable,
    rules: PortRules | Absent | Unreadable,
) -> Verdict:
    known = addresses.rows if isinstance(addresses, LocalAddresses) else None

    def judge(one: Kubelet, answers: Answers) -> Verdict:
        if one.launch.network:  # the host's addresses and rules are not those of that network
            inside = answers.addresses if isinstance(answers, KubeletAnswers) else None
            return _exposure(one, answers, inside, OFFLINE)
        return _exposure(one, answers, known, rules)

    return each_asked(kubelet, answers, judge)


def _exposure(
    kubelet: Kubelet,
    answers: Answers,
    known: tuple[str, ...] | None,
    rules: PortRules | Absent | Unreadable,
) -> Verdict:
    bound = _bound(kubelet, answers)
    if isinstance(bound, Verdict):
        return bound
    port = answers.port(SECURE) if isinstance(answers, KubeletAnswers) else None
    rows = port.listeners if port is not None and port.asked else ()
    seen = [row.evidence() for row in rows] or [Evidence("listens on", one) for one in bound]
    everywhere = any(_wildcard(one) for one in bound)
    public = [one for one in bound if is_public(one)]
    if everywhere and known is None and not public:
        because = "the kubelet listens on every address, and those cannot be seen: offline"
        return Verdict.unknown(because, *seen)
    if everywhere:
        public = [one for one in known or public if is_public(one)]
    if public:
        return _behind(public, port.number if port else DEFAULT_PORT, rules, seen)
    if everywhere:
        because = "the kubelet listens on every address, and none of them is public"
        return Verdict.passed(because, *seen)
    return Verdict.passed(f"the kubelet listens on {', '.join(bound)} only", *seen)


def _behind(
    public: list[str], port: int, rules: PortRules | Absent | Unreadable, seen: list[Evidence]
) -> Verdict:
    """The verdict on public addresses, by what the node's packet filter lets through to them."""
    seen = [*seen, *(Evidence("public address of this node", one) for one in public[:MOST_SHOWN])]
    if not isinstance(rules, PortRules) or not rules.complete:
        why = rules.problem or "too many rules" if isinstance(rules, PortRules) else "offline"
        because = f"{_listens_on(public[0])}; this node's packet filter cannot be read: {why}"
        return Verdict.failed(because, *seen)
    gates = {one: rules.closing(one, port) for one in public}
    seen += [Evidence(f"packet filter before {a}", str(g)) for a, g in gates.items() if g][:20]
    for address, gate in gates.items():
        if gate is None:
            because = f"{_listens_on(address)}, and no rule of this node drops what comes for it"
            return Verdict.failed(because, *seen)
        if not gate.shut:
            because = f"{_listens_on(address)}; for whom its rules drop was not worked out: {gate}"
            return Verdict.failed(because, *seen)
    because = f"{_listens_on(public[0])}, and this node's rules keep others out: {gates[public[0]]}"
    return Verdict.passed(because, *seen)


def _listens_on(address: str) -> str:
    return f"the kubelet listens on the public address {address}"


def _bound(kubelet: Kubelet, answers: Answers) -> list[str] | Verdict:
    port = answers.port(SECURE) if isinstance(answers, KubeletAnswers) else None
    if port is not None and port.asked:
        return [row.address for row in port.listeners]
    if port is not None and isinstance(answers, KubeletAnswers) and answers.probed:
        who = f": it is held by {port}" if port.listeners else ""
        if not answers.whole and not port.listeners:
            because = f"nothing listens on port {port.number}, and what else the kubelet holds open"
            return Verdict.unknown(f"{because} cannot be seen")
        return Verdict.passed(f"the kubelet does not hold port {port.number} open{who}")
    setting = kubelet.get("address")
    if isinstance(setting.value, Unknown) or not isinstance(setting.value, str):
        return unknown("address", setting)
    return [text(setting.value)]


def _wildcard(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_unspecified
    except ValueError:
        return False
