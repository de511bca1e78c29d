"""Whether those to whom a certificate is shown can verify it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from nodeward.checks.cert_common import PKI, Offence, unread, verdict
from nodeward.checks.cert_expiry import day
from nodeward.checks.cert_quality import leafs
from nodeward.checks.cert_samples import DARK, NOTHING, certificate, pki, place, together
from nodeward.facts.bundles import pairing, steps
from nodeward.facts.daemons import Daemons
from nodeward.facts.pki import Held, Kind, Pki, PrivateKey
from nodeward.facts.pki_roles import ANCHORS, SERVER, USAGES, covers, expected_names
from nodeward.facts.renewal import AT_START, Renewer, renewer
from nodeward.facts.renewal_steps import remedy
from nodeward.facts.signature import chain
from nodeward.facts.system import System
from nodeward.facts.x509 import Certificate, Extensions
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

_SYSTEM = System("debian", "12", "Debian", None, None, "node1")
_NO_DAEMONS = Daemons(())
_CA = certificate(
    name="kubernetes",
    age=300,
    left=3000,
    extensions=Extensions(ca=True, key_usage=("keyCertSign",)),
)
_SELF = replace(
    certificate(extensions=Extensions(dns=("node1",), usages=("serverAuth",))), sha256="11" * 32
)
_PATH = "/var/lib/kubelet/pki/kubelet-server-current.pem"


def _anchored(leaf: Certificate, component: str, *anchors: Certificate) -> Pki:
    """The leaf beside an authority, which is the leaf itself where a row must verify: an example
    has no key that could sign."""
    return together(
        place(component, f"/srv/{component}.crt", leaf),
        place("etcd-ca", "/srv/ca.crt", *anchors, kind=Kind.TRUST),
    )


def _paired(key: str) -> Pki:
    private = PrivateKey("EC", 256, key * 32)
    return together(
        place("scheduler", "/srv/s.crt", certificate()),
        place("scheduler", "/srv/s.key", kind=Kind.KEY, keys=(private,)),
    )


@check(
    "cert.chain",
    title="Every certificate has its key, and verifies for its authority, name and purpose",
    why=(
        "A certificate that its peers cannot verify ends in an outage, or in the verification being"
        " switched off, and then anyone can stand in between."
    ),
    severity=Severity.MEDIUM,
    remedy=Remedy(
        "Issue it again from the authority that its peers trust, with every name and address of"
        " this node, and the usage (serverAuth, clientAuth) that it is for.",
        steps=(
            "openssl x509 -noout -issuer -ext subjectAltName,extendedKeyUsage -in CERTIFICATE",
            "# kubeadm: apiServer.certSANs in ClusterConfiguration, remove the old pair, then",
            "kubeadm init phase certs apiserver --config kubeadm.yaml",
        ),
        breaks="The daemon that uses it restarts.",
    ),
    sources=(PKI, Source("RFC 5280", "https://www.rfc-editor.org/rfc/rfc5280#section-6")),
    examples=lambda: (
        Example(
            Status.PASS,
            (pki("kubelet-server", _PATH, _SELF), _NO_DAEMONS, _SYSTEM),
            "a serving certificate with its name and usage",
        ),
        Example(
            Status.FAIL,
            (
                pki("kubelet-server", _PATH, replace(_SELF, extensions=Extensions(dns=("old",)))),
                _NO_DAEMONS,
                _SYSTEM,
            ),
            "the node's name is missing: low",
        ),
        Example(
            Status.FAIL,
            (
                _anchored(certificate(issuer="CN=etcd-ca"), "etcd-healthcheck-client", _CA),
                _NO_DAEMONS,
                _SYSTEM,
            ),
            "no trusted authority has the name of its issuer",
        ),
        Example(
            Status.FAIL,
            (
                pki(
                    "scheduler", "/srv/s.crt", certificate(extensions=Extensions(usages=(SERVER,)))
                ),
                _NO_DAEMONS,
                _SYSTEM,
            ),
            "a client's certificate that is for servers only",
        ),
        Example(
            Status.FAIL,
            (_paired("bb"), _NO_DAEMONS, _SYSTEM),
            "its key belongs to another certificate",
        ),
        Example(Status.PASS, (_paired("aa"), _NO_DAEMONS, _SYSTEM), "its own key"),
        Example(Status.NOT_APPLICABLE, (NOTHING, _NO_DAEMONS, _SYSTEM), "no certificate in use"),
        Example(
            Status.UNKNOWN,
            (pki("apiserver", "/srv/a.crt", error="EACCES"), _NO_DAEMONS, _SYSTEM),
            "a file may not be read",
        ),
        Example(Status.UNKNOWN, (DARK, DARK, _SYSTEM), "processes hidden"),
    ),
    mappings={"sac": ["S1a"]},
)
def cert_chain(
    facts: Pki, daemons: Daemons | Absent | Unreadable, system: System | Absent | Unreadable
) -> Verdict:
    known = daemons if isinstance(daemons, Daemons) else None
    hostname = system.hostname if isinstance(system, System) else None
    offences = [*_refused(facts)]
    notes: list[Evidence] = []
    dark = unread(facts)
    for held, leaf in leafs(facts):
        if held.use.component not in USAGES:
            continue
        found = list(
            _faults(held, leaf, facts, expected_names(held.use.component, known, hostname))
        )
        for severity, text in found:
            evidence = Evidence(held.use.component, text, held.pem.where)
            if severity is None:
                dark.append(f"{text}, {held.pem.where}")
            else:
                offences.append(Offence(severity, evidence, _anew(held, facts)))
        if not found:
            notes.append(_good(held, leaf, facts))
    if not offences and not notes and not dark and not facts.unseen:
        return Verdict.not_applicable("no certificate of a component is in use here")
    good = f"{len(notes)} certificates verify for their authority, names and purpose"
    return verdict(offences, good, *notes, dark=dark, unseen=facts)


def _refused(facts: Pki) -> Iterator[Offence]:
    """Files that no component would load. Of a bundle of authorities nothing is sent along."""
    own = [h for h in facts.held() if h.use.component in USAGES and h.pem.refused]
    trust = [h for h in facts.held(kind=Kind.TRUST) if h.pem.refused.startswith("programs")]
    for held in (*own, *trust):
        if held.use.in_use:
            evidence = Evidence(held.use.component, held.pem.refused, held.pem.where)
            yield Offence(Severity.HIGH, evidence, _anew(held, facts))


def _anew(held: Held, facts: Pki) -> Remedy | None:
    """Where its distribution makes it with all that belongs to it: by that; None elsewhere."""
    by = renewer(held, facts)
    made = by in AT_START or by in (Renewer.MICROK8S, Renewer.JOIN)
    return remedy(held, by, facts) if made and held.use.kind is Kind.CERTIFICATE else None


def _faults(
    held: Held, leaf: Certificate, facts: Pki, wanted: tuple[str, ...]
) -> Iterator[tuple[Severity | None, str]]:
    """What is wrong with one; a severity of None means that it could not be told."""
    for problem in leaf.extensions.problems:
        yield Severity.MEDIUM, f"{leaf.subject}: {problem}"
    if leaf.serial < 0:
        yield Severity.MEDIUM, f"{leaf.subject} has a negative serial number, refused since Go 1.23"
    if leaf.foreign:
        yield Severity.HIGH, f"{leaf.subject} {leaf.foreign}: they refuse it"
    yield from _bundle(held, leaf, facts)
    yield from _path(held, leaf, facts)
    usages = leaf.extensions.usages
    missing = [u for u in USAGES[held.use.component] if usages is not None and u not in usages]
    if missing and "any" not in (usages or ()):
        yield Severity.MEDIUM, f"{leaf.subject} is not for {' and '.join(missing)}"
    if SERVER in USAGES[held.use.component] and not _own(held):
        yield from _names(leaf, wanted)


def _bundle(held: Held, leaf: Certificate, facts: Pki) -> Iterator[tuple[Severity | None, str]]:
    """What is wrong with the file as a whole."""
    pair, rest = pairing(held, facts), held.pem.certificates[1:]
    if pair.fits is None:
        yield None, f"{pair.why}: whether it is that of {leaf.subject}"
    elif not pair.fits:
        yield Severity.HIGH, f"{leaf.subject}: {pair.why}: whoever loads the pair refuses it"
    if leaf.is_ca and any(c.raw_issuer == leaf.raw_subject and not c.is_ca for c in rest):
        yield Severity.HIGH, f"{leaf.subject} stands first, and is an authority: the first is shown"
    elif (way := steps(leaf, rest)) and tuple(way) != rest[: len(way)]:
        names = ", ".join(c.subject for c in way)
        yield Severity.LOW, f"{leaf.subject} is followed by others than {names}, in this order"


def _own(held: Held) -> bool:
    """Made by the kubelet for itself, with its host's name alone: nobody verifies it, which
    kubelet.tls.server-bootstrap judges."""
    return held.use.component == "kubelet-server" and held.pem.path.endswith("/pki/kubelet.crt")


def _names(leaf: Certificate, wanted: tuple[str, ...]) -> Iterator[tuple[Severity, str]]:
    names = leaf.extensions
    if not names.dns and not names.ips:
        yield (
            Severity.MEDIUM,
            f"{leaf.subject} names no host: the common name has not counted since Go 1.15",
        )
        return
    missing = [w for w in wanted if not covers(names.dns, names.ips, w)]
    if missing:
        yield Severity.LOW, f"{leaf.subject} is not good for {', '.join(missing)}"


def _path(held: Held, leaf: Certificate, facts: Pki) -> Iterator[tuple[Severity | None, str]]:
    between = held.pem.certificates[1:]
    for trust in _trusts(held, facts):
        found = chain(leaf, between, trust.pem.certificates)
        if found.verifies is None:
            yield None, found.why
        elif not found.verifies:
            yield Severity.MEDIUM, f"{leaf.subject}: {found.why} ({trust.pem.where})"
        elif closed := _not_for(found.path, held.use.component):
            yield Severity.MEDIUM, f"{leaf.subject}: {closed} ({trust.pem.where})"
        elif beyond := _beyond(leaf, found.path):
            yield Severity.MEDIUM, f"{leaf.subject}: {beyond} ({trust.pem.where})"
        elif found.anchor and found.anchor.not_after < leaf.not_after:
            yield (
                Severity.LOW,
                f"{leaf.subject} outlives its authority (ends on {day(found.anchor.not_after)})",
            )
        else:
            continue
        return


def _not_for(path: Sequence[Certificate], component: str) -> str:
    """Which issuer on the way is not for what the leaf is used for: crypto/x509 asks each one that
    names usages at all."""
    for one in path:
        usages = one.extensions.usages
        missing = [u for u in USAGES[component] if usages is not None and u not in usages]
        if missing and "any" not in (usages or ()):
            return f"its issuer {one.subject} is not for {' and '.join(missing)}"
    return ""


def _beyond(leaf: Certificate, path: Sequence[Certificate]) -> str:
    """Which name an issuer on the way may not issue for."""
    for one in path:
        limits = one.extensions.limits
        if limits and (name := limits.refused(leaf.extensions)):
            return f"its issuer {one.subject} may not issue for {name} (name constraints)"
    return ""


def _trusts(held: Held, facts: Pki) -> list[Held]:
    """Everything in use that must be able to verify it: the surest kind of place that exists."""
    for component in ANCHORS.get(held.use.component, ()):
        found = [
            h for h in facts.held(component, kind=Kind.TRUST) if h.use.in_use and h.pem.certificates
        ]
        if found:
            return found
    return []


def _good(held: Held, leaf: Certificate, facts: Pki) -> Evidence:
    if _own(held):
        text = "made by the kubelet itself: no authority of the cluster vouches for it"
    elif trusts := _trusts(held, facts):
        text = f"verifies against {trusts[0].pem.where}"
    else:
        text = "has the right names and purpose; what verifies it is not on this node"
    return Evidence(held.use.component, f"{leaf.subject} {text}", held.pem.where)
