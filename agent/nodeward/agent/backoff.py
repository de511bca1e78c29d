"""How long to wait before the collector is asked again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

BASE_S = 1.0
CAP_S = 300.0


def full_jitter(attempt: int, random: Callable[[], float]) -> float:
    """Seconds before attempt number `attempt` + 1: anything up to a bound that doubles. `random`
    is in [0, 1). A fleet that was cut off together so comes back spread."""
    bound = min(CAP_S, BASE_S * 2.0 ** min(attempt, 30))
    return bound * random()


def retry_after(text: str | None, now: float) -> float | None:
    """The Retry-After header, RFC 9110 10.2.3: seconds or a date. At most an hour; None when it
    says nothing we understand."""
    if text is None:
        return None
    if text.isascii() and text.strip().isdigit():
        return float(min(int(text.strip()[:9]), 3600))
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max((at - datetime.fromtimestamp(now, UTC)).total_seconds(), 0.0), 3600.0)
