"""Read which networks the pods of this node have."""

from __future__ import annotations

from collections.abc import Iterator

from nodeward.facts.podnet import Member, PodNetworks, group
from nodeward.facts.podnet import parse_inode as inode_of
from nodeward.facts.pods import PodProcesses
from nodeward.host import Host, HostError, MissingError
from nodeward.probes.registry import probe


@probe
def read_pod_networks(host: Host, pods: PodProcesses) -> PodNetworks:
    return group(list(_members(host, pods)), _host_inode(host), complete=pods.complete)


def _members(host: Host, pods: PodProcesses) -> Iterator[Member]:
    for row in pods.rows:
        try:
            yield Member(row.pid, row.pod, inode_of(host.link(f"/proc/{row.pid}/ns/net")))
        except MissingError:  # it ended meanwhile
            continue
        except HostError:
            yield Member(row.pid, row.pod, None)


def _host_inode(host: Host) -> int | None:
    """The first process is in the host's network; where it may not be looked at, we are."""
    for pid in ("1", "self") if host.live else ("1",):
        try:
            return inode_of(host.link(f"/proc/{pid}/ns/net"))
        except HostError:
            continue
    return None
