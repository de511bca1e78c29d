"""How good certificates are: their length of life, their authorities, their cryptography."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

from nodeward.checks.cert_common import KUBEADM_CERTS, PKI, SECURING, Offence, unread, verdict
from nodeward.checks.cert_expiry import DAY, YEAR_2000, day, moment, span
from nodeward.checks.cert_samples import (
    DARK,
    EC,
    NOTHING,
    NOW,
    UNSEEN,
    certificate,
    pki,
    place,
    together,
)
from nodeward.facts.bundles import intermediates
from nodeward.facts.clock import Now
from nodeward.facts.pki import Held, Kind, Pki
from nodeward.facts.renewal_authority import authority
from nodeward.facts.renewal_keys import reissue
from nodeward.facts.x509 import Certificate, PublicKey
from nodeward.lazy import dataclass
from nodeward.model import (
    Evidence,
    Example,
    Params,
    Remedy,
    Severity,
    Source,
    Status,
    Verdict,
    check,
)


@dataclass(frozen=True, slots=True)
class LifetimeLimits(Params):
    """The longest life, in days: of a leaf before it is reported with severity low, and before
    it fails; of an authority before it is reported."""

    section: ClassVar[tuple[str, ...]] = ("checks", "cert.lifetime-policy")

    leaf_warn_days: float = 400
    leaf_fail_days: float = 825
    ca_warn_days: float = 3682


@dataclass(frozen=True, slots=True)
class AuthorityLimits(Params):
    """How long before its end an authority is reported: first with severity low, then as failed.
    One that lives less than `short_days` is measured in parts of its life instead."""

    section: ClassVar[tuple[str, ...]] = ("checks", "cert.ca-expiry")

    warn_days: float = 365
    fail_days: float = 90
    short_days: float = 400
    warn_part: float = 0.2
    fail_part: float = 0.1


def leafs(facts: Pki) -> Iterator[tuple[Held, Certificate]]:
    """The certificates that components in use show, once for each use: one that is good for its
    first purpose may be of no use for the second."""
    for held in facts.held():
        if held.leaf and held.use.in_use and held.use.component != "copy":
            yield held, held.leaf


def between(facts: Pki) -> Iterator[tuple[Held, Certificate]]:
    """The intermediates in the files of components in use that their peers need, each once."""
    seen = set()
    for held, _ in leafs(facts):
        for one in intermediates(held, facts):
            if one.sha256 not in seen:
                seen.add(one.sha256)
                yield held, one


def anchors(facts: Pki) -> Iterator[tuple[Held, Certificate]]:
    """The authorities that components in use trust, once for each place: what stands beside one
    differs."""
    for held in facts.held(kind=Kind.TRUST):
        if held.use.in_use:
            yield from ((held, one) for one in held.pem.certificates)


def signers(facts: Pki) -> Iterator[tuple[Held, PublicKey]]:
    """The keys that sign service account tokens, and those that verify them. Where k3s and MicroK8s
    keep the private one no public half lies beside it."""
    for held in facts.held(kind=Kind.PUBLIC_KEY):
        yield from ((held, key) for key in (*held.pem.public_keys, *_public_halves(held)))
    for held in facts.held("service-account", kind=Kind.KEY):
        if held.use.in_use:
            yield from ((held, key) for key in _public_halves(held))


def once(found: Iterable[tuple[Held, Certificate]]) -> Iterator[tuple[Held, Certificate]]:
    """Each certificate at the first of its places, for what its place does not matter to."""
    seen = set()
    for held, one in found:
        if one.sha256 not in seen:
            seen.add(one.sha256)
            yield held, one


_LEAF_PATH = "/etc/kubernetes/pki/apiserver.crt"


@check(
    "cert.lifetime-policy",
    title="No certificate lives longer than it must",
    why=(
        "Kubernetes has no revocation: who copies a key can use it until its certificate ends. A"
        " year is what kubeadm and the cluster's own signer give; ten years are for authorities."
    ),
    severity=Severity.MEDIUM,
    remedy=Remedy(
        "Issue it again for at most a year.",
        steps=(
            "# kubeadm: ClusterConfiguration.certificateValidityPeriod: 8760h, then",
            "kubeadm certs renew all",
            "# certificates from signing requests: kube-controller-manager"
            " --cluster-signing-duration=8760h",
        ),
        breaks="Shorter lives need renewal that works: see cert.expiry.*.",
    ),
    sources=(SECURING, KUBEADM_CERTS),
    examples=lambda: (
        Example(
            Status.PASS, pki("apiserver", _LEAF_PATH, certificate(age=5, left=360)), "one year"
        ),
        Example(
            Status.FAIL,
            pki("apiserver", _LEAF_PATH, certificate(age=5, left=3645)),
            "a leaf of ten years",
        ),
        Example(
            Status.FAIL,
            pki("apiserver", _LEAF_PATH, certificate(age=5, left=495)),
            "a leaf of 500 days: low",
        ),
        Example(
            Status.FAIL,
            together(
                place(
                    "cluster-ca",
                    "/etc/kubernetes/pki/ca.crt",
                    certificate(age=5, left=9000),
                    kind=Kind.TRUST,
                )
            ),
            "an authority of 25 years: low",
        ),
        Example(Status.NOT_APPLICABLE, NOTHING, "no certificate in use"),
        Example(
            Status.UNKNOWN, pki("apiserver", _LEAF_PATH, error="EACCES"), "a file may not be read"
        ),
        Example(Status.UNKNOWN, DARK, "processes hidden"),
    ),
    mappings={"sac": ["S15a"]},
)
def lifetime_policy(facts: Pki, limits: LifetimeLimits) -> Verdict:
    offences, seen = [], set()
    for held, one in once(leafs(facts)):
        seen.add(one.sha256)
        if one.is_ca:
            continue
        days = one.lifetime_s / DAY
        if days > limits.leaf_warn_days:
            failed = days > limits.leaf_fail_days
            severity = Severity.MEDIUM if failed else Severity.LOW
            limit = limits.leaf_fail_days if failed else limits.leaf_warn_days
            text = f"{one.subject} lives {days:.0f} days, want at most {limit:.0f}"
            evidence = Evidence(held.use.component, text, held.pem.where)
            offences.append(Offence(severity, evidence, reissue(held, facts)))
    for held, one in once((*between(facts), *anchors(facts))):
        seen.add(one.sha256)
        days = one.lifetime_s / DAY
        if days > limits.ca_warn_days:
            text = f"{one.subject} lives {days:.0f} days, want at most {limits.ca_warn_days:.0f}"
            offences.append(
                Offence(Severity.LOW, Evidence(held.use.component, text, held.pem.where))
            )
    dark = unread(facts)
    if not seen and not dark and not facts.unseen:
        return Verdict.not_applicable("no certificate is in use here")
    return verdict(
        offences,
        f"{len(seen)} certificates live no longer than they should",
        dark=dark,
        unseen=facts,
    )


def _authority(age: float, left: float, *others: tuple[float, float]) -> Pki:
    bundle = [certificate(age=a, left=b, name="kubernetes") for a, b in ((age, left), *others)]
    return together(place("cluster-ca", "/etc/kubernetes/pki/ca.crt", *bundle, kind=Kind.TRUST))


@check(
    "cert.ca-expiry",
    title="No certificate authority of this node is about to end",
    why=(
        "When an authority ends, everything it issued stops at the same moment, renewed or not, and"
        " kubeadm does not renew authorities. Replacing one takes weeks in a living cluster."
    ),
    severity=Severity.HIGH,
    remedy=Remedy(
        "Rotate the authority: distribute the new one beside the old, issue anew from it, then"
        " remove the old.",
        steps=(
            "# kubeadm: follow https://kubernetes.io/docs/tasks/tls/manual-rotation-of-ca-certificates/",
            "# k3s / RKE2: k3s certificate rotate-ca, rke2 certificate rotate-ca",
        ),
        breaks="Every client and server of the cluster restarts at least once.",
    ),
    sources=(
        PKI,
        Source(
            "manual rotation of CA certificates",
            "https://kubernetes.io/docs/tasks/tls/manual-rotation-of-ca-certificates/",
        ),
    ),
    examples=lambda: (
        Example(Status.PASS, (_authority(30, 3620), NOW), "nearly ten years left"),
        Example(Status.FAIL, (_authority(3350, 300), NOW), "300 days left: low"),
        Example(Status.FAIL, (_authority(3590, 60), NOW), "60 days left"),
        Example(Status.FAIL, (_authority(3660, -10), NOW), "expired"),
        Example(Status.FAIL, (_authority(-10, 3660), NOW), "not valid yet"),
        Example(
            Status.PASS,
            (_authority(30, 3620, (-10, 3660)), NOW),
            "its successor is prepared beside it",
        ),
        Example(
            Status.FAIL,
            (_authority(3640, 10, (-300, 3660)), NOW),
            "a successor that is valid only after a gap",
        ),
        Example(Status.NOT_APPLICABLE, (NOTHING, NOW), "no authority"),
        Example(Status.UNKNOWN, (UNSEEN, NOW), "its directory may not be searched"),
        Example(Status.UNKNOWN, (DARK, NOW), "processes hidden"),
    ),
    mappings={"sac": ["S15a"]},
)
def ca_expiry(facts: Pki, now: Now, limits: AuthorityLimits) -> Verdict:
    if now.at < YEAR_2000:
        return Verdict.unknown(f"the clock says {day(now.at)}: no expiry can be judged by it")
    offences, notes, ends, places = [], [], {}, set()
    for held, one in anchors(facts):
        if (one.sha256, held.pem.where) in places:
            continue  # one file for two components
        places.add((one.sha256, held.pem.where))
        ends[one.sha256] = one.not_after
        evidence = Evidence(held.use.component, _left(one, now.at), held.pem.where)
        notes.append(evidence)
        if severity := _lateness(one, now.at, limits, held.pem.certificates):
            offences.append(Offence(severity, evidence, authority(facts)))
    dark = unread(facts, *{u.component for u in facts.uses if u.kind is Kind.TRUST})
    if not notes and not dark and not facts.unseen:
        return Verdict.not_applicable("no certificate authority is on this host")
    good = f"{len(ends)} authorities, the first ends on {moment(min(ends.values(), default=0))}"
    return verdict(offences, good, *notes, dark=dark, unseen=facts)


def _left(one: Certificate, now: float) -> str:
    if now > one.not_after:
        return f"{one.subject} expired on {moment(one.not_after)}"
    if now < one.not_before:
        return f"{one.subject} is not valid before {moment(one.not_before)}"
    return f"{one.subject} ends on {moment(one.not_after)}, in {span(one.not_after - now)}"


def _lateness(
    one: Certificate, now: float, limits: AuthorityLimits, bundle: Sequence[Certificate]
) -> Severity | None:
    """How bad the end of one authority of a bundle is. One that is prepared beside the authority
    that issues today is no fault; nor is one's end when its successor is good before that."""
    left, life = one.not_after - now, one.lifetime_s
    short = life < limits.short_days * DAY
    if now < one.not_before:
        return None if any(_valid(c, now) for c in bundle) else Severity.CRITICAL
    later = [c for c in bundle if c.raw_subject == one.raw_subject and c.not_after > one.not_after]
    if left < 0:
        return Severity.LOW if any(_valid(c, now) for c in later) else Severity.CRITICAL
    if any(c.not_before <= one.not_after for c in later):
        return None
    if left < (limits.fail_part * life if short else limits.fail_days * DAY):
        return Severity.HIGH
    if left < (limits.warn_part * life if short else limits.warn_days * DAY):
        return Severity.LOW
    return None


def _valid(one: Certificate, now: float) -> bool:
    return one.not_before <= now <= one.not_after


RSA_2048 = PublicKey("RSA", 2048, "bb" * 32, exponent=65537)


def weakness(key: PublicKey) -> tuple[Severity, str] | None:
    """What is wrong with a key: NIST SP 800-57 part 1 and 800-131A rule out less than 112 bits."""
    if key.kind == "RSA" and key.bits is not None and key.bits < 2048:
        return Severity.HIGH, f"has an RSA key of {key.bits} bits, want 2048 or more"
    if key.kind == "RSA" and key.exponent is not None and key.exponent < 65537:
        return Severity.LOW, f"has an RSA key with exponent {key.exponent}, want 65537"
    if key.kind == "EC" and key.bits is not None and key.bits < 256:
        return Severity.HIGH, f"has a key on the curve {key.curve}, want P-256 or larger"
    if key.kind == "DSA":
        return Severity.HIGH, "has a DSA key"
    return None


def _broken_signature(one: Certificate) -> str | None:
    """A root is trusted for being there, not for its signature."""
    digest = one.signature.rpartition("-")[2]
    if digest in ("MD2", "MD5", "SHA1") and not one.self_issued:
        return f"is signed with {one.signature}"
    return None


def _public_halves(held: Held) -> Iterator[PublicKey]:
    """kube-apiserver --service-account-key-file takes the public half of a private key as well;
    k3s gives it one."""
    for key in held.pem.keys:
        if key.spki_sha256 and key.kind:
            curve = f"of {key.bits} bits" if key.kind == "EC" else ""
            yield PublicKey(key.kind, key.bits, key.spki_sha256, curve)


_WEAK = replace(RSA_2048, bits=1024)


@check(
    "cert.weak-crypto",
    title="Keys and signatures are strong enough",
    why=(
        "A key of 1024 bits or a signature over SHA-1 can be forged by who can pay for it: then"
        " anyone is the kubelet, the API server or the administrator."
    ),
    severity=Severity.HIGH,
    remedy=Remedy(
        "Issue the certificate again with a new key: ECDSA P-256 or RSA 3072, SHA-256.",
        steps=(
            "# kubeadm: ClusterConfiguration.encryptionAlgorithm: ECDSA-P256, remove the old pair,"
            " then",
            "kubeadm init phase certs all --config kubeadm.yaml",
        ),
    ),
    sources=(
        PKI,
        Source("NIST SP 800-131A", "https://csrc.nist.gov/pubs/sp/800/131/a/r2/final"),
    ),
    examples=lambda: (
        Example(Status.PASS, pki("apiserver", _LEAF_PATH, certificate()), "P-256, SHA-256"),
        Example(
            Status.PASS,
            pki("apiserver", _LEAF_PATH, certificate(key=RSA_2048, signature="RSA-SHA256")),
            "RSA 2048: still good enough",
        ),
        Example(Status.FAIL, pki("apiserver", _LEAF_PATH, certificate(key=_WEAK)), "RSA 1024"),
        Example(
            Status.FAIL,
            pki("apiserver", _LEAF_PATH, certificate(key=replace(EC, curve="P-192", bits=192))),
            "P-192",
        ),
        Example(
            Status.FAIL, pki("apiserver", _LEAF_PATH, certificate(signature="RSA-SHA1")), "SHA-1"
        ),
        Example(
            Status.FAIL,
            pki("apiserver", _LEAF_PATH, certificate(key=replace(RSA_2048, exponent=3))),
            "exponent 3: low",
        ),
        Example(
            Status.UNKNOWN,
            pki(
                "apiserver",
                _LEAF_PATH,
                certificate(key=PublicKey("EC", None, "cc" * 32, "1.3.132.0.6")),
            ),
            "a curve whose strength is not known here",
        ),
        Example(Status.NOT_APPLICABLE, NOTHING, "no certificate in use"),
        Example(
            Status.UNKNOWN, pki("apiserver", _LEAF_PATH, error="EACCES"), "a file may not be read"
        ),
        Example(Status.UNKNOWN, DARK, "processes hidden"),
    ),
    mappings={
        "sac": ["S1a"],
        "cis-kubernetes-1.12": ["1.2.29"],
        "nsa-cisa-1.2": ["EN"],
        "stig": ["V-242418"],
    },
)
def weak_crypto(facts: Pki) -> Verdict:
    offences, kinds, dark = [], set(), []
    for held, one in once((*leafs(facts), *between(facts), *anchors(facts))):
        kinds.add(str(one.key))
        if one.key.bits is None:  # a curve or kind that is not known here may be a weak one
            dark.append(f"how strong the key ({one.key}) of {one.subject} is, {held.pem.where}")
        found = weakness(one.key)
        if found is None and (text := _broken_signature(one)):
            found = Severity.HIGH, text
        if found:
            evidence = Evidence(held.use.component, f"{one.subject} {found[1]}", held.pem.where)
            mend = authority(facts) if one.is_ca else reissue(held, facts)
            offences.append(Offence(found[0], evidence, mend))
    told = set()
    for held, key in signers(facts):
        if key.spki_sha256 in told:
            continue  # its other half
        told.add(key.spki_sha256)
        kinds.add(str(key))
        if key.bits is None:
            dark.append(f"how strong the key ({key}) is, {held.pem.where}")
        if found := weakness(key):
            evidence = Evidence(held.use.component, found[1], held.pem.where)
            offences.append(Offence(found[0], evidence))
    dark += unread(facts, kinds=(Kind.CERTIFICATE, Kind.TRUST, Kind.PUBLIC_KEY))
    if not kinds and not dark and not facts.unseen:
        return Verdict.not_applicable("no certificate is in use here")
    good = f"all keys are strong enough: {', '.join(sorted(kinds))}"
    return verdict(offences, good, dark=dark, unseen=facts)
