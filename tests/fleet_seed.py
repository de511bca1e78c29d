"""A fleet with a past, written by the collector's own ingest with the time as a value."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import select as select_

import kubeadm_tree
from nodeward.agent.scan import scan, select
from nodeward.collector.center import Center
from nodeward.collector.clock import rfc3339
from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import insert
from nodeward.collector.store.enrol import enrol_by_token, make_join_token
from nodeward.collector.store.ingest import Incoming
from nodeward.collector.store.trend import note_trend
from nodeward.collector.wire import ReportIn, decode
from nodeward.host import TreeHost
from nodeward.model.report import finding_from_json, posture_digest, report_to_json

DAY_MS = 86_400_000
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


def finding(check: str, status: str, because: str, *evidence: tuple[str, str, str]) -> Finding:
    return {
        "check": check,
        "status": status,
        "severity": "high",
        "because": because,
        "evidence": [{"what": w, "value": v, "source": s} for w, v, s in evidence],
        "remedy": {
            "text": "Block it by name.",
            "steps": ["echo 'install sctp /bin/false' > /etc/modprobe.d/nodeward.conf"],
            "breaks": "Services of type SCTP.",
        },
        "mappings": {"sac": ["S8c"]},
    }


SCTP_OPEN = finding(
    "kernel.module.sctp",
    "fail",
    "any user can load sctp: nothing stands between socket() and insmod",
    ("request", "net-pf-2-proto-132", "socket(AF_INET, SOCK_SEQPACKET, IPPROTO_SCTP)"),
    ("alias", "net-pf-2-proto-132 -> sctp", "/lib/modules/6.1.0-56-amd64/modules.alias:5120"),
    ("would be inserted", "libcrc32c, sctp", "/lib/modules/6.1.0-56-amd64/modules.dep:3301"),
)
SCTP_BLOCKED = finding(
    "kernel.module.sctp",
    "pass",
    "no user can load sctp: install sctp /bin/false",
    ("rule", "install sctp /bin/false", "/etc/modprobe.d/nodeward.conf:1"),
)
PODS_REACH = finding(
    "meta.pod.reach",
    "fail",
    "1 of 2 pod networks reaches the metadata endpoint",
    ("shop/cart-7f", "aws-imdsv1: open; aws-imdsv6: refused", ""),
    ("shop/web-1c", "aws-imdsv1: timed out; aws-imdsv6: refused", ""),
)
HOSTILE = "<script>alert(1)</script> \x1b[31mred\x1b[0m \u202egpj.exe " + "A" * 10_000


@dataclass
class Member:
    """A node of the made-up fleet: its agent and what it last said."""

    node: int
    agent: str
    name: str
    seq: int = 0
    findings: dict[str, Finding] = field(default_factory=dict)

    def say(self, changed: Sequence[Finding], inventory: Mapping[str, Any], at: int) -> Incoming:
        """A report, full the first time and then of what changed."""
        full = not self.findings
        base = self._digest()
        self.findings |= {f["check"]: f for f in changed}
        self.seq += 1
        body = {
            "schema": "nodeward.report/v1",
            "node": self.name,
            "taken_at": rfc3339(at),
            "boot": "b" * 32,
            "seq": self.seq,
            "kind": "full" if full else "delta",
            "digest": self._digest(),
            "findings": list(changed),
            "inventory": inventory,
            "agent": {"version": "0.1.0", "catalog": "sha256:0"},
        } | ({} if full else {"base": base})
        raw = json.dumps(body).encode()
        return Incoming(
            node=self.node,
            agent=self.agent,
            report=decode(raw, ReportIn),
            sent=gzip.compress(raw, 1),
            sha=hashlib.sha256(raw).digest(),
            signature=bytes(64),
            signed_at=at // 1000,
            verified=True,
            at=at,
            skew_ms=0,
        )

    def _digest(self) -> str:
        return posture_digest(finding_from_json(f) for f in self.findings.values())


def enrol(center: Center, names: Sequence[tuple[str, str]], now: int) -> list[Member]:
    """(cluster, node) pairs as enrolled agents, with keys of nobody: nothing here is signed."""

    def act(connection: Any) -> list[Member]:
        members = []
        for cluster in sorted({c for c, _ in names}):
            token = make_join_token(
                connection, cluster=cluster, node="*", uses=1_000_000, ttl_ms=DAY_MS,
                approve=False, by="seed", now=now,
            )  # fmt: skip
            for _, name in [n for n in names if n[0] == cluster]:
                agent = hashlib.sha256(f"{cluster}/{name}".encode()).hexdigest()[:26]
                bound = enrol_by_token(
                    connection, agent=agent, public_key=agent.encode().ljust(32), node=name,
                    cluster=cluster, token=token, now=now,
                )  # fmt: skip
                assert not isinstance(bound, Exception), bound
                members.append(Member(bound.node, agent, name))
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


def send(center: Center, jobs: Iterator[Incoming] | Sequence[Incoming]) -> None:
    futures = [center.writer.submit(job) for job in jobs]
    assert {future.result() for future in futures} <= {"stored"}


def folded(center: Center) -> None:
    """Wait for the collector's own background work to have folded all."""
    waiting = select_(t.report.c.node).where(t.report.c.body.is_not(None)).limit(1)
    while True:
        with center.engine.connect() as connection:
            if connection.execute(waiting).first() is None:
                return
        time.sleep(0.05)  # there is nothing to wait on but the table


def make_fleet(center: Center, tmp: Path, now: int, *, nodes: int = 120, days: int = 30) -> None:
    """`nodes` in three clusters, each with `days` of history; the same every time."""
    chance = random.Random(7)
    base, inventory = real_findings(tmp)
    clusters = list(CLUSTERS)
    names = [(clusters[i % 3], f"{clusters[i % 3]}-worker-{i:04}") for i in range(nodes)]
    first = now - days * DAY_MS
    members = enrol(center, names, first)
    label(center)
    inventory = dict(inventory) | {"kernel": "6.1.0-56-amd64"}
    open_sctp = {m.node for m in members if chance.random() < 0.7}
    opening = []
    for member in members:
        own = {f["check"]: f for f in base}
        own |= {"kernel.module.sctp": SCTP_OPEN if member.node in open_sctp else SCTP_BLOCKED}
        if chance.random() < 0.3:
            own["meta.pod.reach"] = PODS_REACH
        opening.append(member.say(list(own.values()), inventory, first + member.node % 3_600_000))
    send(center, opening)
    for day in range(1, days):
        at = first + day * DAY_MS
        changed = []
        for member in chance.sample(members, max(1, len(members) // 20)):
            fixed = member.node in open_sctp
            open_sctp ^= {member.node}
            what = SCTP_BLOCKED if fixed else SCTP_OPEN
            changed.append(member.say([what], inventory, at + 1000 * member.node))
        send(center, changed)
        center.writer.act_now(partial(note_trend, now=at))
    hostile = finding("kernel.module.dccp", "fail", HOSTILE, (HOSTILE, HOSTILE, HOSTILE))
    victim = next(m for m in members if m.name == "prod-eu-worker-0000")
    send(center, [victim.say([hostile], inventory, now - 60_000)])
    rest = [m for m in members if m is not victim]
    send(center, [m.say([m.findings["kernel.taint"]], inventory, now - 5_000) for m in rest])
    center.writer.act_now(lambda connection: note_trend(connection, now))
    folded(center)
