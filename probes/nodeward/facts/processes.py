"""The processes of a host, as /proc shows them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import ClassVar

from nodeward.lazy import dataclass
from nodeward.model import Fact


@dataclass(frozen=True, slots=True)
class Process:
    """One process. What may not be read is None, never empty.

    `exe` is the link's text without the kernel's " (deleted)"; `argv` are the arguments as they
    stand in memory (a process may overwrite them); `started_at` is seconds since 1970; `uid` is
    the real user id in the host's user namespace.
    """

    pid: int
    ppid: int
    comm: str
    exe: str | None
    argv: tuple[str, ...] | None
    started_at: float | None
    uid: int | None

    @property
    def program(self) -> str:
        """The name of the executable file; of the command where the link may not be read."""
        if self.exe:
            return posixpath.basename(self.exe)
        if self.argv and self.argv[0]:
            return posixpath.basename(self.argv[0])
        return self.comm


@dataclass(frozen=True, slots=True)
class Processes(Fact):
    """All processes that are visible to us.

    `complete` is False where other users' processes may be hidden from us (hidepid, a foreign
    pid namespace): then a missing process proves nothing.
    """

    events: ClassVar[tuple[str, ...]] = ("process",)

    rows: tuple[Process, ...]
    complete: bool = True

    def running(self, *programs: str) -> Iterator[Process]:
        """Those whose executable has one of these names, by pid."""
        return (p for p in self.rows if p.program in programs)


def parse_argv(raw: bytes) -> tuple[str, ...]:
    """proc_pid_cmdline(5): a NUL after each argument. Empty for a kernel thread."""
    if not raw:
        return ()
    return tuple(raw.removesuffix(b"\0").decode("utf-8", "surrogateescape").split("\0"))
