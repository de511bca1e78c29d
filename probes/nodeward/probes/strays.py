"""Search the folders where people and programs leave credentials for those of administrators."""

from __future__ import annotations

from nodeward.facts.kubeconfig import ADMINISTRATORS
from nodeward.facts.strays import Stray, Strays
from nodeward.host import Host
from nodeward.host.admin_search import AdministratorSearch
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
WITHOUT = (
    "/var/lib/kubelet/pods",
    "/var/lib/rancher/k3s/agent/containerd",
    "/var/lib/rancher/rke2/agent/containerd",
    "/var/lib/k0s/containerd",
    "/var/lib/k0s/kubelet/pods",
)
"""Pods' own volumes and images: what their programs hold is not the node's."""


@probe
def read_strays(host: Host) -> Strays:
    found = host.ask(AdministratorSearch(FOLDERS, ADMINISTRATORS, WITHOUT))
    return Strays(
        tuple(Stray(row.path, row.group, row.kubeconfig) for row in found.rows),
        found.folders,
        found.entries,
        found.files,
        found.stopped,
        found.unseen,
        found.elsewhere,
    )
