"""Find the daemons of the cluster on this node, and what each was started with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from nodeward.facts.daemons import (
    ETCD,
    SUPERVISORS,
    Daemon,
    Daemons,
    of_manifests,
    of_processes,
    with_etcd_config,
    with_etcd_environment,
)
from nodeward.facts.errors import ParseError
from nodeward.facts.kubelet import Kubelet
from nodeward.facts.kubeyaml import parse_document
from nodeward.facts.manifests import Manifests
from nodeward.facts.processes import Processes
from nodeward.host import Host, HostError
from nodeward.host.environment import EnvironmentPaths
from nodeward.model import Absent, Unreadable
from nodeward.probes.registry import probe


@probe
def read_daemons(
    host: Host,
    processes: Processes | Absent | Unreadable,
    manifests: Manifests | Absent | Unreadable,
    kubelet: Kubelet | Absent | Unreadable,
) -> Daemons:
    table = processes if isinstance(processes, Processes) else None
    pods = manifests if isinstance(manifests, Manifests) else None
    found = list(of_processes(table.rows, pods)) if table else []
    if pods:
        known = {d.program for d in found}
        found += [d for d in of_manifests(pods) if d.program not in known]
    if isinstance(kubelet, Kubelet) and not any(d.program == "kubelet" for d in found):
        found.append(_of_kubelet(kubelet))
    return Daemons(
        tuple(_settled(host, d) for d in found),
        complete=table.complete if table else isinstance(processes, Absent),
        table=table is not None,
        supervisors=tuple(p.program for p in table.running(*SUPERVISORS)) if table else (),
    )


def _of_kubelet(kubelet: Kubelet) -> Daemon:
    """As its unit would start it."""
    launch = kubelet.launch
    return Daemon(
        "kubelet", kubelet.arguments, launch.origin, launch.pid, launch.started_at, root=launch.root
    )


def _settled(host: Host, daemon: Daemon) -> Daemon:
    placed = replace(daemon, root=_root(host, daemon))
    return _etcd(host, placed) if daemon.program == ETCD else placed


def _root(host: Host, daemon: Daemon) -> str:
    """Where its files are seen when it lives in a container that no manifest describes."""
    if daemon.root or daemon.pid is None or daemon.container is not None or not host.live:
        return daemon.root
    prefix = f"/proc/{daemon.pid}/root"
    try:
        theirs, ours = host.stat(f"{prefix}/"), host.stat("/")
    except HostError:
        return ""
    return "" if (theirs.device, theirs.inode) == (ours.device, ours.inode) else prefix


def _etcd(host: Host, daemon: Daemon) -> Daemon:
    path = daemon.flag("config-file")
    if path is None:
        return with_etcd_environment(daemon, dict(_environment(host, daemon)))
    outside = daemon.outside(path)
    try:
        value = parse_document(host.read(outside), outside).value
    except (HostError, ParseError):
        value = None  # the certificates that it names are then not known
    return with_etcd_config(daemon, outside, value)


def _environment(host: Host, daemon: Daemon) -> Iterator[tuple[str, str]]:
    if daemon.pid is None:
        return
    try:
        yield from host.ask(EnvironmentPaths(daemon.pid, "ETCD_")).items()
    except HostError:
        return
