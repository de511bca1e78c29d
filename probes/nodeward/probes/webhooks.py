"""Find the servers of webhooks on this node."""

from __future__ import annotations

from dataclasses import replace

from nodeward.facts.kubeconfig import ComponentKubeconfigs
from nodeward.facts.listeners import Listeners
from nodeward.facts.local_addresses import LocalAddresses
from nodeward.facts.manifests import Manifests
from nodeward.facts.processes import Processes
from nodeward.facts.webhooks import Webhook, Webhooks, find
from nodeward.host import Host
from nodeward.model import Absent, Unreadable
from nodeward.probes.daemons import root_of
from nodeward.probes.registry import probe


@probe
def read_webhooks(
    host: Host,
    processes: Processes | Absent | Unreadable,
    listeners: Listeners | Absent | Unreadable,
    kubeconfigs: ComponentKubeconfigs | Absent | Unreadable,
    manifests: Manifests | Absent | Unreadable,
    local: LocalAddresses | Absent | Unreadable,
) -> Webhooks:
    rows = find(
        processes.rows if isinstance(processes, Processes) else (),
        listeners.rows if isinstance(listeners, Listeners) else (),
        kubeconfigs if isinstance(kubeconfigs, ComponentKubeconfigs) else None,
        manifests if isinstance(manifests, Manifests) else None,
        local.rows if isinstance(local, LocalAddresses) else (),
    )
    needed = (processes, kubeconfigs, manifests, *((listeners,) if host.live else ()))
    unseen = tuple(f"{r.what}: {r.error}" for r in needed if isinstance(r, Unreadable))
    return Webhooks(tuple(_placed(host, one) for one in rows), unseen)


def _placed(host: Host, one: Webhook) -> Webhook:
    """Where its files are seen, when it lives in a container."""
    daemon = one.daemon
    return replace(one, daemon=replace(daemon, root=root_of(host, daemon))) if daemon else one
