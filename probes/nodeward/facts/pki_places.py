"""Where distributions lay certificates, keys and kubeconfigs, and which arguments name them.

Sources: kubeadm's constants.go and certlist.go; k3s and RKE2 `certificate` documentation; k0s
pkg/constant and pkg/certificate; MicroK8s utils.sh; EKS, AKS and GKE node scripts; OpenShift's
machine configuration; Talos' constants. Arguments come first; these tables are for what no
argument names, and for hosts whose daemons do not run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nodeward.facts.daemons import (
    APISERVER,
    CLOUD,
    ETCD,
    KONNECTIVITY,
    KUBELET,
    MANAGER,
    PROXY,
    SCHEDULER,
    Daemon,
    Daemons,
)
from nodeward.facts.pki import Kind, Use
from nodeward.facts.supervisors import K0S, K3S, RKE2, Homes
from nodeward.lazy import dataclass

CERTIFICATE, TRUST, KEY, PUBLIC_KEY = Kind.CERTIFICATE, Kind.TRUST, Kind.KEY, Kind.PUBLIC_KEY

PROGRAM_OF: Mapping[str, str] = {
    "apiserver": APISERVER,
    "apiserver-kubelet-client": APISERVER,
    "apiserver-etcd-client": APISERVER,
    "front-proxy-client": APISERVER,
    "etcd-server": ETCD,
    "etcd-peer": ETCD,
    "etcd-healthcheck-client": ETCD,
    "etcd-ca": ETCD,
    "etcd-peer-ca": ETCD,
    "front-proxy-ca": APISERVER,
    "service-account": APISERVER,
    "controller-manager": MANAGER,
    "scheduler": SCHEDULER,
    "kubelet-client": KUBELET,
    "kubelet-server": KUBELET,
    "kube-proxy": PROXY,
    "controller-manager-server": MANAGER,
    "scheduler-server": SCHEDULER,
}


def would_run(component: str, daemons: Daemons | None, homes: Homes) -> bool:
    """Whether the daemon of a component runs, or something here would start it: what it needs then
    is in use even while it is down. Without a process table all do, and where processes may be
    hidden from us a missing one proves nothing."""
    program = PROGRAM_OF.get(component)
    if program is None or daemons is None or not daemons.complete or not daemons.table:
        return True
    return bool(daemons.one(program) or daemons.supervisors or any(h.alive for h in homes.rows))


# program -> flag -> component and what is taken from the file.
FLAGS: Mapping[str, Mapping[str, tuple[str, Kind]]] = {
    APISERVER: {
        "tls-cert-file": ("apiserver", CERTIFICATE),
        "tls-private-key-file": ("apiserver", KEY),
        "client-ca-file": ("cluster-ca", TRUST),
        "etcd-cafile": ("apiserver-etcd-ca", TRUST),
        "etcd-certfile": ("apiserver-etcd-client", CERTIFICATE),
        "etcd-keyfile": ("apiserver-etcd-client", KEY),
        "kubelet-client-certificate": ("apiserver-kubelet-client", CERTIFICATE),
        "kubelet-client-key": ("apiserver-kubelet-client", KEY),
        "kubelet-certificate-authority": ("kubelet-serving-ca", TRUST),
        "proxy-client-cert-file": ("front-proxy-client", CERTIFICATE),
        "proxy-client-key-file": ("front-proxy-client", KEY),
        "requestheader-client-ca-file": ("front-proxy-ca", TRUST),
        "service-account-key-file": ("service-account", PUBLIC_KEY),
        "service-account-signing-key-file": ("service-account", KEY),
        "oidc-ca-file": ("oidc-ca", TRUST),
        "peer-ca-file": ("apiserver-peer-ca", TRUST),
    },
    MANAGER: {
        "tls-cert-file": ("controller-manager-server", CERTIFICATE),
        "tls-private-key-file": ("controller-manager-server", KEY),
        "client-ca-file": ("cluster-ca", TRUST),
        "root-ca-file": ("cluster-root-ca", TRUST),
        "requestheader-client-ca-file": ("front-proxy-ca", TRUST),
        "cluster-signing-cert-file": ("cluster-signing-ca", TRUST),
        "cluster-signing-key-file": ("cluster-signing-ca", KEY),
        "cluster-signing-kubelet-serving-cert-file": ("kubelet-serving-signing-ca", TRUST),
        "cluster-signing-kubelet-serving-key-file": ("kubelet-serving-signing-ca", KEY),
        "cluster-signing-kubelet-client-cert-file": ("kubelet-client-signing-ca", TRUST),
        "cluster-signing-kubelet-client-key-file": ("kubelet-client-signing-ca", KEY),
        "cluster-signing-kube-apiserver-client-cert-file": ("client-signing-ca", TRUST),
        "cluster-signing-kube-apiserver-client-key-file": ("client-signing-ca", KEY),
        "cluster-signing-legacy-unknown-cert-file": ("legacy-signing-ca", TRUST),
        "cluster-signing-legacy-unknown-key-file": ("legacy-signing-ca", KEY),
        "service-account-private-key-file": ("service-account", KEY),
    },
    SCHEDULER: {
        "tls-cert-file": ("scheduler-server", CERTIFICATE),
        "tls-private-key-file": ("scheduler-server", KEY),
        "client-ca-file": ("cluster-ca", TRUST),
        "requestheader-client-ca-file": ("front-proxy-ca", TRUST),
    },
    ETCD: {
        "cert-file": ("etcd-server", CERTIFICATE),
        "key-file": ("etcd-server", KEY),
        "client-cert-file": ("etcd-client", CERTIFICATE),
        "client-key-file": ("etcd-client", KEY),
        "trusted-ca-file": ("etcd-ca", TRUST),
        "peer-cert-file": ("etcd-peer", CERTIFICATE),
        "peer-key-file": ("etcd-peer", KEY),
        "peer-client-cert-file": ("etcd-peer-client", CERTIFICATE),
        "peer-client-key-file": ("etcd-peer-client", KEY),
        "peer-trusted-ca-file": ("etcd-peer-ca", TRUST),
    },
    KUBELET: {
        "tls-cert-file": ("kubelet-server", CERTIFICATE),
        "tls-private-key-file": ("kubelet-server", KEY),
        "client-ca-file": ("kubelet-client-ca", TRUST),
    },
    CLOUD: {
        "tls-cert-file": ("cloud-controller-server", CERTIFICATE),
        "tls-private-key-file": ("cloud-controller-server", KEY),
    },
    KONNECTIVITY: {
        "server-cert": ("konnectivity-server", CERTIFICATE),
        "server-key": ("konnectivity-server", KEY),
        "cluster-cert": ("konnectivity-server", CERTIFICATE),
        "cluster-key": ("konnectivity-server", KEY),
    },
}

KUBECONFIG_FLAGS: Mapping[str, Mapping[str, str]] = {
    APISERVER: {
        "audit-webhook-config-file": "webhook",
        "authentication-token-webhook-config-file": "webhook",
        "authorization-webhook-config-file": "webhook",
    },
    MANAGER: {
        "kubeconfig": "controller-manager",
        "authentication-kubeconfig": "controller-manager",
        "authorization-kubeconfig": "controller-manager",
    },
    SCHEDULER: {
        "kubeconfig": "scheduler",
        "authentication-kubeconfig": "scheduler",
        "authorization-kubeconfig": "scheduler",
    },
    CLOUD: {
        "kubeconfig": "cloud-controller",
        "authentication-kubeconfig": "cloud-controller",
        "authorization-kubeconfig": "cloud-controller",
    },
    KONNECTIVITY: {"kubeconfig": "konnectivity"},
    KUBELET: {"kubeconfig": "kubelet-client", "bootstrap-kubeconfig": "kubelet-bootstrap"},
    PROXY: {"kubeconfig": "kube-proxy"},
}


def uses_of(daemon: Daemon) -> Iterator[Use]:
    """The files that a daemon's arguments name, as they lie on the host."""
    for flag, (component, kind) in FLAGS.get(daemon.program, {}).items():
        every = daemon.every(flag) if kind is PUBLIC_KEY else (daemon.flag(flag),)
        for path in every:
            if path:
                yield Use(component, kind, daemon.outside(path), named_by=daemon.where(flag))
    for pair in daemon.every("tls-sni-cert-key"):
        certificate, _, key = pair.partition(":")[0].partition(",")
        name = daemon.where("tls-sni-cert-key")
        if certificate and key:
            yield Use("apiserver-sni", CERTIFICATE, daemon.outside(certificate), named_by=name)
            yield Use("apiserver-sni", KEY, daemon.outside(key), named_by=name)


_OWN_PAIR = {
    APISERVER: ("apiserver", "apiserver", "/var/run/kubernetes"),
    MANAGER: ("controller-manager-server", "kube-controller-manager", ""),
    SCHEDULER: ("scheduler-server", "kube-scheduler", ""),
}
"""Component, name of the pair and folder of the certificate that a server makes for itself: see
MaybeDefaultWithSelfSignedCerts in k8s.io/apiserver. Without a folder it stays in memory."""


def own_pair_of(daemon: Daemon) -> Iterator[Use]:
    """Where a server without --tls-cert-file keeps the pair that it made for itself, or would; etcd
    with --auto-tls below its data directory."""
    if daemon.program == ETCD:
        yield from _fixtures_of(daemon)
    component, name, usual = _OWN_PAIR.get(daemon.program, ("", "", ""))
    folder = daemon.flag("cert-dir") or usual
    named = daemon.flag("tls-cert-file") or daemon.flag("tls-private-key-file")
    if not named and folder.startswith("/"):
        named_by = daemon.where("cert-dir")
        for kind, ending in ((CERTIFICATE, "crt"), (KEY, "key")):
            path = daemon.outside(f"{folder.rstrip('/')}/{name}.{ending}")
            yield Use(component, kind, path, named_by=named_by)


def _fixtures_of(etcd: Daemon) -> Iterator[Use]:
    """See ClientSelfCert and PeerSelfCert in etcd's embed/config.go."""
    data = etcd.flag("data-dir") or f"{etcd.flag('name') or 'default'}.etcd"
    for flag, component, folder in (
        ("auto-tls", "etcd-server", "client"),
        ("peer-auto-tls", "etcd-peer", "peer"),
    ):
        if etcd.on(flag) and data.startswith("/"):
            for kind, name in ((CERTIFICATE, "cert.pem"), (KEY, "key.pem")):
                path = etcd.outside(f"{data.rstrip('/')}/fixtures/{folder}/{name}")
                yield Use(component, kind, path, named_by=etcd.where(flag))


@dataclass(frozen=True, slots=True)
class Place:
    """A directory of certificates: the component of each file name, without its ending. `left`:
    what lies there is left over from before a move, or by a supervisor that nothing starts."""

    folder: str
    names: Mapping[str, tuple[str, Kind]]
    left: bool = False


def _leafs(**names: str) -> dict[str, tuple[str, Kind]]:
    return {name.replace("_", "-"): (component, CERTIFICATE) for name, component in names.items()}


def _anchors(**names: str) -> dict[str, tuple[str, Kind]]:
    return {name.replace("_", "-"): (component, TRUST) for name, component in names.items()}


_SA = {"sa": ("service-account", KEY), "service": ("service-account", KEY)}
_KUBEADM = Place(
    "/etc/kubernetes/pki",
    _leafs(
        apiserver="apiserver",
        apiserver_kubelet_client="apiserver-kubelet-client",
        apiserver_etcd_client="apiserver-etcd-client",
        front_proxy_client="front-proxy-client",
    )
    | _anchors(ca="cluster-ca", front_proxy_ca="front-proxy-ca")
    | _SA,
)
_ETCD_NAMES = _leafs(
    server="etcd-server", peer="etcd-peer", healthcheck_client="etcd-healthcheck-client"
) | _anchors(ca="etcd-ca")
_RANCHER_SERVER = (
    _leafs(
        client_admin="admin",
        client_controller="controller-manager",
        client_scheduler="scheduler",
        client_kube_apiserver="apiserver-kubelet-client",
        client_kube_proxy="kube-proxy",
        client_auth_proxy="front-proxy-client",
        client_supervisor="supervisor",
        dynamic_cert="supervisor-server",
        serving_kube_apiserver="apiserver",
    )
    | _anchors(
        server_ca="cluster-root-ca", client_ca="cluster-ca", request_header_ca="front-proxy-ca"
    )
    | _SA
)
_RANCHER_AGENT = _leafs(
    client_kubelet="kubelet-client",
    serving_kubelet="kubelet-server",
    client_kube_proxy="kube-proxy",
) | _anchors(client_ca="kubelet-client-ca", server_ca="cluster-root-ca")

_RANCHER_ETCD = _leafs(
    client="apiserver-etcd-client", server_client="etcd-server", peer_server_client="etcd-peer"
) | _anchors(server_ca="etcd-ca", peer_ca="etcd-peer-ca")
_K0S_NAMES = dict(_KUBEADM.names) | _leafs(
    server="apiserver",
    admin="admin",
    ccm="controller-manager",
    scheduler="scheduler",
    k0s_api="supervisor-server",
    konnectivity="konnectivity",
)


def _rancher(program: str) -> dict[str, Mapping[str, tuple[str, Kind]]]:
    own = {
        f"client-{program}-cloud-controller": ("cloud-controller", CERTIFICATE),
        f"client-{program}-controller": ("agent-controller", CERTIFICATE),
    }
    return {
        "server/tls": _RANCHER_SERVER | own,
        "server/tls/etcd": _RANCHER_ETCD,
        "server/tls/kube-controller-manager": _leafs(
            kube_controller_manager="controller-manager-server"
        ),
        "server/tls/kube-scheduler": _leafs(kube_scheduler="scheduler-server"),
        "agent": _RANCHER_AGENT | own,
    }


_IN_HOME: Mapping[str, Mapping[str, Mapping[str, tuple[str, Kind]]]] = {
    K3S: _rancher(K3S),
    RKE2: _rancher(RKE2),
    K0S: {"pki": _K0S_NAMES, "pki/etcd": _ETCD_NAMES},
}
"""By program and folder below its data directory."""

_FIXED: tuple[Place, ...] = (
    _KUBEADM,
    Place("/etc/kubernetes/pki/etcd", _ETCD_NAMES),
    Place(
        "/var/snap/microk8s/current/certs",
        _leafs(
            server="apiserver",
            front_proxy_client="front-proxy-client",
            apiserver_kubelet_client="apiserver-kubelet-client",
            kubelet="kubelet-server",
            client="admin",
            controller="controller-manager",
            scheduler="scheduler",
            proxy="kube-proxy",
        )
        | _anchors(ca="cluster-ca", front_proxy_ca="front-proxy-ca")
        | {"serviceaccount": ("service-account", KEY)},
    ),
    Place(
        "/var/snap/microk8s/current/var/kubernetes/backend",
        {"cluster": ("dqlite", CERTIFICATE)},
    ),
    Place(
        "/etc/kubernetes/certs",  # AKS
        _leafs(client="kubelet-client", kubeletserver="kubelet-server", apiserver="apiserver")
        | _anchors(ca="kubelet-client-ca"),
    ),
    Place(
        "/etc/srv/kubernetes/pki",  # GKE
        _leafs(kubelet="kubelet-client", apiserver="apiserver")
        | _anchors(ca_certificates="kubelet-client-ca", ca="cluster-ca"),
    ),
    Place("/etc/kubernetes", {"kubelet-ca": ("kubelet-client-ca", TRUST)}),  # OpenShift
    Place(
        "/system/secrets/kubernetes/kube-apiserver",  # Talos
        _leafs(
            apiserver="apiserver",
            apiserver_kubelet_client="apiserver-kubelet-client",
            front_proxy_client="front-proxy-client",
            etcd_client="apiserver-etcd-client",
        )
        | _anchors(ca="cluster-ca", aggregator_ca="front-proxy-ca", etcd_client_ca="etcd-ca")
        | {"service-account": ("service-account", KEY)},
    ),
    Place(
        "/system/secrets/etcd",
        _leafs(server="etcd-server", peer="etcd-peer", admin="etcd-healthcheck-client")
        | _anchors(ca="etcd-ca"),
    ),
)


def places(homes: Homes) -> Iterator[Place]:
    """Every usual place on this node; those below a data directory that was moved come before what
    may be left at the usual one."""
    yield from _FIXED
    for program, folders in _IN_HOME.items():
        for home in homes.folders(program):
            left = homes.left(program, home)
            for folder, names in folders.items():
                yield Place(f"{home}/{folder}", names, left=left)


_RANCHER_CREDENTIALS = {
    "server/cred/admin.kubeconfig": "admin",
    "server/cred/controller.kubeconfig": "controller-manager",
    "server/cred/scheduler.kubeconfig": "scheduler",
    "server/cred/api-server.kubeconfig": "apiserver-loopback",
    "server/cred/supervisor.kubeconfig": "supervisor",
    "server/cred/cloud-controller.kubeconfig": "cloud-controller",
    "agent/kubelet.kubeconfig": "kubelet-client",
    "agent/kubeproxy.kubeconfig": "kube-proxy",
    "agent/k3scontroller.kubeconfig": "agent-controller",
    "agent/rke2controller.kubeconfig": "agent-controller",
}
_MICROK8S_CREDENTIALS = {
    "client.config": "admin",
    "kubelet.config": "kubelet-client",
    "proxy.config": "kube-proxy",
    "controller.config": "controller-manager",
    "scheduler.config": "scheduler",
}
_KUBECONFIGS: Mapping[str, str] = {
    "/etc/kubernetes/admin.conf": "admin",
    "/etc/kubernetes/super-admin.conf": "super-admin",
    "/etc/kubernetes/controller-manager.conf": "controller-manager",
    "/etc/kubernetes/scheduler.conf": "scheduler",
    "/etc/kubernetes/kube-proxy.conf": "kube-proxy",
    "/etc/kubernetes/bootstrap-kubelet.conf": "kubelet-bootstrap",
    "/etc/kubernetes/kubeconfig": "kubelet-bootstrap",
    "/var/lib/kubelet/bootstrap-kubeconfig": "kubelet-bootstrap",
    "/var/lib/kubelet/kubeconfig": "kubelet-client",
    "/etc/kubernetes/kubelet.conf": "kubelet-client",
    "/var/lib/kube-proxy/kubeconfig": "kube-proxy",
    "/var/lib/kube-proxy/kubeconfig.conf": "kube-proxy",
    **{f"/etc/rancher/{name}/{name}.yaml": "admin" for name in (K3S, RKE2)},
    **{
        f"/var/snap/microk8s/current/credentials/{name}": component
        for name, component in _MICROK8S_CREDENTIALS.items()
    },
}
_KUBECONFIGS_IN_HOME: Mapping[str, Mapping[str, str]] = {
    K3S: _RANCHER_CREDENTIALS,
    RKE2: _RANCHER_CREDENTIALS,
    K0S: {
        "kubelet.conf": "kubelet-client",
        "kubelet-bootstrap.conf": "kubelet-bootstrap",
        "pki/admin.conf": "admin",
        "pki/ccm.conf": "controller-manager",
        "pki/scheduler.conf": "scheduler",
        "pki/konnectivity.conf": "konnectivity",
    },
}


def usual_kubeconfigs(homes: Homes) -> Mapping[str, str]:
    """Kubeconfigs by their place. OpenShift's kubelet.conf holds the kubelet's settings: what is no
    kubeconfig is left alone."""
    return dict(_KUBECONFIGS) | {
        f"{home}/{path}": component
        for program, paths in _KUBECONFIGS_IN_HOME.items()
        for home in homes.folders(program)
        for path, component in paths.items()
    }


def cni_folders(homes: Homes) -> tuple[str, ...]:
    return (
        "/etc/cni/net.d",
        "/etc/cni/net.d/multus.d",
        *(f"{home}/agent/etc/cni/net.d" for home in homes.folders(K3S)),
        "/var/snap/microk8s/current/args/cni-network",
    )


COPIES = ("/root", "/root/.kube", "/tmp", "/var/tmp")  # noqa: S108  looked into, not used
HOMES = "/home"

OPENSHIFT = "/etc/kubernetes/static-pod-resources"
"""OPENSHIFT/<pod and revision>/secrets/<secret>/tls.crt and tls.key; etcd's secrets hold a file a
node, named by what it is for."""

_OPENSHIFT_SECRETS = {
    "kubelet-client": "apiserver-kubelet-client",
    "aggregator-client": "front-proxy-client",
    "etcd-client": "apiserver-etcd-client",
    "service-network-serving-certkey": "apiserver",
    "localhost-serving-cert-certkey": "apiserver",
    "internal-loadbalancer-serving-certkey": "apiserver",
    "external-loadbalancer-serving-certkey": "apiserver",
    "kube-controller-manager-client-cert-key": "controller-manager",
    "kube-scheduler-client-cert-key": "scheduler",
}
_OPENSHIFT_ETCD = {
    "etcd-serving-metrics-": "",
    "etcd-serving-": "etcd-server",
    "etcd-peer-": "etcd-peer",
}


def of_openshift(secret: str, name: str) -> tuple[str, Kind] | None:
    """The component of one file of a static pod's secret."""
    stem, dot, ending = name.rpartition(".")
    kind = {"crt": CERTIFICATE, "key": KEY}.get(ending)
    if not dot or kind is None:
        return None
    if secret.startswith("etcd-all-"):
        component = next(
            (c for prefix, c in _OPENSHIFT_ETCD.items() if stem.startswith(prefix)), ""
        )
    else:
        component = _OPENSHIFT_SECRETS.get(secret, "") if stem == "tls" else ""
    return (component, kind) if component else None


def kubelet_folders(homes: Homes) -> tuple[str, ...]:
    """Where a kubelet keeps what it makes and rotates, unless it is told another place."""
    return (
        "/var/lib/kubelet/pki",
        *(f"{home}/kubelet/pki" for home in homes.folders(K0S)),
        *(f"{home.kubelet}/pki" for home in homes.rows if home.kubelet),
        *(f"{home}/agent/pki" for home in homes.folders(RKE2)),
    )


JSON_ENDING = ".json"
"""k3s and RKE2 keep the pair of their own server as a Secret in JSON (dynamiclistener's file
storage): certificate and key in base64."""
CERTIFICATE_ENDINGS = (".crt", ".pem", ".cert", ".cer")
KEY_ENDINGS = (".key", "-key.pem")
