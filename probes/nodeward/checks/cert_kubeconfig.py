"""Kubeconfigs: left-over bootstrap tokens, connections unverified, tokens of network plugins."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import replace

from nodeward.checks.cert_common import (
    AUTHENTICATION,
    BOOTSTRAP,
    Offence,
    looseness,
    unread,
    verdict,
)
from nodeward.checks.cert_expiry import DAY, YEAR_2000, day, span
from nodeward.checks.cert_samples import (
    DARK,
    NOTHING,
    NOW,
    TODAY,
    certificate,
    guard,
    pki,
    place,
    together,
)
from nodeward.facts.clock import Now
from nodeward.facts.kubeconfig import Cluster, Kubeconfig, Kubeconfigs, User
from nodeward.facts.pki import Guard, Kind, Pem, Pki
from nodeward.facts.tokens import Token
from nodeward.facts.urls import split_url
from nodeward.model import (
    Evidence,
    Example,
    Remedy,
    Severity,
    Source,
    Status,
    Verdict,
    check,
)

_NODES = "system:nodes"
CLUSTER = Cluster("c", "https://10.0.0.1:6443", authority="/etc/kubernetes/pki/ca.crt")


def unreadable(found: Kubeconfigs) -> list[str]:
    """Kubeconfigs that could not be read, and folders not searched. What merely lies about in a
    home and is no YAML is no kubeconfig; what may not be opened could be one."""
    denied = ("EACCES", "EPERM")
    broken = [
        f"{k.path}: {k.error}"
        for k in found.rows
        if k.error and not k.absent and (k.component != "copy" or k.error in denied)
    ]
    return [*broken, *found.unseen]


NONE = Kubeconfigs(())


def _bootstrap(
    token: Token | None, path: str = "/etc/kubernetes/bootstrap-kubelet.conf"
) -> Kubeconfigs:
    user = User("tls-bootstrap-token-user", token=token)
    at = guard()
    return Kubeconfigs((Kubeconfig(path, "kubelet-bootstrap", users=(user,), guard=at),))


def _bootstrap_certificate(group: str) -> Kubeconfigs:
    path = "/etc/kubernetes/bootstrap-kubelet.conf"
    leaf = certificate(name="bootstrap", organizations=(group,))
    user = User("b", certificate=Pem(path, "user b", certificates=(leaf,)), has_key=True)
    return Kubeconfigs((Kubeconfig(path, "kubelet-bootstrap", users=(user,), guard=guard()),))


def _bootstrap_file(error: str) -> Kubeconfigs:
    user = User("tls-bootstrap-token-user", token_file="/etc/kubernetes/token", file_error=error)  # noqa: S106
    path = "/etc/kubernetes/bootstrap-kubelet.conf"
    return Kubeconfigs((Kubeconfig(path, "kubelet-bootstrap", users=(user,), guard=guard()),))


_TOKEN = Token("bootstrap", 23, "cc" * 32, public_id="abcdef")
_JOINED = pki("kubelet-client", "/var/lib/kubelet/pki/kubelet-client-current.pem", certificate())
_HIDDEN = pki("kubelet-client", "/etc/kubernetes/kubelet.conf", error="EACCES")


@check(
    "cert.bootstrap-token",
    title="No bootstrap token is left once the node has joined",
    why=(
        "While the token is valid, who reads it can have certificates signed as a new node, or take"
        " over this one's name. After the join nothing needs it."
    ),
    severity=Severity.MEDIUM,
    remedy=Remedy(
        "Delete the token in the cluster, then the file. A certificate is good until it ends.",
        steps=(
            "kubeadm token list",
            "kubeadm token delete TOKEN-ID",
            "rm /etc/kubernetes/bootstrap-kubelet.conf",
        ),
        breaks="A node whose client certificate expires must join again with a new token.",
    ),
    sources=(BOOTSTRAP,),
    examples=lambda: (
        Example(Status.FAIL, (_bootstrap(_TOKEN), _JOINED, NOW), "joined, and the token is there"),
        Example(
            Status.FAIL,
            (_bootstrap_certificate("system:bootstrappers"), _JOINED, NOW),
            "joined, and a certificate to join with is there",
        ),
        Example(
            Status.PASS,
            (_bootstrap_certificate(_NODES), _JOINED, NOW),
            "a node's own certificate",
        ),
        Example(Status.PASS, (_bootstrap(_TOKEN), NOTHING, NOW), "not joined yet"),
        Example(Status.PASS, (NONE, _JOINED, NOW), "joined, and no bootstrap kubeconfig"),
        Example(Status.UNKNOWN, (_bootstrap(_TOKEN), _HIDDEN, NOW), "whether it joined is hidden"),
        Example(Status.PASS, (NONE, _HIDDEN, NOW), "no token is there, joined or not"),
        Example(
            Status.PASS,
            (_bootstrap(Token("jwt", 900, "cc" * 32, expires_at=TODAY - DAY)), _JOINED, NOW),
            "the token says that it has ended",
        ),
        Example(
            Status.UNKNOWN,
            (
                Kubeconfigs(
                    (Kubeconfig("/etc/kubernetes/b.conf", "kubelet-bootstrap", error="EACCES"),)
                ),
                _JOINED,
                NOW,
            ),
            "the kubeconfig may not be read",
        ),
        Example(
            Status.UNKNOWN, (_bootstrap_file("EISDIR"), _JOINED, NOW), "its token file is not read"
        ),
        Example(Status.UNKNOWN, (DARK, DARK, NOW), "processes hidden"),
    ),
    mappings={"sac": ["S15d"], "cis-kubernetes-1.12": ["3.1.3"]},
)
def bootstrap_token(found: Kubeconfigs, facts: Pki, now: Now) -> Verdict:
    used = [h for h in facts.held("kubelet-client") if h.use.in_use]
    joined = any(h.leaf for h in used)
    hidden = unread(facts, "kubelet-client", kinds=(Kind.CERTIFICATE,))
    offences, dark, waits = [], [], False
    for one in found.of("kubelet-bootstrap"):
        if one.error and not one.absent:
            dark.append(f"{one.path}: {one.error}")
        dark += unread_tokens(one)
        for user in one.users:
            credential = _joins_with(user, facts, now.at)
            if credential is None:
                continue
            waits = True
            if joined:
                written = one.guard.mtime if one.guard and now.at >= YEAR_2000 else None
                age = "an unknown time" if written is None else span(now.at - written)
                text = f"{credential.value} is still there, written {age} ago"
                evidence = replace(credential, value=text, source=one.path)
                offences.append(Offence(Severity.MEDIUM, evidence))
    if waits and not joined:
        dark += hidden  # it may have joined long ago
    good = "the node has not joined yet" if waits else "no bootstrap token is left"
    return verdict(offences, good, dark=dark)


def _joins_with(user: User, facts: Pki, now: float) -> Evidence | None:
    """What lets its holder join as any node: a token or a certificate that has not ended. That of
    a node joins as no other."""
    token = user.token or user.file_token
    if token and not (token.expires_at and token.expires_at < now):
        return Evidence("token", str(token))
    pem = user.certificate or facts.at(user.certificate_file)
    leaf = next(iter(pem.certificates), None)
    if leaf and leaf.not_after >= now and _NODES not in leaf.organizations:
        return Evidence("certificate", leaf.subject)
    return None


def _insecure(cluster: Cluster, component: str = "scheduler") -> Kubeconfigs:
    return Kubeconfigs((Kubeconfig("/etc/kubernetes/x.conf", component, clusters=(cluster,)),))


_AUTHORITY = together(
    place("cluster-root-ca", CLUSTER.authority, certificate(name="kubernetes"), kind=Kind.TRUST)
)


@check(
    "cert.kubeconfig-insecure",
    title="Every kubeconfig verifies its API server",
    why=(
        "A client that does not verify the server hands its token, and believes its orders, to"
        " whoever answers: a kubelet then starts any pod it is told to."
    ),
    severity=Severity.HIGH,
    remedy=Remedy(
        "Name the cluster's authority and take out insecure-skip-tls-verify.",
        steps=(
            "kubectl --kubeconfig=FILE config set-cluster NAME --embed-certs"
            " --certificate-authority=/etc/kubernetes/pki/ca.crt",
            "kubectl --kubeconfig=FILE config unset clusters.NAME.insecure-skip-tls-verify",
        ),
        breaks="A server whose certificate does not verify is then refused: see cert.chain.",
    ),
    sources=(
        AUTHENTICATION,
        Source("kubeconfig (v1)", "https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/"),
    ),
    examples=lambda: (
        Example(Status.PASS, (_insecure(CLUSTER), _AUTHORITY), "https, and an authority"),
        Example(
            Status.FAIL,
            (_insecure(Cluster("c", "https://10.0.0.1:6443", insecure=True)), NOTHING),
            "verification is off",
        ),
        Example(
            Status.FAIL, (_insecure(Cluster("c", "http://10.0.0.1:8080")), NOTHING), "plain HTTP"
        ),
        Example(
            Status.FAIL,
            (_insecure(Cluster("c", "https://10.0.0.1:6443")), NOTHING),
            "no authority: every public one will do (low)",
        ),
        Example(Status.NOT_APPLICABLE, (NONE, NOTHING), "no kubeconfig"),
        Example(
            Status.UNKNOWN,
            (
                Kubeconfigs((Kubeconfig("/etc/kubernetes/x.conf", "scheduler", error="EACCES"),)),
                NOTHING,
            ),
            "a kubeconfig may not be read",
        ),
        Example(Status.UNKNOWN, (_insecure(CLUSTER), NOTHING), "the authority's file is not there"),
        Example(Status.UNKNOWN, (DARK, DARK), "processes hidden"),
    ),
    mappings={"sac": ["S1a"], "nsa-cisa-1.2": ["CP"]},
)
def kubeconfig_insecure(found: Kubeconfigs, facts: Pki) -> Verdict:
    offences, notes, dark, count = [], [], [], 0
    for one in found.rows:
        for cluster in one.clusters:
            count += 1
            component = one.component or "kubeconfig"
            if fault := _unverified(cluster):
                severity, text = fault
                if not one.in_use and severity is Severity.HIGH:
                    severity = Severity.MEDIUM
                offences.append(Offence(severity, Evidence(component, text, one.path)))
            elif why := _no_authority(cluster, facts):
                text = f"whether cluster {cluster.name} in {one.path} is verified: {why}"
                if one.in_use:
                    dark.append(text)
                else:  # whoever uses it connects to nobody
                    notes.append(Evidence(component, f"cluster {cluster.name}: {why}", one.path))
    dark += unreadable(found)
    if not count and not dark:
        return Verdict.not_applicable("no kubeconfig is on this host")
    good = f"{count - len(notes)} clusters in kubeconfigs are verified"
    return verdict(offences, good, *notes, dark=dark)


def _no_authority(cluster: Cluster, facts: Pki) -> str:
    """Why the authority that a cluster is known by cannot be read."""
    pem = cluster.anchors or facts.at(cluster.authority)
    if pem.certificates and not pem.broken:
        return ""
    why = "not there" if pem.absent else pem.error or "; ".join(pem.broken)
    name = cluster.authority or "its certificate-authority-data"
    return f"{name}: {why or 'holds no certificate'}"


def _unverified(cluster: Cluster) -> tuple[Severity, str] | None:
    scheme, host, _ = split_url(cluster.server)
    if cluster.insecure:
        return Severity.HIGH, f"cluster {cluster.name} sets insecure-skip-tls-verify"
    if scheme in ("http", ""):
        local = host in ("localhost", "127.0.0.1", "::1")
        severity = Severity.MEDIUM if local else Severity.HIGH
        return severity, f"cluster {cluster.name} speaks plain HTTP to {cluster.server}"
    if not cluster.authority and not cluster.anchors:
        text = f"cluster {cluster.name} names no authority: any that the system trusts will do"
        return Severity.LOW, text
    return None


def _network(token: Token | None, mode: int = 0o600, *, file: Guard | None = None) -> Kubeconfigs:
    path = "/etc/cni/net.d/calico-kubeconfig"
    user = User("calico", token=token)
    if file:
        user = User("calico", token_file=f"{path}-token", file_token=token, file_guard=file)
    one = Kubeconfig(path, "cni", clusters=(CLUSTER,), users=(user,), guard=guard(mode))
    return Kubeconfigs((one,))


_DAY = Token("jwt", 900, "cc" * 32, issued_at=TODAY - 60, expires_at=TODAY + DAY)


@check(
    "cert.cni-kubeconfig",
    title="The network plugin's credential on this node is short-lived and root's alone",
    why=(
        "Network plugins keep a service account's token in a file of the host. One that never ends"
        " outlives the pod it was made for, and its account may often change pods and nodes."
    ),
    severity=Severity.MEDIUM,
    remedy=Remedy(
        "Use a release of the plugin that refreshes a bound token, and mode 0600.",
        steps=(
            "chmod 600 /etc/cni/net.d/*kubeconfig*",
            "kubectl -n kube-system get secret --field-selector"
            " type=kubernetes.io/service-account-token",
        ),
        breaks="Deleting the Secret of a token that is still in use stops the plugin.",
    ),
    sources=(
        Source(
            "service account tokens",
            "https://kubernetes.io/docs/concepts/security/service-accounts/",
        ),
        AUTHENTICATION,
    ),
    examples=lambda: (
        Example(Status.PASS, (_network(_DAY), NOW), "a bound token of a day"),
        Example(Status.FAIL, (_network(Token("jwt", 900, "cc" * 32)), NOW), "a token without end"),
        Example(Status.FAIL, (_network(_DAY, 0o644), NOW), "everyone can read it"),
        Example(
            Status.FAIL, (_network(_DAY, file=guard(uid=1000)), NOW), "its token file is a user's"
        ),
        Example(Status.NOT_APPLICABLE, (NONE, NOW), "no network plugin keeps a credential here"),
        Example(
            Status.UNKNOWN,
            (_network(Token("opaque", 40, "cc" * 32)), NOW),
            "a token that says nothing of its end",
        ),
        Example(
            Status.UNKNOWN,
            (Kubeconfigs((), ("/etc/cni/net.d: EACCES",)), NOW),
            "its folder may not be searched",
        ),
        Example(Status.UNKNOWN, (DARK, NOW), "processes hidden"),
    ),
    mappings={"sac": ["S16a"], "cis-kubernetes-1.12": ["1.1.9", "1.1.10"]},
)
def cni_kubeconfig(found: Kubeconfigs, now: Now) -> Verdict:
    rows = found.of("cni")
    offences: list[Offence] = []
    dark = [f"{k.path}: {k.error}" for k in rows if k.error and not k.absent]
    for one in rows:
        offences += _reach(one, found.owners)
        dark += unread_tokens(one)
        for user in one.users:
            if token := user.token or user.file_token:
                fault = token_fault(token, now.at)
                if fault == "":
                    dark.append(no_end(token, one.path, now.at))
                elif fault:
                    evidence = Evidence("token", f"{token} {fault}", one.path)
                    offences.append(Offence(Severity.MEDIUM, evidence))
            offences += _ended(one, user, now.at)
    dark += [u for u in found.unseen if "/cni" in u]
    if not rows and not dark:
        return Verdict.not_applicable("no network plugin keeps a credential on this host")
    return verdict(
        offences, f"the credentials of network plugins ({len(rows)}) are short-lived", dark=dark
    )


def _ended(one: Kubeconfig, user: User, now: float) -> Iterator[Offence]:
    for leaf in user.certificate.certificates[:1] if user.certificate else ():
        if now >= YEAR_2000 and now > leaf.not_after:
            text = f"{leaf.subject} expired on {day(leaf.not_after)}"
            yield Offence(Severity.MEDIUM, Evidence("certificate", text, one.path))


def _reach(one: Kubeconfig, owners: bool) -> Iterator[Offence]:
    """Who else reaches a network plugin's kubeconfig, and the file of its token."""
    places = [("kubeconfig", one.path, one.guard)]
    places += [("token file", u.token_file, u.file_guard) for u in one.users if u.token_file]
    for what, path, at in places:
        regular = at is not None and stat.S_ISREG(at.mode)
        if at and regular and (found := looseness(at, owners=owners)):
            yield Offence(Severity.MEDIUM, Evidence(what, found[1], path))


LONGEST_TOKEN_S = 400 * DAY  # the API server's own extension of bound tokens is a year


def token_fault(token: Token, now: float) -> str | None:
    """What is wrong with how long a token lives: None for nothing, "" when that cannot be told:
    it does not say, or the clock stands before 2000."""
    if token.endless:
        return "never ends"
    if token.lifetime_s is not None and token.lifetime_s > LONGEST_TOKEN_S:
        return f"lives {token.lifetime_s / DAY:.0f} days"
    if token.expires_at is None or now < YEAR_2000:
        return ""
    if token.expires_at < now:
        return f"expired on {day(token.expires_at)}"
    if token.lifetime_s is None and token.expires_at - now > LONGEST_TOKEN_S:
        return f"ends only on {day(token.expires_at)}"
    return None


def no_end(token: Token, where: str, now: float) -> str:
    """What to say of a token whose end could not be told."""
    why = "it does not say" if token.expires_at is None else f"the clock says {day(now)}"
    return f"the end of {token} in {where}: {why}"


def unread_tokens(one: Kubeconfig) -> list[str]:
    """Token files of a kubeconfig that could not be read, with the reason."""
    return [f"{u.token_file}: {u.file_error}" for u in one.users if u.file_error]
