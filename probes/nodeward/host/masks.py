"""Paths of the host that our own service's sandbox has put something empty over.

systemd hides a path in one of two ways, see systemd.exec(5): InaccessiblePaths= and
ProtectKernelModules= mount an unreadable file or folder over it, TemporaryFileSystem= and
ProtectHome=tmpfs an empty file system in memory. Who may read everything sees an empty folder
there, which must not be taken for the host's own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache

from nodeward.lazy import dataclass, pattern

_INACCESSIBLE = pattern(r"/inaccessible/(?:reg|dir|sock|fifo|chr|blk)$")
"""Of /run/systemd, and in a container of /run/host."""

_OWN = ("/dev", "/run", "/tmp", "/var/tmp")  # noqa: S108  what a service has for itself
_OCTAL = pattern(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class _Mount:
    """One line of proc_pid_mountinfo(5). `root`: what of the file system is mounted."""

    device: str
    root: str
    point: str
    kind: str


@cache
def masked_paths() -> tuple[str, ...]:
    """Those paths, sorted. Mounts of a service do not change while it runs."""
    try:
        before, first, after = _mountinfo("self"), _first(), _mountinfo("self")
    except OSError:
        return ()
    # What the host mounts or unmounts meanwhile is in one of the two only.
    again = parse_masks(after, first)
    return tuple(path for path in parse_masks(before, first) if path in again)


def _mountinfo(process: str) -> str:
    path = f"/proc/{process}/mountinfo"
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def _first() -> str | None:
    """The mounts of the first process, where they are others than ours and can be read."""
    try:
        if os.readlink("/proc/self/ns/mnt") == os.readlink("/proc/1/ns/mnt"):
            return None
        return _mountinfo("1")
    except OSError:
        return None


@cache
def mounted_folders(root: str) -> tuple[str, ...] | None:
    """What there is of a host whose "/" should be at `root` (named volumes of a pod), as paths of
    the host; None where all of it is. Of a tree that holds /proc itself nobody asks that."""
    try:
        points = {mount.point for mount in _mounts(_mountinfo("self"))}
    except OSError:
        return None
    below = tuple(sorted(p.removeprefix(root) for p in points if p.startswith(f"{root}/")))
    whole = root in points or (os.path.isdir(f"{root}/proc") and "/proc" not in below)
    return None if root in ("", "/") or whole or not below else below


@cache
def private_folders() -> tuple[str, ...]:
    """Folders of the host in whose place our service has one of its own (PrivateTmp=)."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.split(" ") for line in file]
    except OSError:
        return ()
    return tuple(f[4] for f in lines if len(f) > 4 and "/systemd-private-" in f[3])


ITS_ROOT = "/proc/1/root"


def behind(path: str) -> str:
    """Where a path of the host is found by a service that has such a folder of its own."""
    own = any(path == p or path.startswith(f"{p}/") for p in private_folders())
    return f"{ITS_ROOT}{path}" if own else path


def parse_masks(ours: str, first: str | None = None) -> tuple[str, ...]:
    """`ours` and `first` are mountinfo, of ourselves and of the host's first process: a file system
    in memory that the host does not have is our service's."""
    theirs = None if first is None else {mount.device for mount in _mounts(first)}
    return tuple(sorted({m.point for m in _mounts(ours) if _hides(m, theirs)}))


def _hides(mount: _Mount, theirs: set[str] | None) -> bool:
    if _INACCESSIBLE.search(mount.root):
        return True
    if mount.kind != "tmpfs" or theirs is None or mount.device in theirs:
        return False
    return not any(f"{mount.point}/".startswith(f"{own}/") for own in _OWN)


def _mounts(mountinfo: str) -> Iterator[_Mount]:
    for line in mountinfo.split("\n"):
        fields = line.split(" ")
        if len(fields) > 4:
            after = fields.index("-") + 1 if "-" in fields else len(fields)
            kind = fields[after] if after < len(fields) else ""
            point = _OCTAL.sub(lambda m: chr(int(m[1], 8)), fields[4])
            yield _Mount(fields[2], fields[3], point, kind)


def masked(path: str) -> str | None:
    """The masked path that this one is or is inside of."""
    for mask in masked_paths():
        if path == mask or path.startswith(mask + "/"):
            return mask
    return None
