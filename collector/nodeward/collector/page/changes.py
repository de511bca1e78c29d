"""What changed: filtered, latest first."""

from __future__ import annotations

from typing import Any, Final

from nodeward.collector.page.checks import page_filter
from nodeward.collector.page.visit import Shown, Visit, view
from nodeward.collector.store import ask
from nodeward.collector.store.ask import Db, Filter
from nodeward.model import Severity, Status


def changes(visit: Visit, db: Db) -> Shown:
    page = ask.changes(db, page_filter(visit, (int, int, int)))
    rows: list[dict[str, Any]] = [
        {
            **{n: i[n] for n in ("at", "cluster", "node", "check")},
            "old": (i["old"] or {}).get("status"),
            "new": (i["new"] or {}).get("status"),
            "severity": (i["new"] or i["old"] or {}).get("severity"),
        }
        for i in page.items
    ]
    more = {
        "clusters": [c["cluster"] for c in ask.clusters(db, Filter()).items],
        "statuses": [s.value for s in Status],
        "severities": [s.value for s in Severity],
    }
    return Shown("Changes", {"items": page.items, "next": page.next}, rows, more)


ROUTES: Final = [view("/changes", "changes.html", changes)]
