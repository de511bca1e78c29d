"""How the authorities of a node's cluster are replaced, and what that is needed for.

Sources: "Manual rotation of CA certificates" on kubernetes.io; k3s' and RKE2's `certificate
rotate-ca`; MicroK8s' refresh-certs; talosctl `rotate-ca`; Azure's and Google's credential rotation.
"""

from __future__ import annotations

from nodeward.facts.node import Distribution
from nodeward.facts.pki import Pki
from nodeward.facts.renewal_distributions import AKS, unit_of
from nodeward.facts.supervisors import DATA, K0S
from nodeward.model import Remedy

_ROTATION = "https://kubernetes.io/docs/tasks/tls/manual-rotation-of-ca-certificates/"
_REJOIN = "Every other node joins again, pods restart, kubeconfigs elsewhere must be copied again."
_TEXT = (
    "Rotate the authority: distribute the new one beside the old, issue anew from it, then remove"
    " the old."
)
_BREAKS = "Every client and server of the cluster restarts at least once."
_TALOS = "talosctl -n CONTROL-PLANE rotate-ca --talos=false --kubernetes=true --dry-run="
_GKE = "gcloud container clusters update CLUSTER --location LOCATION"
_FIXED = {
    Distribution.MICROK8S: Remedy(
        _TEXT,
        (
            "# refresh-certs keeps each key that is there; with the old one all that it has"
            " issued stays good:",
            "mv /var/snap/microk8s/current/certs/ca.key /root/",
            "microk8s refresh-certs --cert ca.crt",
        ),
        _REJOIN,
    ),
    Distribution.TALOS: Remedy(_TEXT, (f"{_TALOS}true", f"{_TALOS}false"), _BREAKS),
    Distribution.AKS: AKS,
    Distribution.GKE: Remedy(
        _TEXT,
        (f"{_GKE} --start-credential-rotation", f"{_GKE} --complete-credential-rotation"),
        _BREAKS,
    ),
    Distribution.EKS: Remedy(
        "EKS rotates its authority by itself: replace the nodes, which learn it when made.",
        ("aws eks describe-cluster --name CLUSTER --query cluster.certificateAuthority",),
        _BREAKS,
    ),
    Distribution.OPENSHIFT: Remedy(
        "OpenShift's operators rotate their authorities: see why one is degraded.",
        ("oc get clusteroperators", "oc get csr"),
        _BREAKS,
    ),
}


def authority(pki: Pki) -> Remedy:
    """How the authorities of this node's cluster are replaced."""
    if pki.distribution in (Distribution.K3S, Distribution.RKE2):
        return _rancher(str(pki.distribution), pki)
    if pki.distribution is Distribution.K0S:
        return _k0s(pki)
    return _FIXED.get(pki.distribution) or Remedy(_TEXT, (f"# follow {_ROTATION}",), _BREAKS)


def _rancher(name: str, pki: Pki) -> Remedy:
    steps = (
        f"# on a server: new authorities, signed by the old ones, in /opt/{name}/server/tls, as"
        " https://docs.k3s.io/cli/certificate tells, then",
        f"{name} certificate rotate-ca --path /opt/{name}/server",
        f"# on each server, then on each agent: systemctl restart {unit_of(pki, name)}",
    )
    return Remedy(_TEXT, steps, _BREAKS)


def _k0s(pki: Pki) -> Remedy:
    home = next((h.data for h in pki.homes.rows if h.program == K0S), DATA[K0S])
    steps = (
        "# on every controller:",
        "k0s stop",
        f"# put the new ca.crt and ca.key into {home}/pki: k0s issues all anew at its start",
        "k0s start",
    )
    return Remedy(_TEXT, steps, _REJOIN)


def keep_to_root(pki: Pki) -> Remedy | None:
    """What helps against an administrator's credential that its distribution makes at each start,
    wherever it was taken to; None where the one that kubeadm makes can be taken away."""
    name = str(pki.distribution)
    if pki.distribution not in (
        Distribution.K3S,
        Distribution.RKE2,
        Distribution.K0S,
        Distribution.MICROK8S,
    ):
        return None
    return Remedy(
        f"{name} keeps its own and makes it again: let root alone read it, take every copy of it"
        " away, and give people users of their own, whom RBAC makes what they need to be.",
        steps=(
            "chown root:root FILE && chmod 600 FILE",
            "# copies elsewhere: shred -u COPY",
            "# if others could read it, every copy is good until the authority is replaced:",
            *authority(pki).steps,
        ),
        breaks="Whoever used it needs a kubeconfig of his own first.",
    )
