"""Who is at work in the agent's folder. A lock ends with the process that held it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WORKER = "lock"
"""Held while the spool is open: by one worker at a time."""

RESIDENT = "running"
"""Shared by every agent that runs on this folder, for as long as it runs."""


def own(folder: Path) -> None:
    """Make the folder if it is not there, and close it to others: a kubelet makes the folder of a
    hostPath volume with mode 0755."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_mode & 0o077 and found.st_uid == os.geteuid():
        folder.chmod(0o700)


def take(folder: Path, name: str, *, shared: bool = False) -> int:
    """A descriptor that holds this lock until it is closed. Raises BlockingIOError when another
    process is in the way."""
    fd = os.open(folder / name, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BaseException:
        os.close(fd)
        raise
    return fd


@contextmanager
def locked(folder: Path, name: str = WORKER) -> Iterator[None]:
    """Hold it for this block, alone."""
    fd = take(folder, name)
    try:
        yield
    finally:
        os.close(fd)
