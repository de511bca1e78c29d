"""Ask this node's own TLS servers which certificate they present."""

from __future__ import annotations

from dataclasses import replace

from nodeward.facts.daemons import Daemons
from nodeward.facts.der import DerError
from nodeward.facts.kubelet import Kubelet
from nodeward.facts.listeners import Listeners
from nodeward.facts.node import Node
from nodeward.facts.served import (
    MOST_PORTS,
    Port,
    Presented,
    Served,
    ports,
    webhook_ports,
)
from nodeward.facts.webhooks import Webhooks
from nodeward.facts.x509 import parse_certificate
from nodeward.host import Host, OfflineError
from nodeward.host.tls import TlsAnswer, TlsHandshakes
from nodeward.host.wire import Outcome
from nodeward.model import Absent, Unreadable
from nodeward.probes.registry import probe

SECONDS = 2.0


@probe
def read_served(
    host: Host,
    node: Node,
    daemons: Daemons,
    listeners: Listeners,
    kubelet: Kubelet | Absent | Unreadable,
    webhooks: Webhooks | Absent | Unreadable,
) -> Served:
    if not host.live:
        raise OfflineError("TLS servers", "offline")
    wanted = ports(listeners.rows, daemons)
    custom = kubelet.get("port").value if isinstance(kubelet, Kubelet) else None
    if isinstance(custom, int):
        wanted = tuple(p for p in wanted if p.component != "kubelet-server" or p.port == custom)
    taken = {port.port for port in wanted}
    found = webhook_ports(webhooks) if isinstance(webhooks, Webhooks) else ()
    wanted += tuple(port for port in found if port.port not in taken)
    rows = _ask(host, wanted[:MOST_PORTS])
    rows += [Presented(p, "not asked: too many ports") for p in wanted[MOST_PORTS:]]
    return Served(tuple(rows))


def _ask(host: Host, ports: tuple[Port, ...]) -> list[Presented]:
    """All at once; those where nothing listens a second time, at the other address they have."""
    answers = dict(zip(ports, _answers(host, ports), strict=True))
    again = [p for p, a in answers.items() if a.outcome is Outcome.REFUSED and p.other]
    others = tuple(replace(port, address=port.other, other="") for port in again)
    second = dict(zip(again, zip(others, _answers(host, others), strict=True), strict=True))
    return [_read(*second.get(port, (port, answer))) for port, answer in answers.items()]


def _answers(host: Host, ports: tuple[Port, ...]) -> tuple[TlsAnswer, ...]:
    places = tuple((port.address, port.port) for port in ports)
    return host.ask(TlsHandshakes(places, SECONDS)) if places else ()


def _read(port: Port, answer: TlsAnswer) -> Presented:
    try:
        certificates = tuple(parse_certificate(raw) for raw in answer.chain)
    except DerError as exc:
        return Presented(port, str(answer.outcome), broken=exc.what)
    return Presented(port, str(answer.outcome), certificates, alert=answer.alert)
