"""Private keys: who may read them, whether each is used once, and which must not be here at all."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from nodeward.checks.cert_common import (
    KUBEADM_CERTS,
    PKI,
    SECURING,
    Offence,
    looseness,
    unread,
    verdict,
)
from nodeward.checks.cert_expiry import DAY, YEAR_2000, day, span
from nodeward.checks.cert_quality import anchors
from nodeward.checks.cert_samples import (
    DARK,
    NOTHING,
    NOW,
    TODAY,
    UNSEEN,
    certificate,
    guard,
    place,
    together,
)
from nodeward.facts.clock import Now
from nodeward.facts.daemons import APISERVER, Daemons, sample
from nodeward.facts.kubeconfig import Kubeconfig, Kubeconfigs, User
from nodeward.facts.pki import LOOSE, Guard, Held, Kind, Pem, Pki, PrivateKey, Use
from nodeward.facts.pki_places import PROGRAM_OF
from nodeward.facts.pki_roles import OF_ETCD, SIGNERS, authority_named
from nodeward.facts.strays import Strays
from nodeward.facts.tokens import Token
from nodeward.facts.x509 import Extensions, PublicKey
from nodeward.lazy import dataclass
from nodeward.model import (
    Absent,
    Evidence,
    Example,
    Params,
    Remedy,
    Severity,
    Source,
    Status,
    Unreadable,
    Verdict,
    check,
)

_KEY = PrivateKey("EC", 256, "aa" * 32)
_KEY_PATH = "/etc/kubernetes/pki/apiserver.key"
_NONE = Daemons(())
_SERVER = Daemons((replace(sample(APISERVER, ""), uid=500),))


def key_files(facts: Pki) -> Iterator[tuple[Use, Pem]]:
    """Every file that holds a private key, inside a kubeconfig too, or that something names as
    one; once each, with its first use."""
    named = {(u.path, u.part) for u in facts.uses if u.kind is Kind.KEY}
    seen = set()
    for use in facts.uses:
        pem = facts.at(use.path, use.part)
        is_key = pem.keys or (use.path, use.part) in named
        if is_key and not pem.absent and pem.path not in seen:
            seen.add(pem.path)
            yield use, pem


_FILES = Kubeconfigs(())


def _holding(mode: int) -> Kubeconfigs:
    user = User("u", token=Token("opaque", 40, "cc" * 32))
    return Kubeconfigs((Kubeconfig("/etc/x.conf", "scheduler", users=(user,), guard=guard(mode)),))


def _key(mode: int = 0o600, *, uid: int = 0, gid: int = 0, folder: int = 0o755) -> Pki:
    at = guard(mode, uid=uid, gid=gid, folder=folder)
    return together(place("apiserver", _KEY_PATH, kind=Kind.KEY, keys=(_KEY,), guard=at))


@check(
    "cert.key-perms",
    title="Only root can read or replace a private key, or a kubeconfig with a token",
    why=(
        "Who reads the key is the component: the kubelet, the API server, or with the key of the"
        " authority anyone at all. A mode of 0600 in a directory that others can write to protects"
        " nothing, because the file can be replaced."
    ),
    severity=Severity.HIGH,
    remedy=Remedy(
        "Give keys to root, mode 0600, and take write access to their directories from others.",
        steps=(
            "chown root:root KEY && chmod 600 KEY",
            "setfacl -b KEY",
            "# if others could read it: issue the certificate again with a new key",
        ),
        breaks="A daemon that does not run as root needs its keys to belong to its own user.",
    ),
    sources=(PKI, SECURING),
    examples=lambda: (
        Example(Status.PASS, (_key(), _NONE, _FILES), "0600, root"),
        Example(
            Status.PASS, (_key(0o600, uid=500), _SERVER, _FILES), "0600, its daemon's own user"
        ),
        Example(Status.FAIL, (_key(0o644), _NONE, _FILES), "everyone can read it"),
        Example(Status.FAIL, (_key(0o640, gid=1000), _NONE, _FILES), "a group can read it: medium"),
        Example(
            Status.FAIL, (_key(0o600, uid=1000), _NONE, _FILES), "it belongs to a user: medium"
        ),
        Example(Status.FAIL, (_key(0o600, folder=0o777), _NONE, _FILES), "it can be replaced"),
        Example(
            Status.FAIL,
            (_key(0o644, folder=0o700), _NONE, _FILES),
            "only its directory protects it: low",
        ),
        Example(
            Status.FAIL,
            (NOTHING, _NONE, _holding(0o644)),
            "everyone can read the token in a kubeconfig",
        ),
        Example(Status.PASS, (NOTHING, _NONE, _holding(0o600)), "a token, and 0600"),
        Example(Status.NOT_APPLICABLE, (NOTHING, _NONE, _FILES), "no private key"),
        Example(
            Status.UNKNOWN,
            (
                together(place("apiserver", _KEY_PATH, kind=Kind.KEY, error="EACCES", guard=None)),
                _NONE,
                _FILES,
            ),
            "it may not be looked at",
        ),
        Example(Status.UNKNOWN, (DARK, DARK, DARK), "processes hidden"),
    ),
    mappings={
        "sac": ["S15a"],
        "cis-kubernetes-1.12": ["1.1.19", "1.1.20", "1.1.21"],
        "stig": ["V-242451", "V-242466", "V-242467"],
    },
)
def key_perms(
    facts: Pki, daemons: Daemons | Absent | Unreadable, found: Kubeconfigs | Absent | Unreadable
) -> Verdict:
    offences: list[Offence] = []
    dark: list[str] = _closed(facts)
    count = 0
    for use, pem in key_files(facts):
        count += 1
        if pem.guard is None:
            dark.append(f"{pem.where}: {pem.error}")
        elif not stat.S_ISREG(pem.guard.mode):
            dark.append(f"{pem.where}: {pem.error or 'no regular file'}")
        elif loose := looseness(_own(pem.guard, use, daemons), owners=facts.owners):
            what = {LOOSE: "key", "copy": "kubeconfig"}.get(use.component, use.component)
            offences.append(Offence(loose[0], Evidence(what, loose[1], pem.where)))
    good = f"{count} private keys belong to root alone"
    if isinstance(found, Kubeconfigs) and (rows := _with_tokens(found)):
        offences += _told(rows, daemons, owners=facts.owners)
        good += f", and so do {len(rows)} kubeconfigs with a token or password"
        count += len(rows)
    if not count and not dark and not facts.unseen:
        return Verdict.not_applicable("no private key is on this host")
    return verdict(offences, good, dark=dark, unseen=facts)


def _with_tokens(found: Kubeconfigs) -> list[Kubeconfig]:
    """Network plugins' own are judged by cert.cni-kubeconfig."""
    return [
        k for k in found.rows if k.component != "cni" and any(u.token or u.basic for u in k.users)
    ]


def _told(
    rows: list[Kubeconfig], daemons: Daemons | Absent | Unreadable, *, owners: bool
) -> Iterator[Offence]:
    for one in rows:
        use = Use(one.component, Kind.CERTIFICATE, one.path)
        if one.guard and (loose := looseness(_own(one.guard, use, daemons), owners=owners)):
            text = f"{loose[1]}, and holds a token or password"
            yield Offence(loose[0], Evidence("kubeconfig", text, one.path))


def _closed(facts: Pki) -> list[str]:
    """Files that could not be read, may hold a key, and are open to others than root: what is
    closed to them is so whatever it holds."""
    found = {}
    for use in facts.uses:
        pem = facts.at(use.path, use.part)
        unread = use.kind is Kind.CERTIFICATE and pem.error and not pem.absent
        if unread and (pem.guard is None or looseness(pem.guard, owners=facts.owners)):
            found[pem.path] = f"whether a key is in {pem.where}: {pem.error}"
    return list(found.values())


def _own(at: Guard, use: Use, daemons: Daemons | Absent | Unreadable) -> Guard:
    """The same with the daemon's own user as good as root, etcd's keys belong to etcd; and with
    who keeps a credential of his own in his home, or where each has but his own files."""
    program = PROGRAM_OF.get(use.component)
    daemon = daemons.one(program) if program and isinstance(daemons, Daemons) else None
    user = daemon.uid if daemon else None
    if use.component in ("copy", LOOSE) and _at_home(at):
        user = at.uid
    if not user:
        return at
    above = tuple(replace(f, uid=0) if f.uid == user else f for f in at.folders)
    ways = tuple(replace(f, uid=0) if f.uid == user else f for f in at.ways)
    return replace(at, uid=0 if at.uid == user else at.uid, folders=above, ways=ways)


def _at_home(at: Guard) -> bool:
    return any(f.uid == at.uid or f.mode & stat.S_ISVTX for f in at.folders)


_TRUST = place(
    "kubelet-client-ca",
    "/etc/kubernetes/pki/ca.crt",
    certificate(
        name="kubernetes",
        key=PublicKey("EC", 256, "dd" * 32, curve="P-256"),
        extensions=Extensions(ca=True),
    ),
    kind=Kind.TRUST,
)
_SEARCHED = Strays((), ("/root", "/home"), 300, 12)


def _authority_key(component: str = "cluster-ca", *, control_plane: bool) -> Pki:
    return together(
        _TRUST,
        place(component, "/etc/kubernetes/pki/ca.key", kind=Kind.KEY, keys=(_KEY,)),
        control_plane=control_plane,
    )


@check(
    "cert.ca-key-on-node",
    title="No key of the cluster's authorities lies on a worker",
    why=(
        "Who takes this one node then signs itself an administrator, or service account tokens, for"
        " the whole cluster and for the life of the authority."
    ),
    severity=Severity.CRITICAL,
    remedy=Remedy(
        "Remove it from this node, and rotate the authority: the key may have been copied.",
        steps=("shred -u KEY",),
        breaks="Nothing on a worker uses it.",
    ),
    sources=(PKI, SECURING),
    examples=lambda: (
        Example(
            Status.PASS,
            (
                together(
                    place("kubelet-client", "/srv/k.pem", certificate(), keys=(_KEY,)),
                    _TRUST,
                    control_plane=False,
                ),
                _SEARCHED,
            ),
            "a worker with its own key only",
        ),
        Example(
            Status.FAIL, (_authority_key(control_plane=False), _SEARCHED), "a worker with ca.key"
        ),
        Example(
            Status.FAIL,
            (replace(_authority_key(control_plane=False), etcd=True), _SEARCHED),
            "a host of etcd alone, with the cluster's ca.key",
        ),
        Example(
            Status.PASS,
            (replace(_authority_key("etcd-ca", control_plane=False), etcd=True), _SEARCHED),
            "a host of etcd alone, with etcd's own",
        ),
        Example(
            Status.NOT_APPLICABLE,
            (_authority_key(control_plane=True), _SEARCHED),
            "a control plane needs its keys",
        ),
        Example(
            Status.UNKNOWN,
            (replace(UNSEEN, control_plane=False), _SEARCHED),
            "a directory may not be searched",
        ),
        Example(
            Status.UNKNOWN,
            (replace(NOTHING, control_plane=False, unsearched=("/opt: EACCES",)), _SEARCHED),
            "a folder where keys may lie could not be searched",
        ),
        Example(Status.UNKNOWN, (DARK, DARK), "processes hidden"),
    ),
    mappings={"sac": ["S12c"]},
)
def ca_key_on_node(facts: Pki, strays: Strays | Absent | Unreadable) -> Verdict:
    if facts.control_plane:
        return Verdict.not_applicable("this node is a control plane, which needs these keys")
    signers = dict(_signers(facts))
    offences, dark = [], [*facts.unsearched, *unread(facts, kinds=(Kind.TRUST, Kind.PUBLIC_KEY))]
    if not any(anchors(facts)):
        dark.append("which authorities the cluster has: none is known on this node")
    host = "host, which is no control plane" if facts.etcd else "worker"
    for use, pem in key_files(facts):
        found = next((signers[k.spki_sha256] for k in pem.keys if k.spki_sha256 in signers), None)
        if found is None and use.component not in SIGNERS:
            dark += [f"{pem.where}: {pem.error}"] if pem.error else []
            continue
        whose, name = found or (use.component, use.component)
        if facts.etcd and whose in OF_ETCD:
            continue  # a host of etcd alone may make its own certificates
        by = f", by {use.named_by}" if use.named_by == "its name" else ""
        text = f"the private key of {name} is on this {host}{by}"
        severity = Severity.HIGH if by else Severity.CRITICAL
        offences.append(Offence(severity, Evidence(use.component, text, pem.where)))
    notes = [Evidence("has a password: not told whose it is", path) for path in facts.locked]
    good = f"no key of an authority was found on this {host}"
    if isinstance(strays, Strays):
        good += f", nor among {strays.extent} folders"
        notes += [Evidence("not searched", one) for one in strays.outside]
    return verdict(offences, good, *notes, dark=dark, unseen=facts)


def _signers(facts: Pki) -> Iterator[tuple[str, tuple[str, str]]]:
    """Public half of whatever makes credentials for the cluster -> whose, and its name. The
    authorities that something trusts come last, because they are the surest."""
    for held in facts.held(kind=Kind.PUBLIC_KEY):
        for public in held.pem.public_keys:
            yield public.spki_sha256, ("service-account", "the service account signer")
    for held in (*facts.held(), *facts.held(kind=Kind.TRUST)):
        for one in held.pem.certificates:
            named = held.use.component in SIGNERS or authority_named(one.common_name)
            if one.is_ca and named:
                yield one.key.spki_sha256, (held.use.component, one.subject)
    # One that etcd shares with the cluster is the cluster's.
    for held, one in sorted(anchors(facts), key=lambda a: a[0].use.component not in OF_ETCD):
        yield one.key.spki_sha256, (held.use.component, one.subject)


@dataclass(frozen=True, slots=True)
class SigningKeyLimits(Params):
    """The age in days from which a service account signing key should have been rotated."""

    section: ClassVar[tuple[str, ...]] = ("checks", "cert.sa-key-age")

    days: float = 365


def _signing(age: float, verifiers: int) -> Pki:
    old = replace(guard(), mtime=TODAY - age * DAY)
    return together(
        place("service-account", "/etc/kubernetes/pki/sa.key", kind=Kind.KEY, guard=old),
        *(
            place("service-account", f"/etc/kubernetes/pki/sa{i or ''}.pub", kind=Kind.PUBLIC_KEY)
            for i in range(verifiers)
        ),
    )


@check(
    "cert.sa-key-age",
    title="The key that signs service account tokens is rotated",
    why=(
        "Whoever has ever copied this key makes tokens for any service account until it is"
        " replaced. Nothing replaces it by itself."
    ),
    severity=Severity.LOW,
    remedy=Remedy(
        "Add a new key, let both verify, and retire the old one when its tokens have ended.",
        steps=(
            "# kube-apiserver: --service-account-signing-key-file=new.key and"
            " --service-account-key-file once for new.pub and once for the old sa.pub",
            "# kube-controller-manager: --service-account-private-key-file=new.key",
        ),
        breaks="Tokens of the old key end when its public half is taken away: restart their pods"
        " first.",
    ),
    sources=(
        KUBEADM_CERTS,
        Source(
            "managing service accounts",
            "https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/",
        ),
    ),
    examples=lambda: (
        Example(Status.PASS, (_signing(30, 1), NOW), "a month old"),
        Example(Status.PASS, (_signing(800, 2), NOW), "old, but two keys verify: in rotation"),
        Example(Status.FAIL, (_signing(800, 1), NOW), "two years old and alone"),
        Example(Status.NOT_APPLICABLE, (NOTHING, NOW), "no signing key here"),
        Example(Status.UNKNOWN, (UNSEEN, NOW), "a directory may not be searched"),
        Example(Status.UNKNOWN, (DARK, NOW), "processes hidden"),
    ),
    mappings={"sac": ["S15c"]},
)
def sa_key_age(facts: Pki, now: Now, limits: SigningKeyLimits) -> Verdict:
    every = facts.held("service-account", kind=Kind.KEY)
    held = [h for h in every if h.use.in_use]
    if not held:
        if facts.unseen:
            return verdict((), "", unseen=facts)
        if every:
            return Verdict.not_applicable(f"nothing here signs tokens with {every[0].pem.where}")
        return Verdict.not_applicable("no key that signs service account tokens is on this host")
    if now.at < YEAR_2000:
        return Verdict.unknown(f"the clock says {day(now.at)}: no age can be judged by it")
    dark = [
        f"{h.pem.where}: {h.pem.error or 'no regular file'}"
        for h in held
        if h.pem.guard is None or not stat.S_ISREG(h.pem.guard.mode)
    ]
    if dark:
        return verdict((), "", dark=dark)
    oldest = min(held, key=_written)
    age = now.at - _written(oldest)
    evidence = Evidence("signing key", f"written {span(age)} ago", oldest.pem.where)
    if age <= limits.days * DAY:
        return Verdict.passed(f"the signing key was written {span(age)} ago", evidence)
    if (count := len(_verifiers(facts))) > 1:
        return Verdict.passed(f"{count} keys verify tokens: a rotation is under way", evidence)
    return Verdict.failed(
        f"the signing key was written {span(age)} ago, want at most {limits.days:.0f} days",
        evidence,
    )


def _verifiers(facts: Pki) -> set[str]:
    """The keys that verify tokens, each once: one file may hold several, two files the same. A
    private key may stand for its public half; a file that could not be read counts as one."""
    found: set[str] = set()
    for held in facts.held("service-account", kind=Kind.PUBLIC_KEY):
        pem = held.pem
        if held.use.in_use and not pem.absent:
            hashes = (k.spki_sha256 for k in (*pem.public_keys, *(c.key for c in pem.certificates)))
            private = (k.spki_sha256 for k in pem.keys if k.spki_sha256)
            found |= {*hashes, *private} or {pem.path}
    return found


def _written(held: Held) -> float:
    return held.pem.guard.mtime if held.pem.guard else 0.0
