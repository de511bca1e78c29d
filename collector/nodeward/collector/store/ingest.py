"""Reports into rows: a whole group of them, of any nodes, inside one transaction.

Locks are taken in one order (postures by node, then shared rows, then counters), so replicas that
write at the same time wait for each other and do not deadlock.

Who retires a node, sets it back or lets it come back takes its posture too, so whoever holds that
reads from its key whether it may still speak: a report of a node that was retired meanwhile must
not move counters that it has left.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal, NamedTuple, get_args

import msgspec
from sqlalchemy import Connection, select, update

from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import clock_of, database_now, insert
from nodeward.collector.posture import EMPTY, State, differences
from nodeward.collector.problem import Problem
from nodeward.collector.store.bulk import Row, bulk
from nodeward.collector.store.counters import Moves
from nodeward.collector.store.names import MOST_CHECKS, Names, Platform
from nodeward.collector.wire import ReportIn, Statuses, digest_bytes, identity

Ended = Literal["pending", "quarantined", "superseded", "revoked", "retired"]
"""Statuses of a key that may not speak."""
Outcome = Literal["stored", "same", "send-full", "old", "conflict", "too-many"] | Ended
TOLD_MS: Final = 60_000
LATER_MS: Final = 60_000
"""Two reports of a node have two times, at least 1 ms apart, unless the database's clock was set
back by more than this. Whoever follows the changes looks back as far."""
ENDED: Final = get_args(Ended)
KINDS = {"full": 0, "delta": 1}


class Incoming(msgspec.Struct, frozen=True, gc=False):
    """A report that is authentic (or will be verified before it is folded) and well-formed.

    `at`: None is when it is written, by the database's clock, so that whoever follows the changes
    sees them in one order, whatever the replicas' clocks say. A past is written with its own times.

    `node` comes from the credential. What its findings come to is in `statuses`; their text is read
    from `sent` when it is folded. `signature` covers the bytes as sent.
    """

    node: int
    agent: str
    report: ReportIn
    statuses: Statuses
    sent: bytes
    signature: bytes
    signed_at: int
    verified: bool
    at: int | None
    platform: Platform = Platform()


@dataclass(slots=True)
class _Node:
    """A posture row as the transaction goes on."""

    node: int
    cluster: int
    set: int | None
    boot: str | None
    seq: int
    digest: bytes | None
    first_at: int | None
    platform: int | None
    state: State
    before: State
    new: bool
    at: int
    job: Incoming | None = None

    def next_at(self, now: int) -> int:
        """When its next report came: its changes must not have the time of those before."""
        return self.at + 1 if now <= self.at < now + LATER_MS else now


@dataclass(frozen=True)
class _Step:
    """A posture that was reached, and the one before."""

    old: State
    new: State

    @cached_property
    def differences(self) -> Sequence[tuple[int, int, int]]:
        return differences(self.old, self.new)


@dataclass
class _Work:
    """What a group comes to."""

    outcomes: list[Outcome] = field(default_factory=list)
    reports: list[Row] = field(default_factory=list)
    boots: list[dict[str, Any]] = field(default_factory=list)
    changes: list[Row] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    clones: set[str] = field(default_factory=set)
    steps: dict[tuple[bytes, Statuses, bool], _Step] = field(default_factory=dict)

    def step(self, names: Names, old: State, told: Statuses, *, full: bool) -> _Step:
        """Nodes that are alike change alike, when a policy or an outage is behind it: done once."""
        key = (old.digest, told, full)
        found = self.steps.get(key)
        if found is None:
            if full:
                new = names.order(told.checks).state(told.values)
            else:
                rules = (names.rules[check] for check in told.checks)
                new = old.replaced(dict(zip(rules, told.values, strict=True)))
            found = self.steps[key] = _Step(old, new)
        return found


def ingest(connection: Connection, names: Names, jobs: Sequence[Incoming]) -> list[Outcome]:
    """Store what is new. One outcome a job, in order."""
    nodes = _lock(connection, names, {job.node for job in jobs})
    lists = {job.statuses.checks for job in jobs}
    now = clock_of(connection)  # they are locked
    speaking: dict[str, Any] = dict(bulk(connection).keys(sorted({job.agent for job in jobs})))
    refused = names.want_rules(connection, lists, now)
    work = _Work()
    known = _known(connection, jobs, nodes)
    for job in jobs:
        node = nodes[job.node]
        at = node.next_at(now) if job.at is None else job.at
        outcome: Outcome
        if speaking.get(job.agent) != "active":
            outcome = speaking.get(job.agent, "revoked")
        elif job.statuses.checks in refused:
            outcome = "too-many"
        else:
            outcome = _judge(node, job, known)
        work.outcomes.append(outcome)
        if outcome == "stored":
            _take(node, job, at, names, work)
            known.receipts[job.node, job.report.boot, job.report.seq] = _Receipt(b"", job.sent)
            known.boots.add((job.node, job.report.boot))
        elif outcome in ("conflict", "old"):
            work.events.append(_event(job, outcome, at))
        if outcome == "conflict":
            work.clones.add(job.agent)
    _write(connection, names, [n for n in nodes.values() if n.job is not None], work)
    return work.outcomes


def _lock(connection: Connection, names: Names, ids: set[int]) -> dict[int, _Node]:
    rows = bulk(connection).held(sorted(ids))
    states = names.states(connection, {row[2] for row in rows if row[2] is not None})
    out = {}
    for node, cluster, set_id, boot, seq, digest, first_at, platform, report_at in rows:
        state = EMPTY if set_id is None else states[set_id]
        out[node] = _Node(
            node=node,
            cluster=cluster,
            set=set_id,
            boot=boot,
            seq=-1 if seq is None else seq,
            digest=digest,
            first_at=first_at,
            platform=platform,
            state=state,
            before=state,
            new=set_id is None,
            at=-1 if report_at is None else report_at,
        )
    return out


class _Receipt(NamedTuple):
    """A report that was stored: its identity, or its body while that is there."""

    sha: bytes
    body: bytes | None

    def is_of(self, sent: bytes) -> bool:
        """Whether this is the same report, however it is compressed."""
        if self.body == sent:
            return True
        return identity(sent) == (self.sha if self.body is None else identity(self.body))


class _Known(NamedTuple):
    """What was stored under (node, boot, seq), and the (node, boot) that were heard of."""

    receipts: dict[tuple[int, str, int], _Receipt]
    boots: set[tuple[int, str]]


def _known(connection: Connection, jobs: Sequence[Incoming], nodes: Mapping[int, _Node]) -> _Known:
    """Receipts that may answer a repeated report."""
    suspects = [
        job
        for job in jobs
        if job.report.boot != nodes[job.node].boot or job.report.seq <= nodes[job.node].seq
    ]
    out = _Known({}, set())
    if not suspects:
        return out
    ids = sorted({job.node for job in suspects})
    boots = select(t.boot.c.node, t.boot.c.boot).where(t.boot.c.node.in_(ids))
    for row in connection.execute(boots):
        out.boots.add((row.node, row.boot))
    r = t.report.c
    seqs = sorted({job.report.seq for job in suspects})
    columns = (r.node, r.boot, r.seq, r.sha, r.body)
    receipts = select(*columns).where(r.node.in_(ids), r.seq.in_(seqs))
    for node, boot, seq, sha, body in connection.execute(receipts):
        out.receipts[node, boot, seq] = _Receipt(bytes(sha), body)
    return out


def _judge(node: _Node, job: Incoming, known: _Known) -> Outcome:
    """Whether this report comes next (the order of the rules matters)."""
    report = job.report
    receipt = known.receipts.get((node.node, report.boot, report.seq))
    if receipt is not None:
        return "same" if receipt.is_of(job.sent) else "conflict"
    if report.boot == node.boot:
        if report.seq <= node.seq:
            return "old"
    elif (node.node, report.boot) in known.boots:
        return "conflict"  # a boot that had ended speaks again: two agents hold this key
    if report.kind == "delta" and (
        report.base is None or node.digest is None or digest_bytes(report.base) != node.digest
    ):
        return "send-full"
    return "stored"


def _take(node: _Node, job: Incoming, at: int, names: Names, work: _Work) -> None:
    """Bring the node in memory to this report's posture."""
    report = job.report
    step = work.step(names, node.state, job.statuses, full=report.kind == "full")
    node.state = step.new
    if node.first_at is None:
        node.first_at = at  # the first posture is no change
    else:
        work.changes += [(at, node.node, rule, a, b) for rule, a, b in step.differences]
    if node.boot != report.boot:
        work.boots.append({"node": node.node, "boot": report.boot, "at": at})
    node.boot, node.seq, node.digest = report.boot, report.seq, digest_bytes(report.digest)
    node.job, node.at = job, at
    work.reports.append(
        (
            node.node,
            report.boot,
            report.seq,
            job.agent,
            at,
            KINDS[report.kind],
            b"",
            job.signed_at,
            job.signature,
            int(job.verified),
            job.sent,
        )
    )


def _event(job: Incoming, outcome: str, at: int) -> dict[str, Any]:
    detail = {"boot": job.report.boot, "seq": job.report.seq}
    kind = "agent.identity.conflict" if outcome == "conflict" else "report.out-of-order"
    return security_event(kind, at=at, node=job.node, agent=job.agent, detail=detail)


def security_event(
    kind: str, *, at: int, node: int | None, agent: str | None, detail: Mapping[str, Any]
) -> dict[str, Any]:
    """A row of security_event. The id sorts by time."""
    return {
        "id": f"{at:012x}{secrets.token_hex(8)}",
        "at": at,
        "node": node,
        "agent": agent,
        "kind": kind,
        "detail": json.dumps(dict(detail)),
    }


def tell(connection: Connection, events: Sequence[Mapping[str, Any]]) -> None:
    """Write these events of nodes down, one a minute of each kind, node and key: an agent that
    says the same wrong thing with each report must not fill the store."""
    if not events:
        return
    e, recent = t.security_event.c, min(event["at"] for event in events) - TOLD_MS
    nodes = sorted({event["node"] for event in events})
    query = select(e.kind, e.node, e.agent).where(e.node.in_(nodes), e.at > recent)
    told = {tuple(row) for row in connection.execute(query)}
    new: dict[tuple[str, int, str], Mapping[str, Any]] = {}
    for event in events:
        new.setdefault((event["kind"], event["node"], event["agent"]), event)
    rows = [event for key, event in new.items() if key not in told]
    if rows:
        connection.execute(t.security_event.insert(), rows)


def _write(connection: Connection, names: Names, nodes: Sequence[_Node], work: _Work) -> None:
    rows = bulk(connection)
    if nodes:
        sets = names.set_ids(connection, [node.state for node in nodes])
        for node in nodes:
            node.set = sets[node.state.digest]
        _set_platforms(connection, names, nodes)
        rows.postures([_posture_row(node) for node in nodes])
        moves = Moves()
        for node in nodes:
            moves.step(node.cluster, node.before, node.state)
            moves.nodes(node.cluster, int(node.new))
        moves.write(connection)
    if work.reports:
        rows.reports(work.reports)
    if work.boots:
        connection.execute(insert(connection, t.boot).on_conflict_do_nothing(), work.boots)
    if work.changes:
        rows.changes(work.changes)
    tell(connection, work.events)
    if work.clones:
        quarantine = update(t.agent).where(
            t.agent.c.id.in_(sorted(work.clones)), t.agent.c.status == "active"
        )
        changed = {"status": "quarantined", "changed_at": database_now(connection)}
        connection.execute(quarantine.values(**changed))


def _set_platforms(connection: Connection, names: Names, nodes: Sequence[_Node]) -> None:
    """Of those that say what they are: in a full report, or where nothing is known of them."""
    told = {
        node.node: node.job.platform
        for node in nodes
        if node.job is not None and (node.job.report.kind == "full" or node.platform is None)
    }
    ids = names.platform_ids(connection, told.values())
    for node in nodes:
        if node.node in told:
            node.platform = ids[told[node.node]]


def _posture_row(node: _Node) -> Row:
    job = node.job
    assert job is not None
    return (
        node.set,
        node.platform,
        node.state.score,
        node.boot,
        node.seq,
        node.digest,
        node.first_at,
        node.at,
        node.at,
        job.signed_at * 1000 - node.at,
        node.node,
    )


_ANSWERS = {
    "send-full": (409, "send-full", "the collector holds another posture: send a full report"),
    "old": (409, "old-seq", "a later report of this boot is already stored"),
    "conflict": (403, "conflict", "two agents speak with this key: it is quarantined"),
    "too-many": (400, "invalid", f"findings: more than {MOST_CHECKS} distinct checks in all"),
}


def problem(outcome: Outcome) -> Problem | None:
    """What to answer an agent whose report was not stored."""
    if outcome in _ANSWERS:
        return Problem(*_ANSWERS[outcome])
    if outcome in ENDED:
        return Problem(403, outcome, f"this key is {outcome}")
    return None


def forget_receipts(connection: Connection, before: int) -> None:
    """Folded reports older than that, but never the latest of a node."""
    r, p = t.report.c, t.posture.c
    latest = select(p.node).where(p.node == r.node, p.boot == r.boot, p.seq == r.seq)
    old = t.report.delete().where(r.at < before, r.body.is_(None), ~latest.exists())
    connection.execute(old)
