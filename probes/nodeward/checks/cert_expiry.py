"""When the certificate of each component ends, against its own lifetime and who renews it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from nodeward.checks.cert_samples import NOTHING, NOW, certificate, pki
from nodeward.facts.bundles import intermediates
from nodeward.facts.clock import Now
from nodeward.facts.daemons import APISERVER, KUBELET
from nodeward.facts.pki import LOOSE, Held, Kind, Pem, Pki, Use
from nodeward.facts.pki_places import PROGRAM_OF
from nodeward.facts.renewal import (
    AT_START,
    AT_START_SURE_S,
    AT_START_WINDOW_S,
    CONTINUOUSLY,
    Renewer,
    newer,
    renewer,
)
from nodeward.facts.renewal_kubelet import relink
from nodeward.facts.renewal_steps import remedy, restart
from nodeward.facts.served import Port, Presented, Served
from nodeward.facts.webhooks import COMPONENT as WEBHOOK
from nodeward.facts.x509 import Certificate
from nodeward.lazy import dataclass
from nodeward.model import (
    Absent,
    Check,
    Evidence,
    Example,
    Params,
    Remedy,
    Row,
    Severity,
    Source,
    Status,
    Table,
    Unreadable,
    Verdict,
    check,
    most,
)

DAY = 86400
YEAR_2000 = 946_684_800
PRESENTED = "presented"
SETTLED_S = 3600  # k0s makes its certificates within this time of its start
_NOT_ASKED = Unreadable("TLS servers", "offline")
ROTATION_STARTS = 0.7  # client-go: at a random part of the life between this and 0.9

COMPONENTS: dict[str, str] = {
    "kubelet-client": "the kubelet's client certificate",
    "kubelet-server": "the kubelet's serving certificate",
    "apiserver": "the API server's serving certificate",
    "apiserver-kubelet-client": "the API server's client certificate for kubelets",
    "apiserver-etcd-client": "the API server's client certificate for etcd",
    "front-proxy-client": "the front proxy's client certificate",
    "etcd-server": "etcd's serving certificate",
    "etcd-peer": "etcd's peer certificate",
    "etcd-healthcheck-client": "etcd health check's client certificate",
    "controller-manager": "the controller manager's client certificate",
    "scheduler": "the scheduler's client certificate",
    "admin": "the administrator's client certificate",
    "super-admin": "the super-administrator's client certificate",
    "kube-proxy": "kube-proxy's client certificate",
}
PEOPLE = frozenset({"admin", "super-admin", "etcd-healthcheck-client"})
"""No daemon stops when these end: people and their tools use them."""

_ALSO: dict[str, tuple[str, ...]] = {
    "apiserver": ("apiserver-sni",),
    "apiserver-kubelet-client": ("egress-client",),
    "controller-manager": ("controller-manager-server",),
    "scheduler": ("scheduler-server",),
    "etcd-server": ("etcd-client",),
    "etcd-peer": ("etcd-peer-client",),
}
"""What the same daemon has besides, and what few have: it ends with the same effect."""
OTHER = "other"
_ELSEWHERE = frozenset(
    {
        *COMPONENTS,
        *(name for names in _ALSO.values() for name in names),
        LOOSE,
        "copy",
        "webhook",
        WEBHOOK,
    }
)
"""Components with a check of their own, and certificates that no program here uses."""
_SERVES: dict[str, str] = {"kubelet-server": KUBELET, "apiserver": APISERVER}
"""Programs that serve with a certificate of their own making where they are given none."""


@dataclass(frozen=True, slots=True)
class ExpiryLimits(Params):
    """When a certificate that nobody renews by itself is reported: at `warn_days` before its end
    with severity low, at `fail_days` with the check's own. One that lives less than
    `short_days` is measured in parts of its life instead. `stalled` is the part of its life by
    which a rotating certificate should long have been replaced."""

    section: ClassVar[tuple[str, ...]] = ("checks", "cert.expiry")

    warn_days: float = 60
    fail_days: float = 30
    short_days: float = 300
    warn_part: float = 0.2
    fail_part: float = 0.1
    stalled: float = 0.92


@dataclass(frozen=True, slots=True)
class Judged:
    """What is said of one certificate. `status` FAIL has a severity. `until` is when it ends for
    its peers, where that is before its own end. `valid`: whether it is by the clock; False for one
    that has ended, None for one that is not valid yet."""

    status: Status
    text: str
    held: Held
    severity: Severity | None = None
    by: Renewer = Renewer.HAND
    until: int | None = None
    valid: bool | None = True
    newer: str = ""

    @property
    def weight(self) -> tuple[int, int]:
        order = (Status.PASS, Status.UNKNOWN, Status.FAIL)
        return order.index(self.status), self.severity.rank if self.severity else 0

    def evidence(self) -> Evidence:
        leaf = self.held.leaf
        name = f"{leaf.subject}: " if leaf else ""
        row = Row(Table.ENDS, self.held.use.component, self._cells(leaf)) if leaf else None
        return Evidence(self.held.use.component, f"{name}{self.text}", self.held.pem.where, row)

    def _cells(self, leaf: Certificate) -> tuple[tuple[str, str], ...]:
        use = self.held.use
        used = "in use" if use.in_use else "already replaced" if use.superseded else "not in use"
        until = leaf.not_after if self.until is None else self.until
        return ("until", moment(until)), ("use", used), ("renewed by", str(self.by))


def day(at: float) -> str:
    """Seconds since 1970 as a date; years before 1 do not occur, those after 9999 neither."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at)).strftime("%Y-%m-%d")


def moment(at: float) -> str:
    """The same to the second, UTC, which is what certificates are dated in."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at)).strftime(
        "%Y-%m-%d %H:%M:%S UTC"
    )


def span(seconds: float) -> str:
    """A length of time as an operator would say it."""
    if seconds < 2 * 3600:
        return f"{max(0, round(seconds / 60))} minutes"
    return f"{seconds / 3600:.0f} hours" if seconds < 3 * DAY else f"{seconds / DAY:.0f} days"


def judge_one(held: Held, now: float, limits: ExpiryLimits, facts: Pki) -> Judged:
    """One certificate, with the intermediates of its file: its peers need each of them."""
    own = _by_itself(held, now, limits, facts)
    above = (_above(held, one, now, limits, facts) for one in intermediates(held, facts))
    return max((own, *above), key=lambda j: j.weight)


def _above(held: Held, one: Certificate, now: float, limits: ExpiryLimits, facts: Pki) -> Judged:
    """An authority below the root is renewed by whoever runs it, and comes with the next issue."""
    alone = replace(held, pem=replace(held.pem, certificates=(one,)))
    if one.not_before <= now <= one.not_after and held.use.in_use:
        left = f"ends on {moment(one.not_after)}, in {span(one.not_after - now)}"
        judged = _static(alone, one, now, left, limits, Renewer.HAND)
    else:
        judged = _not_in_time(alone, _missed(one, now), Renewer.HAND, facts)
    text = f"is issued by the intermediate {one.subject}, which {judged.text}"
    return replace(judged, held=held, text=text, until=one.not_after)


def _missed(one: Certificate, now: float) -> str:
    if now < one.not_before:
        early = f"in {span(one.not_before - now)} by this node's clock ({moment(now)})"
        return f"is not valid before {moment(one.not_before)}, {early}"
    return f"expired on {moment(one.not_after)}, {span(now - one.not_after)} ago"


def _by_itself(held: Held, now: float, limits: ExpiryLimits, facts: Pki) -> Judged:
    leaf, by = held.leaf, renewer(held, facts)
    if leaf is None:
        return _unreadable(held)
    if not leaf.not_before <= now <= leaf.not_after:
        missed = _not_in_time(held, _missed(leaf, now), by, facts)
        missed = replace(missed, valid=None if now < leaf.not_before else False)
        better = newer(held, now, facts)
        text = f"{missed.text}; {better} is newer, and the link does not lead to it"
        return replace(missed, text=text, newer=better) if better else missed
    left = f"ends on {moment(leaf.not_after)}, in {span(leaf.not_after - now)}"
    if not held.use.in_use:
        why = "not in use"
        if held.use.superseded:
            why = "newer than the one in use" if _ahead(held, leaf, facts) else "already replaced"
        return Judged(Status.PASS, f"{left}; {why}", held, by=by)
    if by in CONTINUOUSLY:
        return _rotating(held, leaf, now, left, limits, by)
    if by in AT_START:
        return _at_start(held, leaf, now, left, limits, by, facts)
    return _static(held, leaf, now, left, limits, by)


def _ahead(held: Held, leaf: Certificate, facts: Pki) -> bool:
    """Whether a file of a rotation is the next one and not the last."""
    used = [h.leaf for h in facts.held(held.use.component) if h.use.in_use]
    return any(one and one.not_before < leaf.not_before for one in used)


def _unreadable(held: Held) -> Judged:
    pem = held.pem
    why = pem.error or "; ".join(pem.broken) or "holds no certificate"
    return Judged(Status.UNKNOWN, f"could not be read: {why}", held)


def _not_in_time(held: Held, text: str, by: Renewer, facts: Pki) -> Judged:
    if held.use.superseded:
        return Judged(Status.PASS, f"{text}; already replaced", held, by=by)
    if not held.use.in_use:
        return Judged(Status.FAIL, f"{text}; nothing uses it", held, Severity.LOW, by)
    if by in AT_START and by.program in facts.stopped:
        text += f"; {by.program}, which does not run, renews it at its start"
        return Judged(Status.FAIL, text, held, Severity.LOW, by)
    program = PROGRAM_OF.get(held.use.component)
    if program in facts.stopped:
        text += f"; {program}, which does not run, cannot come back with it"
    severity = Severity.HIGH if held.use.component in PEOPLE else Severity.CRITICAL
    return Judged(Status.FAIL, text, held, severity, by)


def _rotating(
    held: Held, leaf: Certificate, now: float, left: str, limits: ExpiryLimits, by: Renewer
) -> Judged:
    used = (now - leaf.not_before) / max(1, leaf.lifetime_s)
    if used > limits.stalled:
        text = f"{left}: rotation stalled, {used:.0%} of its life is over"
        return Judged(Status.FAIL, text, held, Severity.HIGH, by)
    if used >= ROTATION_STARTS:
        return Judged(Status.PASS, f"{left}; {used:.0%} over, rotation is due", held, by=by)
    return Judged(Status.PASS, f"{left}; renewed by {by}", held, by=by)


def _at_start(
    held: Held,
    leaf: Certificate,
    now: float,
    left: str,
    limits: ExpiryLimits,
    by: Renewer,
    facts: Pki,
) -> Judged:
    """What is renewed when its supervisor starts: k3s and RKE2 by what ends soon, k0s always."""
    started = facts.supervisor_started
    if by is Renewer.K0S:
        if started is not None and started > leaf.not_before + SETTLED_S:
            judged = _static(held, leaf, now, left, limits, Renewer.HAND)
            text = f"{judged.text}: k0s did not make it anew at its start on {moment(started)}"
            return replace(judged, text=text)
        judged = _static(held, leaf, now, left, limits, by)
        if judged.status is Status.PASS:
            return judged
        return replace(judged, text=f"{left}: a restart would renew it")
    entered = leaf.not_after - AT_START_WINDOW_S
    if now < entered:
        return Judged(Status.PASS, f"{left}; renewed by {by}", held, by=by)
    if started is not None and started > leaf.not_after - AT_START_SURE_S:
        text = f"{left}: not renewed by the start on {moment(started)}"
        return Judged(Status.FAIL, text, held, Severity.HIGH, by)
    urgent = leaf.not_after - now < limits.fail_days * DAY
    severity = Severity.HIGH if urgent else Severity.LOW
    return Judged(Status.FAIL, f"{left}: a restart would renew it", held, severity, by)


def _static(
    held: Held, leaf: Certificate, now: float, left: str, limits: ExpiryLimits, by: Renewer
) -> Judged:
    remaining, life = leaf.not_after - now, leaf.lifetime_s
    short = life < limits.short_days * DAY
    fail = limits.fail_part * life if short else limits.fail_days * DAY
    warn = limits.warn_part * life if short else limits.warn_days * DAY
    if remaining < warn:
        severity = Severity.HIGH if remaining < fail else Severity.LOW
        return Judged(Status.FAIL, f"{left}; renewed by {by}", held, severity, by)
    return Judged(Status.PASS, f"{left}; renewed by {by}", held, by=by)


def judge(
    component: str,
    facts: Pki,
    served: Served | Absent | Unreadable,
    now: Now,
    limits: ExpiryLimits,
) -> Verdict:
    """All certificates of one component, and what it presents instead, the worst first."""
    what = COMPONENTS.get(component, "any other certificate in use")
    rows = served.rows if isinstance(served, Served) else ()
    if component == OTHER:
        names = {*(u.component for u in facts.uses), *(r.port.component for r in rows)}
        names -= _ELSEWHERE
    else:
        names = {component, *_ALSO.get(component, ())}
    rows = tuple(row for row in rows if row.port.component in names)
    held = [h for h in (facts.held(*names) if names else ()) if component != OTHER or h.use.in_use]
    shown = _presented(held, rows)
    if not held and not shown:
        return _none(component, what, facts, served, rows)
    if now.at < YEAR_2000:
        return Verdict.unknown(f"the clock says {day(now.at)}: no expiry can be judged by it")
    judged = [judge_one(one, now.at, limits, facts) for one in held]
    judged += [_told(judge_one(one, now.at, limits, facts)) for one in shown]
    return summed(component, judged, facts)


def _presented(held: Iterable[Held], rows: Iterable[Presented]) -> list[Held]:
    """What a server shows that is in none of its files: kept in memory, or renewed since."""
    known = {one.leaf.sha256 for one in held if one.leaf}
    return [
        Held(
            Use(row.port.component, Kind.CERTIFICATE, row.where, named_by=PRESENTED),
            Pem(row.where, real=row.where, certificates=row.certificates),
        )
        for row in rows
        if row.certificates and row.certificates[0].sha256 not in known
    ]


def _told(judged: Judged) -> Judged:
    text = judged.text.removesuffix(f"; renewed by {judged.by}")
    return replace(judged, text=f"{text}; so it presents, and no file that was read holds it")


def _none(
    component: str,
    what: str,
    facts: Pki,
    served: Served | Absent | Unreadable,
    rows: Iterable[Presented],
) -> Verdict:
    if facts.unseen:
        return Verdict.unknown(f"could not look for {what}: {facts.unseen[0]}")
    if dark := [row for row in rows if not row.has_none]:
        why = f"no file that was read holds {what}, and {dark[0].where} did not tell"
        return Verdict.unknown(f"{why}: {dark[0].why}")
    program = _SERVES.get(component)
    if program in facts.running and not isinstance(served, Served):
        why = served.error if isinstance(served, Unreadable) else "not on this host"
        return Verdict.unknown(
            f"no file that was read holds {what}, and the port of {program} could not be asked:"
            f" {why}"
        )
    if component == OTHER:
        return Verdict.not_applicable("no other certificate is in use on this host")
    return Verdict.not_applicable(f"{what} is not on this host")


def summed(component: str, judged: Iterable[Judged], facts: Pki) -> Verdict:
    ordered = sorted(judged, key=lambda j: j.weight, reverse=True)
    worst = ordered[0]
    theirs = worst.held.use.component
    what = COMPONENTS.get(component, "") if theirs == component else ""
    what = what or f"the certificate of {theirs}"
    because = f"{what} {worst.text} ({worst.held.pem.where})"
    evidence = most([j.evidence() for j in ordered])
    match worst.status:
        case Status.FAIL:
            mend = _mend(worst, facts)
            return Verdict.failed(because, *evidence, severity=worst.severity, remedy=mend)
        case Status.UNKNOWN:
            return Verdict.unknown(because, *evidence)
        case _:
            return Verdict.passed(because, *evidence)


def _mend(worst: Judged, facts: Pki) -> Remedy:
    if worst.held.use.named_by == PRESENTED:
        return replace(
            restart(worst.held.use.component, facts),
            text="Restart the daemon, so that it loads the certificate from its file or makes a new"
            " one; renew the file first if that ends as well.",
        )
    if not worst.held.use.in_use:
        return Remedy(f"Remove {worst.held.use.path}, or renew it if something does use it.")
    if worst.newer:
        return relink(worst.held.use.path, worst.newer, facts)
    mend = remedy(worst.held, worst.by, facts, ended=worst.valid is False)
    return _early(mend) if worst.valid is None else mend


def _early(mend: Remedy) -> Remedy:
    """A certificate from the future: somebody's clock is or was wrong, and a new one of the same
    issuer is no better until that is mended."""
    return Remedy(
        "Compare this node's clock with another first, and that of whoever issued it: one of them"
        f" is or was wrong. Where this one is right, renew the certificate: {mend.text}",
        steps=("timedatectl", "date -u   # and the same on another node", *mend.steps),
        breaks=mend.breaks,
    )


_SOURCES = (
    Source("PKI certificates", "https://kubernetes.io/docs/setup/best-practices/certificates/"),
    Source(
        "kubeadm certificate management",
        "https://kubernetes.io/docs/tasks/administer-cluster/kubeadm/kubeadm-certs/",
    ),
    Source(
        "kubelet certificate rotation",
        "https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/",
    ),
)


def _examples(component: str) -> list[Example]:
    path, rotating = f"/etc/kubernetes/pki/{component}.crt", component == "kubelet-client"
    if rotating:
        path = "/var/lib/kubelet/pki/kubelet-client-current.pem"

    def row(expect: Status, note: str, age: float, left: float) -> Example:
        facts = pki(component, path, certificate(age=age, left=left))
        return Example(expect, (facts, _NOT_ASKED, NOW), note)

    rows = [
        row(Status.PASS, "issued a month ago for a year", 30, 335),
        row(Status.FAIL, "expired a week ago", 372, -7),
        row(Status.FAIL, "not valid before tomorrow", -1, 364),
        row(Status.FAIL, "20 days left of a year", 345, 20),
        Example(Status.NOT_APPLICABLE, (NOTHING, _NOT_ASKED, NOW), "no such certificate"),
        Example(
            Status.UNKNOWN,
            (pki(component, path, error="EACCES"), _NOT_ASKED, NOW),
            "the file may not be read",
        ),
        Example(
            Status.UNKNOWN,
            (pki(component, path, certificate()), _NOT_ASKED, Now(0)),
            "the clock stands before 2000",
        ),
        Example(
            Status.UNKNOWN,
            (Unreadable("the process table", "EACCES"), _NOT_ASKED, NOW),
            "processes hidden",
        ),
    ]
    if rotating:
        rows.append(row(Status.PASS, "80 % of its life over: the kubelet is about to ask", 292, 73))
    else:
        rows.append(row(Status.FAIL, "50 days left of a year: low", 315, 50))
    return rows


_OLD, _NEW = certificate(age=372, left=-7), certificate(age=1, left=364)


def _server_examples(component: str) -> list[Example]:
    def shows(*certificates: Certificate, outcome: str = "answered") -> Served:
        port = Port(component, "127.0.0.1", 6443, component)
        return Served((Presented(port, outcome, certificates),))

    facts = pki(component, f"/etc/kubernetes/pki/{component}.crt", _NEW)
    return [
        Example(Status.PASS, (facts, shows(_NEW), NOW), "presented as the file has it"),
        Example(Status.FAIL, (facts, shows(_OLD), NOW), "an expired one is still presented"),
        Example(Status.PASS, (NOTHING, shows(_NEW), NOW), "valid, and kept in memory"),
        Example(Status.FAIL, (NOTHING, shows(_OLD), NOW), "expired, and kept in memory"),
        Example(
            Status.UNKNOWN,
            (NOTHING, shows(outcome="timeout"), NOW),
            "no file, and the port does not answer",
        ),
    ]


def _unasked_examples(component: str) -> list[Example]:
    program = _SERVES.get(component)
    if program is None:
        return []
    runs = replace(NOTHING, running=(program,))
    return [
        Example(Status.UNKNOWN, (runs, _NOT_ASKED, NOW), "no file, and no port could be asked"),
        Example(Status.NOT_APPLICABLE, (runs, Served(()), NOW), "no file, and no port is open"),
    ]


_WITH_PORTS = ("kubelet-server", "apiserver", "etcd-server", "etcd-peer", OTHER)


def _family(component: str, what: str) -> Check[...]:
    declare = check(
        f"cert.expiry.{component}",
        title=f"{what[0].upper()}{what[1:]} is valid and will be renewed in time",
        why=(
            "When it ends, what uses it stops, usually everywhere at once. How close an end is"
            " depends on its lifetime and on who renews it: one that the kubelet rotates is late"
            " when 92 % of its life is over, one that a person renews a month before its end."
        ),
        severity=Severity.HIGH,
        remedy=Remedy("Renew it the way this node's distribution does."),
        sources=_SOURCES,
        examples=lambda: (
            *_examples("dqlite" if component == OTHER else component),
            *(_server_examples(component) if component in _WITH_PORTS else ()),
            *_unasked_examples(component),
        ),
        mappings={"sac": ["S15a"], "nsa-cisa-1.2": ["EN"]},
    )

    def one(
        facts: Pki, served: Served | Absent | Unreadable, now: Now, limits: ExpiryLimits
    ) -> Verdict:
        return judge(component, facts, served, now, limits)

    return declare(one)


CHECKS = (
    *(_family(component, what) for component, what in COMPONENTS.items()),
    _family(OTHER, "every other certificate in use (MicroK8s' dqlite, k3s' supervisor and more)"),
)
