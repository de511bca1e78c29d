"""Which certificate of a node ends first, as its own findings say it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
from sqlalchemy import Connection

from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import insert
from nodeward.collector.store.evidence import Said
from nodeward.collector.store.names import Names

FAMILY: Final = "cert.expiry."
_ENDS: Final = re.compile(r"\bend(?:s|ed) on (\d{4}-\d{2}-\d{2})")


class _Words(msgspec.Struct):
    because: str


_words = msgspec.json.Decoder(_Words)


def first_to_end(said: Said) -> tuple[str, int] | None:
    """The check and the day (ms, at midnight UTC) of the earliest end; None: none is known."""
    ends = [
        (at, check)
        for check, raw in said.findings.items()
        if check.startswith(FAMILY)
        for at in _days(_words.decode(raw).because)
    ]
    if not ends:
        return None
    at, check = min(ends)
    return check, at


def ends_on(text: str) -> list[str]:
    """The days, as YYYY-MM-DD, on which something ends according to a finding's words."""
    return _ENDS.findall(text)


def _days(text: str) -> list[int]:
    found = []
    for day in ends_on(text):
        try:
            found.append(int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000))
        except ValueError:
            continue
    return found


def keep_ends(
    connection: Connection, names: Names, ends: Mapping[int, tuple[str, int] | None]
) -> None:
    """Node -> what ends first, or that nothing is known to."""
    gone: Sequence[int] = [node for node, end in ends.items() if end is None]
    if gone:
        connection.execute(t.expiry.delete().where(t.expiry.c.node.in_(gone)))
    names.learn_rules(connection)
    rows = [
        {"node": node, "rule": names.rules[end[0]], "at": end[1]}
        for node, end in ends.items()
        if end is not None and end[0] in names.rules
    ]
    if rows:
        statement = insert(connection, t.expiry)
        statement = statement.on_conflict_do_update(
            index_elements=["node"],
            set_={"rule": statement.excluded.rule, "at": statement.excluded.at},
        )
        connection.execute(statement, rows)
