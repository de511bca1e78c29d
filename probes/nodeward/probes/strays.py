"""Search the folders where people and programs leave credentials for those of administrators, and
for private keys."""

from __future__ import annotations

from nodeward.facts.kubeconfig import ADMINISTRATORS
from nodeward.facts.strays import Stray, Strays
from nodeward.facts.supervisors import K0S, K3S, NOWHERE, RKE2, Homes
from nodeward.host import Host
from nodeward.host.admin_search import AdministratorSearch
from nodeward.model import Absent, Unreadable
from nodeward.probes.registry import probe

FOLDERS = (
    "/etc/kubernetes",
    "/etc/rancher",
    "/var/lib/kubelet",
    "/var/lib/rancher",
    "/var/lib/k0s",
    "/var/snap/microk8s/current",
    "/root",
    "/home",
    "/tmp",  # noqa: S108  looked into, not used
    "/var/tmp",  # noqa: S108
    "/opt",
    "/srv",
    "/usr/local",
    "/etc",
    "/var/backups",
)
WITHOUT = "/var/lib/kubelet/pods"
_WITHOUT_IN_HOMES = (
    (K3S, "agent/containerd"),
    (RKE2, "agent/containerd"),
    (K0S, "containerd"),
    (K0S, "kubelet/pods"),
)
"""Pods' own volumes and images: what their programs hold is not the node's."""


@probe
def read_strays(host: Host, homes: Homes | Absent | Unreadable) -> Strays:
    at = homes if isinstance(homes, Homes) else NOWHERE
    folders = (*FOLDERS[: FOLDERS.index("/root")], *at.moved, *FOLDERS[FOLDERS.index("/root") :])
    without = [
        f"{home}/{name}" for program, name in _WITHOUT_IN_HOMES for home in at.folders(program)
    ]
    found = host.ask(AdministratorSearch(folders, ADMINISTRATORS, (WITHOUT, *without)))
    return Strays(
        tuple(Stray(row.path, row.group, row.kubeconfig, row.key, row.token) for row in found.rows),
        found.folders,
        found.entries,
        found.files,
        found.stopped,
        found.unseen,
        found.elsewhere,
        found.outside,
    )
