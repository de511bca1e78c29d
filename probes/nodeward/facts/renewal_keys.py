"""How a certificate is made anew with a new key, on this node's distribution.

Most renewals make a new key as well: kubeadm's (pkiutil.NewCertAndKey), those of k3s and RKE2
(`certificate rotate` removes both files), k0s (EnsureCertificate) and of signing requests. MicroK8s
keeps each key that is there (actions/common/utils.sh), and the kubelet's and OpenShift's renewal
must be brought about before it is due (`oc patch secret`: library-go's certrotation).
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import replace

from nodeward.facts.node import Distribution
from nodeward.facts.pki import Held, Kind, Pki
from nodeward.facts.pki_roles import SIGNERS
from nodeward.facts.renewal import Renewer, renewer
from nodeward.facts.renewal_authority import authority
from nodeward.facts.renewal_kubelet import kubectl_of, kubelet_unit, rejoin
from nodeward.facts.renewal_steps import remedy
from nodeward.model import Remedy


def part(users: Sequence[Held], pki: Pki) -> Remedy:
    """How those that have one key get one each: all but one a new one. An authority and the signer
    of tokens keep theirs where another can give way."""
    for held in reversed(users):
        trusted = held.use.kind is not Kind.CERTIFICATE or (held.leaf and held.leaf.is_ca)
        if not trusted and held.use.component not in SIGNERS:
            return rekey(held, pki)
    return authority(pki)


def reissue(held: Held, pki: Pki) -> Remedy | None:
    """How one that is not as it should be is made anew. kubeadm makes the next one as its settings
    say: there the check's own remedy tells how these change first (None)."""
    return None if renewer(held, pki) is Renewer.KUBEADM else rekey(held, pki)


def rekey(held: Held, pki: Pki) -> Remedy:
    """How one certificate gets a new key."""
    by = renewer(held, pki)
    mend = remedy(held, by, pki)
    if by in (Renewer.KUBELET, Renewer.HAND) and held.use.component == "kubelet-client":
        mend = replace(rejoin(pki), text="Have the kubelet join again.")
    elif by is Renewer.KUBELET:
        mend = _serving(held, pki)
    elif by is Renewer.MICROK8S:
        mend = _microk8s(held.use.path, mend)
    elif by is Renewer.OPENSHIFT:
        mend = _openshift(mend)
    text = f"Make the certificate of {held.use.component} anew with a new key. {mend.text}"
    return replace(mend, text=text)


def _serving(held: Held, pki: Pki) -> Remedy:
    """Without a certificate the kubelet asks for one at its start."""
    kubectl = kubectl_of(pki)
    there = ("# on a controller:",) if pki.distribution is Distribution.K0S else ()
    return Remedy(
        "Move the old one away, restart the kubelet, and approve its request.",
        steps=(
            f"mv {posixpath.dirname(held.use.path)}/kubelet-server-* /root/",
            f"systemctl restart {kubelet_unit(pki)}",
            *there,
            f"{kubectl} get csr",
            f"{kubectl}{' adm' if kubectl == 'oc' else ''} certificate approve NAME-OF-THE-REQUEST",
        ),
        breaks="Containers run on; logs and exec of this node's pods fail until it is approved.",
    )


def _microk8s(path: str, mend: Remedy) -> Remedy:
    """refresh-certs makes a missing key of the user certificates, but for the names that it renews
    by themselves one must be there."""
    key = path.removesuffix(".crt") + ".key"
    if not path.endswith(".crt"):  # in a kubeconfig
        first = "# first move its key, in /var/snap/microk8s/current/certs, away"
    elif any(step.endswith("ca.crt") for step in mend.steps):
        first = f"mv {key} /root/"
    else:
        first = f"openssl genrsa -out {key} 2048"
    return replace(
        mend,
        text=f"refresh-certs keeps a key that is there. {mend.text}",
        steps=(first, *mend.steps),
    )


def _openshift(mend: Remedy) -> Remedy:
    return replace(
        mend,
        text="Its operator does so once the secret does not say any more when it ends.",
        steps=(
            "oc get secrets -A -o custom-columns=NS:.metadata.namespace,NAME:.metadata.name"
            " | grep -e kube- -e etcd",
            'oc -n NAMESPACE patch secret NAME -p \'{"metadata": {"annotations":'
            ' {"auth.openshift.io/certificate-not-after": null}}}\'',
            "oc get clusteroperators",
        ),
    )
