"""Kubeconfigs: administrators' credentials, left-over bootstrap tokens, connections unverified."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import replace

from nodeward.checks.cert_common import (
    AUTHENTICATION,
    BOOTSTRAP,
    PKI,
    SECURING,
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
from nodeward.facts.access import octal, readers
from nodeward.facts.clock import Now
from nodeward.facts.kubeconfig import ADMINISTRATORS, Cluster, Kubeconfig, Kubeconfigs, User
from nodeward.facts.pki import LOOSE, Guard, Kind, Pem, Pki
from nodeward.facts.renewal_authority import keep_to_root
from nodeward.facts.strays import Stray, Strays
from nodeward.facts.tokens import Token
from nodeward.facts.urls import split_url
from nodeward.facts.x509 import Certificate
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
    most,
)

_MASTERS = "system:masters"
_NODES = "system:nodes"
_CLUSTER = Cluster("c", "https://10.0.0.1:6443", authority="/etc/kubernetes/pki/ca.crt")


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


def administrators(found: Kubeconfigs, facts: Pki) -> Iterator[tuple[Kubeconfig, User, str]]:
    """Every user in a kubeconfig whose certificate makes it an administrator of the cluster, with
    the group that does."""
    for one in found.rows:
        for user in one.users:
            pem = user.certificate or facts.at(user.certificate_file)
            for leaf in pem.certificates[:1]:
                group = next((o for o in leaf.organizations if o in ADMINISTRATORS), None)
                if group:
                    yield one, user, group


def _admin(
    path: str = "/etc/kubernetes/admin.conf",
    group: str = "kubeadm:cluster-admins",
    *,
    at: Guard | None = None,
    component: str = "admin",
) -> Kubeconfigs:
    leaf: Certificate = certificate(name="kubernetes-admin", organizations=(group,))
    user = User("admin", certificate=Pem(path, "user admin", certificates=(leaf,)), has_key=True)
    one = Kubeconfig(path, component, clusters=(_CLUSTER,), users=(user,), guard=at or guard())
    return Kubeconfigs((one,))


_NONE = Kubeconfigs(())
_SEARCHED = Strays((), ("/root", "/home"), 300, 12)
_DENIED = Kubeconfigs((), ("/root: EACCES",))


@check(
    "cert.superadmin",
    title="No credential of system:masters lies on this node",
    why=(
        "The group system:masters is above every rule of RBAC and cannot be revoked: a copied"
        " certificate rules the cluster until it ends."
    ),
    severity=Severity.MEDIUM,
    remedy=Remedy(
        "Move it off the node into safe keeping; work as a user whom RBAC makes cluster-admin.",
        steps=(
            "install -m 600 /etc/kubernetes/super-admin.conf /media/SAFE/ && shred -u"
            " /etc/kubernetes/super-admin.conf",
            "# kubeadm before 1.29: kubeadm init phase kubeconfig admin, with 1.29 or later",
        ),
        breaks="kubeadm writes it again on demand: kubeadm init phase kubeconfig super-admin.",
    ),
    sources=(
        SECURING,
        Source(
            "RBAC good practices",
            "https://kubernetes.io/docs/concepts/security/rbac-good-practices/",
        ),
    ),
    examples=lambda: (
        Example(
            Status.PASS, (_admin(), NOTHING, _SEARCHED, NOW), "an administrator that RBAC binds"
        ),
        Example(
            Status.FAIL,
            (_admin("/etc/kubernetes/super-admin.conf", _MASTERS), NOTHING, _SEARCHED, NOW),
            "super-admin.conf is where kubeadm wrote it",
        ),
        Example(
            Status.FAIL,
            (_admin("/home/bob/.kube/config", _MASTERS, component="copy"), NOTHING, _SEARCHED, NOW),
            "a copy in a home",
        ),
        Example(
            Status.FAIL,
            (_NONE, NOTHING, Strays((Stray("/opt/secret.yaml", _MASTERS),), ("/opt",)), NOW),
            "a manifest of a Secret holds one",
        ),
        Example(
            Status.UNKNOWN,
            (_NONE, NOTHING, Strays((), ("/opt",), stopped="/opt/x: more than 30000 entries"), NOW),
            "the search reached its bound",
        ),
        Example(Status.UNKNOWN, (_DENIED, NOTHING, _SEARCHED, NOW), "a home may not be searched"),
        Example(Status.UNKNOWN, (_NONE, NOTHING, DARK, NOW), "the search took too long"),
        Example(Status.UNKNOWN, (DARK, DARK, DARK, NOW), "processes hidden"),
    ),
    mappings={
        "sac": ["S3b", "B18"],
        "cis-kubernetes-1.12": ["1.1.13", "1.1.14", "5.1.7"],
        "stig": ["V-242460"],
    },
)
def superadmin(
    found: Kubeconfigs, facts: Pki, strays: Strays | Absent | Unreadable, now: Now
) -> Verdict:
    offences = [*_in_kubeconfigs(found, facts, now.at)]
    listed = {o.evidence.source for o in offences}
    for held in facts.held():
        leaf = next((c for c in held.pem.certificates if _MASTERS in c.organizations), None)
        inside = held.pem.part or held.pem.path in listed
        if leaf and not inside and held.use.component != "copy":
            severity, key = _worth(leaf, held.pem, facts, now.at)
            text = f"{leaf.subject} is in {_MASTERS}, {key}"
            listed.add(held.pem.path)
            what = "certificate" if held.use.component == LOOSE else held.use.component
            offences.append(Offence(severity, Evidence(what, text, held.pem.where)))
    good = f"none of {len(found.rows)} kubeconfigs is in {_MASTERS}"
    denied = [h.pem for h in facts.held(LOOSE) if h.pem.error in ("EACCES", "EPERM")]
    dark = [*unreadable(found), *(f"{pem.where}: {pem.error}" for pem in denied)]
    notes = []
    if isinstance(strays, Strays):
        offences += _hidden_inside(strays, found, facts)
        dark += strays.dark
        good += f", nor is any of {strays.extent} folders"
        notes = [Evidence("searched", folder) for folder in strays.folders]
        notes += [Evidence("left alone", one) for one in strays.elsewhere]
        notes += [Evidence("not searched", one) for one in strays.outside]
    else:
        why = strays.error if isinstance(strays, Unreadable) else f"no {strays.what}"
        dark.append(f"homes and the like: {why}")
    mend = keep_to_root(facts)
    offences = [replace(o, remedy=mend) for o in offences]
    said = verdict(offences, good, *notes, dark=dark, unseen=facts)
    # Where it was looked, and where not, is told beside what was found as well.
    return (
        said
        if said.status is Status.PASS
        else replace(said, evidence=most([*said.evidence, *notes]))
    )


def _in_kubeconfigs(found: Kubeconfigs, facts: Pki, now: float) -> Iterator[Offence]:
    for one, user, group in administrators(found, facts):
        if group == _MASTERS:
            pem = user.certificate or facts.at(user.certificate_file)
            severity, key = _worth(pem.certificates[0], pem, facts, now, user, one.guard)
            text = f"{user.name} is in {_MASTERS}, {key}"
            yield Offence(severity, Evidence("kubeconfig", text, one.path))


def _worth(
    leaf: Certificate,
    pem: Pem,
    facts: Pki,
    now: float,
    user: User | None = None,
    at: Guard | None = None,
) -> tuple[Severity, str]:
    """How grave it is, and why. A certificate alone opens nothing. With its key it is the whole
    cluster for whoever has this node or reads the file; root of a control plane is that anyway."""
    if leaf.not_after < now:
        return Severity.LOW, f"and expired on {day(leaf.not_after)}"
    places = (facts.at(use.path, use.part) for use in facts.uses)
    holders = [
        one for one in places if any(k.spki_sha256 == leaf.key.spki_sha256 for k in one.keys)
    ]
    guards = [one.guard for one in holders]
    if user and user.has_key:
        guards.append(at)
    elif not holders:
        named = user and user.key_file and _untold(facts.at(user.key_file))
        if named or _untold(pem) or facts.unsearched:
            return Severity.MEDIUM, "and whether its key is here could not be told"
        return Severity.LOW, "without its key"
    apart = holders and all(one.path != pem.path for one in holders)
    key = f"with its key ({holders[0].where})" if apart else "with its key"
    who = next((w for g in guards if g for w in readers(g, owners=facts.owners)), "")
    if who:
        return Severity.CRITICAL, f"{key}, which {who} can read"
    if not facts.control_plane:
        return Severity.CRITICAL, f"{key}, on a node that is no control plane"
    return Severity.MEDIUM, f"{key}, which root alone can read"


def _untold(key: Pem) -> bool:
    """A place where a key is, or may be, whose public half could not be told."""
    if key.absent:
        return False
    return bool(key.error) or any(k.spki_sha256 is None for k in key.keys)


def _hidden_inside(strays: Strays, found: Kubeconfigs, facts: Pki) -> Iterator[Offence]:
    """Files that are neither a kubeconfig nor a certificate, and yet hold one: a Secret's manifest,
    a script."""
    parsed = {one.path for one in found.rows if not one.error}
    for one in strays.rows:
        told = one.path in parsed or facts.at(one.path).certificates
        if one.group == _MASTERS and not told:
            key = " and a private key" if one.key else ""
            severity = Severity.CRITICAL if one.key else Severity.MEDIUM
            text = f"holds a certificate{key} of {_MASTERS}"
            yield Offence(severity, Evidence("file", text, one.path))


@check(
    "cert.admin-kubeconfig-spread",
    title="Only root can read an administrator's kubeconfig",
    why=(
        "Any local user or container escape that can read it is the administrator of the whole"
        " cluster. k3s writes its own for everyone to read when asked to (--write-kubeconfig-mode)."
    ),
    severity=Severity.HIGH,
    remedy=Remedy(
        "Make it root's alone; if others could read it, renew it, since copies stay good.",
        steps=(
            "chown root:root KUBECONFIG && chmod 600 KUBECONFIG",
            "# k3s: remove --write-kubeconfig-mode, systemctl restart k3s",
            "# kubeadm: kubeadm certs renew admin.conf",
        ),
        breaks="Scripts of other users that use it need credentials of their own.",
    ),
    sources=(SECURING, PKI),
    examples=lambda: (
        Example(Status.PASS, (_admin(), NOTHING), "0600, root"),
        Example(
            Status.FAIL,
            (_admin("/etc/rancher/k3s/k3s.yaml", _MASTERS, at=guard(0o644)), NOTHING),
            "everyone can read it",
        ),
        Example(
            Status.FAIL,
            (_admin("/home/bob/.kube/config", at=guard(0o600, uid=1000)), NOTHING),
            "a copy that belongs to a user",
        ),
        Example(
            Status.PASS,
            (_admin(at=guard(0o644, folder=0o700)), NOTHING),
            "its directory keeps others out",
        ),
        Example(Status.NOT_APPLICABLE, (_NONE, NOTHING), "no administrator's credential here"),
        Example(Status.UNKNOWN, (_DENIED, NOTHING), "a home may not be searched"),
        Example(Status.UNKNOWN, (DARK, DARK), "processes hidden"),
    ),
    mappings={"sac": ["S3b"], "cis-kubernetes-1.12": ["1.1.13"]},
)
def admin_spread(found: Kubeconfigs, facts: Pki) -> Verdict:
    offences, count = [], 0
    for one, user in dict.fromkeys((one, user) for one, user, _ in _admins(found, facts)):
        count += 1
        path, at = _key_of(one, user, facts)
        who = readers(at, owners=facts.owners) if at else ()
        if who and at:
            text = f"{user.name} is readable by {', '.join(who)} (mode {octal(at)})"
            offences.append(Offence(Severity.HIGH, Evidence("kubeconfig", text, path)))
    dark = unreadable(found)
    if not count and not dark:
        return Verdict.not_applicable("no administrator's kubeconfig is on this host")
    return verdict(offences, f"root alone can read {count} administrators' kubeconfigs", dark=dark)


def _key_of(one: Kubeconfig, user: User, facts: Pki) -> tuple[str, Guard | None]:
    """What lets its reader in: the kubeconfig itself, or the file of the key that it names."""
    if user.key_file and not user.has_key and not user.token and not user.basic:
        return user.key_file, facts.at(user.key_file).guard
    return one.path, one.guard


def _admins(found: Kubeconfigs, facts: Pki) -> Iterator[tuple[Kubeconfig, User, str]]:
    """Also by a token or password in the file that a distribution keeps for administrators: whose
    those are, only the API server knows."""
    yield from administrators(found, facts)
    for one in found.of("admin", "super-admin"):
        yield from ((one, user, "") for user in one.users if user.token or user.basic)


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
        Example(Status.PASS, (_NONE, _JOINED, NOW), "joined, and no bootstrap kubeconfig"),
        Example(Status.UNKNOWN, (_bootstrap(_TOKEN), _HIDDEN, NOW), "whether it joined is hidden"),
        Example(Status.PASS, (_NONE, _HIDDEN, NOW), "no token is there, joined or not"),
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
    place("cluster-root-ca", _CLUSTER.authority, certificate(name="kubernetes"), kind=Kind.TRUST)
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
        Example(Status.PASS, (_insecure(_CLUSTER), _AUTHORITY), "https, and an authority"),
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
        Example(Status.NOT_APPLICABLE, (_NONE, NOTHING), "no kubeconfig"),
        Example(
            Status.UNKNOWN,
            (
                Kubeconfigs((Kubeconfig("/etc/kubernetes/x.conf", "scheduler", error="EACCES"),)),
                NOTHING,
            ),
            "a kubeconfig may not be read",
        ),
        Example(
            Status.UNKNOWN, (_insecure(_CLUSTER), NOTHING), "the authority's file is not there"
        ),
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
    one = Kubeconfig(path, "cni", clusters=(_CLUSTER,), users=(user,), guard=guard(mode))
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
        Example(Status.NOT_APPLICABLE, (_NONE, NOW), "no network plugin keeps a credential here"),
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
    return verdict(offences, f"{len(rows)} credentials of network plugins end soon", dark=dark)


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
