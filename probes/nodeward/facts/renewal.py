"""Who renews a certificate, and when.

Sources: client-go's certificate manager (the kubelet asks for a new certificate when 70 to 90 % of
the old one's life are over); kubeadm's phases/certs/renewal (which certificates it knows, and that
it renews none of an authority whose key is elsewhere); k3s and RKE2, which renew at start what ends
within 120 days; k0s pkg/certificate (which makes all of its own anew at each start); MicroK8s'
refresh-certs (not dqlite's pair, and not on a worker); Talos and OpenShift by themselves; Azure's
and Google's documentation of node certificates. What an operator types is in renewal_steps.
"""

from __future__ import annotations

import posixpath
from enum import StrEnum

from nodeward.facts.node import Distribution
from nodeward.facts.pki import Held, Pki
from nodeward.facts.supervisors import DATA, K0S, K3S, RKE2


class Renewer(StrEnum):
    """Who replaces a certificate before it ends."""

    KUBELET = "the kubelet"
    KUBEADM = "kubeadm upgrade or kubeadm certs renew"
    K3S = "k3s at its start"
    RKE2 = "RKE2 at its start"
    K0S = "k0s at its start"
    MICROK8S = "microk8s refresh-certs"
    JOIN = "a new join of this node"
    TALOS = "Talos"
    OPENSHIFT = "OpenShift's operators"
    AKS = "az aks rotate-certs"
    GKE = "a new node of GKE"
    HAND = "hand only"

    @property
    def program(self) -> str:
        """The supervisor that renews at its start; "" for the others."""
        return _PROGRAMS.get(self, "")


_PROGRAMS = {Renewer.K3S: K3S, Renewer.RKE2: RKE2, Renewer.K0S: K0S}
CONTINUOUSLY = frozenset({Renewer.KUBELET, Renewer.TALOS, Renewer.OPENSHIFT})
AT_START = frozenset(_PROGRAMS)
AT_START_WINDOW_S, AT_START_SURE_S = 120 * 86400, 90 * 86400
"""k3s and RKE2 renew at start what ends within the first time; until May 2025 within the second."""

_BY_FOLDER = (
    ("/etc/rancher/k3s/", Renewer.K3S),
    ("/etc/rancher/rke2/", Renewer.RKE2),
    ("/var/snap/microk8s/", Renewer.MICROK8S),
    ("/system/secrets/", Renewer.TALOS),
    ("/etc/kubernetes/static-pod-resources/", Renewer.OPENSHIFT),
    ("/etc/kubernetes/certs/", Renewer.AKS),
    ("/etc/srv/kubernetes/pki/", Renewer.GKE),
)

KUBEADM: dict[str, tuple[str, str]] = {
    "apiserver": ("apiserver.crt", "ca.key"),
    "apiserver-kubelet-client": ("apiserver-kubelet-client.crt", "ca.key"),
    "apiserver-etcd-client": ("apiserver-etcd-client.crt", "etcd/ca.key"),
    "front-proxy-client": ("front-proxy-client.crt", "front-proxy-ca.key"),
    "etcd-server": ("etcd/server.crt", "etcd/ca.key"),
    "etcd-peer": ("etcd/peer.crt", "etcd/ca.key"),
    "etcd-healthcheck-client": ("etcd/healthcheck-client.crt", "etcd/ca.key"),
    **{
        name: (f"{name}.conf", "pki/ca.key")
        for name in ("admin", "super-admin", "controller-manager", "scheduler")
    },
}
"""All that `kubeadm certs renew` knows, by component: its file, and the key of the authority that
issues it, both below one folder."""


def kubeadm_name(component: str) -> str:
    """What `kubeadm certs renew` calls it."""
    file, _ = KUBEADM[component]
    return file if file.endswith(".conf") else component


def renewer(held: Held, pki: Pki) -> Renewer:
    """Told by where the certificate lies: a node may hold those of several distributions."""
    path, component = held.use.path, held.use.component
    name = posixpath.basename(path)
    if name.startswith(("kubelet-client-", "kubelet-server-")) and name.endswith(".pem"):
        if pki.rotates is not None and component not in pki.rotates:
            return Renewer.HAND
        return Renewer.TALOS if pki.distribution is Distribution.TALOS else Renewer.KUBELET
    for program in DATA:
        if any(path.startswith(f"{data}/") for data in pki.homes.folders(program)):
            return Renewer[program.upper()]
    for folder, found in _BY_FOLDER:
        if path.startswith(folder):
            return _of_microk8s(component, pki) if found is Renewer.MICROK8S else found
    if of_kubeadm(held, pki) and not pki.at(authority_key(held)).absent:
        return Renewer.KUBEADM
    return Renewer.HAND


def _of_microk8s(component: str, pki: Pki) -> Renewer:
    """refresh-certs knows nothing of dqlite's pair, and refuses to run on a worker."""
    if component == "dqlite":
        return Renewer.HAND
    return Renewer.MICROK8S if pki.control_plane else Renewer.JOIN


def newer(held: Held, now: float, pki: Pki) -> str:
    """The file of a rotation that the link of one in use should lead to instead; "" where it does
    lead to the newest that is valid."""
    files = [(h.leaf, h.pem) for h in pki.held(held.use.component) if h.use.superseded]
    good = [(c.not_before, p.path) for c, p in files if c and c.not_before <= now <= c.not_after]
    if held.leaf is None or not held.use.in_use:
        return ""
    return max((path for start, path in good if start > held.leaf.not_before), default="")


def of_kubeadm(held: Held, pki: Pki) -> bool:
    """Whether kubeadm made it and knows it by a name. Copies of its kubeconfigs it does not."""
    file, _ = KUBEADM.get(held.use.component, ("", ""))
    if not file or pki.distribution is not Distribution.KUBEADM:
        return False
    if file.endswith(".conf"):
        return held.use.path == f"/etc/kubernetes/{file}"
    return held.use.path.endswith(f"/{file}")


def authority_key(held: Held) -> str:
    """Where kubeadm looks for the key of its authority; without it kubeadm renews nothing."""
    file, key = KUBEADM[held.use.component]
    return held.use.path.removesuffix(file) + key
