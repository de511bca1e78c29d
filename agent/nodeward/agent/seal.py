"""Take from a node what is only its own, so that an image of it can be captured."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from nodeward.agent.baseline import BASELINE_FILE
from nodeward.agent.spool import FILE, locked

OURS = ("identity", "collector", "ca-bundle.pem", "lock", BASELINE_FILE)
HOLD_FILE = "etc/nodeward/sealed"


class BusyError(Exception):
    """An agent is at work; what was wiped would be back in a moment."""


def seal(root: Path, state_dir: str, run_dir: str, *, hold: bool) -> list[Path]:
    """Remove key, enrolment and spool below `root`; returns what was removed.

    `hold` leaves a file that keeps the shipped service from starting until it is removed.
    """
    state = root / state_dir.lstrip("/")
    removed = []
    if state.is_dir():
        with _alone(state):
            for path in _belongings(state):
                _remove(path)
                removed.append(path)
    run = root / run_dir.lstrip("/")
    for path in run.glob("*") if run.is_dir() else ():
        _remove(path)
        removed.append(path)
    if hold:
        held = root / HOLD_FILE
        held.parent.mkdir(parents=True, exist_ok=True)
        held.write_text("remove this file to let the agent start\n", encoding="ascii")
    return removed


@contextlib.contextmanager
def _alone(state: Path) -> Iterator[None]:
    try:
        with locked(state):
            yield
    except BlockingIOError:
        raise BusyError(f"{state} is in use: stop the agent first") from None


def _belongings(state: Path) -> list[Path]:
    found = [state / name for name in OURS if (state / name).exists()]
    return sorted([*found, *state.glob(f"{FILE}*"), *state.glob(".*")])


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
