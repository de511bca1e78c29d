"""Whether what is in use is what the files hold: renewed, and loaded."""

from __future__ import annotations

from dataclasses import replace

from nodeward.checks.cert_common import BOOTSTRAP, KUBEADM_CERTS, PKI, Offence, verdict
from nodeward.checks.cert_expiry import moment, span
from nodeward.checks.cert_samples import NOTHING, certificate, guard, pki
from nodeward.facts.daemons import SCHEDULER, Daemon, Daemons, sample
from nodeward.facts.pki import Held, Kind, Pki, Use
from nodeward.facts.pki_places import PROGRAM_OF
from nodeward.facts.renewal import renewer
from nodeward.facts.renewal_kubelet import kubelet
from nodeward.facts.renewal_steps import remedy, restart
from nodeward.facts.served import Port, Presented, Served
from nodeward.facts.webhooks import COMPONENT
from nodeward.facts.x509 import Certificate
from nodeward.model import (
    Absent,
    Evidence,
    Example,
    Remedy,
    Severity,
    Status,
    Unreadable,
    Verdict,
    check,
)

START_SLACK_S = 2.0  # the boot time that starts are counted from is a whole second

_SERVER = "/etc/kubernetes/pki/apiserver.crt"
_PORT = Port("apiserver", "127.0.0.1", 6443, "kube-apiserver")
_KUBELET = Port("kubelet-server", "127.0.0.1", 10250, "kubelet")
_OLD, _NEW = certificate(age=360, left=5), certificate(age=1, left=364)
_NONE = Daemons(())
_OFFLINE = Unreadable("TLS servers", "offline")
_NO_ANSWER = Served(())


def _presents(*certificates: Certificate, outcome: str = "answered") -> Served:
    return Served((Presented(_PORT, outcome, certificates),))


def _embedded(written: float) -> Pki:
    """A scheduler.conf with its certificate inside, written at this time."""
    facts = pki("scheduler", "/etc/kubernetes/scheduler.conf", _NEW)
    at = replace(guard(), mtime=written)
    pem = replace(facts.pems[0], part="user s", guard=at)
    return replace(facts, pems=(pem,), uses=(replace(facts.uses[0], part="user s"),))


def _scheduler(started: float | None) -> Daemons:
    return Daemons((replace(sample(SCHEDULER, ""), started_at=started),))


@check(
    "cert.inuse-mismatch",
    title="Every daemon uses the certificate that its files hold",
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
    examples=lambda: (
        Example(Status.PASS, (pki("apiserver", _SERVER, _NEW), _presents(_NEW), _NONE), "the same"),
        Example(
            Status.FAIL,
            (pki("apiserver", _SERVER, _NEW), _presents(_OLD), _NONE),
            "the file is newer: renewed, not loaded",
        ),
        Example(
            Status.FAIL,
            (pki("apiserver", _SERVER, _OLD), _presents(_NEW), _NONE),
            "the file is older: the server takes it from elsewhere",
        ),
        Example(
            Status.FAIL,
            (
                pki("kubelet-server", "/var/lib/kubelet/pki/kubelet.crt", _NEW),
                Served((Presented(_KUBELET, "tls-alert", alert=80),)),
                _NONE,
            ),
            "the port is open and has no certificate to show: its request waits for approval",
        ),
        Example(
            Status.UNKNOWN,
            (
                pki("kubelet-server", "/var/lib/kubelet/pki/kubelet.crt", _NEW),
                Served((Presented(_KUBELET, "tls-alert", alert=40),)),
                _NONE,
            ),
            "it wants another hello than ours: what it has is not seen",
        ),
        Example(
            Status.FAIL,
            (_embedded(2000), _NO_ANSWER, _scheduler(1000)),
            "the kubeconfig was written after the scheduler had read it",
        ),
        Example(
            Status.PASS,
            (_embedded(1000), _OFFLINE, _scheduler(2000)),
            "a tree at rest: the scheduler started after its kubeconfig was written",
        ),
        Example(Status.NOT_APPLICABLE, (NOTHING, _NO_ANSWER, _NONE), "no port is open"),
        Example(
            Status.UNKNOWN,
            (pki("apiserver", _SERVER, _NEW), _presents(outcome="timeout"), _NONE),
            "the port does not answer",
        ),
        Example(
            Status.UNKNOWN,
            (pki("apiserver", _SERVER, _NEW), _OFFLINE, _NONE),
            "a tree at rest, in which only a port could tell",
        ),
    ),
    mappings={"sac": ["S15a"]},
)
def inuse_mismatch(
    facts: Pki, served: Served | Absent | Unreadable, daemons: Daemons | Absent | Unreadable
) -> Verdict:
    offences: list[Offence] = []
    notes: list[Evidence] = []
    dark: list[str] = []
    _from_files(facts, daemons, offences, notes)
    rows = served.rows if isinstance(served, Served) else ()
    for row in (r for r in rows if not r.no_tls):
        _from_port(row, facts, daemons, offences, notes, dark)
    if not isinstance(served, Served):
        if not offences and not notes:
            why = served.error if isinstance(served, Unreadable) else "not on this host"
            return Verdict.unknown(f"could not look at {served.what}: {why}")
        return verdict(offences, f"{_said(notes)}; from configuration, not probed", *notes)
    if not offences and not notes and not dark:
        return Verdict.not_applicable("no daemon with a certificate of its own runs here")
    return verdict(offences, _said(notes), *notes, dark=dark, unseen=facts)


def _said(notes: list[Evidence]) -> str:
    return "; ".join(f"{n.what} {n.value}" for n in notes[:4])


def _from_files(
    facts: Pki,
    daemons: Daemons | Absent | Unreadable,
    offences: list[Offence],
    notes: list[Evidence],
) -> None:
    """A client reads a certificate inside its kubeconfig once, at its start; certificates in files
    of their own are read again when they change."""
    for held in facts.held():
        program = PROGRAM_OF.get(held.use.component)
        daemon = daemons.one(program) if program and isinstance(daemons, Daemons) else None
        if not (held.use.in_use and held.use.part and held.leaf and held.pem.guard and daemon):
            continue
        if daemon.started_at is None:
            continue
        late = held.pem.guard.mtime - daemon.started_at
        if late <= START_SLACK_S:
            text = f"started after {held.pem.path} was written"
            notes.append(Evidence(held.use.component, text, daemon.origin))
        else:
            offences.append(_stale(held, daemon, late, facts))


def _stale(held: Held, daemon: Daemon, late: float, facts: Pki) -> Offence:
    text = (
        f"{daemon.program} ({daemon.origin}) still uses what it read at its start:"
        f" the file was written {span(late)} later"
    )
    mend = remedy(held, renewer(held, facts), facts)
    steps = tuple(step for step in mend.steps if not step.startswith("kubeadm certs renew"))
    mend = replace(mend, text=f"Restart {daemon.program}: it is renewed already.", steps=steps)
    return Offence(
        Severity.MEDIUM, Evidence(held.use.component, text, held.pem.where), mend if steps else None
    )


def _from_port(
    row: Presented,
    facts: Pki,
    daemons: Daemons | Absent | Unreadable,
    offences: list[Offence],
    notes: list[Evidence],
    dark: list[str],
) -> None:
    held = [h for h in facts.held(row.port.component) if h.use.in_use]
    if row.port.component == COMPONENT:  # there may be several
        held = [h for h in held if h.use.named_by.endswith(f"(pid {row.port.pid})")]
    if row.has_none and row.port.component != COMPONENT:
        offences.append(_nothing_to_show(row, held, facts))
    elif not row.certificates:
        dark.append(f"the certificate of {row.port.component} at {row.where}: {row.why}")
    elif not held:
        text = f"presents {row.certificates[0].subject}, which it keeps in memory"
        notes.append(Evidence(row.port.component, text, row.where))
    else:
        program = PROGRAM_OF.get(row.port.component)
        daemon = daemons.one(program) if program and isinstance(daemons, Daemons) else None
        started = daemon.started_at if daemon else None
        _compare(row, held, facts, started, offences, notes, dark)


def _nothing_to_show(row: Presented, held: list[Held], facts: Pki) -> Offence:
    """A kubelet that asks the cluster for its serving certificate has none while its request is not
    answered, and none any more once the old one has ended."""
    component, mend = row.port.component, restart(row.port.component, facts)
    text = f"ends every handshake: it has no certificate to show ({row.why})"
    if component == "kubelet-server" and (facts.rotates is None or component in facts.rotates):
        had = next((h for h in held if h.leaf), None)
        text = "ends every handshake: it has no certificate, its signing request waits for approval"
        if had and had.leaf:
            text = (
                f"ends every handshake: that of {had.pem.path}, which ends on"
                f" {moment(had.leaf.not_after)}, is not used, and its signing request waits for"
                " approval"
            )
        mend = kubelet(Use(component, Kind.CERTIFICATE, row.where), facts)
    return Offence(Severity.MEDIUM, Evidence(component, text, row.where), mend)


def _compare(
    row: Presented,
    held: list[Held],
    facts: Pki,
    started: float | None,
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
    if leaf.not_before > shown.not_before and not _read_since(one, started):
        mend: Remedy | None = restart(row.port.component, facts)
        text = (
            f"still presents the certificate that ends on {moment(shown.not_after)}:"
            f" {one.pem.path} was renewed (ends on {moment(leaf.not_after)}) but not loaded"
        )
    else:
        mend = _look_where(row, one)
        age = "newer" if leaf.not_before > shown.not_before else "older"
        text = (
            f"presents {shown.subject}, ending {moment(shown.not_after)}, and not the {age} one of"
            f" {one.pem.path}: its configuration points elsewhere"
        )
    offences.append(Offence(Severity.MEDIUM, Evidence(row.port.component, text, row.where), mend))


def _read_since(one: Held, started: float | None) -> bool:
    """Whether the daemon started after its file was written: what it shows is not from there."""
    written = one.pem.guard.mtime if one.pem.guard else None
    return started is not None and written is not None and started > written + START_SLACK_S


def _look_where(row: Presented, one: Held) -> Remedy:
    return Remedy(
        f"Find where {row.port.program or row.port.component} takes its certificate from, and name"
        " one file for it: what is renewed is not what is shown.",
        steps=(
            f"tr '\\0' '\\n' < /proc/$(pgrep -xo {row.port.program or 'PROGRAM'})/cmdline"
            " | grep -i -e cert -e tls",
            f"openssl x509 -noout -subject -dates -in {one.pem.path}",
        ),
    )
