"""When the certificates of a node end, as its own findings say it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import msgspec
from sqlalchemy import Connection, select

from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import insert
from nodeward.collector.store.evidence import Said
from nodeward.collector.store.names import Names
from nodeward.model import Table
from nodeward.model.report import row_from_json

FAMILY: Final = "cert.expiry."
DAY_MS: Final = 86_400_000
LONGEST: Final = 200
_ENDS: Final = re.compile(r"\b(?:end(?:s|ed)|expired) on (\d{4}-\d{2}-\d{2})")


@dataclass(frozen=True, slots=True)
class End:
    """The day (ms, at midnight UTC) on which a certificate ends, and who renews it, if told."""

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
    """The days, as YYYY-MM-DD, on which something ends according to a finding's words."""
    return _ENDS.findall(text)


def _by_words(because: str) -> Iterator[End]:
    for day in ends_on(because):
        at = day_ms(day)
        if at is not None:
            yield End(at)


def _by_rows(evidence: list[Any]) -> Iterator[End]:
    for piece in evidence:
        row = row_from_json(piece.get("row") if isinstance(piece, dict) else None)
        if row is None or row.table != Table.ENDS:
            continue
        cells = dict(row.cells)
        at = day_ms(cells.get("until", ""))
        if at is not None and cells.get("use", "in use") == "in use":
            yield End(at, cells.get("renewed by", "")[:LONGEST])


def day_ms(day: str) -> int | None:
    """A day's midnight, UTC; None where the text is no day."""
    try:
        return int(datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        return None


def days_left(at: int, now: int) -> int:
    """From today to the day of `at`, both UTC: 0 on the day itself, whose hour we are not told;
    negative when that day is over."""
    return at // DAY_MS - now // DAY_MS


def day_after(now: int, days: int) -> int:
    """Midnight (ms, UTC) at the start of the day so many days after today."""
    return (now // DAY_MS + days) * DAY_MS


def keep_ends(connection: Connection, names: Names, ends: Mapping[int, Ends]) -> None:
    """Node -> all that is known to end there. Only what differs is written."""
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
