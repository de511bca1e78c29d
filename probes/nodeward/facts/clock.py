"""The time at which a host is judged. A fact like any other, so that rules need no clock."""

from __future__ import annotations

from datetime import UTC, datetime

from nodeward.lazy import dataclass
from nodeward.model import Fact


@dataclass(frozen=True, slots=True)
class Now(Fact):
    """`at` is seconds since 1970 UTC: the judging machine's clock, or `scan --at`."""

    at: float

    @property
    def utc(self) -> datetime:
        return datetime.fromtimestamp(self.at, UTC)
