"""Ask this node's own TLS servers which certificate they present."""

from __future__ import annotations

from dataclasses import replace

from nodeward.facts.daemons import Daemons
from nodeward.facts.der import DerError
from nodeward.facts.kubelet import Kubelet
from nodeward.facts.listeners import Listeners
from nodeward.facts.node import Node
from nodeward.facts.served import (
    MOST_WEBHOOKS,
    Port,
    Presented,
    Served,
    ports,
    webhook_ports,
)
from nodeward.facts.webhooks import Webhooks
from nodeward.facts.x509 import parse_certificate
from nodeward.host import Host, OfflineError
from nodeward.host.tls import TlsHandshake
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
    rows = [_ask(host, port) for port in wanted]
    taken = {port.port for port in wanted}
    found = webhook_ports(webhooks) if isinstance(webhooks, Webhooks) else ()
    hooks = [port for port in found if port.port not in taken]
    rows += [_ask(host, port) for port in hooks[:MOST_WEBHOOKS]]
    rows += [Presented(p, "not asked: too many such ports") for p in hooks[MOST_WEBHOOKS:]]
    return Served(tuple(rows))


def _ask(host: Host, port: Port) -> Presented:
    answer = host.ask(TlsHandshake(port.address, port.port, seconds=SECONDS))
    if answer.outcome is Outcome.REFUSED and port.other:
        port = replace(port, address=port.other, other="")
        answer = host.ask(TlsHandshake(port.address, port.port, seconds=SECONDS))
    try:
        certificates = tuple(parse_certificate(raw) for raw in answer.chain)
    except DerError as exc:
        return Presented(port, str(answer.outcome), broken=exc.what)
    return Presented(port, str(answer.outcome), certificates)
