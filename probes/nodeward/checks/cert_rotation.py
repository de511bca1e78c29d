"""Whether the kubelet's rotation works."""

from __future__ import annotations

from dataclasses import replace

from nodeward.checks.cert_common import BOOTSTRAP, Offence, verdict
from nodeward.checks.cert_expiry import YEAR_2000, ExpiryLimits, day, moment
from nodeward.checks.cert_samples import DARK, NOTHING, NOW, certificate, pki, place, together
from nodeward.facts.clock import Now
from nodeward.facts.pki import Held, Kind, Pki, Use
from nodeward.facts.renewal import Renewer, newer, renewer
from nodeward.facts.renewal_kubelet import kubelet, rejoin, relink
from nodeward.facts.x509 import Certificate
from nodeward.model import Evidence, Example, Severity, Status, Verdict, check

_CURRENT = "/var/lib/kubelet/pki/kubelet-client-current.pem"
_OLDER = "/var/lib/kubelet/pki/kubelet-client-2025-06-01-00-00-00.pem"
_ROTATED = ("kubelet-client", "kubelet-server")


def _rotating(age: float, left: float) -> Pki:
    return pki("kubelet-client", _CURRENT, certificate(age=age, left=left))


_LEFT_BEHIND = together(
    place("kubelet-client", _CURRENT, certificate(age=200, left=165)),
    place("kubelet-client", _OLDER, certificate(age=10, left=355), in_use=False, superseded=True),
)


@check(
    "cert.rotation-stalled",
    title="The kubelet renews its certificates when it should",
    why=(
        "The kubelet asks for a new certificate when 70 to 90 % of the old one's life are over. One"
        " that is older has been asking in vain, and nobody looks until the node is gone."
    ),
    severity=Severity.HIGH,
    remedy=kubelet(Use("kubelet-client", Kind.CERTIFICATE, _CURRENT), NOTHING),
    sources=(BOOTSTRAP,),
    examples=lambda: (
        Example(Status.PASS, (_rotating(100, 265), NOW), "27 % of its life over"),
        Example(Status.PASS, (_rotating(310, 55), NOW), "85 %: inside the window"),
        Example(Status.FAIL, (_rotating(343, 22), NOW), "94 %: stalled"),
        Example(Status.FAIL, (_rotating(372, -7), NOW), "expired"),
        Example(Status.FAIL, (_LEFT_BEHIND, NOW), "the link leads to an older certificate"),
        Example(
            Status.NOT_APPLICABLE,
            (replace(_rotating(100, 265), rotates=()), NOW),
            "rotation is off",
        ),
        Example(Status.NOT_APPLICABLE, (NOTHING, NOW), "no certificate that the kubelet rotates"),
        Example(
            Status.UNKNOWN,
            (pki("kubelet-client", _CURRENT, error="EACCES"), NOW),
            "it may not be read",
        ),
        Example(Status.UNKNOWN, (DARK, NOW), "processes hidden"),
    ),
    mappings={"sac": ["S15a"], "cis-kubernetes-1.12": ["4.2.10"]},
)
def rotation_stalled(facts: Pki, now: Now, limits: ExpiryLimits) -> Verdict:
    rotated = rotating(facts, *_ROTATED)
    if not rotated and facts.unseen:
        return verdict((), "", unseen=facts)
    if not rotated:
        return Verdict.not_applicable("the kubelet rotates no certificate on this host")
    if now.at < YEAR_2000:
        return Verdict.unknown(f"the clock says {day(now.at)}: no rotation can be judged by it")
    rotations = [rotation(held, now, limits, facts) for held in rotated]
    # A kubeconfig that cannot be read hides which certificate the kubelet uses.
    hidden = [h for h in facts.held("kubelet-client") if h.use.in_use and h not in rotated]
    dark = [f"{h.pem.where}: {h.pem.error}" for h in hidden if h.pem.error and not h.pem.absent]
    dark += [r for r in rotations if isinstance(r, str)]
    notes = [r for r in rotations if isinstance(r, Evidence)]
    offences = [r for r in rotations if isinstance(r, Offence)]
    return verdict(offences, "; ".join(f"{n.what}: {n.value}" for n in notes), *notes, dark=dark)


def rotating(facts: Pki, *components: str) -> list[Held]:
    """What the kubelet renews by itself, and uses."""
    return [
        h for h in facts.held(*components) if h.use.in_use and renewer(h, facts) is Renewer.KUBELET
    ]


def rotation(held: Held, now: Now, limits: ExpiryLimits, facts: Pki) -> Offence | Evidence | str:
    """How the renewal of one certificate stands: stalled, as it should be, or why that cannot be
    told."""
    if held.pem.absent:
        return _stalled(held, "leads to a file that is not there", facts, ended=True)
    if held.leaf is None:
        return f"{held.pem.where}: {held.pem.error or 'no certificate'}"
    if better := newer(held, now.at, facts):
        text = f"is older than {better}, to which the link should lead"
        evidence = Evidence(held.use.component, text, held.pem.where)
        return Offence(Severity.HIGH, evidence, relink(held.use.path, better, facts))
    if text := _late(held.leaf, now.at, limits):
        return _stalled(held, text, facts, ended=now.at > held.leaf.not_after)
    used = (now.at - held.leaf.not_before) / max(1, held.leaf.lifetime_s)
    text = f"{max(0.0, used):.0%} of its life is over, renewal is due between 70% and 90%"
    return Evidence(held.use.component, text, held.pem.where)


def _stalled(held: Held, text: str, facts: Pki, *, ended: bool = False) -> Offence:
    evidence = Evidence(held.use.component, text, held.pem.where)
    lost = ended and held.use.component == "kubelet-client"
    return Offence(Severity.HIGH, evidence, rejoin(facts) if lost else kubelet(held.use, facts))


def _late(leaf: Certificate, now: float, limits: ExpiryLimits) -> str:
    used = (now - leaf.not_before) / max(1, leaf.lifetime_s)
    if used > limits.stalled:
        ends = f"it {'ends' if used < 1 else 'ended'} on {moment(leaf.not_after)}"
        return f"rotation stalled: {min(used, 1):.0%} of its life is over, {ends}"
    return ""
