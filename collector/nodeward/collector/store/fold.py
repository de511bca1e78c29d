"""Reports folded into evidence, off the request path: signature first, then the text."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine, Select, bindparam, func, select, tuple_, update

from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import Record
from nodeward.collector.signature import good, signed_text
from nodeward.collector.store.bulk import Row, bulk
from nodeward.collector.store.dictionary import FEW, Dictionary, keep, made_of, newest
from nodeward.collector.store.distrust import distrust, set_aside
from nodeward.collector.store.evidence import (
    Said,
    first_part,
    folded,
    left_out,
    pack_said,
    saying,
    unpack_said,
)
from nodeward.collector.store.expiry import Ends, ends_of, keep_ends
from nodeward.collector.store.ingest import security_event, tell
from nodeward.collector.store.lifecycle import living
from nodeward.collector.store.shared import Held, held_keys, keep_keys, told_anew
from nodeward.collector.store.writer import Writer
from nodeward.collector.wire import identity

log = logging.getLogger(__name__)

BATCH: Final = 100
MOST: Final = 1_000
LATEST_MS: Final = 20_000
"""While reports pour in, folding waits, but not for longer than about this, nor does the look at
who signed them."""
PATH: Final = "/v1/reports"
_KEY: Final = tuple_(t.report.c.node, t.report.c.boot, t.report.c.seq)
_WAITING: Final = select(
    t.report.c.node, t.report.c.boot, t.report.c.seq, func.length(t.report.c.body).label("size")
).where(t.report.c.body.is_not(None))
_WHOLE: Final = (
    select(
        *(t.report.c[name] for name in ("node", "boot", "seq", "at", "agent", "signed_at",
                                        "signature", "verified", "body")),
        t.agent.c.public_key,
    )
    .join(t.agent, t.agent.c.id == t.report.c.agent)
    .where(t.report.c.body.is_not(None))
)  # fmt: skip
V = TypeVar("V")


def verify_some(engine: Engine, writer: Writer, now: int, before: int) -> int:
    """Look at the signatures of reports that came before that time and still wait; how many.

    Folding takes ten times as long. While there is more to fold than can be, who signed what is
    known in time all the same.
    """
    with engine.connect() as connection:
        r = t.report.c
        query = _WAITING.where(r.verified == 0, r.at < before).order_by(r.at, r.node, r.seq)
        rows = _whole(connection, query)
    if not rows:
        return 0
    good_rows, bad_rows = _told_apart(rows)

    def act(connection: Connection) -> None:
        r = t.report.c
        this = update(t.report).where(
            r.node == bindparam("of"), r.boot == bindparam("in_boot"), r.seq == bindparam("at_seq")
        )
        keys = [{"of": x.node, "in_boot": x.boot, "at_seq": x.seq} for x in good_rows]
        if keys:
            connection.execute(this.values(verified=1), keys)
        distrust(connection, writer.names, bad_rows, now)

    writer.act_now(act)
    return len(rows)


def unverified_ms(connection: Connection, now: int) -> int:
    """For how long the oldest report waits whose signature was not looked at."""
    r = t.report.c
    oldest = select(func.min(r.at)).where(r.body.is_not(None), r.verified == 0)
    at: int | None = connection.execute(oldest).scalar_one()
    return 0 if at is None else max(0, now - at)


def fold_some(engine: Engine, writer: Writer, now: int, before: int | None = None) -> int:
    """Fold the reports of the BATCH nodes that have waited longest; how many reports there were.

    Only of nodes of which one came `before` that time, if it is given. The reading and packing
    happens here, in the caller's thread; only the result goes through the writer. Two replicas
    may do the same work: the second finds the bodies gone and leaves it.
    """
    with engine.connect() as connection:
        rows = _oldest(connection, before)
        if not rows:
            return 0
        good_rows, bad_rows = _told_apart(rows)
        batch = _Batch.of(connection, good_rows)
        nodes = sorted({row.node for row in rows})
        dictionary, new = newest(connection, now), None
        if dictionary is None and len(batch.reports) >= FEW:
            dictionary = new = made_of(map(_sayings, batch.said(connection)))
        done = _Done()
        for one in batch.said(connection):
            done.add(one, dictionary)
    lost, good_rows = batch.lost, [row for row in good_rows if row.node not in batch.lost]
    folds = [(identity(row.body), row.node, row.boot, row.seq) for row in good_rows]

    def act(connection: Connection) -> None:
        there = living(connection, nodes, shared=True)
        if new is not None:
            keep(connection, new, now)
        _store(connection, folds, done.packed)
        distrust(connection, writer.names, bad_rows, now)
        for row in rows:
            if row.node in lost:
                set_aside(connection, row, "report.unreadable", now)
        tell(connection, [_too_long(row, now) for row in good_rows if row.node in done.crowded])
        keep_ends(connection, writer.names, _of(done.ends, there))
        keep_keys(connection, _of(done.keys, there))

    writer.act_now(act)
    return len(rows)


def _of(found: Mapping[int, V], nodes: Iterable[int]) -> dict[int, V]:
    return {node: found[node] for node in nodes if node in found}


def _too_long(row: Record, now: int) -> Mapping[str, Any]:
    detail = {"boot": row.boot, "seq": row.seq}
    return security_event("report.too-long", at=now, node=row.node, agent=row.agent, detail=detail)


def _oldest(connection: Connection, before: int | None) -> Sequence[Record]:
    """All that wait of the nodes whose reports have waited longest, in the order they came."""
    r = t.report.c
    there = (r.body.is_not(None), r.verified != 2)
    oldest = select(r.node, r.at).where(*there).order_by(r.at, r.node).limit(BATCH)
    if before is not None:
        oldest = oldest.where(r.at < before)
    nodes = sorted({row.node for row in connection.execute(oldest)})
    if not nodes:
        return []
    query = _WAITING.where(r.node.in_(nodes), r.verified != 2).order_by(r.at, r.node, r.seq)
    return _whole(connection, query)


def _whole(connection: Connection, waiting: Select[Any]) -> Sequence[Record]:
    """The first of these, MOST at most and no more than may be in memory at once."""
    rows = first_part(connection.execute(waiting.limit(MOST)).all())
    keys = [(row.node, row.boot, row.seq) for row in rows]
    r = t.report.c
    query = _WHOLE.where(_KEY.in_(keys)).order_by(r.at, r.node, r.seq)
    return connection.execute(query).all() if keys else []


def _told_apart(rows: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """Those that their keys signed, and the others."""
    good_rows: list[Record] = []
    bad_rows: list[Record] = []
    for row in rows:
        (good_rows if row.verified == 1 or _is_signed(row) else bad_rows).append(row)
    return good_rows, bad_rows


def _is_signed(row: Record) -> bool:
    sha = hashlib.sha256(row.body).digest()
    text = signed_text("POST", PATH, str(row.signed_at), sha)
    return good(bytes(row.public_key), bytes(row.signature), text)


class _One(NamedTuple):
    """What a node said, and says."""

    node: int
    before: Said
    now: Said


@dataclass
class _Batch:
    """Reports by node, and what each node has said. It is unpacked for one node at a time: what
    some nodes say is long."""

    reports: dict[int, list[Record]]
    blobs: dict[int, bytes]
    lost: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, connection: Connection, rows: Sequence[Record]) -> _Batch:
        reports: dict[int, list[Record]] = defaultdict(list)
        for row in rows:
            reports[row.node].append(row)
        e = t.evidence.c
        query = select(e.node, e.blob).where(e.node.in_(sorted(reports)))
        return cls(reports, {row.node: row.blob for row in connection.execute(query)})

    def said(self, connection: Connection) -> Iterator[_One]:
        """With the reports laid over it; a node for which it could not be must not stop all."""
        for node, reports in sorted(self.reports.items()):
            if node in self.lost:
                continue
            try:
                blob = self.blobs.get(node)
                before = now = Said() if blob is None else unpack_said(connection, blob)
                for report in reports:
                    now = folded(now, report.body)
                one = _One(node, before, now)
                ends_of(now), held_keys(now)
            except Exception:
                log.exception("a report of node %d cannot be folded", node)
                self.lost.add(node)
            else:
                yield one


def _sayings(one: _One) -> Iterable[bytes]:
    return map(saying, one.now.findings, one.now.findings.values())


@dataclass
class _Done:
    """What is to be written of the nodes of a batch. `crowded`: some words are left out."""

    packed: list[Row] = field(default_factory=list)
    ends: dict[int, Ends] = field(default_factory=dict)
    keys: dict[int, Held] = field(default_factory=dict)
    crowded: set[int] = field(default_factory=set)

    def add(self, one: _One, dictionary: Dictionary | None) -> None:
        self.packed.append((pack_said(one.now, dictionary), one.node))
        self.ends[one.node] = ends_of(one.now)
        if told_anew(one.before, one.now):
            self.keys[one.node] = held_keys(one.now)
        if left_out(one.now):
            self.crowded.add(one.node)


def _store(connection: Connection, done: Sequence[Row], packed: Sequence[Row]) -> None:
    """`done`: identity, node, boot and seq of what `packed` holds now."""
    if not done:
        return
    keys = {row[1:] for row in done}
    r = t.report.c
    query = select(r.node, r.boot, r.seq).where(
        r.node.in_(sorted({node for node, *_ in keys})), r.body.is_not(None)
    )
    there = {(x.node, x.boot, x.seq) for x in connection.execute(query.with_for_update())}
    if not keys <= there:
        raise LookupError("another replica folded these")
    bulk(connection).folded(done)
    bulk(connection).evidence(packed)
