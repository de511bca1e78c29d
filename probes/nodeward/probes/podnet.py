"""Read which networks the pods of this node have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nodeward.facts.podnet import Member, Pod, PodNetworks, group, names_of, parse_cgroup
from nodeward.facts.podnet import parse_inode as inode_of
from nodeward.facts.processes import Processes
from nodeward.host import Host, HostError, MissingError
from nodeward.probes.registry import probe

POD_LOGS = "/var/log/pods"
KTHREADD = 2


@probe
def read_pod_networks(host: Host, processes: Processes) -> PodNetworks:
    members = list(_members(host, processes, _names(host)))
    return group(members, _host_inode(host), complete=processes.complete)


def _names(host: Host) -> Mapping[str, Pod]:
    try:
        return names_of(host.names(POD_LOGS))
    except HostError:  # without names, pods are told by their uids
        return {}


def _members(host: Host, processes: Processes, names: Mapping[str, Pod]) -> Iterator[Member]:
    for process in processes.rows:
        if KTHREADD in (process.pid, process.ppid):
            continue
        try:
            uid = parse_cgroup(host.read(f"/proc/{process.pid}/cgroup"))
        except HostError:
            continue
        if uid is None:
            continue
        pod = names.get(uid) or names.get(uid.replace("-", "")) or Pod(uid)
        try:
            yield Member(process.pid, pod, inode_of(host.link(f"/proc/{process.pid}/ns/net")))
        except MissingError:  # it ended meanwhile
            continue
        except HostError:
            yield Member(process.pid, pod, None)


def _host_inode(host: Host) -> int | None:
    """The first process is in the host's network; where it may not be looked at, we are."""
    for pid in ("1", "self") if host.live else ("1",):
        try:
            return inode_of(host.link(f"/proc/{pid}/ns/net"))
        except HostError:
            continue
    return None
