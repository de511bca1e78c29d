"""What findings say: one compressed blob a node, plus the reports that were not folded into it yet.

Nothing of it is needed to count or to search, so it is decoded only to be shown. What a node says
is bounded, in one finding and in all: of what is longer, the words are left out, and said to be.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, func, select, tuple_

from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import Record
from nodeward.collector.store.dictionary import Dictionary, TooLongError, pack, unpack
from nodeward.collector.wire import gunzip

log = logging.getLogger(__name__)

MOST_FINDING: Final = 256 << 10
"""Bytes of one finding, or of an inventory; a usual one has 2 KB, and at most 50 offenders."""
MOST_SAID: Final = 4 << 20
"""Bytes of all that a node says; a usual one has 0.4 MB."""
MOST_BODIES: Final = 16 << 20
"""Bytes of reports, as sent, that are in memory at once to be laid over what was said."""


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
    try:
        return _said.decode(unpack(connection, blob, 3 * MOST_SAID))
    except TooLongError as exc:  # written before there was a bound
        log.warning("what a node said is left out until it is told anew: %s", exc)
        return Said()


def saying(check: str, raw: msgspec.Raw) -> bytes:
    """A finding as it stands within the encoded Said."""
    return b'"%b":%b,' % (check.encode(), bytes(raw))


def folded(said: Said, body: bytes) -> Said:
    """With a report (as sent) laid over it."""
    report = _loose.decode(gunzip(body))
    new = {_check.decode(raw).check: raw for raw in report.findings}
    inventory = report.inventory
    if inventory and len(msgspec.json.encode(inventory)) > MOST_FINDING:
        inventory = {}
    if report.kind == "full":
        return Said(report.taken_at, inventory, _bounded(new))
    return Said(report.taken_at, inventory or said.inventory, _bounded(said.findings | new))


class _Short(msgspec.Struct):
    """What stays of a finding that says too much."""

    check: str
    status: str
    severity: str
    because: str


_LEFT_OUT: Final = "left out: the node says more than a collector keeps"
_short = msgspec.json.Decoder(_Short)
_MARK: Final = msgspec.json.encode(_LEFT_OUT)


def _bounded(findings: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    """The same, without the words of those that are too long; then of the longest, until all
    together are not."""
    size = sum(map(len, findings.values()))
    if size <= MOST_FINDING:
        return findings
    out = dict(findings)
    for check, raw in sorted(findings.items(), key=lambda item: -len(item[1])):
        if len(raw) <= MOST_FINDING and size <= MOST_SAID:
            break
        out[check] = short = _shortened(raw)
        size += len(short) - len(raw)
    return out


def _shortened(raw: msgspec.Raw) -> msgspec.Raw:
    short = msgspec.structs.replace(_short.decode(raw), because=_LEFT_OUT)
    return msgspec.Raw(msgspec.json.encode(short))


def left_out(said: Said) -> bool:
    """Whether the words of some finding are."""
    return any(len(raw) < 512 and _MARK in bytes(raw) for raw in said.findings.values())


def said_by(connection: Connection, nodes: Iterable[int]) -> Iterator[tuple[int, Said]]:
    """What each of these nodes says now, one after the other: all at once may be much."""
    ids = sorted(set(nodes))
    waits: dict[int, list[Record]] = {}
    for row in waiting(connection, ids):
        waits.setdefault(row.node, []).append(row)
    e = t.evidence.c
    for node in ids:
        blob = connection.execute(select(e.blob).where(e.node == node)).scalar_one_or_none()
        said = Said() if blob is None else unpack_said(connection, blob)
        rows = waits.get(node, [])
        for row in bodies(connection, rows):
            said = folded(said, row.body)
        if blob is not None or rows:
            yield node, said


def words_of(
    connection: Connection, pairs: Iterable[tuple[int, str]]
) -> dict[tuple[int, str], Mapping[str, Any]]:
    """(node, check) -> the finding as it came; empty when we have none."""
    wanted: dict[int, list[str]] = {}
    for node, check in pairs:
        wanted.setdefault(node, []).append(check)
    return {
        (node, check): finding_json(said, check)
        for node, said in said_by(connection, wanted)
        for check in wanted[node]
    }


def waiting(connection: Connection, nodes: Iterable[int]) -> list[Record]:
    """Reports of these nodes that are not folded, in the order they came: node, boot, seq and the
    size of the body."""
    r = t.report.c
    query = select(r.node, r.boot, r.seq, func.length(r.body).label("size")).where(
        r.node.in_(list(nodes)), r.body.is_not(None), r.verified != 2
    )
    return list(connection.execute(query.order_by(r.at, r.seq)))


def bodies(connection: Connection, rows: Sequence[Record]) -> Iterator[Record]:
    """These reports with their bodies, in their order, of which few are in memory at once."""
    start = 0
    while start < len(rows):
        part = first_part(rows[start:])
        start += len(part)
        r = t.report.c
        keys = [(row.node, row.boot, row.seq) for row in part]
        query = select(r.node, r.boot, r.seq, r.body).where(
            tuple_(r.node, r.boot, r.seq).in_(keys), r.body.is_not(None)
        )
        yield from connection.execute(query.order_by(r.at, r.seq)).all()


def first_part(rows: Sequence[Record]) -> Sequence[Record]:
    """The first of them whose bodies are MOST_BODIES together, at least one. They have a `size`."""
    size = 0
    for place, row in enumerate(rows):
        size += row.size
        if size > MOST_BODIES and place:
            return rows[:place]
    return rows


def finding_json(said: Said | None, check: str) -> Mapping[str, Any]:
    """One finding as it came; empty when the node said nothing of it that we still have."""
    raw = None if said is None else said.findings.get(check)
    out: Mapping[str, Any] = {} if raw is None else msgspec.json.decode(raw)
    return out
