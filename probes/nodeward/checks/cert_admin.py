"""Administrators' credentials: where they lie on a node, and who can read them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from nodeward.checks.cert_common import (
    PKI,
    SECURING,
    Offence,
    verdict,
)
from nodeward.checks.cert_expiry import day
from nodeward.checks.cert_kubeconfig import CLUSTER, NONE, unreadable
from nodeward.checks.cert_samples import (
    DARK,
    NOTHING,
    NOW,
    certificate,
    guard,
)
from nodeward.facts.access import octal, readers
from nodeward.facts.clock import Now
from nodeward.facts.kubeconfig import ADMINISTRATORS, Kubeconfig, Kubeconfigs, User
from nodeward.facts.pki import LOOSE, Guard, Pem, Pki
from nodeward.facts.renewal_authority import keep_to_root
from nodeward.facts.strays import Stray, Strays
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
    one = Kubeconfig(path, component, clusters=(CLUSTER,), users=(user,), guard=at or guard())
    return Kubeconfigs((one,))


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
            (NONE, NOTHING, Strays((Stray("/opt/secret.yaml", _MASTERS),), ("/opt",)), NOW),
            "a manifest of a Secret holds one",
        ),
        Example(
            Status.UNKNOWN,
            (NONE, NOTHING, Strays((), ("/opt",), stopped="/opt/x: more than 30000 entries"), NOW),
            "the search reached its bound",
        ),
        Example(Status.UNKNOWN, (_DENIED, NOTHING, _SEARCHED, NOW), "a home may not be searched"),
        Example(Status.UNKNOWN, (NONE, NOTHING, DARK, NOW), "the search took too long"),
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
        Example(Status.NOT_APPLICABLE, (NONE, NOTHING), "no administrator's credential here"),
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
