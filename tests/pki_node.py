"""A control plane laid out as kubeadm does, with certificates and keys made at run time.

A test takes the sound node, spoils one thing, and looks at what the findings say then.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from certificate_maker import (
    CLIENT,
    DAY,
    NOW,
    SERVER,
    Authority,
    Key,
    Spec,
    key,
    key_pem,
    pem,
    spki,
    traditional_pem,
    write,
)
from kubeadm_tree import BOOT, add_process
from nodeward.agent.scan import scan, select
from nodeward.host import TreeHost
from nodeward.model import Finding

ADDRESS, SERVICE, NAME = "10.0.0.7", "10.96.0.1", "node1"
API_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", NAME)

APISERVER = {
    "advertise-address": ADDRESS,
    "client-ca-file": "/etc/kubernetes/pki/ca.crt",
    "enable-bootstrap-token-auth": "false",
    "etcd-cafile": "/etc/kubernetes/pki/etcd/ca.crt",
    "etcd-certfile": "/etc/kubernetes/pki/apiserver-etcd-client.crt",
    "etcd-keyfile": "/etc/kubernetes/pki/apiserver-etcd-client.key",
    "kubelet-client-certificate": "/etc/kubernetes/pki/apiserver-kubelet-client.crt",
    "kubelet-client-key": "/etc/kubernetes/pki/apiserver-kubelet-client.key",
    "proxy-client-cert-file": "/etc/kubernetes/pki/front-proxy-client.crt",
    "proxy-client-key-file": "/etc/kubernetes/pki/front-proxy-client.key",
    "requestheader-allowed-names": "front-proxy-client",
    "requestheader-client-ca-file": "/etc/kubernetes/pki/front-proxy-ca.crt",
    "service-account-key-file": "/etc/kubernetes/pki/sa.pub",
    "service-account-signing-key-file": "/etc/kubernetes/pki/sa.key",
    "service-cluster-ip-range": "10.96.0.0/12",
    "tls-cert-file": "/etc/kubernetes/pki/apiserver.crt",
    "tls-private-key-file": "/etc/kubernetes/pki/apiserver.key",
}
ETCD = {
    "advertise-client-urls": f"https://{ADDRESS}:2379",
    "initial-advertise-peer-urls": f"https://{ADDRESS}:2380",
    "cert-file": "/etc/kubernetes/pki/etcd/server.crt",
    "key-file": "/etc/kubernetes/pki/etcd/server.key",
    "peer-cert-file": "/etc/kubernetes/pki/etcd/peer.crt",
    "peer-key-file": "/etc/kubernetes/pki/etcd/peer.key",
    "trusted-ca-file": "/etc/kubernetes/pki/etcd/ca.crt",
    "peer-trusted-ca-file": "/etc/kubernetes/pki/etcd/ca.crt",
}
KUBELET_CONFIG = """
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {x509: {clientCAFile: /etc/kubernetes/pki/ca.crt}}
rotateCertificates: true
serverTLSBootstrap: true
staticPodPath: /etc/kubernetes/manifests
"""
CURRENT = "var/lib/kubelet/pki/kubelet-client-current.pem"
SERVING = "var/lib/kubelet/pki/kubelet-server-current.pem"


def server(name: str, **more: Any) -> Spec:
    return Spec(
        subject=(("CN", name),), dns=API_NAMES, ips=(ADDRESS, SERVICE), usages=(SERVER,), **more
    )


def client(name: str, group: str = "", **more: Any) -> Spec:
    subject = ((("O", group),) if group else ()) + (("CN", name),)
    return Spec(subject=subject, usages=(CLIENT,), **more)


LEAFS: Mapping[str, tuple[str, Spec]] = {
    "apiserver": ("cluster", server("kube-apiserver")),
    "apiserver-kubelet-client": ("cluster", client("kube-apiserver-kubelet-client")),
    "front-proxy-client": ("front", client("front-proxy-client")),
    "apiserver-etcd-client": ("etcd", client("kube-apiserver-etcd-client")),
    "etcd/server": ("etcd", server(NAME)),
    "etcd/peer": ("etcd", Spec((("CN", NAME),), ips=(ADDRESS,), usages=(SERVER, CLIENT))),
    "etcd/healthcheck-client": ("etcd", client("kube-etcd-healthcheck-client")),
}
USERS: Mapping[str, tuple[str, str]] = {
    "admin": ("kubernetes-admin", "kubeadm:cluster-admins"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
}


@dataclass
class PkiNode:
    """The node at `root`. Every certificate has a key of its own, by number."""

    root: Path
    cluster: Authority = field(default_factory=lambda: Authority("kubernetes", 100))
    etcd: Authority = field(default_factory=lambda: Authority("etcd-ca", 101))
    front: Authority = field(default_factory=lambda: Authority("front-proxy-ca", 102))
    apiserver: dict[str, str] = field(default_factory=lambda: dict(APISERVER))
    etcd_flags: dict[str, str] = field(default_factory=lambda: dict(ETCD))

    @property
    def pki(self) -> Path:
        return self.root / "etc/kubernetes/pki"

    def build(self) -> PkiNode:
        """Everything sound, and the daemons running."""
        for authority, place in (
            (self.cluster, "ca"),
            (self.front, "front-proxy-ca"),
            (self.etcd, "etcd/ca"),
        ):
            write(self.pki / f"{place}.crt", pem(authority.raw), 0o644)
            write(self.pki / f"{place}.key", traditional_pem(authority.key))
        for number, (name, (authority_name, spec)) in enumerate(LEAFS.items(), 1):
            self.leaf(name, spec, getattr(self, authority_name), key("P-256", number))
        signer = key("RSA-2048", 50)
        write(self.pki / "sa.key", key_pem(signer))
        write(self.pki / "sa.pub", public_pem(signer))
        for number, (name, (user, group)) in enumerate(USERS.items(), 20):
            self.user(name, client(user, group), key("P-256", number))
        self.kubelet(client(f"system:node:{NAME}", "system:nodes"), server(f"system:node:{NAME}"))
        write(self.root / "var/lib/kubelet/config.yaml", KUBELET_CONFIG)
        write(self.root / "var/lib/kubelet/kubeadm-flags.env", "")
        write(self.root / "etc/hostname", f"{NAME}\n")
        write(self.root / "proc/stat", f"btime {int(BOOT.timestamp())}\n")
        self.start()
        self.open_folders()
        return self

    def open_folders(self) -> None:
        for folder in (self.root, *self.root.rglob("*")):
            if folder.is_dir() and not folder.is_symlink():
                folder.chmod(0o755)

    def leaf(self, name: str, spec: Spec, authority: Authority, own: Key) -> None:
        write(self.pki / f"{name}.crt", pem(authority.issue(spec, own)), 0o644)
        write(self.pki / f"{name}.key", traditional_pem(own))

    def user(self, name: str, spec: Spec, own: Key, path: str = "") -> Path:
        """A kubeconfig with everything embedded."""
        text = kubeconfig(
            user={
                "client-certificate-data": encoded(pem(self.cluster.issue(spec, own))),
                "client-key-data": encoded(traditional_pem(own)),
            },
            cluster={"certificate-authority-data": encoded(pem(self.cluster.raw))},
        )
        return write(self.root / (path or f"etc/kubernetes/{name}.conf"), text)

    def kubelet(self, client_spec: Spec, server_spec: Spec) -> None:
        """Certificates as the kubelet keeps them: a file with the time in its name, and a link."""
        folder = self.root / "var/lib/kubelet/pki"
        for kind, spec, number in (("client", client_spec, 30), ("server", server_spec, 31)):
            own = key("P-256", number)
            text = pem(self.cluster.issue(spec, own)) + traditional_pem(own)
            stamp = spec.not_before.strftime("%Y-%m-%d-%H-%M-%S")
            write(folder / f"kubelet-{kind}-{stamp}.pem", text)
            link = folder / f"kubelet-{kind}-current.pem"
            link.unlink(missing_ok=True)
            link.symlink_to(f"/var/lib/kubelet/pki/kubelet-{kind}-{stamp}.pem")
        current = f"/{CURRENT}"
        text = kubeconfig(
            user={"client-certificate": current, "client-key": current},
            cluster={"certificate-authority-data": encoded(pem(self.cluster.raw))},
        )
        write(self.root / "etc/kubernetes/kubelet.conf", text)

    def start(self) -> None:
        """The processes, with the flags as they stand."""
        for pid in (1, 10, 11, 12, 13, 14):
            shutil.rmtree(self.root / "proc" / str(pid), ignore_errors=True)
        kubelet = {
            "config": "/var/lib/kubelet/config.yaml",
            "kubeconfig": "/etc/kubernetes/kubelet.conf",
            "bootstrap-kubeconfig": "/etc/kubernetes/bootstrap-kubelet.conf",
            "node-ip": ADDRESS,
        }
        manager = {
            "kubeconfig": "/etc/kubernetes/controller-manager.conf",
            "root-ca-file": "/etc/kubernetes/pki/ca.crt",
        }
        self.process(1, "systemd", {})
        self.process(10, "kubelet", kubelet)
        self.process(11, "kube-apiserver", self.apiserver)
        self.process(12, "etcd", self.etcd_flags)
        self.process(13, "kube-controller-manager", manager)
        self.process(14, "kube-scheduler", {"kubeconfig": "/etc/kubernetes/scheduler.conf"})

    def process(self, pid: int, name: str, flags: Mapping[str, str]) -> None:
        argv = [name, *(f"--{flag}={value}" for flag, value in flags.items())]
        add_process(self.root, pid, argv, exe=f"/usr/bin/{name}")

    def stop(self, *pids: int) -> None:
        for pid in pids:
            shutil.rmtree(self.root / "proc" / str(pid))

    def findings(self, at: datetime = NOW, glob: str = "cert.*") -> dict[str, Finding]:
        report = scan(TreeHost(self.root), select([glob]), at=at.timestamp())
        return {f.check: f for f in report.findings}


def kubeconfig(
    user: Mapping[str, object],
    cluster: Mapping[str, object],
    server: str = f"https://{ADDRESS}:6443",
) -> str:
    """JSON is YAML too."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
            "users": [{"name": "u", "user": dict(user)}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        },
        indent=1,
    )


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")


def public_pem(of: Key) -> str:
    body = base64.encodebytes(spki(of)).decode("ascii")
    return f"-----BEGIN PUBLIC KEY-----\n{body}-----END PUBLIC KEY-----\n"


YEAR = 365 * DAY
