"""How the kubelet gets a certificate: its request approved, or a new join of the node.

Sources: "Kubelet client certificate rotation fails" on kubernetes.io; `oc adm certificate`.
"""

from __future__ import annotations

from nodeward.facts.node import Distribution
from nodeward.facts.pki import Pki, Use
from nodeward.facts.renewal_distributions import k0s_worker, unit_of
from nodeward.facts.supervisors import K0S
from nodeward.model import Remedy


def kubelet(use: Use, pki: Pki) -> Remedy:
    """One that the kubelet rotates, as long as the old one is still good (its client's; the serving
    one it asks for with that)."""
    serving = use.component == "kubelet-server"
    signer = "kubelet-serving" if serving else "kube-apiserver-client-kubelet"
    unit, kubectl = kubelet_unit(pki), kubectl_of(pki)
    adm = "adm " if kubectl == "oc" else ""
    there = ("# on a controller:",) if pki.distribution is Distribution.K0S else ()
    approver = " Serving requests are approved by nobody unless an approver is installed."
    return Remedy(
        f"See why the kubelet's signing request is not answered (signer kubernetes.io/{signer}),"
        " approve it, and let the kubelet take the certificate." + (approver if serving else ""),
        steps=(
            f"journalctl -u {unit} --since -1d | grep -i certificate",
            *there,
            f"{kubectl} get csr --sort-by=.metadata.creationTimestamp",
            f"{kubectl} {adm}certificate approve NAME-OF-THE-REQUEST",
            *(("# on this node:",) if there else ()),
            f"systemctl restart {unit}",
        ),
        breaks="A restart of the kubelet leaves containers running. Once its client certificate has"
        " expired the kubelet cannot ask any more: it must join again.",
    )


def rejoin(pki: Pki) -> Remedy:
    """The kubelet's client certificate has ended: it cannot ask for another."""
    if pki.distribution is Distribution.K0S:
        return k0s_worker(pki)
    if pki.distribution is Distribution.KUBEADM:
        return Remedy(
            "Give the kubelet a kubeconfig with a new certificate: with the expired one it cannot"
            " ask for another.",
            steps=(
                "# on a control plane that has /etc/kubernetes/pki/ca.key, for the name of this"
                " node:",
                "kubeadm kubeconfig user --org system:nodes --client-name system:node:NODE"
                " > kubelet.conf",
                "# on this node, with that file copied to it:",
                "mv /etc/kubernetes/kubelet.conf /var/lib/kubelet/pki/kubelet-client-* /root/",
                "install -m 0600 kubelet.conf /etc/kubernetes/kubelet.conf",
                "systemctl restart kubelet",
                "# once kubelet-client-current.pem is there again, name it in kubelet.conf:",
                "sed -i -e 's|client-certificate-data:.*|client-certificate:"
                " /var/lib/kubelet/pki/kubelet-client-current.pem|' -e 's|client-key-data:.*|"
                "client-key: /var/lib/kubelet/pki/kubelet-client-current.pem|'"
                " /etc/kubernetes/kubelet.conf",
                "systemctl restart kubelet",
            ),
            breaks="Containers keep running. kubelet.conf holds a private key until its last edit.",
        )
    if pki.distribution is Distribution.OPENSHIFT:
        return Remedy(
            "Have the kubelet join again with its bootstrap kubeconfig, and approve its two"
            " requests: with the expired certificate it cannot ask for another.",
            steps=(
                "mv /var/lib/kubelet/pki/kubelet-client-* /root/",
                "systemctl restart kubelet",
                "oc get csr",
                "# the client's first, then the server's:",
                "oc adm certificate approve NAME-OF-THE-REQUEST",
            ),
            breaks="Containers keep running.",
        )
    unit = kubelet_unit(pki)
    return Remedy(
        "Have the kubelet join again with a bootstrap kubeconfig: with the expired certificate it"
        " cannot ask for another.",
        steps=(
            "# put a kubeconfig with a new bootstrap token where --bootstrap-kubeconfig names it,"
            " and move the old credential away:",
            "mv /var/lib/kubelet/pki/kubelet-client-* /root/",
            f"systemctl restart {unit}",
            f"{kubectl_of(pki)} get csr",
        ),
        breaks="Containers keep running. Take the token away once the node has joined; where nodes"
        " are made by a cloud, replacing this one is simpler.",
    )


def relink(link: str, newer: str, pki: Pki) -> Remedy:
    """The kubelet has a newer certificate, and its link leads to the one before."""
    return Remedy(
        "Let the link lead to the newer certificate, and the kubelet take it.",
        steps=(f"ln -sfn {newer} {link}", f"systemctl restart {kubelet_unit(pki)}"),
        breaks="A restart of the kubelet leaves containers running.",
    )


def kubelet_unit(pki: Pki) -> str:
    unit = unit_of(pki, K0S) if pki.distribution is Distribution.K0S else ""
    return unit or "kubelet"


def kubectl_of(pki: Pki) -> str:
    own = {Distribution.K0S: "k0s kubectl", Distribution.OPENSHIFT: "oc"}
    return own.get(pki.distribution, "kubectl")
