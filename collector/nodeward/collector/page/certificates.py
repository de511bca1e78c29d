"""Certificates by when they end: of one node, and across the fleet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from nodeward.collector.clock import moment_ms
from nodeward.collector.page import questions
from nodeward.collector.page.checks import page_filter
from nodeward.collector.page.visit import Shown, Visit, view
from nodeward.collector.store import ask
from nodeward.collector.store.ask import Db, Filter
from nodeward.collector.store.expiry import FAMILY, ends_on

DAY_MS: Final = questions.DAY_MS
SPAN_DAYS: Final = 400
"""Width of the timeline. What ends later stands at its end."""


def certificates(visit: Visit, db: Db) -> Shown:
    page = questions.expiring(db, page_filter(visit, (int, int)))
    clusters = [c["cluster"] for c in ask.clusters(db, Filter()).items]
    data = {"items": page.items, "next": page.next}
    return Shown("Certificates", data, page.items, {"clusters": clusters})


def timeline(findings: Sequence[Mapping[str, Any]], now: int) -> list[Mapping[str, Any]]:
    """The certificates of one node, the first to end first; `place` is 0 to 100 on a line."""
    rows = []
    for finding in findings:
        if not finding["check"].startswith(FAMILY):
            continue
        for day in ends_on(finding["because"]):
            days = (moment_ms(day, "ends", now) - now) // DAY_MS
            place = round(100 * min(max(days, 0), SPAN_DAYS) / SPAN_DAYS)
            rows.append(
                {
                    "name": finding["check"].removeprefix(FAMILY),
                    "ends": day,
                    "days": days,
                    "place": place,
                    "status": finding["status"],
                }
            )
    return sorted(rows, key=lambda r: str(r["ends"]))


ROUTES: Final = [view("/certificates", "certificates.html", certificates)]
