"""Time as the collector counts it: milliseconds since 1970."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Final

from nodeward.collector.problem import bad

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
LAST_MS: Final = 253_402_300_799_999
"""The end of the year 9999, the last that has a text."""

_AGE = re.compile(r"(?P<n>[0-9]{1,9})(?P<unit>[smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def now_ms() -> int:
    """By this machine's clock, which a collector does not go by."""
    return time.time_ns() // 1_000_000


class SharedClock:
    """The database's clock as it was last heard of, and the time that went by since then.

    All collectors that share a database count alike, whatever their own clocks say; one's own is
    all that there is before the database was heard.
    """

    def __init__(self) -> None:
        self.heard(now_ms())

    def heard(self, now: int) -> None:
        self._ahead = now - time.monotonic_ns() // 1_000_000

    def now(self) -> int:
        return self._ahead + time.monotonic_ns() // 1_000_000


def rfc3339(ms: int | None) -> str | None:
    if ms is None:
        return None
    text = datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def span_ms(text: str) -> int:
    """ "24h", "30m", "7d" in milliseconds. Raises ValueError."""
    found = _AGE.fullmatch(text)
    if not found:
        raise ValueError(f"not a span of time such as 30m, 24h or 7d: {text!r}")
    return int(found["n"]) * _SECONDS[found["unit"]] * 1000


def moment_ms(text: str, field: str, now: int) -> int:
    """An RFC 3339 time, or a span before now."""
    if _AGE.fullmatch(text):
        return max(0, now - span_ms(text))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise bad(field, "must be an RFC 3339 time or a span such as 24h") from None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    ms = round(aware.timestamp() * 1000)  # a float may lie just below its millisecond
    if not 0 <= ms <= LAST_MS:
        raise bad(field, "must be a time from 1970 to 9999")
    return ms
