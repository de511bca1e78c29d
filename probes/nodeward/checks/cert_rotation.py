"""Whether renewal works: rotation that stalled, and certificates renewed but not in use."""

from __future__ import annotations

from dataclasses import replace

from nodeward.checks.cert_common import BOOTSTRAP, KUBEADM_CERTS, PKI, Offence, verdict
from nodeward.checks.cert_expiry import YEAR_2000, ExpiryLimits, day
from nodeward.checks.cert_samples import DARK, NOTHING, NOW, certificate, pki, place, together
from nodeward.facts.clock import Now
from nodeward.facts.pki import Held, Pki
from nodeward.facts.renewal import Renewer, remedy, renewer
from nodeward.facts.served import Port, Presented, Served
from nodeward.facts.x509 import Certificate
from nodeward.model import Evidence, Example, Remedy, Severity, Status, Unreadable, Verdict, check

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
    remedy=remedy("kubelet-client", Renewer.KUBELET),
    sources=(BOOTSTRAP,),
    examples=(
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
    rotated = [
        h for h in facts.held(*_ROTATED) if h.use.in_use and renewer(h, facts) is Renewer.KUBELET
    ]
    if not rotated and facts.unseen:
        return verdict((), "", unseen=facts)
    if not rotated:
        return Verdict.not_applicable("the kubelet rotates no certificate on this host")
    if now.at < YEAR_2000:
        return Verdict.unknown(f"the clock says {day(now.at)}: no rotation can be judged by it")
    offences: list[Offence] = []
    notes: list[Evidence] = []
    dark: list[str] = []
    for held in rotated:
        if held.pem.absent:
            text = "leads to a file that is not there"
            offences.append(_stalled(held, text))
        elif held.leaf is None:
            dark.append(f"{held.pem.where}: {held.pem.error or 'no certificate'}")
        elif text := _late(held, held.leaf, now.at, limits, facts):
            offences.append(_stalled(held, text))
        else:
            used = (now.at - held.leaf.not_before) / max(1, held.leaf.lifetime_s)
            notes.append(
                Evidence(
                    held.use.component, f"{max(0.0, used):.0%} of its life over", held.pem.where
                )
            )
    return verdict(offences, "; ".join(f"{n.what}: {n.value}" for n in notes), *notes, dark=dark)


def _stalled(held: Held, text: str) -> Offence:
    evidence = Evidence(held.use.component, text, held.pem.where)
    return Offence(Severity.HIGH, evidence, remedy(held.use.component, Renewer.KUBELET))


def _late(held: Held, leaf: Certificate, now: float, limits: ExpiryLimits, facts: Pki) -> str:
    used = (now - leaf.not_before) / max(1, leaf.lifetime_s)
    if used > limits.stalled:
        return (
            f"rotation stalled: {used:.0%} of its life are over, it ends on {day(leaf.not_after)}"
        )
    for other in facts.held(held.use.component):
        newer = other.leaf
        if other.use.superseded and newer and newer.not_before > leaf.not_before:
            return f"is older than {other.pem.path}, to which the link should lead"
    return ""


_SERVER = "/etc/kubernetes/pki/apiserver.crt"
_PORT = Port("apiserver", "127.0.0.1", 6443, "kube-apiserver")
_OLD, _NEW = certificate(age=360, left=5), certificate(age=1, left=364)


def _presents(*certificates: Certificate, outcome: str = "answered") -> Served:
    return Served((Presented(_PORT, outcome, certificates),))


@check(
    "cert.inuse-mismatch",
    title="Every server presents the certificate that its files hold",
    why=(
        "A certificate that was renewed on disk does nothing until it is loaded. The old one ends"
        " on its day, with the new one beside it."
    ),
    severity=Severity.MEDIUM,
    remedy=Remedy(
        "Restart the daemon, so that it loads the certificate from its file.",
        steps=(
            "# static pod: move its manifest out of /etc/kubernetes/manifests, wait, move it back",
            "systemctl restart kubelet   # or k3s, rke2-server",
        ),
        breaks="The daemon is away while it restarts.",
    ),
    sources=(PKI, KUBEADM_CERTS, BOOTSTRAP),
    examples=(
        Example(Status.PASS, (pki("apiserver", _SERVER, _NEW), _presents(_NEW)), "the same"),
        Example(
            Status.FAIL,
            (pki("apiserver", _SERVER, _NEW), _presents(_OLD)),
            "the file is newer: renewed, not loaded",
        ),
        Example(
            Status.FAIL,
            (pki("apiserver", _SERVER, _OLD), _presents(_NEW)),
            "the file is older: the server takes it from elsewhere",
        ),
        Example(
            Status.FAIL,
            (
                pki("kubelet-server", "/var/lib/kubelet/pki/kubelet.crt", _NEW),
                Served(
                    (Presented(Port("kubelet-server", "127.0.0.1", 10250, "kubelet"), "tls-alert"),)
                ),
            ),
            "the port is open and has no certificate to show: its request waits for approval",
        ),
        Example(
            Status.NOT_APPLICABLE, (pki("apiserver", _SERVER, _NEW), Served(())), "no port is open"
        ),
        Example(
            Status.UNKNOWN,
            (pki("apiserver", _SERVER, _NEW), _presents(outcome="timeout")),
            "the port does not answer",
        ),
        Example(
            Status.UNKNOWN,
            (pki("apiserver", _SERVER, _NEW), Unreadable("TLS servers", "offline")),
            "a tree at rest",
        ),
    ),
    mappings={"sac": ["S15a"]},
)
def inuse_mismatch(facts: Pki, served: Served) -> Verdict:
    if not served.rows:
        return Verdict.not_applicable("no port of a component with a certificate is open here")
    offences: list[Offence] = []
    notes: list[Evidence] = []
    dark: list[str] = []
    for row in served.rows:
        held = [h for h in facts.held(row.port.component) if h.use.in_use]
        if row.outcome == "tls-alert":
            offences += _nothing_to_show(row, facts)
        elif not row.certificates:
            why = row.broken or row.outcome
            dark.append(f"the certificate of {row.port.component} at {row.where}: {why}")
        elif not held:
            text = f"presents {row.certificates[0].subject}, which it keeps in memory"
            notes.append(Evidence(row.port.component, text, row.where))
        else:
            _compare(row, held, offences, notes, dark)
    good = "; ".join(f"{n.what} {n.value}" for n in notes[:4])
    return verdict(offences, good or "nothing to compare", *notes, dark=dark, unseen=facts)


def _nothing_to_show(row: Presented, facts: Pki) -> list[Offence]:
    """An alert before any certificate: a kubelet whose serving request is not answered has none."""
    if row.port.component == "kubelet-server":
        text = "ends every handshake: it has no certificate, its signing request waits for approval"
        mend = remedy("kubelet-server", Renewer.KUBELET)
    else:
        text, mend = "ends every handshake without showing a certificate", None
    evidence = Evidence(row.port.component, text, row.where)
    return [Offence(Severity.MEDIUM, evidence, mend)]


def _compare(
    row: Presented,
    held: list[Held],
    offences: list[Offence],
    notes: list[Evidence],
    dark: list[str],
) -> None:
    shown = row.certificates[0]
    files = [(h, h.leaf) for h in held if h.leaf]
    if not files:
        dark.append(f"{held[0].pem.where}: {held[0].pem.error or 'no certificate'}")
        return
    for one, leaf in files:
        if leaf.sha256 == shown.sha256:
            text = f"presents what {one.pem.path} holds"
            notes.append(Evidence(row.port.component, text, row.where))
            return
    one, leaf = files[0]
    if leaf.not_before > shown.not_before:
        text = (
            f"still presents the certificate that ends on {day(shown.not_after)}:"
            f" {one.pem.path} was renewed (ends on {day(leaf.not_after)}) but not loaded"
        )
    else:
        text = (
            f"presents {shown.subject}, ending {day(shown.not_after)}, and not the older one of"
            f" {one.pem.path}: its configuration points elsewhere"
        )
    offences.append(Offence(Severity.MEDIUM, Evidence(row.port.component, text, row.where)))
