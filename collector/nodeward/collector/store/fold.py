"""Reports folded into evidence, off the request path: signature first, then the text."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection, Engine, bindparam, select, update

from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import Record, insert
from nodeward.collector.signature import good, signed_text
from nodeward.collector.store.evidence import Said, folded, pack_said, unpack_said
from nodeward.collector.store.expiry import Ends, ends_of, keep_ends
from nodeward.collector.store.ingest import security_event
from nodeward.collector.store.writer import Writer

log = logging.getLogger(__name__)

BATCH: Final = 100
PATH: Final = "/v1/reports"
EndsByNode: TypeAlias = dict[int, Ends]


def fold_some(engine: Engine, writer: Writer, now: int) -> int:
    """Fold the oldest BATCH reports that wait; how many there were.

    The reading and packing happens here, in the caller's thread; only the result goes through the
    writer. Two replicas may do the same work: the second finds the bodies gone and leaves it.
    """
    with engine.connect() as connection:
        rows = _oldest(connection)
        if not rows:
            return 0
        nodes = sorted({row.node for row in rows})
        query = select(t.evidence.c.node, t.evidence.c.blob).where(t.evidence.c.node.in_(nodes))
        blobs: Mapping[int, bytes] = {r.node: r.blob for r in connection.execute(query)}
    good_rows: list[Record] = []
    bad_rows: list[Record] = []
    for row in rows:
        (good_rows if row.verified == 1 or _is_signed(row) else bad_rows).append(row)
    packed, ends, lost = _packed(good_rows, blobs)
    good_rows = [row for row in good_rows if row.node not in lost]

    def act(connection: Connection) -> None:
        _store(connection, good_rows, bad_rows, packed, now)
        for row in rows:
            if row.node in lost:
                _set_aside(connection, row, "report.unreadable", now)
        keep_ends(connection, writer.names, ends)

    writer.act_now(act)
    return len(rows)


def _oldest(connection: Connection) -> Sequence[Record]:
    r = t.report.c
    columns = (r.node, r.boot, r.seq, r.at, r.agent, r.signed_at, r.signature, r.verified, r.body)
    query = (
        select(*columns, t.agent.c.public_key)
        .join(t.agent, t.agent.c.id == r.agent)
        .where(r.body.is_not(None), r.verified != 2)
        .order_by(r.at, r.node, r.seq)
    )
    return connection.execute(query.limit(BATCH)).all()


def _is_signed(row: Record) -> bool:
    sha = hashlib.sha256(row.body).digest()
    text = signed_text("POST", PATH, str(row.signed_at), sha)
    return good(bytes(row.public_key), bytes(row.signature), text)


def _packed(
    rows: Sequence[Record], blobs: Mapping[int, bytes]
) -> tuple[list[dict[str, Any]], EndsByNode, set[int]]:
    """Evidence by node; and the nodes for which it could not be made. Those must not stop all."""
    by_node: dict[int, list[Record]] = defaultdict(list)
    for row in rows:
        by_node[row.node].append(row)
    out: list[dict[str, Any]] = []
    ends: EndsByNode = {}
    lost: set[int] = set()
    for node, reports in by_node.items():
        try:
            said = unpack_said(blobs[node]) if node in blobs else Said()
            for report in reports:
                said = folded(said, report.body)
            packed, end = pack_said(said), ends_of(said)
        except Exception:
            log.exception("a report of node %d cannot be folded", node)
            lost.add(node)
            continue
        out.append({"node": node, "blob": packed})
        ends[node] = end
    return out, ends, lost


def _store(
    connection: Connection,
    good_rows: Sequence[Record],
    bad_rows: Sequence[Record],
    packed: Sequence[Mapping[str, Any]],
    now: int,
) -> None:
    if good_rows:
        if _claim(connection, good_rows) != len(good_rows):
            raise LookupError("another replica folded these")
        statement = insert(connection, t.evidence)
        statement = statement.on_conflict_do_update(
            index_elements=["node"], set_={"blob": statement.excluded.blob}
        )
        connection.execute(statement, list(packed))
    for row in bad_rows:
        _distrust(connection, row, now)


def _claim(connection: Connection, rows: Sequence[Record]) -> int:
    """Take the bodies away; how many were still there."""
    r = t.report.c
    nodes = sorted({row.node for row in rows})
    keys = {(row.node, row.boot, row.seq) for row in rows}
    query = select(r.node, r.boot, r.seq).where(r.node.in_(nodes), r.body.is_not(None))
    there = {(x.node, x.boot, x.seq) for x in connection.execute(query.with_for_update())}
    statement = (
        update(t.report)
        .where(r.node == bindparam("n"), r.boot == bindparam("b"), r.seq == bindparam("s"))
        .values(body=None, verified=1)
    )
    if keys <= there:
        connection.execute(statement, [{"n": n, "b": b, "s": s} for n, b, s in sorted(keys)])
    return len(keys & there)


def _distrust(connection: Connection, row: Record, now: int) -> None:
    """A report that its key did not sign: kept as proof, never shown; its key is out."""
    _set_aside(connection, row, "report.bad-signature", now)
    agent = update(t.agent).where(t.agent.c.id == row.agent, t.agent.c.status == "active")
    connection.execute(agent.values(status="quarantined", changed_at=now))


def _set_aside(connection: Connection, row: Record, kind: str, now: int) -> None:
    """Its words are never shown, and it is not looked at again."""
    r = t.report.c
    this = update(t.report).where(r.node == row.node, r.boot == row.boot, r.seq == row.seq)
    connection.execute(this.values(verified=2))
    detail = {"boot": row.boot, "seq": row.seq}
    event = security_event(kind, at=now, node=row.node, agent=row.agent, detail=detail)
    connection.execute(t.security_event.insert(), [event])
