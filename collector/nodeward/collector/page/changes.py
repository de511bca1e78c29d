"""What changed: filtered, latest first."""

from __future__ import annotations

from typing import Any, Final

from nodeward.collector.clock import DAY_MS
from nodeward.collector.page.checks import page_filter
from nodeward.collector.page.visit import Shown, Visit, view
from nodeward.collector.problem import bad
from nodeward.collector.store import ask, past
from nodeward.collector.store.ask import Db, Filter
from nodeward.model import Severity, Status

TAKES: Final = "status severity check cluster node label since until limit cursor"


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
    columns = ("at", "cluster", "node", "check", "old", "new", "severity")
    return Shown("Changes", {"items": page.items, "next": page.next}, columns, rows, more)


def diff(visit: Visit, db: Db) -> Shown:
    """One node at two times."""
    want = page_filter(visit, ())
    since = db.now - 7 * DAY_MS if want.since is None else want.since
    until = db.now if want.until is None else want.until
    if since > until:
        raise bad("since", "must be before until")
    cluster, name = visit.request.path_params["cluster"], visit.request.path_params["name"]
    found = past.diff(db, cluster, name, since, until)
    rows = [
        {
            "check": c["check"],
            "old": (c["old"] or {}).get("status"),
            "new": (c["new"] or {}).get("status"),
        }
        for c in found["changes"]
    ]
    more = {"since": visit.query.get("since", "7d"), "until": visit.query.get("until", "")}
    return Shown(f"{name}, then and now", found, ("check", "old", "new"), rows, more)


ROUTES: Final = [
    view("/changes", "changes.html", changes, TAKES),
    view("/nodes/{cluster}/{name}/diff", "diff.html", diff, "since until"),
]
