"""Who trusts which authority: etcd and the front proxy must not trust what everybody gets."""

from __future__ import annotations

from nodeward.checks.cert_common import PKI, Offence, unread, verdict
from nodeward.checks.cert_samples import DARK, NOTHING, certificate, place, together
from nodeward.facts.daemons import APISERVER, ETCD, Daemons, sample
from nodeward.facts.pki import Kind, Pki
from nodeward.facts.signature import signed_by
from nodeward.facts.x509 import Certificate, PublicKey
from nodeward.model import (
    Absent,
    Evidence,
    Example,
    Remedy,
    Severity,
    Source,
    Status,
    Unreadable,
    Verdict,
    check,
)


def trusted(facts: Pki, *components: str) -> dict[str, tuple[Certificate, str]]:
    """The authorities in use by their public key, each with its place."""
    return {
        one.key.spki_sha256: (one, held.pem.where)
        for held in facts.held(*components, kind=Kind.TRUST)
        if held.use.in_use
        for one in held.pem.certificates
    }


def _authorities(**keys: str) -> Pki:
    return together(
        *(
            place(
                name.replace("_", "-"),
                f"/srv/{name}.crt",
                certificate(name=key, key=PublicKey("EC", 256, key * 32, curve="P-256")),
                kind=Kind.TRUST,
            )
            for name, key in keys.items()
        )
    )


def _above(one: Certificate, others: dict[str, tuple[Certificate, str]]) -> str:
    """The authority among others that this one issued: whoever trusts this one takes what that one
    issues, if it is sent along."""
    for other, where in others.values():
        named = other.raw_issuer == one.raw_subject and other.sha256 != one.sha256
        if named and signed_by(other, one) is not False:
            return f"{other.subject} ({where})"
    return ""


_ETCD = ("etcd-ca", "etcd-peer-ca")
_CLUSTER = ("cluster-ca", "kubelet-client-ca")
_NONE = Daemons(())


@check(
    "cert.etcd-ca-shared",
    title="etcd trusts an authority of its own",
    why=(
        "etcd asks of a client only that its certificate comes from the authority it trusts. If"
        " that is the cluster's, every kubelet and every user with a certificate reads and writes"
        " everything, secrets first, past the API server and all its rules."
    ),
    severity=Severity.CRITICAL,
    remedy=Remedy(
        "Make an authority for etcd alone, issue its server, peer and client certificates from it,"
        " and let etcd trust only that.",
        steps=(
            "# kubeadm makes /etc/kubernetes/pki/etcd/ca.crt: point --trusted-ca-file and"
            " --peer-trusted-ca-file there",
            "# until then: etcd --client-cert-allowed-hostname, --peer-cert-allowed-cn",
        ),
        breaks="etcd and the API servers restart; clients with the old authority are refused.",
    ),
    sources=(
        PKI,
        Source(
            "etcd transport security",
            "https://etcd.io/docs/v3.6/op-guide/security/",
        ),
    ),
    examples=lambda: (
        Example(Status.PASS, (_authorities(cluster_ca="aa", etcd_ca="bb"), _NONE), "two"),
        Example(Status.FAIL, (_authorities(cluster_ca="aa", etcd_ca="aa"), _NONE), "one for both"),
        Example(
            Status.FAIL,
            (_authorities(cluster_ca="aa", etcd_ca="bb", etcd_peer_ca="aa"), _NONE),
            "the cluster's authority makes peers",
        ),
        Example(Status.NOT_APPLICABLE, (NOTHING, _NONE), "no etcd"),
        Example(
            Status.UNKNOWN, (_authorities(etcd_ca="bb"), _NONE), "the cluster's is not on this node"
        ),
        Example(Status.UNKNOWN, (DARK, DARK), "processes hidden"),
    ),
    mappings={"sac": ["S12a"], "cis-kubernetes-1.12": ["2.7"]},
)
def etcd_ca_shared(facts: Pki, daemons: Daemons | Absent | Unreadable) -> Verdict:
    cluster, offences = trusted(facts, *_CLUSTER), []
    for component, flag in (
        ("etcd-ca", "client-cert-allowed"),
        ("etcd-peer-ca", "peer-cert-allowed"),
    ):
        for key, (one, where) in trusted(facts, component).items():
            if key in cluster:
                limit = _limited(daemons, flag)
                text = f"{one.subject} is also the cluster's authority ({cluster[key][1]})"
                text += f"; {limit} narrows it" if limit else ""
                severity = Severity.MEDIUM if limit else Severity.CRITICAL
                offences.append(Offence(severity, Evidence(component, text, where)))
            elif below := _above(one, cluster):
                text = f"{one.subject} issued the cluster's authority {below}: so it lets all in"
                offences.append(Offence(Severity.CRITICAL, Evidence(component, text, where)))
    own, dark = trusted(facts, *_ETCD), unread(facts, *_ETCD)
    if not own and not dark and not facts.unseen:
        return Verdict.not_applicable("no etcd that trusts an authority is on this host")
    dark += unread(facts, *_CLUSTER)
    if own and not cluster:
        dark.append("the cluster's own authority: it is not on this node")
    return verdict(
        offences, "etcd and the cluster have different authorities", dark=dark, unseen=facts
    )


def _limited(daemons: Daemons | Absent | Unreadable, prefix: str) -> str:
    etcd = daemons.one(ETCD) if isinstance(daemons, Daemons) else None
    names = (f"{prefix}-hostname", f"{prefix}-cn")
    return next((f"--{n}" for n in names if etcd and etcd.flag(n)), "")


def _front(names: str = "--requestheader-allowed-names=front-proxy-client") -> Daemons:
    arguments = f"--requestheader-client-ca-file=/srv/front_proxy_ca.crt {names}"
    return Daemons((sample(APISERVER, arguments),))


@check(
    "cert.front-proxy",
    title="Only the front proxy can say who a user is",
    why=(
        "Whoever has a certificate of the request-header authority may name any user in a header."
        " If that is the authority of ordinary clients and no names are demanded, every client is"
        " whoever it says."
    ),
    severity=Severity.HIGH,
    remedy=Remedy(
        "Give the front proxy an authority of its own, and name its certificate.",
        steps=(
            "# kube-apiserver:"
            " --requestheader-client-ca-file=/etc/kubernetes/pki/front-proxy-ca.crt"
            " --requestheader-allowed-names=front-proxy-client",
        ),
        breaks="Aggregated API servers that use another client certificate are refused.",
    ),
    sources=(
        Source(
            "aggregation layer",
            "https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/",
        ),
    ),
    examples=lambda: (
        Example(
            Status.PASS,
            (_authorities(cluster_ca="aa", front_proxy_ca="bb"), _front()),
            "its own authority, and a name",
        ),
        Example(
            Status.FAIL,
            (_authorities(cluster_ca="aa", front_proxy_ca="aa"), _front()),
            "the authority of all clients",
        ),
        Example(
            Status.FAIL,
            (_authorities(cluster_ca="aa", front_proxy_ca="bb"), _front("")),
            "any certificate of the authority will do",
        ),
        Example(
            Status.PASS,
            (NOTHING, Daemons((sample(APISERVER, "--secure-port=6443"),))),
            "headers are not believed at all",
        ),
        Example(Status.NOT_APPLICABLE, (NOTHING, _NONE), "no API server"),
        Example(Status.UNKNOWN, (DARK, DARK), "processes hidden"),
        Example(
            Status.UNKNOWN,
            (
                together(
                    place("front-proxy-ca", "/srv/f.crt", kind=Kind.TRUST, error="EACCES"),
                ),
                _front(),
            ),
            "a file may not be read",
        ),
    ),
    mappings={"sac": ["S2b"]},
)
def front_proxy(facts: Pki, daemons: Daemons) -> Verdict:
    server = daemons.one(APISERVER)
    front = trusted(facts, "front-proxy-ca")
    if server is None and not (front and daemons.supervisors):
        if not daemons.complete:
            return Verdict.unknown("processes may be hidden from us")
        return Verdict.not_applicable("no API server is on this host")
    if server is not None and not server.flag("requestheader-client-ca-file"):
        return Verdict.passed(f"{server.program} ({server.origin}) believes no request headers")
    clients, offences = trusted(facts, *_CLUSTER), []
    for key, (one, where) in front.items():
        if key in clients:
            text = f"{one.subject} also issues the certificates of ordinary clients"
            offences.append(Offence(Severity.HIGH, Evidence("front-proxy-ca", text, where)))
        elif below := _above(one, clients):
            text = f"{one.subject} issued the authority of ordinary clients, {below}"
            offences.append(Offence(Severity.HIGH, Evidence("front-proxy-ca", text, where)))
    if server is not None and not (server.flag("requestheader-allowed-names") or "").strip(", "):
        text = "any certificate of the authority may name users"
        source = server.where("requestheader-allowed-names")
        offences.append(Offence(Severity.HIGH, Evidence("allowed names", text, source)))
    names = server.flag("requestheader-allowed-names") if server else "those its distribution sets"
    for held in facts.held("front-proxy-client") if server and names else ():
        allowed = [n.strip() for n in (names or "").split(",")]
        if held.use.in_use and held.leaf and held.leaf.common_name not in allowed:
            text = f"{held.leaf.subject} is not among the allowed names {names}: it is refused"
            evidence = Evidence("front-proxy-client", text, held.pem.where)
            offences.append(Offence(Severity.MEDIUM, evidence))
    good = f"the front proxy has its own authority; names allowed: {names}"
    return verdict(offences, good, dark=unread(facts, "front-proxy-ca", *_CLUSTER), unseen=facts)
