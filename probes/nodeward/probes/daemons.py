"""Find the daemons of the cluster on this node, and what each was started with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from nodeward.facts.daemons import (
    APISERVER,
    ETCD,
    MANAGER,
    SCHEDULER,
    SUPERVISORS,
    Daemon,
    Daemons,
    arguments_of,
    of_manifests,
    of_processes,
    with_etcd_config,
    with_etcd_environment,
)
from nodeward.facts.errors import ParseError
from nodeward.facts.kubelet import Kubelet
from nodeward.facts.kubelet_embedded import K3sStart, k3s_kubelet_args, microk8s_words
from nodeward.facts.kubeyaml import parse_document
from nodeward.facts.manifests import Manifests
from nodeward.facts.processes import Process, Processes
from nodeward.host import Host, HostError
from nodeward.host.environment import EnvironmentPaths
from nodeward.model import Absent, Unreadable
from nodeward.probes.kubelet_embedded import k3s_start, there
from nodeward.probes.registry import probe

MICROK8S_FOLDER = "/var/snap/microk8s/current/args"
# k3s gives its daemons most of their flags itself (pkg/daemons/control/server.go); these decide.
_K3S_ITSELF = {
    APISERVER: (
        "--secure-port=6444",
        "--client-ca-file={tls}/client-ca.crt",
        "--requestheader-client-ca-file={tls}/request-header-ca.crt",
        "--requestheader-allowed-names=system:auth-proxy",
    ),
    MANAGER: (),
    SCHEDULER: (),
}


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
    found += _embedded(host, table, {d.program for d in found})
    if isinstance(kubelet, Kubelet) and not any(d.program == "kubelet" for d in found):
        found.append(_of_kubelet(kubelet))
    return Daemons(
        tuple(_settled(host, d) for d in found),
        complete=table.complete if table else isinstance(processes, Absent),
        table=table is not None,
        supervisors=tuple(p.program for p in table.running(*SUPERVISORS)) if table else (),
    )


def _embedded(host: Host, table: Processes | None, known: set[str]) -> list[Daemon]:
    """Daemons inside another program, which shows its own arguments and not theirs."""
    found: list[Daemon] = []
    for program, daemons in (("kubelite", _microk8s), ("k3s", _k3s)):
        process = next(table.running(program), None) if table else None
        if table is None or (process is not None and _serves(process)):
            new = [d for d in daemons(host) if d.program not in known]
            found += [_inside(d, process) for d in new]
    return found


def _inside(daemon: Daemon, process: Process | None) -> Daemon:
    if process is None:
        return daemon
    return replace(daemon, pid=process.pid, started_at=process.started_at)


def _serves(process: Process) -> bool:
    """`k3s agent` holds no control plane; kubelite's files tell for themselves."""
    return process.program != "k3s" or "server" in " ".join(process.argv or ())


def _microk8s(host: Host) -> Iterator[Daemon]:
    for program in (APISERVER, MANAGER, SCHEDULER):
        path = f"{MICROK8S_FOLDER}/{program}"
        try:
            words = microk8s_words(host.read(path), path)
        except HostError:
            continue
        argv = (program, *(w.text for w in words))
        yield Daemon(program, arguments_of(program, argv), path)


def _k3s(host: Host) -> Iterator[Daemon]:
    try:
        start = k3s_start(host)
    except (HostError, ParseError):
        start = K3sStart("k3s.service", ())
    if not there(host, f"{start.data}/server/tls"):
        return
    for program, own in _K3S_ITSELF.items():
        given = [w.text for w in k3s_kubelet_args(start, f"{program}-arg")]
        argv = (program, *(w.format(tls=f"{start.data}/server/tls") for w in own), *given)
        yield Daemon(program, arguments_of(program, argv), f"k3s, {start.unit}")


def _of_kubelet(kubelet: Kubelet) -> Daemon:
    """As its unit would start it."""
    launch = kubelet.launch
    return Daemon(
        "kubelet", kubelet.arguments, launch.origin, launch.pid, launch.started_at, root=launch.root
    )


def _settled(host: Host, daemon: Daemon) -> Daemon:
    placed = replace(daemon, root=root_of(host, daemon))
    return _etcd(host, placed) if daemon.program == ETCD else placed


def root_of(host: Host, daemon: Daemon) -> str:
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
