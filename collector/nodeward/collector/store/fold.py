"""Reports folded into evidence, off the request path: signature first, then the text."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from sqlalchemy import Connection, Engine, bindparam, func, select, update

from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import Record
from nodeward.collector.signature import good, signed_text
from nodeward.collector.store.bulk import Row, bulk
from nodeward.collector.store.dictionary import FEW, Dictionary, keep, made_of, newest
from nodeward.collector.store.distrust import distrust, set_aside
from nodeward.collector.store.evidence import Said, folded, pack_said, saying, unpack_said
from nodeward.collector.store.expiry import Ends, ends_of, keep_ends
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
_WAITING: Final = (
    select(
        *(t.report.c[name] for name in ("node", "boot", "seq", "at", "agent", "signed_at",
                                        "signature", "verified", "body")),
        t.agent.c.public_key,
    )
    .join(t.agent, t.agent.c.id == t.report.c.agent)
    .where(t.report.c.body.is_not(None))
)  # fmt: skip
EndsByNode: TypeAlias = dict[int, Ends]


def verify_some(engine: Engine, writer: Writer, now: int, before: int) -> int:
    """Look at the signatures of reports that came before that time and still wait; how many.

    Folding takes ten times as long. While there is more to fold than can be, who signed what is
    known in time all the same.
    """
    with engine.connect() as connection:
        r = t.report.c
        query = _WAITING.where(r.verified == 0, r.at < before).order_by(r.at, r.node, r.seq)
        rows = connection.execute(query.limit(MOST)).all()
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
        nodes = sorted({row.node for row in rows})
        query = select(t.evidence.c.node, t.evidence.c.blob).where(t.evidence.c.node.in_(nodes))
        said = {r.node: unpack_said(connection, r.blob) for r in connection.execute(query)}
        dictionary = newest(connection, now)
    good_rows, bad_rows = _told_apart(rows)
    ends, keys, lost = _laid_over(good_rows, said)
    good_rows = [row for row in good_rows if row.node not in lost]
    fresh = {row.node for row in good_rows}
    new = (
        _made_of(said[node] for node in fresh) if dictionary is None and len(fresh) >= FEW else None
    )
    done = [(identity(row.body), row.node, row.boot, row.seq) for row in good_rows]
    packed = [(pack_said(said[node], dictionary or new), node) for node in sorted(fresh)]

    def act(connection: Connection) -> None:
        there = living(connection, nodes, shared=True)
        if new is not None:
            keep(connection, new, now)
        _store(connection, done, packed)
        distrust(connection, writer.names, bad_rows, now)
        for row in rows:
            if row.node in lost:
                set_aside(connection, row, "report.unreadable", now)
        keep_ends(connection, writer.names, {node: ends[node] for node in there if node in ends})
        keep_keys(connection, {node: keys[node] for node in there if node in keys})

    writer.act_now(act)
    return len(rows)


def _made_of(all_said: Iterable[Said]) -> Dictionary:
    return made_of(map(saying, said.findings, said.findings.values()) for said in all_said)


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
    return connection.execute(query.limit(MOST)).all()


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


def _laid_over(
    rows: Sequence[Record], said: dict[int, Said]
) -> tuple[EndsByNode, dict[int, Held], set[int]]:
    """Bring `said` up to these reports; the nodes for which it could not be must not stop all."""
    ends: EndsByNode = {}
    keys: dict[int, Held] = {}
    lost: set[int] = set()
    by_node: dict[int, list[Record]] = defaultdict(list)
    for row in rows:
        by_node[row.node].append(row)
    for node, reports in by_node.items():
        try:
            before = now_said = said.get(node, Said())
            for report in reports:
                now_said = folded(now_said, report.body)
            ends[node] = ends_of(now_said)
            if told_anew(before, now_said):
                keys[node] = held_keys(now_said)
        except Exception:
            log.exception("a report of node %d cannot be folded", node)
            lost.add(node)
            continue
        said[node] = now_said
    return ends, keys, lost


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
