"""Read how a kubelet that does not run would be started."""

from __future__ import annotations

from nodeward.facts.kubelet import Kubelet
from nodeward.facts.node import Node
from nodeward.facts.stopped_kubelet import StoppedKubelet
from nodeward.host import Host, MissingError
from nodeward.model import Absent, Unreadable
from nodeward.probes.kubelet import at_rest, read
from nodeward.probes.registry import probe


@probe
def read_stopped_kubelet(
    host: Host, node: Node, kubelet: Kubelet | Absent | Unreadable
) -> StoppedKubelet:
    if not isinstance(kubelet, Absent):
        raise MissingError("stopped kubelet", "one runs, or that cannot be told")
    return StoppedKubelet(read(host, at_rest(host)))
