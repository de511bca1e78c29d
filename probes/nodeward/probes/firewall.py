"""Read what the node's own rules and routes do to the metadata endpoints."""

from __future__ import annotations

from collections.abc import Sequence

from nodeward.facts.cloud import Cloud
from nodeward.facts.firewall import Chain, NodeRules, Packet, RouteTo, effects, read_rule
from nodeward.facts.metadata import Metadata, Target, parse_address, targets
from nodeward.host import Host, HostError
from nodeward.host.firewall import FirewallRules, Ruleset
from nodeward.host.legacy import LegacyRules
from nodeward.host.routes import RoutesTo
from nodeward.model import Absent, Unreadable
from nodeward.probes.registry import probe


@probe
def read_node_rules(host: Host, cloud: Cloud | Absent | Unreadable, p: Metadata) -> NodeRules:
    asked = targets(cloud, p)
    if not asked:
        return NodeRules()
    routes = _routes(host, asked)
    try:
        rulesets = host.ask(FirewallRules()), host.ask(LegacyRules())
    except HostError as exc:
        return NodeRules((), routes, exc.why, complete=False)
    chains = [chain for ruleset in rulesets for chain in chains_of(ruleset)]
    found = [effect for target in asked for effect in effects(_packet(target), chains)]
    return NodeRules(tuple(found), routes, complete=all(r.complete for r in rulesets))


def _packet(target: Target) -> Packet:
    address, port = parse_address(target.address)
    return Packet.to(target.endpoint.name, target.address, address, port)


def _routes(host: Host, asked: Sequence[Target]) -> tuple[RouteTo, ...]:
    addresses = tuple(dict.fromkeys(parse_address(target.address)[0] for target in asked))
    try:
        rows = host.ask(RoutesTo(addresses))
    except HostError:  # the rules tell more; routes are a hint
        return ()
    return tuple(RouteTo(r.address, r.kind, r.device, r.gateway) for r in rows)


def chains_of(ruleset: Ruleset) -> tuple[Chain, ...]:
    """The chains with their rules read."""
    sets = {(s.family, s.table, s.name): s.elements for s in ruleset.sets}
    chains = []
    for row in ruleset.chains:
        here = {name: e for (f, t, name), e in sets.items() if (f, t) == (row.family, row.table)}
        rules = tuple(
            read_rule(r.family, r.table, r.chain, r.handle, r.expressions, here)
            for r in ruleset.rules
            if (r.family, r.table, r.chain) == (row.family, row.table, row.name)
        )
        table = f"{row.family} {row.table}"
        chains.append(Chain(table, row.name, row.hook, row.priority, row.policy, rules))
    return tuple(chains)
