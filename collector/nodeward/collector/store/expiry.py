"""When the certificates of a node end, as its own findings say it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import msgspec
from sqlalchemy import Connection, select

from nodeward.collector.clock import DAY_MS, HOUR_MS, rfc3339
from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import insert
from nodeward.collector.store.evidence import Said
from nodeward.collector.store.names import Names
from nodeward.model import Table
from nodeward.model.report import row_from_json

FAMILY: Final = "cert.expiry."
LONGEST: Final = 200
_MOMENT: Final = r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?: ?UTC|Z|[+-]\d\d:\d\d)?)?"
_ENDS: Final = re.compile(rf"\b(?:end(?:s|ed)|expired) on ({_MOMENT})")


@dataclass(frozen=True, slots=True)
class End:
    """When a certificate ends (ms, as `end_ms` has it), and who renews it, if told."""

    at: int
    renewer: str = ""


Ends: TypeAlias = Mapping[str, End]
"""By check: the certificate of it that ends first."""


class _Words(msgspec.Struct):
    because: str
    evidence: list[Any] = []


_words = msgspec.json.Decoder(_Words)


def ends_of(said: Said) -> Ends:
    """Of each check about certificates' ends the first end among those in use."""
    out: dict[str, End] = {}
    for check, raw in said.findings.items():
        if check.startswith(FAMILY):
            words = _words.decode(raw)
            ends = [*_by_rows(words.evidence)] or [*_by_words(words.because)]
            if ends:
                out[check] = min(ends, key=lambda end: end.at)
    return out


def ends_on(text: str) -> list[str]:
    """The days or moments at which something ends according to a finding's words."""
    return _ENDS.findall(text)


def _by_words(because: str) -> Iterator[End]:
    for text in ends_on(because):
        at = end_ms(text)
        if at is not None:
            yield End(at)


def _by_rows(evidence: list[Any]) -> Iterator[End]:
    for piece in evidence:
        row = row_from_json(piece.get("row") if isinstance(piece, dict) else None)
        if row is None or row.table != Table.ENDS:
            continue
        cells = dict(row.cells)
        at = end_ms(cells.get("until", ""))
        if at is not None and cells.get("use", "in use") == "in use":
            yield End(at, cells.get("renewed by", "")[:LONGEST])


def end_ms(text: str) -> int | None:
    """The second (ms) at which a certificate ends; where only its day is told, the last millisecond
    of that day, UTC: until then it may be valid. None where the text is neither.

    Certificates end on whole seconds (RFC 5280, 4.1.2.5), so the one is never taken for the other.
    """
    if not re.fullmatch(_MOMENT, text, re.ASCII):
        return None
    try:
        told = datetime.fromisoformat(text.removesuffix("UTC").rstrip())
        at = told.astimezone(UTC) if told.tzinfo else told.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    seconds = int(at.timestamp())
    return 1000 * seconds + (DAY_MS - 1 if len(text) == len("YYYY-MM-DD") else 0)


def to_the_second(at: int) -> bool:
    """Whether we were told more than the day."""
    return at % 1000 == 0


def end_text(at: int) -> str:
    """What we were told: a moment, or a day."""
    text = str(rfc3339(at))
    return text if to_the_second(at) else text[:10]


def days_left(at: int, now: int) -> int:
    """Whole days from now: 0 on the last of them, negative after the end."""
    return (at - now) // DAY_MS


def left(at: int, now: int) -> str:
    """The same as people say it: the nearer, the finer."""
    days, hours, minutes = (abs(at - now) // part for part in (DAY_MS, HOUR_MS, 60_000))
    if not to_the_second(at):
        days = abs(at // DAY_MS - now // DAY_MS)
        span = f"{days} day{'s' * (days != 1)}"
        return "today" if days == 0 else f"ended {span} ago" if at < now else span
    span = f"{days} days" if days >= 2 else f"{hours} hours" if hours >= 2 else f"{minutes} min"
    return f"ended {span} ago" if at < now else span


def keep_ends(connection: Connection, names: Names, ends: Mapping[int, Ends]) -> None:
    """Node, which is not retired -> all that is known to end there. Only what differs is
    written."""
    names.learn_rules(connection)
    e = t.expiry.c
    query = select(t.expiry).where(e.node.in_(sorted(ends)))
    lives = select(t.node.c.id, t.node.c.cluster).where(t.node.c.id.in_(sorted(ends)))
    clusters = {row.id: row.cluster for row in connection.execute(lives)}
    there = {(r.node, r.rule): End(r.at, r.renewer) for r in connection.execute(query)}
    now = {
        (node, names.rules[check]): end
        for node, found in ends.items()
        for check, end in found.items()
        if check in names.rules
    }
    gone: dict[int, list[int]] = {}
    for node, rule in there.keys() - now.keys():
        gone.setdefault(node, []).append(rule)
    for node, rules in gone.items():
        connection.execute(t.expiry.delete().where(e.node == node, e.rule.in_(rules)))
    rows = [
        {
            "node": node,
            "rule": rule,
            "cluster": clusters[node],
            "at": end.at,
            "renewer": end.renewer,
        }
        for (node, rule), end in now.items()
        if there.get((node, rule)) != end
    ]
    if rows:
        statement = insert(connection, t.expiry)
        statement = statement.on_conflict_do_update(
            index_elements=["node", "rule"],
            set_={"at": statement.excluded.at, "renewer": statement.excluded.renewer},
        )
        connection.execute(statement, rows)
