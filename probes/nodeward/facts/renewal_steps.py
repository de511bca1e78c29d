"""What an operator types to renew a certificate, on this node's distribution, and what restarts.

Sources: `kubeadm certs renew`, "Kubelet client certificate rotation fails" and "PKI certificates"
on kubernetes.io; k3s' and RKE2's `certificate rotate`; k0s' `token create`; MicroK8s'
scripts/wrappers/refresh_certs.py and actions/common/utils.sh; talosctl; Azure's
certificate-rotation and Google's node upgrades.
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
from nodeward.facts.supervisors import DATA, K0S, K3S, UNITS
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
_AKS = Remedy(
    "Have AKS make all certificates of the cluster anew.",
    steps=(
        "az aks rotate-certs -g RESOURCE-GROUP -n CLUSTER",
        "az aks get-credentials -g RESOURCE-GROUP -n CLUSTER --overwrite-existing",
    ),
    breaks="Every node is made anew and the cluster is away for up to 30 minutes; kubeconfigs must"
    " be fetched again.",
)


def remedy(held: Held, by: Renewer, pki: Pki, *, ended: bool = False) -> Remedy:
    """How this certificate is renewed on this node. `ended`: it is not valid any more."""
    component = held.use.component
    match by:
        case Renewer.KUBELET:
            return (
                rejoin(pki) if ended and component == "kubelet-client" else kubelet(held.use, pki)
            )
        case Renewer.KUBEADM:
            return _kubeadm(held)
        case Renewer.K3S | Renewer.RKE2:
            return _rancher(by.program, pki)
        case Renewer.K0S:
            return _k0s(held, pki)
        case Renewer.MICROK8S:
            return _microk8s(posixpath.basename(held.use.path))
        case Renewer.JOIN:
            return _JOIN
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
        case Renewer.AKS:
            return _AKS
        case Renewer.GKE:
            return Remedy(
                "Replace the node: a node of GKE gets its certificates when it is made.",
                steps=(
                    "gcloud container clusters upgrade CLUSTER --node-pool POOL"
                    " --location LOCATION",
                ),
                breaks="Every node of the pool is drained and made anew, one after another.",
            )
        case Renewer.HAND:
            return _by_hand(held, pki)


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


def relink(link: str, newer: str, pki: Pki) -> Remedy:
    """The kubelet has a newer certificate, and its link leads to the one before."""
    return Remedy(
        "Let the link lead to the newer certificate, and the kubelet take it.",
        steps=(f"ln -sfn {newer} {link}", f"systemctl restart {kubelet_unit(pki)}"),
        breaks="A restart of the kubelet leaves containers running.",
    )


def restart(component: str, pki: Pki) -> Remedy:
    """How the daemon of a component takes what its file holds by now."""
    pod, breaks = _STATIC_PODS.get(component), "The daemon is away while it restarts."
    supervisor = next((h for h in pki.homes.rows if h.alive), None)
    if supervisor is not None:
        steps: tuple[str, ...] = (f"systemctl restart {_unit(pki, supervisor.program)}",)
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


_ROTATION = "https://kubernetes.io/docs/tasks/tls/manual-rotation-of-ca-certificates/"
_REJOIN = "Every other node joins again, pods restart, kubeconfigs elsewhere must be copied again."


def authority(pki: Pki) -> Remedy:
    """How the authorities of this node's cluster are replaced."""
    text = (
        "Rotate the authority: distribute the new one beside the old, issue anew from it, then"
        " remove the old."
    )
    breaks = "Every client and server of the cluster restarts at least once."
    steps: tuple[str, ...]
    match pki.distribution:
        case Distribution.K3S | Distribution.RKE2:
            name = str(pki.distribution)
            steps = (
                f"# on a server: new authorities, signed by the old ones, in"
                f" /opt/{name}/server/tls, as https://docs.k3s.io/cli/certificate tells, then",
                f"{name} certificate rotate-ca --path /opt/{name}/server",
                f"# on each server, then on each agent: systemctl restart {_unit(pki, name)}",
            )
        case Distribution.MICROK8S:
            steps = (
                "# refresh-certs keeps each key that is there; with the old one all that it has"
                " issued stays good:",
                "mv /var/snap/microk8s/current/certs/ca.key /root/",
                "microk8s refresh-certs --cert ca.crt",
            )
            breaks = _REJOIN
        case Distribution.K0S:
            home = next((h.data for h in pki.homes.rows if h.program == K0S), DATA[K0S])
            steps = (
                "# on every controller:",
                "k0s stop",
                f"# put the new ca.crt and ca.key into {home}/pki: k0s issues all anew at its"
                " start",
                "k0s start",
            )
            breaks = _REJOIN
        case Distribution.TALOS:
            steps = (
                "talosctl -n CONTROL-PLANE rotate-ca --talos=false --kubernetes=true"
                " --dry-run=true",
                "talosctl -n CONTROL-PLANE rotate-ca --talos=false --kubernetes=true"
                " --dry-run=false",
            )
        case Distribution.AKS:
            return _AKS
        case Distribution.GKE:
            steps = (
                "gcloud container clusters update CLUSTER --location LOCATION"
                " --start-credential-rotation",
                "gcloud container clusters update CLUSTER --location LOCATION"
                " --complete-credential-rotation",
            )
        case Distribution.EKS:
            text = (
                "EKS rotates its authority by itself: replace the nodes, which learn it when made."
            )
            steps = (
                "aws eks describe-cluster --name CLUSTER --query cluster.certificateAuthority",
            )
        case Distribution.OPENSHIFT:
            text = "OpenShift's operators rotate their authorities: see why one is degraded."
            steps = ("oc get clusteroperators", "oc get csr")
        case _:
            steps = (f"# follow {_ROTATION}",)
    return Remedy(text, steps, breaks)


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
        return _k0s_worker(pki)
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


def kubelet_unit(pki: Pki) -> str:
    unit = _unit(pki, K0S) if pki.distribution is Distribution.K0S else ""
    return unit or "kubelet"


def kubectl_of(pki: Pki) -> str:
    own = {Distribution.K0S: "k0s kubectl", Distribution.OPENSHIFT: "oc"}
    return own.get(pki.distribution, "kubectl")


def _unit(pki: Pki, program: str) -> str:
    """The unit of this node's k3s, RKE2 or k0s."""
    named = next((h.unit for h in pki.homes.rows if h.program == program and h.unit), "")
    usual = UNITS[program][0 if pki.control_plane else 1]
    return (named or usual).removesuffix(".service")


def _moved(pki: Pki, program: str) -> str:
    """The option that names a data directory that is not the usual one."""
    home = next((h for h in pki.homes.rows if h.program == program and h.moved), None)
    return f" --data-dir {home.data}" if home else ""


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


def _rancher(name: str, pki: Pki) -> Remedy:
    unit = _unit(pki, name)
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


def _k0s(held: Held, pki: Pki) -> Remedy:
    if not pki.control_plane:
        return _k0s_worker(pki)
    unit = _unit(pki, K0S)
    return Remedy(
        "Restart the k0s controller: at each start it makes its certificates anew, as far as its"
        " own authority issued them.",
        steps=(f"systemctl restart {unit}", f"openssl x509 -noout -enddate -in {held.use.path}"),
        breaks=f"{unit} and the daemons that it supervises restart on this node. Copies of its"
        " admin.conf must be copied again.",
    )


def _k0s_worker(pki: Pki) -> Remedy:
    home = next((h for h in pki.homes.rows if h.program == K0S), None)
    data = home.data if home else "/var/lib/k0s"
    root = home.kubelet if home and home.kubelet else f"{data}/kubelet"
    unit = _unit(pki, K0S)
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
_DQLITE = Remedy(
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
_JOIN = Remedy(
    "Have the worker join again: MicroK8s renews a worker's certificates in no other way.",
    steps=(
        "# on this node: microk8s leave; on a control plane: microk8s remove-node NODE --force",
        "# on a control plane: microk8s add-node; on this node, with what it prints:",
        "microk8s join ADDRESS:25000/TOKEN --worker",
    ),
    breaks="The node is away until it has joined: drain it first.",
)


def _microk8s(name: str) -> Remedy:
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


def _by_hand(held: Held, pki: Pki) -> Remedy:
    use = held.use
    if use.component == "dqlite":
        return _DQLITE
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
