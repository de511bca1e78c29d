"""Which of a host's processes is its kubelet."""

from __future__ import annotations

import posixpath

from nodeward.facts.kubelet_flags import KINDS
from nodeward.facts.listeners import Listeners
from nodeward.facts.pflags import Arguments, parse_arguments
from nodeward.facts.processes import Process, Processes
from nodeward.host import Host, HostError, MissingError
from nodeward.lazy import pattern
from nodeward.model import Absent, Unreadable
from nodeward.probes.listeners import read_in_network

PROGRAMS = ("kubelet", "kubelite", "k3s", "hyperkube")
PORT = 10250
OWN_FLAGS = frozenset(
    ["bootstrap-kubeconfig", "cgroup-driver", "cluster-dns", "fail-swap-on",
     "image-credential-provider-config", "max-pods", "node-ip", "node-labels",
     "pod-manifest-path", "read-only-port", "register-node",
     "register-with-taints", "rotate-certificates", "seccomp-default"]
)  # fmt: skip
"""Flags that few other programs have. (kube-proxy has --config, --kubeconfig, --hostname-override;
cri-dockerd --container-runtime-endpoint, --pod-infra-container-image; cilium-agent and CRI-O
--config-dir.)"""
TO_A_CLUSTER = frozenset(["kubeconfig", "bootstrap-kubeconfig"])


def find(
    host: Host, processes: Processes, listeners: Listeners | Absent | Unreadable
) -> list[Process]:
    """All that run here, whatever their files are called: those in the host's own network first
    (one in another is that of a node inside a container), of these the one that holds the port.
    MissingError where there is none, HostError where that cannot be told."""
    rows = listeners.on(PORT) if isinstance(listeners, Listeners) else ()
    holding = frozenset(row.pid for row in rows)
    found = [p for p in processes.rows if _is_one(host, p, holds=p.pid in holding)]
    found = [p for p in found if not _lets_nobody_in(host, p, processes, listeners)]
    if found:
        return sorted(found, key=lambda p: (bool(network_of(host, p.pid)), p.pid not in holding))
    if not processes.complete:
        raise HostError("/proc", "other users' processes are hidden from us")
    if not isinstance(listeners, Listeners):
        return _by_arguments_alone(host, processes)
    if not rows:
        raise MissingError("kubelet", "no such process")
    first = next((p for p in processes.rows if p.pid == rows[0].pid), None)
    who = f"{first.program} (pid {first.pid})" if first else "a process that cannot be told"
    raise HostError(f"port {PORT}", f"{who} holds it; whether that is a kubelet is not known")


def _is_one(host: Host, process: Process, *, holds: bool) -> bool:
    if process.program in PROGRAMS:
        return _is_kubelet(process)
    if holds or _is_named_after_one(process):
        return _speaks_like_one(host, process)
    return _has_its_arguments(host, process)


def _has_its_arguments(host: Host, process: Process) -> bool:
    """Whether a kubelet would start with these arguments, and no other program: its --config is one
    of a kubelet's, or it has a cluster and two flags of OWN_FLAGS and none that is not its own.
    A kubelet refuses any word that belongs to no flag (a wrapper's, a supervisor's)."""
    argv = process.argv or ()
    if not any(word.startswith("-") for word in argv[1:2]):
        return False
    arguments = parse_arguments(argv, KINDS)
    if arguments.stray:
        return False
    names = {flag.name for flag in arguments.flags}
    given = names <= KINDS.keys() and not names.isdisjoint(TO_A_CLUSTER)
    return (given and len(names & OWN_FLAGS) > 1) or _has_its_file(host, process, arguments)


def _lets_nobody_in(
    host: Host,
    process: Process,
    processes: Processes,
    listeners: Listeners | Absent | Unreadable,
) -> bool:
    """Whether it only bears the name: another user's than root's, that is seen to hold no port in
    the network it lives in. Anyone can start such a process, in a pod too."""
    if process.uid in (0, None):
        return False
    network = network_of(host, process.pid)
    if network:
        try:
            listeners = read_in_network(host, processes, process.pid)
        except HostError:
            return False
    elif network is None or not isinstance(listeners, Listeners) or not listeners.rows:
        return False
    seen = all(row.pid is not None for row in listeners.rows)
    return seen and not listeners.of(process.pid)


def _by_arguments_alone(host: Host, processes: Processes) -> list[Process]:
    """None for certain: who holds the port was not seen, and a supervisor has such flags too."""
    alike = next((p for p in processes.rows if _speaks_like_one(host, p)), None)
    if alike is None:
        raise MissingError("kubelet", "no such process")
    who = f"{alike.program} (pid {alike.pid}) has flags of a kubelet"
    raise HostError(f"port {PORT}", f"{who}, and who holds the port cannot be seen")


def _is_named_after_one(process: Process) -> bool:
    """kubelet-1.30.4, kubelet.real."""
    return process.program.startswith(("kubelet-", "kubelet_", "kubelet."))


def _is_kubelet(process: Process) -> bool:
    """A process that has ended but not gone has neither file nor arguments; of k3s, only its
    server and agent hold a kubelet (it is also kubectl and crictl), and hyperkube is every
    component by its first word or by the name it is called by."""
    words = " ".join(process.argv or ()).split()
    if process.program == "hyperkube":
        return "kubelet" in (*words[1:2], posixpath.basename(words[0]) if words else "")
    if process.program != "k3s":
        return process.argv != () or process.exe is not None
    return len(words) > 1 and words[1] in ("server", "agent")


def _speaks_like_one(host: Host, process: Process) -> bool:
    """By its arguments, or by the kind of the file that its --config names."""
    arguments = parse_arguments(process.argv or (), KINDS)
    return any(flag.name in OWN_FLAGS for flag in arguments.flags) or _has_its_file(
        host, process, arguments
    )


def _has_its_file(host: Host, process: Process, arguments: Arguments) -> bool:
    config = arguments.given("config")
    if config is None:
        return False
    folder = link(host, f"/proc/{process.pid}/cwd") or "/"
    try:
        return b"KubeletConfiguration" in host.read(posixpath.join(folder, config.value))
    except HostError:
        return False


def network_of(host: Host, pid: int) -> int | None:
    """The inode of a process' network namespace; 0 where that is the host's, or a tree at rest does
    not say; None where we may not see it."""
    try:
        ours, theirs = host.link("/proc/1/ns/net"), host.link(f"/proc/{pid}/ns/net")
    except MissingError:
        return 0
    except HostError:
        return None
    found = _NETWORK.fullmatch(theirs)
    return int(found[1]) if found and theirs != ours else 0


_NETWORK = pattern(r"net:\[(\d{1,10})\]")


def link(host: Host, path: str) -> str | None:
    try:
        return host.link(path)
    except HostError:
        return None
