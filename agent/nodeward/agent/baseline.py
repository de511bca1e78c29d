"""Keeps which modules were loaded when the agent first looked after a boot, so that those which
come later are told from those that the node always has."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from nodeward.agent.identity import write_whole
from nodeward.agent.spool import Moment
from nodeward.facts.errors import ParseError
from nodeward.facts.module_baseline import ModuleBaseline, dump_baseline, parse_baseline

BASELINE_FILE = "modules.json"
SETTLED_S = 600.0
"""A node that has just booted still loads what its drivers, its runtime and its network want: until
so long after the boot each look takes the list anew."""


def baseline(state: Path, loaded: Iterable[str], now: Moment) -> ModuleBaseline:
    """The list of this boot, made and kept in the folder when there is none yet."""
    file = state / BASELINE_FILE
    kept = _kept(file)
    if kept is not None and kept.boot == now.boot and now.up >= SETTLED_S:
        return kept
    taken = ModuleBaseline(tuple(sorted(loaded)), now.wall, now.boot)
    with contextlib.suppress(OSError):  # a full disk: the next look tries again
        write_whole(file, dump_baseline(taken), 0o600, durable=False)
    return taken


def _kept(file: Path) -> ModuleBaseline | None:
    try:
        return parse_baseline(file.read_bytes())
    except (OSError, ParseError):
        return None
