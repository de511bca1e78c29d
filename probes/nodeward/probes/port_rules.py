"""Read the packet filter rules before the kubelet's port, where that is on a public address."""

from __future__ import annotations

from nodeward.facts.firewall import Packet
from nodeward.facts.kubelet_answers import SECURE, KubeletAnswers
from nodeward.facts.local_addresses import LocalAddresses
from nodeward.facts.port_rules import HOOKS, PortRules, endpoint, gates
from nodeward.host import Host, HostError
from nodeward.host.firewall import FirewallRules
from nodeward.host.legacy import LegacyRules
from nodeward.probes.firewall import chains_of
from nodeward.probes.registry import probe


@probe
def read_port_rules(host: Host, answers: KubeletAnswers, local: LocalAddresses) -> PortRules:
    ports = [one.port(SECURE) for one in (answers, *answers.others) if not one.network]
    numbers = dict.fromkeys(p.number for p in ports if p is not None)
    if not numbers or not local.public:
        return PortRules()
    try:
        rulesets = host.ask(FirewallRules(HOOKS)), host.ask(LegacyRules(HOOKS))
    except HostError as exc:
        return PortRules(problem=exc.why, complete=False)
    chains = [chain for ruleset in rulesets for chain in chains_of(ruleset)]
    packets = [Packet.to(endpoint(n), a, a, n) for n in numbers for a in local.public]
    found = tuple(gate for packet in packets for gate in gates(packet, chains))
    return PortRules(found, complete=all(r.complete for r in rulesets))
