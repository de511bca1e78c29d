"""Take from a node what is only its own, so that an image of it can be captured."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from nodeward.agent.authorities import BUNDLE, TOLD
from nodeward.agent.baseline import BASELINE_FILE
from nodeward.agent.locks import RESIDENT, WORKER, locked
from nodeward.agent.spool import FILE
from nodeward.host import MissingError, TreeHost

OURS = ("identity", "collector", BUNDLE, TOLD, WORKER, RESIDENT, BASELINE_FILE)
HOLD_FILE = "/etc/nodeward/sealed"


class BusyError(Exception):
    """An agent is at work; what was wiped would be back in a moment."""


def seal(root: Path, state_dir: str, run_dir: str, *, hold: bool) -> list[Path]:
    """Remove key, enrolment and spool below `root`; returns what was removed.

    A link on the way leads within `root`, as it will once that is a node's own: what belongs to
    this machine is not touched. `hold` leaves a file that keeps the shipped service from starting
    until it is removed.
    """
    removed = []
    state, run = _folder(root, state_dir), _folder(root, run_dir)
    if state is not None:
        with _alone(state):
            for path in _belongings(state):
                _remove(path)
                if path.name not in (WORKER, RESIDENT):  # we have just made them
                    removed.append(path)
    for path in run.glob("*") if run is not None else ():
        _remove(path)
        removed.append(path)
    if hold:
        _hold(root)
    return removed


def _folder(root: Path, path: str) -> Path | None:
    """Where this folder of the tree is for us; None when it is not there."""
    try:
        found = root / TreeHost(root).real(path).lstrip("/")
    except MissingError:
        return None
    return found if found.is_dir() else None


def _hold(root: Path) -> None:
    held = root
    for part in HOLD_FILE.split("/")[1:-1]:
        inside = _folder(root, f"/{(held / part).relative_to(root)}")
        if inside is None:
            (held / part).mkdir()  # not through a link that leads to nothing
        held = inside or held / part
    file = held / HOLD_FILE.rsplit("/", 1)[1]
    file.unlink(missing_ok=True)
    file.write_text("remove this file to let the agent start\n", encoding="ascii")


@contextlib.contextmanager
def _alone(state: Path) -> Iterator[None]:
    try:
        with locked(state, RESIDENT), locked(state, WORKER):
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
