"""Calls of libc that Python lacks: give up every right, enter a network, ask a socket.

Linux only; through libc, because Python has no call for capabilities, and for setns only from
3.12 on.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from nodeward.host.base import HostError

if TYPE_CHECKING:
    import ctypes

UNUSED_UID = 61183
"""Belongs to nobody: systemd's list of uid ranges leaves 60578 to 61183 unused
(https://systemd.io/UIDS-GIDS/). It must not be 0, and not 1337, which Istio lets pass."""

CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_CAP_VERSION_3 = 0x20080522
CPU_LIMIT_S = 5


class RightsError(HostError):
    """A right could not be given up: then nothing is sent."""


@cache
def _libc() -> ctypes.CDLL:
    import ctypes  # 7 ms that only a look at the network pays for

    return ctypes.CDLL(None, use_errno=True)


def _capabilities(call: str, words: Sequence[int]) -> list[int]:
    """capget(2) or capset(2) of this thread: effective, permitted, inheritable, twice 32 bits."""
    import ctypes

    header, data = (ctypes.c_uint32 * 2)(_CAP_VERSION_3, 0), (ctypes.c_uint32 * 6)(*words)
    if getattr(_libc(), call)(header, data):
        number = ctypes.get_errno()
        raise RightsError("capabilities", f"{call}: {os.strerror(number)}")
    return list(data)


def effective_capabilities() -> int:
    """The bits of capabilities(7) that are in effect for this thread."""
    words = _capabilities("capget", [0] * 6)
    return words[0] | words[3] << 32


def die_with(parent: int) -> None:
    """Be killed when the process that started us ends, even if that was a moment ago."""
    _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def enter_network(fd: int) -> None:
    """setns(2) into a network namespace. Raises OSError (EPERM without CAP_SYS_ADMIN)."""
    import ctypes

    if _libc().setns(fd, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def getsockopt(fd: int, level: int, option: int, asked: bytes, size: int) -> bytes:
    """getsockopt(2) of an option that reads its buffer before it fills it, which Python's cannot.
    Raises OSError."""
    import ctypes

    buffer = ctypes.create_string_buffer(asked, size)
    length = ctypes.c_uint32(size)
    if _libc().getsockopt(fd, level, option, buffer, ctypes.byref(length)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return buffer.raw[: length.value]


def drop_all() -> None:
    """Become a user that owns nothing, without groups and capabilities, and stay so."""
    parent = os.getppid()
    with contextlib.suppress(OSError, ValueError):  # a second belt: the alarm holds without it
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT_S, CPU_LIMIT_S))
    _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.geteuid() == 0:
        try:
            os.setgroups([])
            os.setresgid(UNUSED_UID, UNUSED_UID, UNUSED_UID)
            os.setresuid(UNUSED_UID, UNUSED_UID, UNUSED_UID)
        except OSError as exc:
            why = f"cannot become an unused uid (CAP_SETUID, CAP_SETGID): {exc.strerror}"
            raise RightsError("uid", why) from exc
    _capabilities("capset", [0] * 6)
    if {0, 1337} & set(os.getresuid()) or effective_capabilities():
        raise RightsError("uid", "a right is left")
    die_with(parent)  # a change of credentials cancels it, prctl(2)
