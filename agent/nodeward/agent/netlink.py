"""Events of the kernel that are no files: modules, routes, process starts. Raw AF_NETLINK: what
decodes and dumps is heavy and lives in the worker; here it is only told that something happened.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Collection, Iterator

NETLINK_ROUTE, NETLINK_CONNECTOR, NETLINK_KOBJECT_UEVENT = 0, 11, 15  # linux/netlink.h
RTMGRP = 0x1 | 0x10 | 0x40 | 0x100 | 0x400  # links, addresses and routes: linux/rtnetlink.h
CN_IDX_PROC = 1
PROC_CN_MCAST_LISTEN = 1
SO_ATTACH_FILTER, MOD = 26, int.from_bytes(b"/mod")
PROC_EVENT_EXEC, PROC_EVENT_EXIT = 0x2, 0x80000000  # linux/cn_proc.h
_NLMSG = struct.Struct("=IHHII")
_CN = struct.Struct("=IIIIHH")
_PROC = struct.Struct("=IIQII")  # what, cpu, timestamp, then pid and tgid of exec and exit
_BUFFER = 64 << 10


class Events:
    """`kind` of event ("module", "route", "process") by descriptor. `failed` says why one of them
    is not there: a container's network namespace has no process connector."""

    def __init__(self, kinds: Collection[str], programs: Collection[str], root: str) -> None:
        self._programs = {name[:15] for name in programs}
        self._proc = os.path.join(root, "proc")
        self._pids: set[int] = set()
        self.sockets: dict[int, tuple[str, socket.socket]] = {}
        self.failed: dict[str, str] = {}
        openers = {"module": _uevent, "route": _route, "process": _connector}
        for kind in kinds:
            try:
                sock = openers[kind]()
            except OSError as exc:
                self.failed[kind] = errno.errorcode.get(exc.errno or 0, str(exc))
            else:
                sock.setblocking(False)
                self.sockets[sock.fileno()] = (kind, sock)

    def read(self, fd: int) -> tuple[str | None, bool]:
        """The kind of event if one of interest came, and whether some were lost."""
        kind, sock = self.sockets[fd]
        hit = lost = False
        for raw in _messages(sock):
            if raw is None:
                lost = True
            elif kind == "module":
                hit |= b"@/module/" in raw[:64]
            elif kind == "process":
                hit |= self._concerns(raw)
            else:
                hit = True
        return (kind if hit else None), lost

    def close(self) -> None:
        for _, sock in self.sockets.values():
            sock.close()

    def _concerns(self, raw: bytes) -> bool:
        """Whether a program of interest started, or one that was seen to start has ended."""
        if len(raw) < _NLMSG.size + _CN.size + _PROC.size:
            return False
        what, _, _, pid, tgid = _PROC.unpack_from(raw, _NLMSG.size + _CN.size)
        if what == PROC_EVENT_EXIT and pid == tgid and pid in self._pids:
            self._pids.discard(pid)
            return True
        if what != PROC_EVENT_EXEC:
            return False
        name = command(self._proc, tgid)
        if name not in self._programs:
            return False
        self._pids.add(tgid)
        return True


def command(proc: str, pid: int | str) -> str:
    """proc_pid_comm(5); "" when it is gone."""
    try:
        fd = os.open(f"{proc}/{pid}/comm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, 32).rstrip(b"\n").decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(fd)


def _messages(sock: socket.socket) -> Iterator[bytes | None]:
    """All that has come from the kernel; None where its buffer overflowed."""
    for _ in range(10_000):
        try:
            raw, sender = sock.recvfrom(_BUFFER)
        except BlockingIOError:
            return
        except OSError as exc:
            if exc.errno != errno.ENOBUFS:
                raise
            yield None
            continue
        if sender[0] == 0:  # 0 is the kernel; anyone may send to a netlink socket
            yield raw


def _bound(protocol: int, groups: int) -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, protocol)
    try:
        sock.bind((0, groups))
    except OSError:
        sock.close()
        raise
    return sock


def _uevent() -> socket.socket:
    """Only modules', picked out in the kernel: every mount of a container makes a uevent too. In
    classic BPF: accept "add@/mod..." and "remove@/mod...", by the word at byte 4 or 7."""
    sock = _bound(NETLINK_KOBJECT_UEVENT, 1)
    load, jump, leave = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
    code = ((load, 0, 0, 4), (jump, 2, 0, MOD), (load, 0, 0, 7), (jump, 0, 1, MOD),
            (leave, 0, 0, 1 << 18), (leave, 0, 0, 0))  # fmt: skip
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in code))
    sock.setsockopt(
        socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(code), ctypes.addressof(program))
    )
    return sock


def _route() -> socket.socket:
    return _bound(NETLINK_ROUTE, RTMGRP)


def _connector() -> socket.socket:
    sock = _bound(NETLINK_CONNECTOR, CN_IDX_PROC)
    operation = struct.pack("=I", PROC_CN_MCAST_LISTEN)
    body = _CN.pack(CN_IDX_PROC, 1, 0, 0, len(operation), 0) + operation
    try:
        sock.send(_NLMSG.pack(_NLMSG.size + len(body), 3, 0, 0, 0) + body)  # 3: NLMSG_DONE
    except OSError:
        sock.close()
        raise
    return sock
