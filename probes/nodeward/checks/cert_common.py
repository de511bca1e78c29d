"""What the certificate checks share: sources, and how a list of offenders becomes one verdict."""

from __future__ import annotations

from collections.abc import Sequence

from nodeward.facts.access import octal, readers, replaceable
from nodeward.facts.pki import Guard, Kind, Pem, Pki, Use
from nodeward.lazy import dataclass
from nodeward.model import Evidence, Remedy, Severity, Source, Verdict, most

PKI = Source("PKI certificates", "https://kubernetes.io/docs/setup/best-practices/certificates/")
KUBEADM_CERTS = Source(
    "kubeadm certificate management",
    "https://kubernetes.io/docs/tasks/administer-cluster/kubeadm/kubeadm-certs/",
)
BOOTSTRAP = Source(
    "kubelet TLS bootstrapping",
    "https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/",
)
AUTHENTICATION = Source(
    "authenticating", "https://kubernetes.io/docs/reference/access-authn-authz/authentication/"
)
SECURING = Source(
    "securing a cluster",
    "https://kubernetes.io/docs/tasks/administer-cluster/securing-a-cluster/",
)


@dataclass(frozen=True, slots=True)
class Offence:
    """One thing that is not as it should be."""

    severity: Severity
    evidence: Evidence
    remedy: Remedy | None = None

    @property
    def text(self) -> str:
        return f"{self.evidence.what} {self.evidence.value} ({self.evidence.source})"


def verdict(
    offences: Sequence[Offence],
    good: str,
    *notes: Evidence,
    dark: Sequence[str] = (),
    unseen: Pki | None = None,
) -> Verdict:
    """Offences, the worst first; else `dark`, what could not be read; else the good sentence.

    What could not be read never hides an offence, and never lets anything pass.
    """
    ordered = sorted(offences, key=lambda o: o.severity.rank, reverse=True)
    hidden = [*dark, *(unseen.unseen if unseen else ())]
    if ordered:
        more = f", and {len(ordered) - 1} more" if len(ordered) > 1 else ""
        return Verdict.failed(
            f"{ordered[0].text}{more}",
            *most([o.evidence for o in ordered] + [Evidence("not read", d) for d in hidden]),
            severity=ordered[0].severity,
            remedy=ordered[0].remedy,
        )
    if hidden:
        more = f", and {len(hidden) - 1} more" if len(hidden) > 1 else ""
        return Verdict.unknown(
            f"could not read {hidden[0]}{more}", *most([Evidence("not read", d) for d in hidden])
        )
    return Verdict.passed(good, *most(list(notes)))


_CERTIFICATES = (Kind.CERTIFICATE, Kind.TRUST)


def unread(facts: Pki, *components: str, kinds: Sequence[Kind] = _CERTIFICATES) -> list[str]:
    """Places in use of which nothing, or not all, could be read, with the reason: one bad entry of
    a bundle may be the one that matters, and what is named and missing cannot be judged."""
    found: dict[str, str] = {}
    for use in facts.uses:
        pem = facts.at(use.path, use.part)
        wanted = use.kind in kinds and (not components or use.component in components)
        if use.in_use and wanted and (why := _unread(pem, use)):
            found.setdefault(pem.where, f"{pem.where}: {why}")
    return list(found.values())


def _unread(pem: Pem, use: Use) -> str:
    if pem.absent:
        return f"not there, and named by {use.named_by}"
    of_private = use.kind is Kind.PUBLIC_KEY and any(k.spki_sha256 for k in pem.keys)
    if pem.broken or not (pem.certificates or pem.public_keys or of_private):
        return pem.error or "; ".join(pem.broken) or "holds no certificate or public key"
    return ""


def looseness(at: Guard, *, owners: bool) -> tuple[Severity, str] | None:
    """What is wrong with who may reach a secret; the worst of it."""
    who = readers(at, owners=owners)
    if replaced := replaceable(at, owners=owners):
        return Severity.HIGH, f"can be replaced by who may write to {replaced[0]}"
    if "everyone" in who:
        return Severity.HIGH, f"is readable by everyone (mode {octal(at)})"
    if at.mode & 0o022:
        return Severity.HIGH, f"is writable by others than root (mode {octal(at)})"
    if who:
        return Severity.MEDIUM, f"is readable by {', '.join(who)} (mode {octal(at)})"
    if owners and at.uid != 0:
        return Severity.MEDIUM, f"belongs to user {at.uid}"
    if at.mode & 0o077:
        return Severity.LOW, f"has mode {octal(at)}, want 0600"
    return None
