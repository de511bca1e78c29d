"""Who renews a certificate, when, and what an operator types when that did not happen.

Sources: client-go's certificate manager (the kubelet asks for a new certificate when 70 to 90 %
of the old one's life are over); `kubeadm certs renew`; k3s and RKE2 `certificate rotate`, which
both also renew at start what ends within 120 days; k0s at start; `microk8s refresh-certs`; Talos
and OpenShift by themselves.
"""

from __future__ import annotations

from enum import StrEnum

from nodeward.facts.node import Distribution
from nodeward.facts.pki import Held, Pki
from nodeward.facts.supervisors import DATA, K0S, K3S, RKE2
from nodeward.model import Remedy


class Renewer(StrEnum):
    """Who replaces a certificate before it ends."""

    KUBELET = "the kubelet"
    KUBEADM = "kubeadm upgrade or kubeadm certs renew"
    K3S = "k3s at its start"
    RKE2 = "RKE2 at its start"
    K0S = "k0s at its start"
    MICROK8S = "microk8s refresh-certs"
    TALOS = "Talos"
    OPENSHIFT = "OpenShift's operators"
    HAND = "hand only"

    @property
    def program(self) -> str:
        """The supervisor that renews at its start; "" for the others."""
        return {"K3S": K3S, "RKE2": RKE2, "K0S": K0S}.get(self.name, "")


CONTINUOUSLY = frozenset({Renewer.KUBELET, Renewer.TALOS, Renewer.OPENSHIFT})
AT_START = frozenset({Renewer.K3S, Renewer.RKE2, Renewer.K0S})
AT_START_WINDOW_S = 120 * 86400
"""k3s and RKE2 renew at start what ends within this time (90 days until May 2025)."""

_BY_FOLDER = (
    ("/etc/rancher/k3s/", Renewer.K3S),
    ("/etc/rancher/rke2/", Renewer.RKE2),
    ("/var/snap/microk8s/", Renewer.MICROK8S),
    ("/system/secrets/", Renewer.TALOS),
    ("/etc/kubernetes/static-pod-resources/", Renewer.OPENSHIFT),
)


def renewer(held: Held, pki: Pki) -> Renewer:
    """Told by where the certificate lies: a node may hold those of several distributions."""
    path, component = held.use.path, held.use.component
    name = path.rpartition("/")[2]
    if name.startswith(("kubelet-client-", "kubelet-server-")) and name.endswith(".pem"):
        if pki.rotates is not None and component not in pki.rotates:
            return Renewer.HAND
        return Renewer.TALOS if pki.distribution is Distribution.TALOS else Renewer.KUBELET
    if component == "kubelet-client" and held.use.part:
        return Renewer.HAND  # inside kubelet.conf, which kubeadm certs renew leaves alone
    for program in DATA:
        if any(path.startswith(f"{data}/") for data in pki.homes.folders(program)):
            return Renewer[program.upper()]
    for folder, found in _BY_FOLDER:
        if path.startswith(folder):
            return found
    kubeadm = path.startswith("/etc/kubernetes/") and pki.distribution is Distribution.KUBEADM
    return Renewer.KUBEADM if kubeadm and component not in _NOT_OF_KUBEADM else Renewer.HAND


_NOT_OF_KUBEADM = frozenset(
    {
        "apiserver-sni",
        "controller-manager-server",
        "egress-client",
        "etcd-client",
        "etcd-peer-client",
        "scheduler-server",
        "webhook",
        "webhook-server",
    }
)
"""kubeadm certs renew knows none of these, wherever they lie."""


_KUBEADM_NAMES = {
    "controller-manager": "controller-manager.conf",
    "scheduler": "scheduler.conf",
    "admin": "admin.conf",
    "super-admin": "super-admin.conf",
}
_STATIC_PODS = {
    "apiserver": "kube-apiserver",
    "apiserver-kubelet-client": "kube-apiserver",
    "apiserver-etcd-client": "kube-apiserver",
    "front-proxy-client": "kube-apiserver",
    "etcd-server": "etcd",
    "etcd-peer": "etcd",
    "controller-manager": "kube-controller-manager",
    "scheduler": "kube-scheduler",
}


def remedy(component: str, by: Renewer, *, control_plane: bool = True) -> Remedy:
    """The commands that renew a component's certificate on this node, and what restarts."""
    match by:
        case Renewer.KUBELET:
            return _kubelet(component)
        case Renewer.KUBEADM:
            return _kubeadm(component)
        case Renewer.K3S | Renewer.RKE2:
            return _rancher("k3s" if by is Renewer.K3S else "rke2", control_plane)
        case Renewer.K0S:
            unit = "k0scontroller" if control_plane else "k0sworker"
            return Remedy(
                "Restart k0s: it renews at start what is about to end.",
                steps=(f"systemctl restart {unit}",),
                breaks=f"{unit} and the daemons that it supervises restart on this node.",
            )
        case Renewer.MICROK8S:
            name = "front-proxy-client.crt" if component == "front-proxy-client" else "server.crt"
            return Remedy(
                "Renew with microk8s refresh-certs; a joined node's own certificates come anew with"
                " a new join.",
                steps=("microk8s refresh-certs --check", f"microk8s refresh-certs --cert {name}"),
                breaks="kubelite restarts: API server, scheduler, controllers and kubelet of this"
                " node at once.",
            )
        case Renewer.TALOS:
            return Remedy(
                "Talos renews by itself; one that was not renewed is made anew at boot.",
                steps=("talosctl -n NODE service kubelet", "talosctl -n NODE reboot"),
                breaks="The node reboots: drain it first.",
            )
        case Renewer.OPENSHIFT:
            return Remedy(
                "The operators renew it by themselves: see why one is degraded; approve requests"
                " that wait.",
                steps=(
                    "oc get clusteroperators",
                    "oc get csr",
                    "oc adm certificate approve NAME-OF-THE-REQUEST",
                ),
                breaks="The operator rolls its static pods out anew, one control plane at a time.",
            )
        case Renewer.HAND:
            return _by_hand(component)


def _kubelet(component: str) -> Remedy:
    signer = "kubelet-serving" if component == "kubelet-server" else "kube-apiserver-client-kubelet"
    return Remedy(
        f"See why the kubelet's signing request is not answered (signer kubernetes.io/{signer}),"
        " approve it, and let the kubelet take the certificate."
        + (" Serving requests are approved by nobody unless an approver is installed."
           if component == "kubelet-server" else ""),
        steps=(
            "journalctl -u kubelet --since -1d | grep -i certificate",
            "kubectl get csr --sort-by=.metadata.creationTimestamp",
            "kubectl certificate approve NAME-OF-THE-REQUEST",
            "systemctl restart kubelet",
        ),
        breaks="A restart of the kubelet leaves containers running. Once its client certificate"
        " has expired the kubelet cannot ask any more: it must join again"
        " (kubeadm: kubeadm kubeconfig user --org system:nodes --client-name system:node:NODE).",
    )  # fmt: skip


def _kubeadm(component: str) -> Remedy:
    name = _KUBEADM_NAMES.get(component, component)
    pod = _STATIC_PODS.get(component)
    steps = [f"kubeadm certs renew {name}"]
    if pod:
        manifest = f"/etc/kubernetes/manifests/{pod}.yaml"
        aside = f"/etc/kubernetes/{pod}.yaml"
        steps += [f"mv {manifest} {aside}", "sleep 20", f"mv {aside} {manifest}"]
    restart = (
        f"The static pod {pod} of this node restarts; with one control plane the API is away."
        if pod
        else "Nothing restarts."
    )
    copies = " Copies of it elsewhere stay old." if component in ("admin", "super-admin") else ""
    return Remedy(
        "Renew it with kubeadm (an upgrade of the cluster does it too)"
        + (f" and restart {pod}, which has the old one in memory." if pod else ".")
        + copies,
        steps=tuple(steps),
        breaks=restart,
    )


def _rancher(name: str, control_plane: bool) -> Remedy:
    unit = {("k3s", True): "k3s", ("k3s", False): "k3s-agent"}.get(
        (name, control_plane), f"{name}-{'server' if control_plane else 'agent'}"
    )
    return Remedy(
        f"Stop {unit}, rotate, start: at start it renews what ends within 120 days by itself.",
        steps=(
            f"systemctl stop {unit}",
            f"{name} certificate rotate",
            f"systemctl start {unit}",
        ),
        breaks=f"The daemons of {unit} on this node are away meanwhile; its containers keep"
        " running. Servers first, then agents. Kubeconfigs copied from it must be copied again.",
    )


def _by_hand(component: str) -> Remedy:
    if component == "kubelet-client":
        return Remedy(
            "Have the kubelet rotate it: rotateCertificates: true, and a kubelet.conf that names"
            " /var/lib/kubelet/pki/kubelet-client-current.pem instead of holding a certificate.",
            steps=(
                "grep -n 'rotateCertificates\\|client-certificate' /var/lib/kubelet/config.yaml"
                " /etc/kubernetes/kubelet.conf",
                "systemctl restart kubelet",
            ),
            breaks="A restart of the kubelet leaves containers running.",
        )
    if component == "kubelet-server":
        return Remedy(
            "Let the kubelet ask the cluster for its serving certificate (serverTLSBootstrap: true"
            " with an approver of kubernetes.io/kubelet-serving), or have it make a new one.",
            steps=(
                "mv /var/lib/kubelet/pki/kubelet.crt /var/lib/kubelet/pki/kubelet.key /root/",
                "systemctl restart kubelet",
            ),
            breaks="Whoever has pinned the old certificate must learn the new one; containers keep"
            " running.",
        )
    return Remedy(
        f"Nothing on this node renews the certificate of {component}: have whoever issued it issue"
        " a new one, put it in place with its key, and restart the daemon that uses it."
    )
