"""One thing spoiled on a sound node, and exactly the checks that should notice it do."""

from __future__ import annotations

import base64
import json
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from certificate_maker import (
    CLIENT,
    DAY,
    NOW,
    SERVER,
    Authority,
    Spec,
    certificate,
    extension,
    key,
    key_pem,
    pem,
    rsa_spki,
    seq,
    spki,
    tlv,
    traditional_pem,
    write,
)
from kubeadm_tree import NO_KEY
from nodeward.model import Finding, Status
from pki_node import (
    ADDRESS,
    KUBELET_CONFIG,
    LEAFS,
    NAME,
    PkiNode,
    client,
    kubeconfig,
    public_pem,
    server,
)

Spoil = Callable[[PkiNode], object]


@dataclass(frozen=True)
class Says:
    """What one check says: status, severity, and words of its reason."""

    check: str
    status: str
    severity: str = ""
    words: str = ""


@dataclass(frozen=True)
class Case:
    """`says` are all the checks that differ from the sound node."""

    name: str
    spoil: Spoil
    says: tuple[Says, ...]


def fail(check: str, severity: str, words: str = "") -> Says:
    return Says(f"cert.{check}", "fail", severity, words)


def unknown(check: str, words: str = "") -> Says:
    return Says(f"cert.{check}", "unknown", words=words)


def passes(check: str, words: str = "") -> Says:
    return Says(f"cert.{check}", "pass", words=words)


def absent(check: str) -> Says:
    return Says(f"cert.{check}", "not-applicable")


def days(age: float, left: float) -> dict[str, Any]:
    return {"not_before": NOW - age * DAY, "not_after": NOW + left * DAY}


def reissue(name: str, **changes: Any) -> Spoil:
    """One of the certificates under /etc/kubernetes/pki again, with other fields."""

    def spoil(node: PkiNode) -> None:
        authority, spec = LEAFS[name]
        changed = replace(spec, **changes)
        own = key("P-256", list(LEAFS).index(name) + 1)
        node.leaf(name, changed, getattr(node, authority), own)
        if "public" in changes:
            write(node.pki / f"{name}.key", NO_KEY)

    return spoil


def kubelet(client_days: dict[str, Any], server_days: dict[str, Any] | None = None) -> Spoil:
    def spoil(node: PkiNode) -> None:
        for old in (node.root / "var/lib/kubelet/pki").iterdir():
            old.unlink()
        node.kubelet(
            client(f"system:node:{NAME}", "system:nodes", **client_days),
            server(f"system:node:{NAME}", **(server_days or {})),
        )

    return spoil


def rotated(date: str, **fields: Any) -> Spoil:
    """One more file beside the kubelet's current one."""

    def spoil(node: PkiNode) -> None:
        spec = client(f"system:node:{NAME}", "system:nodes", **fields)
        path = node.root / f"var/lib/kubelet/pki/kubelet-client-{date}-00-00-00.pem"
        write(path, pem(node.cluster.issue(spec)))

    return spoil


def etcd_flag(name: str, value: str) -> Spoil:
    def spoil(node: PkiNode) -> None:
        node.etcd_flags[name] = value
        node.start()

    return spoil


def mode(path: str, bits: int) -> Spoil:
    return lambda node: (node.root / path).chmod(bits)


def touch(node: PkiNode, path: str, at: datetime) -> None:
    os.utime(node.root / path, (at.timestamp(), at.timestamp()))


def owner(path: str, uid: int, gid: int) -> Spoil:
    return lambda node: os.chown(node.root / path, uid, gid)


def etcds_own(node: PkiNode) -> None:
    """As Debian's etcd package runs it, with keys of its own."""
    status = node.root / "proc/12/status"
    status.write_text(status.read_text().replace("Uid:\t0", "Uid:\t107"))
    for name in ("server", "peer"):
        os.chown(node.pki / f"etcd/{name}.key", 107, 107)


def only_authorities(node: PkiNode) -> None:
    for path in node.pki.rglob("*"):
        if path.is_file() and path.name != "ca.crt":
            path.unlink()


def flags(**changes: str | None) -> Spoil:
    """Other flags of the API server; None takes one away."""

    def spoil(node: PkiNode) -> None:
        for name, value in changes.items():
            flag = name.replace("_", "-")
            node.apiserver.pop(flag, None)
            if value is not None:
                node.apiserver[flag] = value
        node.start()

    return spoil


def put(path: str, text: str, bits: int = 0o600) -> Spoil:
    def spoil(node: PkiNode) -> None:
        write(node.root / path, text, bits)
        node.open_folders()

    return spoil


def signer(path: str) -> Spoil:
    """Service account tokens are signed and verified with the key in this file."""
    return flags(service_account_key_file=path, service_account_signing_key_file=path)


def authority(which: str, spec: Spec) -> Spoil:
    """Another certificate of an authority, with its old key: its leafs still verify."""

    def spoil(node: PkiNode) -> None:
        old: Authority = getattr(node, which)
        new = Authority(old.common_name, old.number, spec=spec)
        place = {"cluster": "ca", "front": "front-proxy-ca", "etcd": "etcd/ca"}[which]
        write(node.pki / f"{place}.crt", pem(new.raw), 0o644)

    return spoil


def user(path: str, **fields: Any) -> Spoil:
    """A kubeconfig whose user has these fields."""
    cluster = {"certificate-authority": "/etc/kubernetes/pki/ca.crt"}
    return put(path, kubeconfig(fields, cluster))


def masters(path: str, bits: int = 0o600) -> Spoil:
    def spoil(node: PkiNode) -> None:
        node.user("", client("root", "system:masters"), key("P-256", 60), path)
        (node.root / path).chmod(bits)
        node.open_folders()

    return spoil


def both(*spoils: Spoil) -> Spoil:
    def spoil(node: PkiNode) -> None:
        for one in spoils:
            one(node)

    return spoil


def jwt(**claims: object) -> str:
    """Unsigned: nobody here verifies it."""

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'RS256'})}.{part(claims)}.c2lnbmF0dXJl"


def acl_for_user(number: int) -> bytes:
    """An access list that lets one user read, as setfacl -m u:1000:r makes it."""
    nobody = 0xFFFFFFFF
    rows = [(1, 6, nobody), (2, 4, number), (4, 0, nobody), (16, 4, nobody), (32, 0, nobody)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows)


def with_acl(path: str) -> Spoil:
    return lambda node: os.setxattr(node.root / path, "system.posix_acl_access", acl_for_user(1000))


AT = NOW.timestamp()
API, KEY = "etc/kubernetes/pki/apiserver.crt", "etc/kubernetes/pki/apiserver.key"
CNI = "etc/cni/net.d/calico-kubeconfig"
BOOTSTRAP = "etc/kubernetes/bootstrap-kubelet.conf"
TOKEN = "abcdef.0123456789abcdef"
RSA_1024 = rsa_spki((1 << 1023) + 1)
EXPONENT_3 = rsa_spki((1 << 2047) + 1, 3)

EXPIRY = [
    Case("59 days left", reissue("apiserver", **days(306, 59)),
         (fail("expiry.apiserver", "low", "in 59 days"),)),
    Case("61 days left", reissue("apiserver", **days(304, 61)), ()),
    Case("29 days left", reissue("apiserver", **days(336, 29)),
         (fail("expiry.apiserver", "high", "renewed by kubeadm"),)),
    Case("expired", reissue("apiserver", **days(366, -1)),
         (fail("expiry.apiserver", "critical", "expired on"),)),
    Case("not yet valid", reissue("apiserver", **days(-1, 364)),
         (fail("expiry.apiserver", "critical", "not valid before"),)),
    Case("a month long, 21 % left", reissue("etcd/server", **days(22, 6.5)), ()),
    Case("a month long, 15 % left", reissue("etcd/server", **days(25.5, 4.5)),
         (fail("expiry.etcd-server", "low"),)),
    Case("a month long, 5 % left", reissue("etcd/server", **days(28.5, 1.5)),
         (fail("expiry.etcd-server", "high"),)),
    Case("peer expired", reissue("etcd/peer", **days(400, -35)),
         (fail("expiry.etcd-peer", "critical"),)),
    Case("health check expired", reissue("etcd/healthcheck-client", **days(400, -35)),
         (fail("expiry.etcd-healthcheck-client", "high"),)),
    Case("kubelet client at 85 %", kubelet(days(310, 55)), ()),
    Case("kubelet client at 93 %", kubelet(days(340, 25)),
         (fail("expiry.kubelet-client", "high", "stalled"), fail("rotation-stalled", "high"))),
    Case("kubelet client expired", kubelet(days(370, -5)),
         (fail("expiry.kubelet-client", "critical"), fail("rotation-stalled", "high"))),
    Case("kubelet server at 95 %", kubelet({}, days(347, 18)),
         (fail("expiry.kubelet-server", "high", "stalled"),
          fail("rotation-stalled", "high", "kubelet-server"))),
    Case("rotation off, 50 days left",
         both(kubelet(days(315, 50)),
              put("var/lib/kubelet/config.yaml",
                  KUBELET_CONFIG.replace("rotateCertificates: true", "rotateCertificates: false"))),
         (fail("expiry.kubelet-client", "low", "by hand only"),)),
    Case("the link leads to the older one", rotated("2026-11-21", **days(1, 364)),
         (fail("rotation-stalled", "high", "should lead"),)),
    Case("an old rotated file has expired", rotated("2025-01-01", **days(690, -325)), ()),
    Case("an unused apiserver certificate has expired",
         both(put("srv/api.crt", ""), flags(tls_cert_file="/srv/api.crt"),
              lambda node: write(node.root / "srv/api.crt",
                                 pem(node.cluster.issue(server("kube-apiserver"))), 0o644),
              reissue("apiserver", **days(400, -35))),
         (fail("expiry.apiserver", "low", "nothing uses it"),)),
    Case("admin.conf expired",
         lambda node: node.user("admin", client("a", "kubeadm:cluster-admins", **days(400, -35)),
                                key("P-256", 20)),
         (fail("expiry.admin", "high"),)),
    Case("scheduler.conf expired",
         lambda node: node.user("scheduler", client("system:kube-scheduler", **days(400, -35)),
                                key("P-256", 22)),
         (fail("expiry.scheduler", "critical"),)),
    Case("renewed, and the scheduler not restarted",
         lambda node: touch(node, "etc/kubernetes/scheduler.conf", NOW),
         (fail("inuse-mismatch", "medium", "still uses what it read at its start"),)),
    Case("no admin.conf", lambda node: (node.root / "etc/kubernetes/admin.conf").unlink(),
         (absent("expiry.admin"), absent("admin-kubeconfig-spread"))),
]  # fmt: skip

LIVES = [
    Case("a leaf of 500 days", reissue("apiserver", **days(10, 490)),
         (fail("lifetime-policy", "low", "500 days"),)),
    Case("a leaf of ten years", reissue("apiserver", **days(10, 3640)),
         (fail("lifetime-policy", "medium", "3650 days"),
          fail("chain", "low", "outlives its authority"))),
    Case("an authority of 25 years", authority("front", Spec(**days(10, 9000))),
         (fail("lifetime-policy", "low", "9010 days"),)),
    Case("an authority with 300 days", authority("front", Spec(**days(3350, 300))),
         (fail("ca-expiry", "low", "in 300 days"),
          fail("chain", "low", "outlives its authority"))),
    Case("an authority with 60 days", authority("front", Spec(**days(3590, 60))),
         (fail("ca-expiry", "high"), fail("chain", "low"))),
    Case("an authority that has ended", authority("front", Spec(**days(3660, -10))),
         (fail("ca-expiry", "critical", "expired"), fail("chain", "low"))),
    Case("an authority that is being replaced",
         lambda node: write(
             node.pki / "front-proxy-ca.crt",
             pem(Authority("front-proxy-ca", 102, spec=Spec(**days(3590, 60))).raw,
                 node.front.raw), 0o644),
         ()),
    Case("an ended authority beside its successor",
         lambda node: write(
             node.pki / "front-proxy-ca.crt",
             pem(Authority("front-proxy-ca", 102, spec=Spec(**days(3660, -10))).raw,
                 node.front.raw), 0o644),
         (fail("ca-expiry", "low"),)),
]  # fmt: skip

CHAINS = [
    Case("issued by a stranger",
         lambda node: node.leaf("apiserver", LEAFS["apiserver"][1], Authority("stranger", 200),
                                key("P-256", 1)),
         (fail("chain", "medium", "no trusted certificate is named CN=stranger"),)),
    Case("issued by a namesake of the authority",
         lambda node: node.leaf("apiserver", LEAFS["apiserver"][1], Authority("kubernetes", 201),
                                key("P-256", 1)),
         (fail("chain", "medium", "not signed by the trusted key"),)),
    Case("without the node's address", reissue("apiserver", ips=("10.96.0.1",)),
         (fail("chain", "low", f"not good for {ADDRESS}"),)),
    Case("without the service's name", reissue("apiserver", dns=(NAME,)),
         (fail("chain", "low", "kubernetes.default.svc"),)),
    Case("a wildcard covers one label",
         reissue("apiserver", dns=("kubernetes", "kubernetes.default", "*.default.svc")), ()),
    Case("no names at all", reissue("apiserver", dns=(), ips=()),
         (fail("chain", "medium", "names no host"),)),
    Case("a server's certificate for clients only", reissue("apiserver", usages=(CLIENT,)),
         (fail("chain", "medium", "not for serverAuth"),)),
    Case("a peer's certificate for servers only", reissue("etcd/peer", usages=(SERVER,)),
         (fail("chain", "medium", "not for clientAuth"),)),
    Case("no usages: any", reissue("apiserver", usages=None), ()),
    Case("any usage", reissue("apiserver", usages=("2.5.29.37.0",)), ()),
    Case("an extension stands there twice",
         reissue("apiserver", extra=(extension("1.2.3", tlv(5)), extension("1.2.3", tlv(5)))),
         (fail("chain", "medium", "twice"),)),
    Case("a negative serial number", reissue("apiserver", serial=-5),
         (fail("chain", "medium", "negative serial"),)),
    Case("an unreadable extension",
         reissue("apiserver", usages=None, extra=(extension("2.5.29.37", b"\x30\x05\x06"),)),
         (fail("chain", "medium", "2.5.29.37"),)),
    Case("a critical extension that Go does not know",
         reissue("apiserver", extra=(extension("1.2.3", tlv(5), critical=True),)),
         (fail("chain", "high", "critical extension 1.2.3, which programs in Go do not know"),)),
    Case("an extension that Go does not know",
         reissue("apiserver", extra=(extension("1.2.3", tlv(5)),)), ()),
    Case("a curve that Go does not know",
         reissue("front-proxy-client", public=spki(key("Ed448"))),
         (fail("chain", "high", "Ed448"),)),
    Case("an authority for other domains", lambda node: limited(node, b"example.com"),
         (fail("chain", "medium", "may not issue for kubernetes (name constraints)"),)),
    Case("an authority for these domains",
         lambda node: limited(node, b"kubernetes", b"svc", b"default", NAME.encode()), ()),
    Case("through an intermediate", lambda node: through_intermediate(node), ()),
]  # fmt: skip


def through_intermediate(node: PkiNode) -> None:
    between = Authority("between", 203)
    above = node.cluster.issue(
        Spec(subject=between.subject, ca=True, key_usage=0x0600), between.key
    )
    leaf = between.issue(LEAFS["apiserver"][1], key("P-256", 1))
    write(node.pki / "apiserver.crt", pem(leaf, above), 0o644)


def limited(node: PkiNode, *domains: bytes) -> None:
    """The API server's certificate comes from an authority that may issue for some domains only."""
    trees = (seq(tlv(0x82, domain)) for domain in domains)
    permitted = extension("2.5.29.30", seq(tlv(0xA0, *trees)), critical=True)
    spec = Spec(subject=node.cluster.subject, not_after=NOW + 3620 * DAY, ca=True,
                key_usage=0x0600, extra=(permitted,))  # fmt: skip
    write(node.pki / "ca.crt", pem(certificate(spec, node.cluster.key)), 0o644)


def one_root(node: PkiNode, which: str) -> None:
    """The cluster's authority is issued by the one that etcd or the front proxy trusts."""
    above: Authority = getattr(node, which)
    spec = Spec(
        subject=node.cluster.subject, ca=True, key_usage=0x0600, public=spki(node.cluster.key),
        not_after=NOW + 3600 * DAY,
    )  # fmt: skip
    write(node.pki / "ca.crt", pem(above.issue(spec)), 0o644)


CRYPTO = [
    Case("RSA 1024", reissue("front-proxy-client", public=RSA_1024),
         (fail("weak-crypto", "high", "1024"),)),
    Case("exponent 3", reissue("front-proxy-client", public=EXPONENT_3),
         (fail("weak-crypto", "low", "exponent 3"),)),
    Case("P-224", reissue("front-proxy-client", public=spki(key("P-224"))),
         (fail("weak-crypto", "high", "P-224"),)),
    Case("P-521", reissue("front-proxy-client", public=spki(key("P-521"))), ()),
    Case("Ed25519", reissue("front-proxy-client", public=spki(key("Ed25519"))), ()),
    Case("SHA-1", reissue("front-proxy-client", digest="SHA1"),
         (fail("weak-crypto", "high", "ECDSA-SHA1"),)),
    Case("SHA-384", reissue("front-proxy-client", digest="SHA384"), ()),
    Case("a root signed with SHA-1",
         authority("front", Spec(digest="SHA1", **days(30, 3620))), ()),
    Case("a short key for service accounts, without its public half",
         both(flags(service_account_key_file="/etc/kubernetes/pki/sa.key"),
              lambda node: (node.pki / "sa.pub").unlink(),
              lambda node: write(node.pki / "sa.key", key_pem(key("RSA-1024")))),
         (fail("weak-crypto", "high", "1024"),)),
    Case("a short key for service accounts",
         put("etc/kubernetes/pki/sa.pub", "-----BEGIN PUBLIC KEY-----\n"
             + base64.encodebytes(RSA_1024).decode() + "-----END PUBLIC KEY-----\n"),
         (fail("weak-crypto", "high", "1024"),)),
]  # fmt: skip

KEYS = [
    Case("a key for everyone", mode(KEY, 0o644), (fail("key-perms", "high", "everyone"),)),
    Case("a key for the group root", mode(KEY, 0o640), (fail("key-perms", "low", "0640"),)),
    Case("a key for a group",
         both(owner(KEY, 0, 1000), mode(KEY, 0o640)),
         (fail("key-perms", "medium", "group 1000"),)),
    Case("a key of a user", owner(KEY, 1000, 0),
         (fail("key-perms", "medium", "user 1000"),)),
    Case("a key that one more user may read", with_acl(KEY),
         (fail("key-perms", "medium", "user 1000"),)),
    Case("a directory that everyone may write to", mode("etc/kubernetes/pki", 0o777),
         (fail("key-perms", "high", "/etc/kubernetes/pki (0777)"),)),
    Case("a sticky directory", mode("etc/kubernetes/pki", 0o1777), ()),
    Case("a directory that keeps others out",
         both(mode("etc/kubernetes/pki", 0o700), mode(KEY, 0o644)),
         (fail("key-perms", "low", "0644"),)),
    Case("one key for two components",
         lambda node: node.leaf("etcd/server", LEAFS["etcd/server"][1], node.etcd, key("P-256", 1)),
         (fail("shared-key", "medium", "one key"),)),
    Case("tokens are signed with the authority's key", signer("/etc/kubernetes/pki/ca.key"),
         (fail("shared-key", "high", "CN=kubernetes and the service account signer"),)),
    Case("tokens are signed with the API server's key", signer("/etc/kubernetes/pki/apiserver.key"),
         (fail("shared-key", "high", "apiserver (CN=kube-apiserver) and the service account"),)),
    Case("one key for server and peer of one name",
         lambda node: node.leaf("etcd/peer", LEAFS["etcd/peer"][1], node.etcd, key("P-256", 5)),
         (fail("shared-key", "medium", "etcd-server (CN=node1) and etcd-peer (CN=node1)"),)),
    Case("an authority renewed with its old key", authority("front", Spec(serial=7)), ()),
    Case("etcd's keys belong to etcd", etcds_own, ()),
    Case("the authority's key for a leaf",
         lambda node: node.leaf("apiserver", LEAFS["apiserver"][1], node.cluster, node.cluster.key),
         (fail("shared-key", "high", "one key"),)),
    Case("an authority's key signs tokens",
         lambda node: write(node.pki / "sa.pub", public_pem(node.cluster.key)),
         (fail("shared-key", "high", "service account signer"),)),
    Case("an old signing key",
         lambda node: touch(node, "etc/kubernetes/pki/sa.key", NOW - 400 * DAY),
         (fail("sa-key-age", "low", "400 days"),)),
    Case("a key without its password",
         lambda node: write(node.pki / "apiserver.key", key_pem(key(), "hunter2")),
         (fail("chain", "high", "apiserver.key) has a password"),)),
]  # fmt: skip

TRUST = [
    Case("etcd trusts the cluster's authority",
         etcd_flag("trusted-ca-file", "/etc/kubernetes/pki/ca.crt"),
         (fail("etcd-ca-shared", "critical"), fail("chain", "medium"))),
    Case("etcd's peers trust the cluster's authority",
         etcd_flag("peer-trusted-ca-file", "/etc/kubernetes/pki/ca.crt"),
         (fail("etcd-ca-shared", "critical"), fail("chain", "medium"))),
    Case("etcd trusts the root above the cluster's authority", lambda node: one_root(node, "etcd"),
         (fail("etcd-ca-shared", "critical", "issued the cluster's authority"),)),
    Case("the front proxy trusts the root above the cluster's authority",
         lambda node: one_root(node, "front"),
         (fail("front-proxy", "high", "issued the authority of ordinary clients"),)),
    Case("the front proxy has the authority of all",
         flags(requestheader_client_ca_file="/etc/kubernetes/pki/ca.crt"),
         (fail("front-proxy", "high", "ordinary clients"), fail("chain", "medium"))),
    Case("any name may speak for others", flags(requestheader_allowed_names=""),
         (fail("front-proxy", "high", "may name users"),)),
    Case("the front proxy has another name than is allowed",
         reissue("front-proxy-client", subject=(("CN", "aggregator"),)),
         (fail("front-proxy", "medium", "CN=aggregator is not among"),)),
    Case("no request headers", flags(requestheader_client_ca_file=None), ()),
]  # fmt: skip


CONFIGS = [
    Case("super-admin.conf", masters("etc/kubernetes/super-admin.conf"),
         (fail("superadmin", "medium", "super-admin.conf"), passes("expiry.super-admin"))),
    Case("a copy in a home", masters("home/bob/.kube/config"),
         (fail("superadmin", "medium", "/home/bob"),)),
    Case("a copy for everyone", masters("tmp/admin.conf", 0o644),
         (fail("superadmin", "critical"), fail("admin-kubeconfig-spread", "high", "everyone"),
          fail("key-perms", "high", "everyone"))),
    Case("a copy of a user",
         both(masters("home/bob/.kube/config"),
              owner("home/bob", 1000, 1000), owner("home/bob/.kube", 1000, 1000),
              owner("home/bob/.kube/config", 1000, 1000)),
         (fail("superadmin", "critical"), fail("admin-kubeconfig-spread", "high", "user 1000"))),
    Case("a bootstrap token", user(BOOTSTRAP, token=TOKEN),
         (fail("bootstrap-token", "medium", "id abcdef"),)),
    Case("a bootstrap kubeconfig without token", user(BOOTSTRAP), ()),
    Case("a certificate to join with",
         lambda node: node.user("", client("joins", "system:bootstrappers"), key("P-256", 61),
                                BOOTSTRAP),
         (fail("bootstrap-token", "medium", "certificate CN=joins,O=system:bootstrappers"),
          passes("expiry.other"))),
    Case("verification off",
         put("etc/kubernetes/scheduler.conf", kubeconfig({}, {"insecure-skip-tls-verify": True})),
         (fail("kubeconfig-insecure", "high", "insecure-skip-tls-verify"),
          absent("expiry.scheduler"))),
    Case("plain HTTP",
         put("etc/kubernetes/scheduler.conf", kubeconfig({}, {}, "http://10.0.0.9:8080")),
         (fail("kubeconfig-insecure", "high", "plain HTTP"), absent("expiry.scheduler"))),
    Case("no authority",
         put("etc/kubernetes/scheduler.conf", kubeconfig({}, {})),
         (fail("kubeconfig-insecure", "low", "names no authority"), absent("expiry.scheduler"))),
    Case("a token without end", user("root/.kube/config", token=jwt(sub="a", iss="b")),
         (fail("static-tokens", "high", "never ends"),)),
    Case("a token of ten years",
         user("root/.kube/config", token=jwt(sub="a", iat=AT, exp=AT + 3650 * 86400)),
         (fail("static-tokens", "high", "lives 3650 days"),)),
    Case("a token of an hour",
         user("root/.kube/config", token=jwt(sub="a", iat=AT, exp=AT + 3600)), ()),
    Case("a token that tells nothing", user("root/.kube/config", token="x" * 40),
         (unknown("static-tokens", "does not say"),)),
    Case("static tokens", flags(token_auth_file="/etc/tokens.csv"),
         (fail("static-tokens", "high", "/etc/tokens.csv"),)),
    Case("bootstrap tokens, nobody cleans", flags(enable_bootstrap_token_auth="true"),
         (fail("bootstrap-api", "medium", "tokencleaner"),)),
    Case("the network plugin's token without end", user(CNI, token=jwt(sub="calico")),
         (fail("cni-kubeconfig", "medium", "never ends"),)),
    Case("the network plugin's token of a day",
         user(CNI, token=jwt(sub="calico", iat=AT, exp=AT + 86400)), (passes("cni-kubeconfig"),)),
    Case("the network plugin's file for everyone",
         both(user(CNI, token=jwt(sub="calico", iat=AT, exp=AT + 86400)), mode(CNI, 0o644)),
         (fail("cni-kubeconfig", "medium", "0644"),)),
    Case("registry credentials for everyone",
         put("var/lib/kubelet/config.json", "{}", 0o644),
         (fail("node-secret-files", "medium", "everyone"),)),
    Case("registry credentials of root",
         put("var/lib/kubelet/config.json", "{}"), (passes("node-secret-files"),)),
    Case("an expired webhook",
         both(lambda node: node.user("", client("hook", **days(400, -35)), key("P-256", 61),
                                     "etc/kubernetes/hook.conf"),
              flags(audit_webhook_config_file="/etc/kubernetes/hook.conf")),
         (fail("webhook", "medium", "expired"),)),
    Case("a sound webhook",
         both(lambda node: node.user("", client("hook"), key("P-256", 61),
                                     "etc/kubernetes/hook.conf"),
              flags(audit_webhook_config_file="/etc/kubernetes/hook.conf")),
         (passes("webhook"),)),
]  # fmt: skip

WORKERS = [
    Case("a worker with the authority's key", lambda node: node.stop(11, 12, 13, 14),
         (fail("ca-key-on-node", "critical", "kubernetes"),
          absent("front-proxy"), absent("bootstrap-api"), absent("etcd-ca-shared"),
          absent("sa-key-age"), unknown("inuse-mismatch", "offline"))),
    Case("a worker with the authority's key under another name",
         both(only_authorities,
              lambda node: write(node.pki / "apiserver.key", traditional_pem(node.cluster.key)),
              lambda node: node.stop(11, 12, 13, 14)),
         (fail("ca-key-on-node", "critical", "CN=kubernetes"),
          *(absent(f"expiry.{n.replace('/', '-')}") for n in LEAFS),
          absent("front-proxy"), absent("bootstrap-api"), absent("sa-key-age"),
          absent("etcd-ca-shared"), unknown("inuse-mismatch", "offline"))),
]  # fmt: skip

CASES = [*EXPIRY, *LIVES, *CHAINS, *CRYPTO, *KEYS, *TRUST, *CONFIGS, *WORKERS]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Finding]:
    return PkiNode(tmp_path_factory.mktemp("sound") / "root").build().findings()


def test_a_sound_node_fails_nothing(sound: dict[str, Finding]) -> None:
    bad = {
        c: f.because
        for c, f in sound.items()
        if f.status not in (Status.PASS, Status.NOT_APPLICABLE)
    }
    assert not bad


@pytest.mark.root
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name.replace(" ", "-"))
def test_what_is_spoiled_is_told(case: Case, tmp_path: Path, sound: dict[str, Finding]) -> None:
    node = PkiNode(tmp_path / "root").build()
    case.spoil(node)
    found = node.findings()
    changed = {c for c, f in found.items() if f.status != sound[c].status}
    assert changed == {s.check for s in case.says}, {c: found[c].because for c in changed}
    for says in case.says:
        finding = found[says.check]
        assert finding.status == says.status
        assert says.words in finding.because
        if says.severity:
            assert finding.severity == says.severity, finding.because
            assert finding.remedy
            assert finding.remedy.text


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 60
    assert len({c.name for c in CASES}) == len(CASES)
