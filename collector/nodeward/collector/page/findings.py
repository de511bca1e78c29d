"""Findings of the whole fleet, the worst first."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from nodeward.collector.page.checks import FINDING, finding_rows, page_filter
from nodeward.collector.page.visit import Shown, Visit, view
from nodeward.collector.store import ask
from nodeward.collector.store.ask import Db, Filter
from nodeward.model import Severity, Status

TAKES: Final = "status severity check cluster node label seen waived limit cursor"


def findings(visit: Visit, db: Db) -> Shown:
    want = page_filter(visit, (int, int, int))
    if not want.statuses:
        want = replace(want, statuses=frozenset({Status.FAIL}))
    page = ask.findings(db, want)
    more = {
        "clusters": [c["cluster"] for c in ask.clusters(db, Filter()).items],
        "statuses": [s.value for s in Status],
        "severities": [s.value for s in Severity],
    }
    data = {"items": page.items, "next": page.next}
    return Shown("Findings", data, FINDING, finding_rows(page.items), more)


ROUTES: Final = [view("/findings", "findings.html", findings, TAKES)]
