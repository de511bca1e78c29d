"""What an operator types to renew a certificate, on this node's distribution, and what restarts.

Sources: `kubeadm certs renew` and "PKI certificates" on kubernetes.io; what one distribution does
for all of its certificates is in renewal_distributions, the kubelet's own in renewal_kubelet.
"""

from __future__ import annotations

import posixpath

from nodeward.facts.node import Distribution
from nodeward.facts.pki import BY_LOCATION, Held, Pki, Use
from nodeward.facts.pki_places import PROGRAM_OF
from nodeward.facts.renewal import (
    KUBEADM,
    Renewer,
    authority_key,
    kubeadm_name,
    of_kubeadm,
)
from nodeward.facts.renewal_distributions import ALWAYS, DQLITE, k0s, microk8s, rancher, unit_of
from nodeward.facts.renewal_kubelet import kubelet, kubelet_unit, rejoin
from nodeward.model import Remedy

_STATIC_PODS = {
    "apiserver": "kube-apiserver",
    "apiserver-kubelet-client": "kube-apiserver",
    "apiserver-etcd-client": "kube-apiserver",
    "front-proxy-client": "kube-apiserver",
    "etcd-server": "etcd",
    "etcd-peer": "etcd",
    "controller-manager": "kube-controller-manager",
    "controller-manager-server": "kube-controller-manager",
    "scheduler": "kube-scheduler",
    "scheduler-server": "kube-scheduler",
}
_USUAL = ("/etc/kubernetes/pki", "/etc/kubernetes")


def remedy(held: Held, by: Renewer, pki: Pki, *, ended: bool = False) -> Remedy:
    """How this certificate is renewed on this node. `ended`: it is not valid any more."""
    match by:
        case Renewer.KUBELET:
            lost = ended and held.use.component == "kubelet-client"
            return rejoin(pki) if lost else kubelet(held.use, pki)
        case Renewer.KUBEADM:
            return _kubeadm(held)
        case Renewer.K3S | Renewer.RKE2:
            return rancher(by.program, pki)
        case Renewer.K0S:
            return k0s(held, pki)
        case Renewer.MICROK8S:
            return microk8s(posixpath.basename(held.use.path))
        case Renewer.HAND:
            return _by_hand(held, pki)
        case _:
            return ALWAYS[by]


def restart(component: str, pki: Pki) -> Remedy:
    """How the daemon of a component takes what its file holds by now."""
    pod, breaks = _STATIC_PODS.get(component), "The daemon is away while it restarts."
    supervisor = next((h for h in pki.homes.rows if h.alive), None)
    if supervisor is not None:
        steps: tuple[str, ...] = (f"systemctl restart {unit_of(pki, supervisor.program)}",)
        breaks = f"The daemons of {supervisor.program} on this node restart; containers run on."
    elif pki.distribution is Distribution.MICROK8S:
        steps = ("snap restart microk8s.daemon-kubelite",)
    elif component.startswith("kubelet"):
        steps, breaks = (
            (f"systemctl restart {kubelet_unit(pki)}",),
            "Containers run on while it restarts.",
        )
    elif pod and pki.distribution is Distribution.KUBEADM:
        steps = _moved_aside(pod)
    else:
        program = PROGRAM_OF.get(component, f"the daemon of {component}")
        steps = (f"# restart {program}, however it is started",)
    return Remedy(
        "Restart the daemon, so that it loads the certificate from its file.", steps, breaks
    )


def _moved_aside(pod: str) -> tuple[str, ...]:
    """A static pod ends when its manifest is gone, and starts when it is back."""
    manifest, aside = f"/etc/kubernetes/manifests/{pod}.yaml", f"/etc/kubernetes/{pod}.yaml"
    return f"mv {manifest} {aside}", "sleep 20", f"mv {aside} {manifest}"


def _kubeadm(held: Held) -> Remedy:
    component = held.use.component
    name, (file, _) = kubeadm_name(component), KUBEADM[component]
    folder = held.use.path.removesuffix(f"/{file}")
    elsewhere = "" if folder in _USUAL else f" --cert-dir {folder}"
    pod = _STATIC_PODS.get(component)
    restarts = (
        f"The static pod {pod} of this node restarts; with one control plane the API is away."
        if pod
        else "Nothing restarts."
    )
    copies = " Copies of it elsewhere stay old." if component in ("admin", "super-admin") else ""
    return Remedy(
        "Renew it with kubeadm (`kubeadm certs renew all` does all of this node, an upgrade of the"
        " cluster too)"
        + (f" and restart {pod}, which has the old one in memory." if pod else ".")
        + copies,
        steps=(f"kubeadm certs renew {name}{elsewhere}", *(_moved_aside(pod) if pod else ())),
        breaks=restarts,
    )


def _by_hand(held: Held, pki: Pki) -> Remedy:
    use = held.use
    if use.component == "dqlite":
        return DQLITE
    if of_kubeadm(held, pki) and pki.at(authority_key(held)).absent:
        return _external(held)
    if use.component == "kubelet-client" and use.path == "/etc/kubernetes/kubelet.conf":
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
    if use.component == "kubelet-server" and _own(held):
        key = use.path.removesuffix("crt") + "key"
        return Remedy(
            "Let the kubelet ask the cluster for its serving certificate (serverTLSBootstrap: true"
            " with an approver of kubernetes.io/kubelet-serving), or have it make a new one.",
            steps=(
                f"mv {use.path} {key} /root/",
                f"systemctl restart {kubelet_unit(pki)}",
            ),
            breaks="Whoever has pinned the old certificate must learn the new one; containers keep"
            " running.",
        )
    return _whoever_issued(use, pki)


def _own(held: Held) -> bool:
    """Made by the kubelet for itself, with an authority of its own that is gone: see
    GenerateSelfSignedCertKey in client-go. One that its settings name it never makes."""
    leaf = held.leaf
    made = leaf is None or leaf.self_issued or "-ca@" in leaf.issuer
    return made and held.use.named_by == BY_LOCATION and held.use.path.endswith("/kubelet.crt")


def _external(held: Held) -> Remedy:
    """The key of its authority is not on this node: kubeadm renews nothing then."""
    name = kubeadm_name(held.use.component)
    pod = _STATIC_PODS.get(held.use.component)
    return Remedy(
        f"Have its authority sign a new request: kubeadm renews nothing without"
        f" {authority_key(held)}, which is not on this node.",
        steps=(
            "kubeadm certs generate-csr --cert-dir /root/csr --kubeconfig-dir /root/csr",
            f"# have the request of {name} signed, and put certificate and key into"
            f" {held.use.path}",
            *(_moved_aside(pod) if pod else ()),
        ),
        breaks=f"The static pod {pod} of this node restarts." if pod else "Nothing restarts.",
    )


def _whoever_issued(use: Use, pki: Pki) -> Remedy:
    own = kubelet_unit(pki) if use.component.startswith("kubelet-") else ""
    unit = "kube-proxy" if use.component == "kube-proxy" else own
    restart = f"systemctl restart {unit}" if unit else f"# restart the daemon of {use.component}"
    look = f"openssl x509 -noout -issuer -subject -dates -in {use.path}"
    if use.part:
        look = (
            f"kubectl config view --raw --kubeconfig {use.path}"
            " -o jsonpath='{.users[0].user.client-certificate-data}'"
            " | base64 -d | openssl x509 -noout -issuer -subject -dates"
        )
    return Remedy(
        f"Nothing on this node renews the certificate of {use.component}: have whoever issued it"
        " issue a new one, put it in place with its key, and restart what uses it.",
        steps=(look, restart),
        breaks="What uses it is away while it restarts.",
    )
