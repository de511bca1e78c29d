"""What the certificate of each component is for: who must be able to verify it, and as what."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping

from nodeward.facts.daemons import APISERVER, ETCD, KUBELET, Daemon, Daemons
from nodeward.facts.urls import split_url

SERVER, CLIENT = "serverAuth", "clientAuth"

USAGES: Mapping[str, tuple[str, ...]] = {
    "apiserver": (SERVER,),
    "kubelet-server": (SERVER,),
    "etcd-server": (SERVER,),
    "etcd-peer": (SERVER, CLIENT),
    "controller-manager-server": (SERVER,),
    "scheduler-server": (SERVER,),
    "kubelet-client": (CLIENT,),
    "apiserver-kubelet-client": (CLIENT,),
    "apiserver-etcd-client": (CLIENT,),
    "front-proxy-client": (CLIENT,),
    "etcd-client": (CLIENT,),
    "etcd-peer-client": (CLIENT,),
    "egress-client": (CLIENT,),
    "etcd-healthcheck-client": (CLIENT,),
    "controller-manager": (CLIENT,),
    "scheduler": (CLIENT,),
    "admin": (CLIENT,),
    "super-admin": (CLIENT,),
    "kube-proxy": (CLIENT,),
}

_CLUSTER = ("cluster-ca", "kubelet-client-ca", "cluster-root-ca", "cluster-signing-ca")
ANCHORS: Mapping[str, tuple[str, ...]] = {
    "apiserver": ("cluster-root-ca",),
    "apiserver-kubelet-client": ("kubelet-client-ca", "cluster-ca"),
    "apiserver-etcd-client": ("etcd-ca",),
    "etcd-healthcheck-client": ("etcd-ca",),
    "etcd-client": ("etcd-ca",),
    "etcd-peer-client": ("etcd-peer-ca", "etcd-ca"),
    "etcd-server": ("apiserver-etcd-ca", "etcd-ca"),
    "etcd-peer": ("etcd-peer-ca", "etcd-ca"),
    "front-proxy-client": ("front-proxy-ca",),
    **dict.fromkeys(
        ("kubelet-client", "controller-manager", "scheduler", "admin", "super-admin", "kube-proxy"),
        _CLUSTER,
    ),
}
"""Who is trusted by those to whom a component shows its certificate, by component."""

AUTHORITIES = frozenset(
    {
        "cluster-ca",
        "cluster-root-ca",
        "cluster-signing-ca",
        "etcd-ca",
        "etcd-peer-ca",
        "front-proxy-ca",
        "kubelet-client-signing-ca",
        "kubelet-serving-signing-ca",
        "client-signing-ca",
        "legacy-signing-ca",
    }
)
OF_ETCD = frozenset({"etcd-ca", "etcd-peer-ca"})
_NAMED: Mapping[str, str] = {
    "kubernetes": "cluster-ca",
    "kubernetes-ca": "cluster-ca",
    "etcd-ca": "etcd-ca",
    "front-proxy-ca": "front-proxy-ca",
    "kubernetes-front-proxy-ca": "front-proxy-ca",
    **{
        f"{program}-{name}": component
        for program in ("k3s", "rke2")
        for name, component in {
            "client-ca": "cluster-ca",
            "server-ca": "cluster-root-ca",
            "request-header-ca": "front-proxy-ca",
        }.items()
    },
    "etcd-server-ca": "etcd-ca",
    "etcd-peer-ca": "etcd-peer-ca",
}


def authority_named(common_name: str) -> str:
    """Which authority calls itself so: kubeadm's names and the documentation's, and those of k3s
    and RKE2, which put a time behind ("k3s-client-ca@1700000000"); "" for others."""
    return _NAMED.get(common_name.partition("@")[0], "")


SIGNERS = AUTHORITIES | {"service-account"}
"""Whoever holds the private key of one of these makes credentials for the whole cluster."""


def expected_names(
    component: str, daemons: Daemons | None, hostname: str | None
) -> tuple[str, ...]:
    """Names and addresses by which a server is reached, as far as this node's settings tell."""
    found = dict.fromkeys(_expected(component, daemons, hostname))
    return tuple(found)


def _expected(component: str, daemons: Daemons | None, hostname: str | None) -> Iterator[str]:
    if component == "kubelet-server":
        daemon = daemons.one(KUBELET) if daemons else None
        name = daemon.flag("hostname-override") if daemon else None
        if name or hostname:
            yield (name or hostname or "").lower()
        if daemon:
            yield from _addresses(daemon.flag("node-ip") or "")
    elif daemons is None:
        return
    elif component == "apiserver":
        for daemon in daemons.running(APISERVER):
            yield from _of_apiserver(daemon)
    elif component in ("etcd-server", "etcd-peer"):
        flag = (
            "advertise-client-urls" if component == "etcd-server" else "initial-advertise-peer-urls"
        )
        for daemon in daemons.running(ETCD):
            for url in (daemon.flag(flag) or "").split(","):
                _, host, _ = split_url(url)
                if host and host != "localhost":
                    yield host


def _of_apiserver(daemon: Daemon) -> Iterator[str]:
    yield from ("kubernetes", "kubernetes.default", "kubernetes.default.svc")
    yield from _addresses(daemon.flag("advertise-address") or "")
    for text in (daemon.flag("service-cluster-ip-range") or "").split(",")[:1]:
        try:
            yield str(next(ipaddress.ip_network(text, strict=False).hosts()))
        except (ValueError, StopIteration):
            return


def _addresses(text: str) -> Iterator[str]:
    for word in text.split(","):
        try:
            address = ipaddress.ip_address(word.strip())
        except ValueError:
            continue
        if not address.is_unspecified:
            yield str(address)


def covers(names: tuple[str, ...], addresses: tuple[str, ...], wanted: str) -> bool:
    """Whether a certificate is good for this name or address; a star stands for one label."""
    try:
        return str(ipaddress.ip_address(wanted)) in addresses
    except ValueError:
        pass
    rest = wanted.lower().partition(".")[2]
    return any(n.lower() in (wanted.lower(), f"*.{rest}") for n in names)
