"""Seeing modules come and go: the kernel's uevents, and the calls of modprobe it makes."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from nodeward.facts.kernel_modules import Loaded
from nodeward.lazy import dataclass

HEADERS = (b"add@/module/", b"remove@/module/")
PROC_EVENT_EXEC = 2
_HEADERS = 16 + 20  # struct nlmsghdr, struct cn_msg
_EXEC = struct.Struct("=IIQII")


@dataclass(frozen=True, slots=True)
class ModuleEvent:
    """A module came (`add`) or went (`remove`); `sequence` counts all uevents of this boot."""

    action: str
    module: str
    sequence: int


def parse_uevent(message: bytes) -> ModuleEvent | None:
    """A message of NETLINK_KOBJECT_UEVENT, group 1, if it is about a module: the header
    `ACTION@DEVPATH`, then KEY=VALUE, a NUL after each. udevd's own messages begin "libudev"."""
    if not message.startswith(HEADERS):
        return None
    fields = dict(part.split(b"=", 1) for part in message.split(b"\0")[1:] if b"=" in part)
    path = fields.get(b"DEVPATH", b"").decode("utf-8", "replace")
    number = fields.get(b"SEQNUM", b"")
    if fields.get(b"SUBSYSTEM") != b"module" or not path.startswith("/module/"):
        return None
    return ModuleEvent(
        fields.get(b"ACTION", b"").decode("ascii", "replace"),
        path.removeprefix("/module/"),
        int(number) if number.isdigit() else 0,
    )


def parse_exec(message: bytes) -> int | None:
    """The process that has just started a program, if a message of the process connector
    (linux/cn_proc.h, PROC_EVENT_EXEC) says so: after the two headers come what, cpu, a time, the
    thread's id and the process's."""
    if len(message) < _EXEC.size + _HEADERS:
        return None
    what, _, _, _, process = _EXEC.unpack_from(message, _HEADERS)
    return int(process) if what == PROC_EVENT_EXEC else None


def requested(argv: Iterable[str]) -> str | None:
    """The name the kernel asks for, if this is its call `modprobe -q -- NAME`. A blocked attempt
    has one and no uevent; who asked is not in it, for the caller is a kernel thread."""
    words = list(argv)
    if len(words) == 4 and words[1:3] == ["-q", "--"]:
        return words[3]
    return None


def changes(
    before: Iterable[Loaded], after: Iterable[Loaded]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What came and what went between two looks at /proc/modules: the floor where no event
    reaches us."""
    old, new = {m.name for m in before}, {m.name for m in after}
    return tuple(sorted(new - old)), tuple(sorted(old - new))
