"""A row a line."""

from __future__ import annotations

import json
from collections.abc import Iterable

from nodeward.collector.export.rows import Row


def write(rows: Iterable[Row]) -> str:
    return "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
