"""Read which processes the pods of this node have, and how each is confined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nodeward.facts.podnet import Pod, names_of, parse_cgroup
from nodeward.facts.pods import (
    Confinement,
    PodGuards,
    PodProcess,
    PodProcesses,
    parse_status,
    weigh,
)
from nodeward.facts.processes import Processes
from nodeward.host import Host, HostError, MissingError
from nodeward.probes.registry import probe

POD_LOGS = "/var/log/pods"
KTHREADD = 2


@probe
def read_pod_processes(host: Host, processes: Processes) -> PodProcesses:
    names = _names(host)
    rows = tuple(_rows(host, processes, names))
    return PodProcesses(rows, processes.complete)


def _names(host: Host) -> Mapping[str, Pod]:
    try:
        return names_of(host.names(POD_LOGS))
    except HostError:  # without names, pods are told by their uids
        return {}


def _rows(host: Host, processes: Processes, names: Mapping[str, Pod]) -> Iterator[PodProcess]:
    for process in processes.rows:
        if KTHREADD in (process.pid, process.ppid):
            continue
        try:
            uid = parse_cgroup(host.read(f"/proc/{process.pid}/cgroup"))
        except HostError:
            continue
        if uid is not None:
            pod = names.get(uid) or names.get(uid.replace("-", "")) or Pod(uid)
            yield PodProcess(process.pid, pod)


@probe
def read_pod_guards(host: Host, pods: PodProcesses) -> PodGuards:
    return weigh(_confined(host, pods), complete=pods.complete)


def _confined(host: Host, pods: PodProcesses) -> Iterator[tuple[str, Confinement]]:
    for row in pods.rows:
        try:
            status = host.read(f"/proc/{row.pid}/status")
            users = host.read(f"/proc/{row.pid}/uid_map")
        except MissingError:
            continue  # gone while we looked
        yield str(row.pod), parse_status(status, users)
