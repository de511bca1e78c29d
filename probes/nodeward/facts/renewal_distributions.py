"""What renews certificates of one distribution, whatever the certificate.

Sources: k3s' and RKE2's `certificate rotate`; k0s pkg/certificate and `token create`; MicroK8s'
scripts/wrappers/refresh_certs.py and actions/common/utils.sh; talosctl; OpenShift's operators;
Azure's certificate-rotation and Google's node upgrades.
"""

from __future__ import annotations

from nodeward.facts.pki import Held, Pki
from nodeward.facts.renewal import Renewer
from nodeward.facts.supervisors import K0S, K3S, UNITS
from nodeward.model import Remedy

AKS = Remedy(
    "Have AKS make all certificates of the cluster anew.",
    steps=(
        "az aks rotate-certs -g RESOURCE-GROUP -n CLUSTER",
        "az aks get-credentials -g RESOURCE-GROUP -n CLUSTER --overwrite-existing",
    ),
    breaks="Every node is made anew and the cluster is away for up to 30 minutes; kubeconfigs must"
    " be fetched again.",
)
_TALOS = Remedy(
    "Talos renews by itself; one that was not renewed is made anew at boot.",
    steps=("talosctl -n NODE service kubelet", "talosctl -n NODE reboot"),
    breaks="The node reboots: drain it first.",
)
_OPENSHIFT = Remedy(
    "The operators renew it by themselves: see why one is degraded; approve requests that wait.",
    steps=(
        "oc get clusteroperators",
        "oc get csr",
        "oc adm certificate approve NAME-OF-THE-REQUEST",
    ),
    breaks="The operator rolls its static pods out anew, one control plane at a time.",
)
_GKE = Remedy(
    "Replace the node: a node of GKE gets its certificates when it is made.",
    steps=("gcloud container clusters upgrade CLUSTER --node-pool POOL --location LOCATION",),
    breaks="Every node of the pool is drained and made anew, one after another.",
)
_JOIN = Remedy(
    "Have the worker join again: MicroK8s renews a worker's certificates in no other way.",
    steps=(
        "# on this node: microk8s leave; on a control plane: microk8s remove-node NODE --force",
        "# on a control plane: microk8s add-node; on this node, with what it prints:",
        "microk8s join ADDRESS:25000/TOKEN --worker",
    ),
    breaks="The node is away until it has joined: drain it first.",
)
ALWAYS = {
    Renewer.JOIN: _JOIN,
    Renewer.TALOS: _TALOS,
    Renewer.OPENSHIFT: _OPENSHIFT,
    Renewer.AKS: AKS,
    Renewer.GKE: _GKE,
}
"""The same for each certificate of the node."""


def unit_of(pki: Pki, program: str) -> str:
    """The unit of this node's k3s, RKE2 or k0s."""
    named = next((h.unit for h in pki.homes.rows if h.program == program and h.unit), "")
    usual = UNITS[program][0 if pki.control_plane else 1]
    return (named or usual).removesuffix(".service")


def _moved(pki: Pki, program: str) -> str:
    """The option that names a data directory that is not the usual one."""
    home = next((h for h in pki.homes.rows if h.program == program and h.moved), None)
    return f" --data-dir {home.data}" if home else ""


def rancher(name: str, pki: Pki) -> Remedy:
    unit = unit_of(pki, name)
    title = "k3s" if name == K3S else "RKE2"
    return Remedy(
        f"Stop {unit}, rotate, start: at start {title} renews what ends within 120 days by itself.",
        steps=(
            f"systemctl stop {unit}",
            f"{name} certificate rotate{_moved(pki, name)}",
            f"systemctl start {unit}",
        ),
        breaks=f"The daemons of {unit} on this node are away meanwhile; its containers keep"
        " running. Servers first, then agents. Kubeconfigs copied from it must be copied again.",
    )


def k0s(held: Held, pki: Pki) -> Remedy:
    if not pki.control_plane:
        return k0s_worker(pki)
    unit = unit_of(pki, K0S)
    return Remedy(
        "Restart the k0s controller: at each start it makes its certificates anew, as far as its"
        " own authority issued them.",
        steps=(f"systemctl restart {unit}", f"openssl x509 -noout -enddate -in {held.use.path}"),
        breaks=f"{unit} and the daemons that it supervises restart on this node. Copies of its"
        " admin.conf must be copied again.",
    )


def k0s_worker(pki: Pki) -> Remedy:
    home = next((h for h in pki.homes.rows if h.program == K0S), None)
    data = home.data if home else "/var/lib/k0s"
    root = home.kubelet if home and home.kubelet else f"{data}/kubelet"
    unit = unit_of(pki, K0S)
    return Remedy(
        "Have the worker join again with a new token: k0s renews no certificate of a worker, its"
        " kubelet does, and cannot once the old one has ended.",
        steps=(
            "# on a controller:",
            "k0s token create --role=worker > worker.token",
            "# on this node, with that file in the place that --token-file of its unit names:",
            f"systemctl stop {unit}",
            f"mv {data}/kubelet.conf {root}/pki /root/",
            f"systemctl start {unit}",
        ),
        breaks="Containers keep running while the kubelet is away. Remove the token afterwards.",
    )


_OF_REFRESH = ("server.crt", "front-proxy-client.crt")


def microk8s(name: str) -> Remedy:
    """refresh-certs knows three names."""
    if name in _OF_REFRESH:
        return Remedy(
            "Renew it with microk8s refresh-certs, on each control plane.",
            steps=("microk8s refresh-certs --check", f"microk8s refresh-certs --cert {name}"),
            breaks="kubelite restarts: API server, scheduler, controllers and kubelet of this node"
            " at once.",
        )
    return Remedy(
        "Have MicroK8s make a new authority and all that it issues: refresh-certs renews nothing"
        " else than server.crt and front-proxy-client.crt by itself.",
        steps=("microk8s refresh-certs --cert ca.crt", "microk8s config > KUBECONFIG"),
        breaks="MicroK8s restarts with a new authority: every other node must leave and join again,"
        " pods restart, and kubeconfigs elsewhere must be copied again.",
    )


DQLITE = Remedy(
    "Make a new pair for dqlite and give it to every node: no command of MicroK8s renews it.",
    steps=(
        "# on every node:",
        "microk8s stop",
        "# on one, in /var/snap/microk8s/current/var/kubernetes/backend, with the names of the old"
        " one:",
        "openssl req -x509 -newkey rsa:4096 -sha256 -days 3650 -nodes -subj /CN=k8s"
        " -addext subjectAltName=DNS:localhost,DNS:$(hostname),IP:127.0.0.1"
        " -keyout cluster.key -out cluster.crt",
        "# copy cluster.crt and cluster.key to every node, mode 0660, group microk8s; then on every"
        " node:",
        "microk8s start",
    ),
    breaks="The whole cluster is away meanwhile: its nodes accept only the same pair.",
)
