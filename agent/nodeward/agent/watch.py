"""Changes of files, through watchdog's binding of inotify: one descriptor for all folders, in our
own loop. Its observer has three threads for each folder and wakes up once a second."""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from collections.abc import Mapping
from ctypes import get_errno

from watchdog.observers import inotify_c

from nodeward.agent.plan import ANY, SELF

_C = inotify_c.InotifyConstants
MASK = (
    _C.IN_CLOSE_WRITE | _C.IN_ATTRIB | _C.IN_CREATE | _C.IN_DELETE | _C.IN_MOVED_FROM
    | _C.IN_MOVED_TO | _C.IN_DELETE_SELF | _C.IN_MOVE_SELF | _C.IN_ONLYDIR
)  # fmt: skip
MOVED = _C.IN_DELETE_SELF | _C.IN_MOVE_SELF | _C.IN_ONLYDIR
"""Of a directory that is only on the way: its entries wake nobody."""

GONE = _C.IN_IGNORED | _C.IN_DELETE_SELF | _C.IN_MOVE_SELF | _C.IN_UNMOUNT
_GONE_SINCE = (errno.ENOENT, errno.ENOTDIR)
"""Since the look that planned to watch it."""

TICK_S = 0.01
"""So much a time stamp of a file may be behind the clock: the kernel takes it once a tick."""

_EVENT = struct.Struct("iIII")
_BUFFER = 256 << 10

Folders = Mapping[str, Mapping[str, list[str]]]
"""Facts by folder and entry, as in nodeward.agent.plan."""


class FileWatch:
    """`lost` says why changes may be missed; `unwatched` are folders that must be polled."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._folders: Folders = {}
        self._by_watch: dict[int, set[str]] = {}
        """Several folders of one watch are one inode: bind mounts, the root of another process."""
        self._watch_of: dict[str, int] = {}
        self.lost: set[str] = set()
        self.unwatched: set[str] = set()
        self.fd = inotify_c.inotify_init()
        if self.fd < 0:
            self.lost.add(_why(get_errno(), "max_user_instances"))
        else:
            os.set_inheritable(self.fd, False)
            os.set_blocking(self.fd, False)

    def apply(self, folders: Folders, since: float) -> set[str]:
        """Watch these folders and no others. Returns the facts of entries that changed after
        `since` (seconds since 1970) in folders that were not yet watched."""
        missed: set[str] = set()
        self._folders = folders
        before, self.unwatched = self.unwatched, set()
        if self.fd >= 0:
            self.lost.clear()
        for folder in [f for f in self._watch_of if f not in folders]:
            self._remove(folder)
        for folder in folders:
            known = self._watch_of.get(folder)
            code = self._add(folder)
            if not code and self._watch_of[folder] != known:
                missed |= self._changed_since(folder, since)
            elif code in _GONE_SINCE and folder not in before:
                missed |= _all(folders[folder])
        return missed

    def read(self) -> tuple[set[str], bool]:
        """Facts that became stale, and whether the kernel had to drop events."""
        stale: set[str] = set()
        overflow = False
        with contextlib.suppress(BlockingIOError):
            while raw := os.read(self.fd, _BUFFER):
                for watch, mask, name in _events(raw):
                    if mask & _C.IN_Q_OVERFLOW:
                        overflow = True
                    else:
                        stale |= self._facts(watch, mask, name)
        return stale, overflow

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)

    def _add(self, folder: str) -> int:
        """Returns the error's number, or 0."""
        if self.fd < 0:
            self.unwatched.add(folder)
            return errno.EMFILE
        path = os.fsencode(os.path.join(self._root, folder.lstrip("/")))
        mask = MOVED if self._folders[folder].keys() == {SELF} else MASK
        watch = inotify_c.inotify_add_watch(self.fd, path, mask)
        if watch < 0:
            code = get_errno()
            self._cannot(folder, code)
            return code
        if self._watch_of.get(folder) != watch:
            self._remove(folder)
        self._watch_of[folder] = watch
        sharing = self._by_watch.setdefault(watch, set())
        sharing.add(folder)
        if len(sharing) > 1:  # each call replaces the mask of the one before
            inotify_c.inotify_add_watch(self.fd, path, MASK)
        return 0

    def _cannot(self, folder: str, code: int) -> None:
        self._remove(folder)
        self.unwatched.add(folder)
        if code not in _GONE_SINCE:
            self.lost.add(_why(code, "max_user_watches"))

    def _remove(self, folder: str) -> None:
        watch = self._watch_of.pop(folder, None)
        if watch is None:
            return
        sharing = self._by_watch[watch]
        sharing.discard(folder)
        if not sharing:
            del self._by_watch[watch]
            inotify_c.inotify_rm_watch(self.fd, watch)  # type: ignore[arg-type]  # 2.2 has no WatchDescriptor

    def _facts(self, watch: int, mask: int, name: str) -> set[str]:
        stale: set[str] = set()
        for folder in [*self._by_watch.get(watch, ())]:
            names = self._folders.get(folder, {})
            if mask & GONE:
                self._remove(folder)
                stale |= _all(names)
            else:
                stale |= {*names.get(name, ()), *names.get(ANY, ())}
        return stale

    def _changed_since(self, folder: str, since: float) -> set[str]:
        """What is not there is gone since when its folder has changed since."""
        path = os.path.join(self._root, folder.lstrip("/"))
        around = _changed_at(path)
        stale: set[str] = set()
        for name, facts in self._folders[folder].items():
            at = _changed_at(os.path.join(path, name))
            if (at or around or 0.0) >= since - TICK_S:
                stale.update(facts)
        return stale


def _all(names: Mapping[str, list[str]]) -> set[str]:
    return {fact for facts in names.values() for fact in facts}


def _changed_at(path: str) -> float | None:
    """Of its inode, seconds since 1970; None when it is not there."""
    try:
        return os.lstat(path).st_ctime
    except OSError:
        return None


def _events(raw: bytes) -> list[tuple[int, int, str]]:
    """inotify(7): the name is padded with NULs."""
    found, at = [], 0
    while at + _EVENT.size <= len(raw):
        watch, mask, _, length = _EVENT.unpack_from(raw, at)
        at += _EVENT.size
        found.append((watch, mask, os.fsdecode(raw[at : at + length].rstrip(b"\0"))))
        at += length
    return found


def _why(code: int, knob: str) -> str:
    if code in (errno.ENOSPC, errno.EMFILE):
        return f"fs.inotify.{knob} is used up"
    return f"inotify: {errno.errorcode.get(code, code)}"
