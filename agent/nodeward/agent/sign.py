"""What an examination of the agent says. See nodeward.agent.doctor."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    GOOD = "good"
    WORSE = "worse"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Sign:
    """What was examined, how it is, what was seen, and the cure where one is needed."""

    what: str
    health: Health
    seen: str
    advice: str = ""
