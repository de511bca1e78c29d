"""What was loaded when the agent of this host first looked after the boot."""

from __future__ import annotations

import json
from typing import ClassVar

from nodeward.facts.errors import ParseError
from nodeward.lazy import dataclass
from nodeward.model import Fact

SCHEMA = "nodeward.modules/v1"
LAST = 253_402_300_800.0  # the year 10000, which no date can show


@dataclass(frozen=True, slots=True)
class ModuleBaseline(Fact):
    """`names` of the modules, `taken_at` seconds since 1970, in the `boot` of that id. Absent where
    no agent keeps one, or only that of an earlier boot."""

    events: ClassVar[tuple[str, ...]] = ("module",)

    names: tuple[str, ...]
    taken_at: float
    boot: str


def parse_baseline(raw: bytes) -> ModuleBaseline:
    """The agent's own file, as `dump_baseline` wrote it."""
    try:
        data = json.loads(raw)
        if data["schema"] != SCHEMA:
            raise ValueError
        names, boot = data["modules"], data["boot"]
        if not isinstance(boot, str) or not all(isinstance(n, str) for n in names):
            raise ValueError
        taken_at = float(data["taken_at"])
        if not 0 <= taken_at < LAST:
            raise ValueError
        return ModuleBaseline(tuple(names), taken_at, boot)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        raise ParseError("the agent's list of modules", 0, f"not {SCHEMA}") from None


def dump_baseline(baseline: ModuleBaseline) -> bytes:
    """The file's text."""
    return json.dumps({
        "schema": SCHEMA, "boot": baseline.boot, "taken_at": baseline.taken_at,
        "modules": list(baseline.names),
    }).encode()  # fmt: skip
