"""A fleet with a past, written by the collector's own ingest with the time as a value."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, update
from sqlalchemy import select as select_

import kubeadm_tree
from nodeward.agent.scan import scan, select
from nodeward.checks import catalog
from nodeward.checks.cert_samples import certificate, pki
from nodeward.collector.center import Center
from nodeward.collector.clock import rfc3339
from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import insert
from nodeward.collector.store.access import Scope
from nodeward.collector.store.enrol import enrol_by_token, make_join_token
from nodeward.collector.store.ingest import Incoming
from nodeward.collector.store.names import Platform
from nodeward.collector.store.trend import note_trend
from nodeward.collector.store.waivers import approve_waiver, make_waiver
from nodeward.collector.wire import ReportIn, decode, statuses
from nodeward.facts.clock import Now
from nodeward.facts.pki import Pki
from nodeward.host import TreeHost
from nodeward.model import Check, CheckId, Readings, Seen, Status, decide, finding
from nodeward.model.report import (
    finding_from_json,
    finding_to_json,
    posture_digest,
    report_to_json,
)

DAY_MS = 86_400_000
MOST_IN_FLIGHT = 500
SILENT = 17
"""Of forty nodes the one that has not been heard of."""
RENEWED = 20
"""The day on which agents renew their keys, as they do when half of a key's time is over."""
SHOWN = 3
"""The node whose page shows all that a node's page can show."""
KUBELET = "kubelet-client"
KEYS = "cert.shared-key"
KEYS_OF_WORKERS = (KUBELET, "kubelet-server", "cluster-ca")
ON_WORKERS = (KUBELET, "kubelet-server", "kube-proxy")
CLUSTERS = {"prod-eu": "prod", "prod-us": "prod", "lab": "lab"}
Finding = dict[str, Any]


def real_findings(tmp: Path) -> tuple[list[Finding], Mapping[str, Any]]:
    """What nodeward says of a recorded kubeadm node: findings and inventory."""
    host = TreeHost(kubeadm_tree.build(tmp / "kubeadm"))
    report = report_to_json(
        scan(host, select(()), at=datetime.fromisoformat(kubeadm_tree.NOW).timestamp())
    )
    made: dict[str, Any] = json.loads(json.dumps(report))
    return made["findings"], made["inventory"]


class Posture(dict[str, Finding]):
    """What a node says, by check. Most nodes say the same: one object serves them all."""

    @cached_property
    def digest(self) -> str:
        return posture_digest(finding_from_json(f) for f in self.values())

    @cached_property
    def wire(self) -> str:
        """All findings as they stand in a full report."""
        return json.dumps(list(self.values()))


def by_example(check: str, note: str) -> Finding:
    """What the check itself says of the example that its author noted so."""
    rule = catalog()[CheckId(check)]
    example = next(e for e in rule.examples if e.note == note)
    return judged(rule, example.readings(rule.needs))


def judged(rule: Check[...], readings: Readings) -> Finding:
    made: Finding = json.loads(json.dumps(finding_to_json(finding(rule, decide(rule, readings)))))
    return made


def client_certificate(now: int, left: float) -> Finding:
    """The kubelet's client certificate with `left` days of a year."""
    rule = catalog()[CheckId("cert.expiry.kubelet-client")]
    at, path = now // 1000, "/var/lib/kubelet/pki/kubelet-client-current.pem"
    end = int(at + 86_400 * left)
    leaf = replace(certificate(), not_before=end - 365 * 86_400, not_after=end)
    example = next(e for e in rule.examples if e.note == "issued a month ago for a year")
    readings = {
        **example.readings(rule.needs),
        Pki: Seen(pki(KUBELET, path, leaf)),
        Now: Seen(Now(at)),
    }
    return judged(rule, readings)


def of_worker(base: Mapping[str, Finding]) -> Posture:
    """The findings of a control plane node as a worker has them: its certificates are not there."""
    own = Posture(base)
    for check in base:
        if check.startswith("cert.expiry.") and check.rpartition(".")[2] not in ON_WORKERS:
            own[check] = by_example(check, "no such certificate")
    held = [e for e in base[KEYS]["evidence"] if e["what"] in KEYS_OF_WORKERS]
    own[KEYS] = base[KEYS] | {"evidence": held, "because": f"{len(held)} keys, each under one name"}
    return own


SCTP = {
    True: by_example("kernel.module.sctp", "a socket loads sctp"),
    False: by_example("kernel.module.sctp", "`install sctp /bin/false`"),
}
POD, HOST = "meta.pod.reach", "meta.host.reach"
PORT, ANONYMOUS, PROXY = (
    "kubelet.port.exposure",
    "kubelet.authn.anonymous",
    "kubeproxy.metrics-bind",
)
DCCP = "kernel.module.dccp"
DEPENDENCY = "`blacklist dccp`: the alias is dccp_ipv4's, and dccp comes as its dependency"
NOT_IN_CLOUD = "no cloud is recognised: nothing is sent"
VARIANTS: tuple[tuple[tuple[int, Mapping[str, str]], ...], ...] = (
    (
        (3, {DCCP: "a socket loads dccp_ipv4"}),
        (3, {DCCP: "`install dccp /bin/false`: every DCCP module needs dccp"}),
        (2, {DCCP: DEPENDENCY}),
    ),
    (
        (4, {POD: NOT_IN_CLOUD, HOST: NOT_IN_CLOUD}),
        (2, {POD: "dropped on the way", HOST: "IMDSv2 gives a token"}),
        (2, {POD: "IPv4 is blocked, IPv6 is not", HOST: "IMDSv1 answers without a token"}),
        (1, {POD: "needs CAP_SYS_ADMIN", HOST: "an owner match rejects it"}),
    ),
    (
        (
            8,
            {
                PORT: "private addresses only",
                ANONYMOUS: "and the port answers 401",
                PROXY: "loopback",
            },
        ),
        (
            1,
            {
                PORT: "everywhere, and one address is public",
                "kubelet.port.readonly": "the file says 0, the port answers",
                PROXY: "every address",
            },
        ),
        (
            1,
            {
                ANONYMOUS: "the file says no, the port still says system:anonymous",
                "kubelet.port.healthz-bind": "what listens wins over the file",
            },
        ),
    ),
)
"""What nodes differ in: of each line one column, as often as its number says."""
DAYS_LEFT = (300, 300, 212, 141, 58, 21, 6, -3)


def spoilt(rule: Check[...]) -> Finding:
    """The first failure among a check's examples."""
    failing = next(e for e in rule.examples if e.expect is Status.FAIL)
    return judged(rule, failing.readings(rule.needs))


SPOILT = {
    name: spoilt(rule)
    for name, rule in catalog().items()
    if name.startswith(("kubelet.", "kernel.module.")) and name != "kernel.module.sctp"
}
DRIFTING = sorted(SPOILT)


class Postures:
    """All that members of this fleet may say; what two say alike is one object."""

    def __init__(self, base: Sequence[Finding], now: int) -> None:
        master = {f["check"]: f for f in base}
        self._base = {True: Posture(master), False: of_worker(master)}
        self._kept: dict[tuple[object, ...], Posture] = {}
        self._key: dict[int, tuple[object, ...]] = {}
        self._certificates = {d: client_certificate(now, d) for d in DAYS_LEFT}

    def drawn(self, chance: random.Random, *, master: bool) -> Posture:
        """One of them by lot. One node of ten differs from all others in a few checks more."""
        choice = tuple(
            chance.choices(range(len(line)), [weight for weight, _ in line])[0] for line in VARIANTS
        )
        drift: tuple[str, ...] = ()
        if chance.random() < 0.1:
            drift = tuple(chance.sample(DRIFTING, chance.randint(1, 3)))
        return self._at(chance.random() < 0.7, master, chance.choice(DAYS_LEFT), choice, drift)

    def shown(self) -> Posture:
        """One with something in each of a node's drawings."""
        return self._at(True, False, 21, (0, 2, 1), ())

    def turned(self, posture: Posture) -> Posture:
        """The same, where sctp was blocked or opened since."""
        sctp, *rest = self._key[id(posture)]
        return self._at(not sctp, *rest)

    def _at(self, *key: Any) -> Posture:
        if key not in self._kept:
            sctp, master, left, choice, drift = key
            certificate = self._certificates[left]
            new = Posture(self._base[master] | {"kernel.module.sctp": SCTP[sctp]})
            new[certificate["check"]] = certificate
            for line, column in zip(VARIANTS, choice, strict=True):
                for check, note in line[column][1].items():
                    new[check] = by_example(check, note)
            new |= {check: SPOILT[check] for check in drift}
            self._kept[key] = new
            self._key[id(new)] = key
        return self._kept[key]


MACHINES = (
    ("debian", "12", "6.1.0-56-amd64", "1.36.2", "containerd", "2.1.4", ""),
    ("ubuntu", "24.04", "6.8.0-88-generic", "1.35.6", "containerd", "1.7.28", "aws"),
    ("flatcar", "4230.2.4", "6.6.110-flatcar", "1.36.2", "containerd", "2.1.4", "gcp"),
)


def machine(inventory: Mapping[str, Any], number: int, *, master: bool) -> Mapping[str, Any]:
    """An inventory: clusters have a kind of machine each, with a few of another."""
    kind = MACHINES[(number + (number % 11 == 0)) % len(MACHINES)]
    system, version, kernel, kubelet, runtime, release, cloud = kind
    return dict(inventory) | {
        "os": {"id": system, "version": version},
        "kernel": kernel,
        "kubelet": {"version": kubelet},
        "runtime": {"name": runtime, "version": release},
        "cloud": cloud,
        "roles": ["control-plane"] if master else ["worker"],
    }


HOSTILE = "<script>alert(1)</script> \x1b[31mred\x1b[0m \u202egpj.exe " + "A" * 10_000


@dataclass
class Member:
    """A node of the made-up fleet: its agent and what it last said."""

    node: int
    agent: str
    name: str
    number: int
    seq: int = 0
    findings: Posture = field(default_factory=Posture)

    def say(self, new: Posture, inventory: Mapping[str, Any], at: int) -> Incoming:
        """A report: all of it the first time, and then what changed."""
        old, self.findings = self.findings, new
        self.seq += 1
        changed = [f for check, f in new.items() if old.get(check) != f]
        body = {
            "schema": "nodeward.report/v1",
            "node": self.name,
            "taken_at": rfc3339(at),
            "boot": "b" * 32,
            "seq": self.seq,
            "kind": "delta" if old else "full",
            "digest": new.digest,
            "inventory": inventory,
            "agent": {"version": "0.1.0", "catalog": "sha256:0"},
        } | ({"base": old.digest} if old else {})
        findings = json.dumps(changed) if old else new.wire
        raw = f'{json.dumps(body)[:-1]}, "findings": {findings}}}'.encode()
        report = decode(raw, ReportIn)
        return Incoming(
            node=self.node,
            agent=self.agent,
            report=report,
            statuses=statuses(report),
            sent=gzip.compress(raw, 1),
            signature=bytes(64),
            signed_at=at // 1000,
            verified=True,
            at=at,
            platform=Platform.of(report.inventory, report.agent.version, report.agent.catalog),
        )


def enrol(
    center: Center, names: Sequence[tuple[str, str]], now: int, *, approve: bool = False
) -> list[Member]:
    """(cluster, node) pairs as enrolled agents, with keys of nobody: nothing here is signed.
    With `approve` they wait until somebody lets them in."""

    def act(connection: Any) -> list[Member]:
        members = []
        for cluster in sorted({c for c, _ in names}):
            token = make_join_token(
                connection, cluster=cluster, node="*", uses=1_000_000, ttl_ms=DAY_MS,
                approve=approve, by="seed", now=now,
            )  # fmt: skip
            for _, name in [n for n in names if n[0] == cluster]:
                agent = hashlib.sha256(f"{cluster}/{name}".encode()).hexdigest()[:26]
                bound = enrol_by_token(
                    connection, agent=agent, public_key=agent.encode().ljust(32), node=name,
                    cluster=cluster, token=token, now=now,
                )  # fmt: skip
                assert not isinstance(bound, Exception), bound
                number = int(name.rpartition("-")[2])
                members.append(Member(bound.node, agent, name, number))
        return members

    members: list[Member] = center.writer.act_now(act)
    return members


def label(center: Center) -> None:
    """Each cluster's environment, as a label."""

    def act(connection: Any) -> None:
        for row in connection.execute(t.cluster.select()).all():
            env = {"cluster": row.id, "key": "env", "value": CLUSTERS.get(row.name, "other")}
            statement = insert(connection, t.cluster_label).on_conflict_do_nothing()
            connection.execute(statement, [env])

    center.writer.act_now(act)


def send(center: Center, jobs: Iterable[Incoming]) -> None:
    """All of them, a few in flight at a time: of a large fleet not all fit in memory."""
    flying: deque[Future[str]] = deque()
    for job in jobs:
        flying.append(center.writer.submit(job))
        if len(flying) > MOST_IN_FLIGHT:
            assert flying.popleft().result() == "stored"
    assert {future.result() for future in flying} <= {"stored"}


def folded(center: Center) -> None:
    """Wait for the collector's own background work to have folded all."""
    waiting = select_(t.report.c.node).where(t.report.c.body.is_not(None)).limit(1)
    while True:
        with center.engine.connect() as connection:
            if connection.execute(waiting).first() is None:
                return
        time.sleep(0.05)  # there is nothing to wait on but the table


SHORT = HOSTILE[:2000]  # a finding of more than 256 KiB would be left out
HOSTILE_CELLS = {HOSTILE[:90]: SHORT, "until": "2026-12-01"} | dict.fromkeys(
    ("port", "address", "program", "reach", "use", "renewed by"), SHORT
)


def hostile(was: Finding) -> Finding:
    """A finding of a node that is out to harm whoever looks at it."""
    piece = {"what": HOSTILE, "value": HOSTILE, "source": HOSTILE}
    small = dict.fromkeys(piece, SHORT)
    rows: list[Any] = [
        {**small, "row": {"table": table, "name": SHORT, "cells": HOSTILE_CELLS}}
        for table in ("reach", "listener", "answer", "ends", "step", HOSTILE)
    ]
    odd: tuple[Any, ...] = (7, [], {"table": "reach"}, None)
    bad = [{**small, "row": row} for row in odd]
    return was | {"status": "fail", "because": HOSTILE, "evidence": [piece, *rows, *bad]}


def heard_of(member: Member) -> bool:
    return member.number % 40 != SILENT


def heard(center: Center, nodes: Sequence[int], at: int) -> None:
    """Heartbeats of these nodes."""

    def act(connection: Connection) -> None:
        for i in range(0, len(nodes), 500):
            statement = update(t.posture).where(t.posture.c.node.in_(nodes[i : i + 500]))
            connection.execute(statement.values(seen_at=at))

    center.writer.act_now(act)


WAIVERS = (
    ("kubelet.protect-kernel-defaults", "lab", "the image's own sysctl.d sets these flags", 5, 60),
    ("kubelet.tls.ciphers", "prod-us", "an old load balancer, replaced in January", 2, 40),
    ("kubelet.debug-handlers", "prod-eu", "profiling of the release before this", 25, 20),
)
"""Check, cluster, reason, how many days ago it was asked for, and for how many days: one is in
force, one waits for somebody, one is over."""


def waive(center: Center, now: int) -> None:
    def act(connection: Connection) -> None:
        for check, cluster, reason, ago, days in WAIVERS:
            at = now - ago * DAY_MS
            made = make_waiver(
                connection, check=check, node="*", labels={"cluster": cluster}, reason=reason,
                owner="platform", expires_at=at + days * DAY_MS, scope=Scope(None), by="carol",
                approved=False, now=at,
            )  # fmt: skip
            if cluster != "prod-us":
                approve_waiver(connection, made, Scope(None), "dan", at + 3_600_000)

    center.writer.act_now(act)


def make_fleet(center: Center, tmp: Path, now: int, *, nodes: int = 120, days: int = 30) -> None:
    """`nodes` in three clusters, each with `days` of history; the same every time."""
    chance = random.Random(7)
    base, inventory = real_findings(tmp)
    clusters = list(CLUSTERS)
    names = [(clusters[i % 3], f"{clusters[i % 3]}-worker-{i:04}") for i in range(nodes)]
    first = now - days * DAY_MS
    members = enrol(center, names, first)
    label(center)
    said = Postures(base, now)
    masters = [i % 24 > 21 for i in range(nodes)]
    kinds = [1 if i == SHOWN else i for i in range(nodes)]
    machines = [machine(inventory, kinds[i], master=masters[i]) for i in range(nodes)]
    machines[0] = {**machines[0], "kernel": HOSTILE, "kubelet": {"version": HOSTILE}}

    def opening(m: Member) -> Incoming:
        drawn = said.drawn(chance, master=masters[m.number])
        new = said.shown() if m.number == SHOWN else drawn
        return m.say(new, machines[m.number], first + m.node % 3_600_000)

    send(center, map(opening, members))
    movable = [m for m in members if m.number != SHOWN]
    for day in range(1, days):
        at = first + day * DAY_MS
        if day == RENEWED:
            enrol(center, [n for m, n in zip(members, names, strict=True) if heard_of(m)], at)
        turned = chance.sample(movable, max(1, len(members) // 20))
        send(
            center,
            (
                m.say(said.turned(m.findings), machines[m.number], at + 1000 * m.node)
                for m in turned
            ),
        )
        center.writer.act_now(partial(note_trend, now=at))
    victim = next(m for m in members if m.name == "prod-eu-worker-0000")
    new = Posture(victim.findings)
    for check in ("kernel.module.dccp", "meta.pod.reach", "cert.expiry.kubelet-client"):
        new[check] = hostile(new[check])
    send(center, [victim.say(new, machines[victim.number], now - 60_000)])
    waive(center, now)
    heard(center, [m.node for m in members if heard_of(m)], now - 5_000)
    center.writer.act_now(lambda connection: note_trend(connection, now))
    folded(center)
