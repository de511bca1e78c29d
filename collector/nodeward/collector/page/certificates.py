"""Certificates by when they end: of one node, and across the fleet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from nodeward.collector.clock import DAY_MS
from nodeward.collector.page import questions
from nodeward.collector.page.checks import page_filter
from nodeward.collector.page.rows import drawn
from nodeward.collector.page.visit import Shown, Visit, view
from nodeward.collector.problem import bad
from nodeward.collector.store import ask
from nodeward.collector.store.ask import Db, Filter
from nodeward.collector.store.expiry import (
    FAMILY,
    days_left,
    end_ms,
    end_text,
    ends_on,
    left,
)
from nodeward.collector.store.shared import READINGS, shared_keys
from nodeward.model import Table

TAKES: Final = "days check cluster label limit cursor"
SPAN_DAYS: Final = 400
"""Width of the timeline. What ends later stands at its end."""
WITHIN: Final = (7, 30, 90, 365)


def certificates(visit: Visit, db: Db) -> Shown:
    days = visit.query.get("days") or None
    if days is not None and (not days.isascii() or not days.isdigit() or len(days) > 4):
        raise bad("days", "must be a number of days")
    until = None if days is None else db.now + int(days) * DAY_MS
    want = page_filter(visit, (int, int, int), until=until)
    page = questions.expiring(db, want)
    more = {
        "clusters": [c["cluster"] for c in ask.clusters(db, Filter()).items],
        "within": [str(w) for w in (0, *WITHIN)],
    }
    ending = questions.ending(db, want, WITHIN)
    data = {"ending": ending, "items": page.items, "next": page.next}
    return Shown("Certificates", data, questions.END, page.items, more)


def keys(visit: Visit, db: Db) -> Shown:
    """Keys on more than one node; of each at most ten nodes by name."""
    page = shared_keys(db, page_filter(visit, (int, int, str)))
    rows = [
        {**i, "on": ", ".join(f"{one['cluster']}/{one['node']}" for one in i["on"])}
        for i in page.items
    ]
    more = {
        "clusters": [c["cluster"] for c in ask.clusters(db, Filter()).items],
        "readings": (*READINGS, "all"),
    }
    data = {"items": page.items, "next": page.next}
    return Shown("One key on several nodes", data, KEY, rows, more)


KEY: Final = ("reading", "component", "key", "nodes", "clusters", "private", "because", "on")
"""What is told of a key in a spreadsheet."""


def timeline(findings: Sequence[Mapping[str, Any]], now: int) -> list[Mapping[str, Any]]:
    """The certificates of one node, the first to end first; `place` is 0 to 100 on a line."""
    rows = []
    for name, told, cells, finding in _ends(findings):
        at = end_ms(told)
        if at is None:
            continue
        days = days_left(at, now)
        rows.append(
            {
                "name": name,
                "ends": end_text(at),
                "days": days,
                "left": left(at, now),
                "place": round(100 * min(max(days, 0), SPAN_DAYS) / SPAN_DAYS),
                "use": cells.get("use", "in use"),
                "renewer": cells.get("renewed by", ""),
                "check": finding["check"],
                "status": finding["status"],
                "severity": finding["severity"],
            }
        )
    return sorted(rows, key=lambda r: str(r["ends"]))


def _ends(
    findings: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[str, str, Mapping[str, str], Mapping[str, Any]]]:
    """(name, end, cells, finding) of each; from the words of an agent that sends no rows."""
    for finding in findings:
        if not finding["check"].startswith(FAMILY):
            continue
        rows = list(drawn([finding], Table.ENDS))
        for one in rows:
            yield one.row.name, one.cells.get("until", ""), one.cells, finding
        if not rows:
            name = finding["check"].removeprefix(FAMILY)
            yield from ((name, at, {}, finding) for at in ends_on(finding["because"]))


ROUTES: Final = [
    view("/certificates", "certificates.html", certificates, TAKES),
    view("/certificates/keys", "keys.html", keys, "cluster node label reading limit cursor"),
]
