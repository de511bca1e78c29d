"""Give up every right, and show that it is gone. For children that talk to a network.

Linux only; through libc, because Python has no call for capabilities, and for setns only from
3.12 on.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal

from nodeward.host.base import HostError

UNUSED_UID = 61183
"""Belongs to nobody: systemd's list of uid ranges leaves 60578 to 61183 unused
(https://systemd.io/UIDS-GIDS/). It must not be 0, and not 1337, which Istio lets pass."""

CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_CAP_VERSION_3 = 0x20080522
CPU_LIMIT_S = 5

_libc = ctypes.CDLL(None, use_errno=True)


class RightsError(HostError):
    """A right could not be given up: then nothing is sent."""


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapData(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def effective_capabilities() -> int:
    """The bits of capabilities(7) that are in effect for this thread."""
    header, data = _CapHeader(_CAP_VERSION_3, 0), (_CapData * 2)()
    if _libc.capget(ctypes.byref(header), data):
        raise RightsError("capabilities", os.strerror(ctypes.get_errno()))
    return int(data[0].effective) | int(data[1].effective) << 32


def die_with(parent: int) -> None:
    """Be killed when the process that started us ends, even if that was a moment ago."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def enter_network(fd: int) -> None:
    """setns(2) into a network namespace. Raises OSError (EPERM without CAP_SYS_ADMIN)."""
    if _libc.setns(fd, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def drop_all() -> None:
    """Become a user that owns nothing, without groups and capabilities, and stay so."""
    parent = os.getppid()
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT_S, CPU_LIMIT_S))
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.geteuid() == 0:
        try:
            os.setgroups([])
            os.setresgid(UNUSED_UID, UNUSED_UID, UNUSED_UID)
            os.setresuid(UNUSED_UID, UNUSED_UID, UNUSED_UID)
        except OSError as exc:
            raise RightsError("uid", f"cannot become an unused uid: {exc.strerror}") from exc
    header, nothing = _CapHeader(_CAP_VERSION_3, 0), (_CapData * 2)()
    if _libc.capset(ctypes.byref(header), nothing):
        raise RightsError("capabilities", os.strerror(ctypes.get_errno()))
    if {0, 1337} & set(os.getresuid()) or effective_capabilities():
        raise RightsError("uid", "a right is left")
    die_with(parent)  # a change of credentials cancels it, prctl(2)
