"""Ask the cloud's metadata endpoints, from the host and from each network of pods."""

from __future__ import annotations

import random
from collections.abc import Sequence

from nodeward.facts.clock import Now
from nodeward.facts.cloud import Cloud
from nodeward.facts.endpoints import Ask
from nodeward.facts.metadata import (
    Cell,
    HostReach,
    Metadata,
    Place,
    PodReach,
    Reply,
    Target,
    cells,
    kept_headers,
    parse_address,
    targets,
)
from nodeward.facts.podnet import PodNetwork, PodNetworks
from nodeward.host import Host
from nodeward.host.exchange import Reply as Heard
from nodeward.host.exchange import Request
from nodeward.host.vantage import AskFromHost, AskFromNetworks, Network
from nodeward.model import Absent, Unreadable
from nodeward.probes.registry import probe


@probe
def read_host_reach(host: Host, cloud: Cloud | Absent | Unreadable, p: Metadata) -> HostReach:
    asked = targets(cloud, p)
    if not asked:
        return HostReach()
    answer = host.ask(AskFromHost(requests_of(asked), p.timeout_s))
    return HostReach(row(asked, answer.replies), answer.problem)


@probe
def read_pod_reach(
    host: Host,
    cloud: Cloud | Absent | Unreadable,
    networks: PodNetworks,
    now: Now,
    p: Metadata,
) -> PodReach:
    asked = targets(cloud, p)
    if not asked or not networks.networks:
        return PodReach()
    order = in_turn(networks.networks, p.namespaces, now)
    answers = host.ask(
        AskFromNetworks(
            tuple(Network(n.inode, n.pids) for n in order),
            requests_of(asked),
            p.timeout_s,
            p.namespaces,
            p.at_once,
            p.total_s,
        )
    )
    places = [
        Place(tuple(map(str, n.pods)), n.inode, row(asked, a.replies), a.problem)
        for n, a in zip(order, answers, strict=True)
    ]
    return PodReach(tuple(sorted(places, key=lambda place: (place.pods, place.inode))))


def in_turn(networks: Sequence[PodNetwork], a_round: int, now: Now) -> tuple[PodNetwork, ...]:
    """More than a round holds come in another order each time, so that none is always late."""
    order = list(networks)
    if len(order) > a_round:
        random.Random(int(now.at)).shuffle(order)  # noqa: S311  no secret: a turn
    return tuple(order)


def requests_of(asked: Sequence[Target]) -> tuple[Request, ...]:
    """Everything that one place sends, in the order in which `row` reads the replies."""
    return tuple(_request(target.address, ask) for target in asked for ask in target.asks)


def _request(where: str, ask: Ask) -> Request:
    address, port = parse_address(where)
    kept = kept_headers(ask)
    return Request(address, port, ask.method, ask.path, ask.headers, kept, ask.shape, ask.words)


def row(asked: Sequence[Target], heard: Sequence[Heard]) -> tuple[Cell, ...]:
    """The cells of one place; none where it could not ask."""
    if not heard:
        return ()
    replies = [
        Reply(h.end, h.status, h.headers, h.shape, h.html, h.words, h.error, h.cut) for h in heard
    ]
    return cells(asked, replies)
