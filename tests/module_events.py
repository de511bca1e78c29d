"""The process connector's messages, read another way than the agent reads them, and the calls of
modprobe that the kernel makes."""

from __future__ import annotations

import struct
from collections.abc import Iterable

PROC_EVENT_EXEC = 2
_HEADERS = 16 + 20  # struct nlmsghdr, struct cn_msg
_EXEC = struct.Struct("=IIQII")


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
