"""Whether a host is a Kubernetes node, in which roles, and which distribution made it one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from enum import StrEnum
from typing import ClassVar

from nodeward.facts.processes import Process
from nodeward.lazy import dataclass
from nodeward.model import Fact


class Role(StrEnum):
    """What a node does for its cluster. `WORKER` is a node that is no control plane."""

    CONTROL_PLANE = "control-plane"
    ETCD = "etcd"
    WORKER = "worker"


class Distribution(StrEnum):
    """Who lays out the files of a node: it decides where everything else is looked for."""

    KUBEADM = "kubeadm"
    K3S = "k3s"
    RKE2 = "rke2"
    K0S = "k0s"
    MICROK8S = "microk8s"
    EKS = "eks"
    AKS = "aks"
    GKE = "gke"
    OPENSHIFT = "openshift"
    TALOS = "talos"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Sign:
    """One thing that only a Kubernetes node has: "process kubelet" at "pid 812", a path."""

    what: str
    source: str


@dataclass(frozen=True, slots=True)
class Node(Fact):
    """A Kubernetes node. The reading is Absent where the host is none, and Unreadable where
    processes are hidden from us and no file tells.

    `running` says that a process of Kubernetes was seen; False: installed only, or a tree at rest
    without a process table. `signs` are what was seen, the decisive ones first.
    """

    events: ClassVar[tuple[str, ...]] = ("process",)

    roles: tuple[Role, ...]
    distribution: Distribution
    running: bool
    signs: tuple[Sign, ...]

    @property
    def control_plane(self) -> bool:
        return Role.CONTROL_PLANE in self.roles


_ALL = (Role.CONTROL_PLANE, Role.WORKER)
_PLANE = (Role.CONTROL_PLANE,)
_WORKER = (Role.WORKER,)
_ETCD = (Role.ETCD,)

# Programs and what their running makes of a host. Those of the second table are told apart by
# their first argument (k3s and rke2 write it into their process title).
_PROGRAMS: dict[str, tuple[Role, ...]] = {
    "kubelet": _WORKER,
    "kube-apiserver": _PLANE,
    "kube-controller-manager": _PLANE,
    "kube-scheduler": _PLANE,
    "etcd": _ETCD,
    "kubelite": _ALL,
}
_VERBS: dict[tuple[str, str], tuple[Role, ...]] = {
    ("k3s", "server"): _ALL,
    ("k3s", "agent"): _WORKER,
    ("rke2", "server"): _ALL,
    ("rke2", "agent"): _WORKER,
    ("k0s", "controller"): _PLANE,
    ("k0s", "worker"): _WORKER,
    ("hyperkube", "kubelet"): _WORKER,
    ("hyperkube", "kube-apiserver"): _PLANE,
}
_OF_PROGRAM = {
    "k3s": Distribution.K3S,
    "rke2": Distribution.RKE2,
    "k0s": Distribution.K0S,
    "kubelite": Distribution.MICROK8S,
}
PROGRAMS = frozenset(_PROGRAMS) | {program for program, _ in _VERBS}

UNIT_FOLDERS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
_UNITS: dict[str, tuple[Role, ...]] = {
    "kubelet.service": _WORKER,
    "k3s.service": _ALL,
    "k3s-agent.service": _WORKER,
    "rke2-server.service": _ALL,
    "rke2-agent.service": _WORKER,
    "k0scontroller.service": _PLANE,
    "k0sworker.service": _WORKER,
    "snap.microk8s.daemon-kubelite.service": _ALL,
    "kube-apiserver.service": _PLANE,
}
# Files that are there only once the host has been made a node.
_FILES: dict[str, tuple[Role, ...]] = {
    "/etc/kubernetes/kubelet.conf": _WORKER,
    "/var/lib/kubelet/config.yaml": _WORKER,
    "/var/lib/kubelet/kubeconfig": _WORKER,
    "/etc/kubernetes/manifests/kube-apiserver.yaml": _PLANE,
    "/etc/kubernetes/manifests/etcd.yaml": _ETCD,
    "/etc/kubernetes/pki/etcd/server.crt": _ETCD,
    "/var/lib/rancher/k3s/server/tls": _ALL,
    "/var/lib/rancher/k3s/agent/kubelet.kubeconfig": _WORKER,
    "/var/lib/rancher/rke2/server/tls": _ALL,
    "/var/lib/rancher/rke2/agent/kubelet.kubeconfig": _WORKER,
    "/var/lib/k0s/pki/apiserver.crt": _PLANE,
    "/var/lib/k0s/kubelet.conf": _WORKER,
    "/var/snap/microk8s/current/args/kubelet": _ALL,
}
# A MicroK8s node that joined as a worker: its kubelite starts no control plane.
_MICROK8S_WORKER = "/var/snap/microk8s/current/var/lock/clustered.lock"
# What tells a distribution, the most specific first: k3s and kubeadm also run on clouds' images,
# and EKS, AKS and GKE lay out their own.
_MARKS: tuple[tuple[str, Distribution], ...] = (
    ("/etc/machine-config-daemon", Distribution.OPENSHIFT),
    ("/etc/openshift", Distribution.OPENSHIFT),
    ("/var/lib/rancher/rke2", Distribution.RKE2),
    ("/etc/rancher/rke2", Distribution.RKE2),
    ("/var/lib/rancher/k3s", Distribution.K3S),
    ("/etc/rancher/k3s", Distribution.K3S),
    ("/var/lib/k0s", Distribution.K0S),
    ("/etc/k0s", Distribution.K0S),
    ("/var/snap/microk8s/current", Distribution.MICROK8S),
    ("/var/lib/kubelet/kubeadm-flags.env", Distribution.KUBEADM),
    ("/etc/eks", Distribution.EKS),
    ("/opt/azure/containers", Distribution.AKS),
    ("/home/kubernetes/bin", Distribution.GKE),
    *(
        (f"{folder}/kubelet.service.d/10-kubeadm.conf", Distribution.KUBEADM)
        for folder in UNIT_FOLDERS
    ),
)
_OF_UNIT = {
    "k3s": Distribution.K3S,
    "rke2": Distribution.RKE2,
    "k0scontroller": Distribution.K0S,
    "k0sworker": Distribution.K0S,
    "snap": Distribution.MICROK8S,
}

PATHS: tuple[str, ...] = (
    *_FILES,
    *(f"{folder}/{unit}" for folder in UNIT_FOLDERS for unit in _UNITS),
    _MICROK8S_WORKER,
    *(path for path, _ in _MARKS),
)
"""What `recognise` wants to know of: whether each of these is there."""


def recognise(
    processes: Iterable[Process], present: Collection[str], os_id: str = "", variant: str = ""
) -> Node | None:
    """The node that these signs make; None where nothing makes this host one.

    `processes` are those of the host itself: of its own network namespace, so that a cluster
    inside a container is not taken for its host. `present` are those of PATHS that are there;
    `os_id` and `variant` are ID and VARIANT_ID of os-release(5).
    """
    running = list(_of_processes(processes))
    installed = list(_of_files(present))
    more = any(roles != _ETCD for roles, _, _ in running)
    if not more and not installed:
        return None  # etcd alone serves others than Kubernetes too
    # What runs decides; files count where nothing does, or nothing but etcd.
    alone = all(roles == _ETCD for roles, _, _ in installed)
    decisive = running if more or (running and alone) else installed
    marks = [(path, found) for path, found in _MARKS if path in present]
    return Node(
        roles=_roles(decisive, worker_only=_MICROK8S_WORKER in present),
        distribution=_distribution(running, installed, marks, os_id, variant),
        running=decisive is running,
        signs=tuple(
            dict.fromkeys(
                [sign for _, _, sign in (*running, *installed)]
                + [Sign(f"mark of {found}", path) for path, found in marks]
            )
        ),
    )


_Found = tuple[tuple[Role, ...], Distribution | None, Sign]


def _of_processes(processes: Iterable[Process]) -> Iterator[_Found]:
    for process in processes:
        program = process.program
        words = " ".join(process.argv or ()).split()[:2]
        verb = words[1] if len(words) > 1 else ""
        roles = _PROGRAMS.get(program) or _VERBS.get((program, verb))
        if roles is None:
            continue
        if program == "k0s" and {"--single", "--enable-worker"} & set(process.argv or ()):
            roles = _ALL
        what = f"process {program} {verb}" if (program, verb) in _VERBS else f"process {program}"
        yield roles, _OF_PROGRAM.get(program), Sign(what, f"pid {process.pid}")


def _of_files(present: Collection[str]) -> Iterator[_Found]:
    for path, roles in _FILES.items():
        if path in present:
            yield roles, None, Sign("file", path)
    for folder in UNIT_FOLDERS:
        for unit, roles in _UNITS.items():
            if f"{folder}/{unit}" in present and f"/usr{folder}/{unit}" not in present:
                stem = unit.partition(".")[0].partition("-")[0]
                yield roles, _OF_UNIT.get(stem), Sign("unit", f"{folder}/{unit}")


def _roles(found: Iterable[_Found], *, worker_only: bool) -> tuple[Role, ...]:
    roles = {role for each, _, _ in found for role in each}
    if worker_only:
        roles.discard(Role.CONTROL_PLANE)
    if Role.CONTROL_PLANE in roles:
        roles.discard(Role.WORKER)
    return tuple(sorted(roles))


def _distribution(
    running: Iterable[_Found],
    installed: Iterable[_Found],
    marks: Iterable[tuple[str, Distribution]],
    os_id: str,
    variant: str,
) -> Distribution:
    if os_id == "talos":
        return Distribution.TALOS
    if os_id == "bottlerocket" and variant.startswith("aws-k8s"):
        return Distribution.EKS
    named = [found for _, found, _ in (*running, *installed) if found is not None]
    return next(iter([*named, *(found for _, found in marks)]), Distribution.UNKNOWN)
