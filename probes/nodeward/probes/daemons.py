"""Find the daemons of the cluster on this node, and what each was started with."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from nodeward.facts.daemons import (
    APISERVER,
    ETCD,
    MANAGER,
    PROXY,
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
from nodeward.facts.kubelet_embedded import as_given, k3s_kubelet_args, microk8s_words
from nodeward.facts.kubeyaml import parse_document
from nodeward.facts.manifests import Manifests
from nodeward.facts.processes import Process, Processes
from nodeward.facts.stopped_kubelet import StoppedKubelet, whichever
from nodeward.facts.supervisors import K3S, Homes, Start, option
from nodeward.facts.units import Word
from nodeward.host import Host, HostError
from nodeward.host.environment import EnvironmentPaths
from nodeward.model import Absent, Unreadable
from nodeward.probes.kubelet_embedded import there
from nodeward.probes.node import own
from nodeward.probes.registry import probe
from nodeward.probes.supervisors import start_of_process
from nodeward.probes.unit_files import read_service

K3S_PORT = 6443
KUBELITE_UNIT = "snap.microk8s.daemon-kubelite.service"
ENABLED = "/etc/systemd/system/multi-user.target.wants"
MICROK8S_FOLDER = "/var/snap/microk8s/current/args"
# k3s gives its daemons most of their flags itself (pkg/daemons/control/server.go); these decide.
_K3S_ITSELF = {
    APISERVER: (
        "--secure-port={inner}",
        "--advertise-port={outer}",
        "--client-ca-file={tls}/client-ca.crt",
        "--requestheader-client-ca-file={tls}/request-header-ca.crt",
        "--requestheader-allowed-names=system:auth-proxy",
        "--enable-bootstrap-token-auth=true",
    ),
    MANAGER: ("--controllers=*,tokencleaner",),
    SCHEDULER: (),
}


@probe
def read_daemons(
    host: Host,
    processes: Processes | Absent | Unreadable,
    manifests: Manifests | Absent | Unreadable,
    kubelet: Kubelet | Absent | Unreadable,
    stopped: StoppedKubelet | Absent | Unreadable,
    homes: Homes | Absent | Unreadable,
) -> Daemons:
    table = processes if isinstance(processes, Processes) else None
    pods = manifests if isinstance(manifests, Manifests) else None
    found = list(of_processes(table.rows, pods)) if table else []
    if pods:
        known = {d.program for d in found}
        found += [d for d in of_manifests(pods) if d.program not in known]
    planned = homes.planned() if isinstance(homes, Homes) else ()
    found += _embedded(host, table, {d.program for d in found}, planned)
    either = whichever(kubelet, stopped)
    if isinstance(either, Kubelet) and not any(d.program == "kubelet" for d in found):
        found.append(_of_kubelet(either))
    known = {d.program for d in found}
    found += [d for d in _of_units(host) if d.program not in known]
    return Daemons(
        tuple(_settled(host, d) for d in found),
        complete=table.complete if table else isinstance(processes, Absent),
        table=table is not None,
        supervisors=tuple(p.program for p in own(host, table.running(*SUPERVISORS)))
        if table
        else (),
    )


def _embedded(
    host: Host, table: Processes | None, known: set[str], planned: Collection[str]
) -> list[Daemon]:
    """Daemons inside another program, which shows its own arguments and not theirs. One that does
    not run and that a unit would start counts too."""
    found: list[Daemon] = []
    for program, daemons in (("kubelite", _microk8s), (K3S, _k3s)):
        process = next(own(host, table.running(program)), None) if table else None
        would = process is None and (program in planned or _has_unit(host, program))
        if table is None or would or (process is not None and _serves(process)):
            new = [d for d in daemons(host, process) if d.program not in known]
            found += [_inside(d, process) for d in new]
    return found


def _has_unit(host: Host, program: str) -> bool:
    if program != "kubelite":
        return False
    try:
        return bool(read_service(host, KUBELITE_UNIT).words)
    except HostError:
        return False


def _of_units(host: Host) -> Iterator[Daemon]:
    """As units that are enabled would start them: a control plane without static pods."""
    for program in (APISERVER, MANAGER, SCHEDULER, ETCD, PROXY):
        try:
            host.stat(f"{ENABLED}/{program}.service")
            service = read_service(host, f"{program}.service")
        except (HostError, ParseError):
            continue
        argv = tuple(w.text for w in service.words)
        if argv and argv[0].endswith(f"/{program}"):
            names = {n: w.text for n, w in service.environment.items() if n.startswith("ETCD_")}
            daemon = Daemon(program, arguments_of(program, argv), service.name)
            yield with_etcd_environment(daemon, names) if program == ETCD else daemon


def _inside(daemon: Daemon, process: Process | None) -> Daemon:
    if process is None:
        return daemon
    return replace(daemon, pid=process.pid, started_at=process.started_at)


def _serves(process: Process) -> bool:
    """`k3s agent` holds no control plane; kubelite's files tell for themselves."""
    return process.program != "k3s" or "server" in " ".join(process.argv or ())


def _microk8s(host: Host, process: Process | None) -> Iterator[Daemon]:
    for program in (APISERVER, MANAGER, SCHEDULER):
        path = f"{MICROK8S_FOLDER}/{program}"
        try:
            words = microk8s_words(host.read(path), path)
        except HostError:
            continue
        argv = (program, *(w.text for w in words))
        yield Daemon(program, arguments_of(program, argv), path)


def _k3s(host: Host, process: Process | None) -> Iterator[Daemon]:
    try:
        start = start_of_process(host, K3S, process)
    except (HostError, ParseError):
        start = Start("k3s.service", ())
    if not there(host, f"{start.data}/server/tls"):
        return
    outer = _listen_port(start)
    values = {"tls": f"{start.data}/server/tls", "outer": outer, "inner": outer + 1}
    for program, flags in _K3S_ITSELF.items():
        own = [Word(w.format(**values), "k3s itself") for w in flags]
        given = as_given(own, k3s_kubelet_args(start, f"{program}-arg"))
        argv = (program, *(w.text for w in given))
        yield Daemon(program, arguments_of(program, argv), f"k3s, {start.unit}")


def _listen_port(start: Start) -> int:
    """Where k3s serves to others; its API server is behind that, at the next port."""
    flag = option(start.words, "--https-listen-port")
    text = str(flag or start.configured("https-listen-port") or "")
    return int(text) if text.isdecimal() else K3S_PORT


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
        found = dict(_environment(host, daemon))
        return with_etcd_environment(daemon, found) if found else daemon
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
