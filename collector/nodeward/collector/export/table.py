"""CSV, for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Final

from nodeward.collector.export.rows import Row

COLUMNS: Final = (
    "cluster", "node", "check", "status", "severity", "since", "last_seen", "because"
)  # fmt: skip


_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def write(rows: Iterable[Row]) -> str:
    """For spreadsheets: a cell that they would run as a formula gets an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)  # else not a lone CR
    writer.writerow([*COLUMNS, "waived_until"])
    for row in rows:
        cells = [str(row.get(name) or "") for name in COLUMNS]
        cells.append((row.get("waiver") or {}).get("until", ""))
        writer.writerow(["'" + c if c.startswith(_FORMULA) else c for c in cells])
    return out.getvalue()
