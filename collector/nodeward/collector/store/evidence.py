"""What findings say: one compressed blob a node, plus the reports that were not folded into it yet.

Nothing of it is needed to count or to search, so it is decoded only to be shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import Record
from nodeward.collector.store.dictionary import Dictionary, pack, unpack
from nodeward.collector.wire import MOST_UNPACKED, gunzip


class Said(msgspec.Struct):
    """All that a node says now. `findings` are by check, in the contract's form."""

    taken_at: str = ""
    inventory: dict[str, Any] = {}
    findings: dict[str, msgspec.Raw] = {}


class _Loose(msgspec.Struct):
    """A report whose findings are kept as they came."""

    taken_at: str
    kind: str
    findings: list[msgspec.Raw]
    inventory: dict[str, Any] = {}


class _Check(msgspec.Struct):
    check: str


_loose = msgspec.json.Decoder(_Loose)
_check = msgspec.json.Decoder(_Check)
_said = msgspec.json.Decoder(Said)


def pack_said(said: Said, dictionary: Dictionary | None) -> bytes:
    return pack(msgspec.json.encode(said), dictionary)


def unpack_said(connection: Connection, blob: bytes) -> Said:
    return _said.decode(unpack(connection, blob, 2 * MOST_UNPACKED))


def saying(check: str, raw: msgspec.Raw) -> bytes:
    """A finding as it stands within the encoded Said."""
    return b'"%b":%b,' % (check.encode(), bytes(raw))


def folded(said: Said, body: bytes) -> Said:
    """With a report (as sent) laid over it."""
    report = _loose.decode(gunzip(body))
    new = {_check.decode(raw).check: raw for raw in report.findings}
    if report.kind == "full":
        return Said(report.taken_at, report.inventory, new)
    return Said(report.taken_at, report.inventory or said.inventory, said.findings | new)


def said_by(connection: Connection, nodes: Iterable[int]) -> dict[int, Said]:
    """What these nodes say now."""
    ids = sorted(set(nodes))
    blobs = select(t.evidence.c.node, t.evidence.c.blob).where(t.evidence.c.node.in_(ids))
    out = {row.node: unpack_said(connection, row.blob) for row in connection.execute(blobs)}
    for row in waiting(connection, ids):
        out[row.node] = folded(out.get(row.node, Said()), row.body)
    return out


def waiting(connection: Connection, nodes: Iterable[int]) -> list[Record]:
    """Reports of these nodes that are not folded, in the order they came."""
    r = t.report.c
    query = select(r.node, r.boot, r.seq, r.body, r.verified).where(
        r.node.in_(list(nodes)), r.body.is_not(None), r.verified != 2
    )
    return list(connection.execute(query.order_by(r.at, r.seq)))


def finding_json(said: Said | None, check: str) -> Mapping[str, Any]:
    """One finding as it came; empty when the node said nothing of it that we still have."""
    raw = None if said is None else said.findings.get(check)
    out: Mapping[str, Any] = {} if raw is None else msgspec.json.decode(raw)
    return out
