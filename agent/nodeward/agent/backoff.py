"""How long to wait before the collector is asked again."""

from __future__ import annotations

from collections.abc import Callable

BASE_S = 1.0
CAP_S = 300.0


def full_jitter(attempt: int, random: Callable[[], float]) -> float:
    """Seconds before attempt number `attempt` + 1: anything up to a bound that doubles. `random`
    is in [0, 1). A fleet that was cut off together so comes back spread."""
    bound = min(CAP_S, BASE_S * 2.0 ** min(attempt, 30))
    return bound * random()
