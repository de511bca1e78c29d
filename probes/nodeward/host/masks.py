"""Paths of the host that our own service's sandbox has put something else over.

systemd hides a path in one of these ways, see systemd.exec(5): InaccessiblePaths= and
ProtectKernelModules= mount an unreadable file or folder over it, TemporaryFileSystem= and
ProtectHome=tmpfs an empty file system in memory, BindPaths= what is somewhere else, and
ProcSubset=pid leaves only processes in /proc. Who may read everything sees an empty folder there,
or another one, which must not be taken for the host's own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cache

from nodeward.lazy import dataclass, pattern

_INACCESSIBLE = pattern(r"/inaccessible/(?:reg|dir|sock|fifo|chr|blk)$")
"""Of /run/systemd, and in a container of /run/host."""

_OWN = ("/dev", "/run", "/tmp", "/var/tmp")  # noqa: S108  what a service has for itself
_KERNELS = ("proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue")
"""What a service may have a new one of shows the same: ProtectProc=, PrivateNetwork=."""

BUT_PROCESSES = "/*"
"""The end of a mask that leaves only processes."""

_PROCESS = pattern(r"(?:[0-9]+|self|thread-self)(?:/|\Z)")
_OCTAL = pattern(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class _Mount:
    """One line of proc_pid_mountinfo(5). `root`: what of the file system is mounted."""

    device: str
    root: str
    point: str
    kind: str
    options: str


@cache
def masked_paths(root: str = "") -> tuple[str, ...]:
    """Those paths, sorted, of a host whose "/" is at `root` ("" or "/host"). Mounts of a service do
    not change while it runs."""
    try:
        before, first, after = _mountinfo("self"), _first(), _mountinfo("self")
    except OSError:
        return ()
    # What the host mounts or unmounts meanwhile is in one of the two only.
    again = parse_masks(after, first, root)
    return tuple(path for path in parse_masks(before, first, root) if path in again)


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


def parse_masks(ours: str, first: str | None = None, root: str = "") -> tuple[str, ...]:
    """`ours` and `first` are mountinfo, of ourselves and of the host's first process: what the host
    does not have at the same place is our service's."""
    theirs = None if first is None else tuple(_mounts(first))
    return tuple(sorted({mask for m in _mounts(ours) for mask in _hidden(m, theirs, root)}))


def _hidden(mount: _Mount, theirs: Sequence[_Mount] | None, root: str) -> Iterator[str]:
    if mount.point == f"{root}/proc" and "subset=pid" in mount.options.split(","):
        yield mount.point + BUT_PROCESSES
    if _INACCESSIBLE.search(mount.root) or (theirs is not None and _covers(mount, theirs, root)):
        yield mount.point


def _covers(mount: _Mount, theirs: Sequence[_Mount], root: str) -> bool:
    if not mount.point.startswith(f"{root}/") or mount.point == "/":
        return False
    if root and mount.kind != "tmpfs":  # a pod keeps what the host has unmounted since
        return False
    if any(f"{mount.point}/".startswith(f"{own}/") for own in _OWN):
        return False
    return not any(_is_there(mount, other, mount.point[len(root) :]) for other in theirs)


def _is_there(mount: _Mount, other: _Mount, point: str) -> bool:
    """Whether this mount of the host shows the same at that point."""
    above = other.point.rstrip("/")
    fresh = mount.kind in _KERNELS and mount.kind == other.kind
    if not (fresh or mount.device == other.device) or not f"{point}/".startswith(f"{above}/"):
        return False
    shown = other.root.rstrip("/") + point[len(above) :]
    return mount.root == (shown.rstrip("/") or "/")


def _mounts(mountinfo: str) -> Iterator[_Mount]:
    for line in mountinfo.split("\n"):
        fields = line.split(" ")
        if len(fields) > 4:
            after = fields.index("-") + 1 if "-" in fields else len(fields)
            kind, _, options = [*fields[after:], "", "", ""][:3]
            root, point = (_OCTAL.sub(lambda m: chr(int(m[1], 8)), f) for f in fields[3:5])
            # A file that is gone and still mounted is the same at both places.
            yield _Mount(fields[2], root.removesuffix("//deleted"), point, kind, options)


def masked(path: str, root: str = "") -> str | None:
    """The mask of the host at `root` that this path of ours is or is inside of."""
    for mask in masked_paths(root):
        if path == mask or path.startswith(mask + "/"):
            return mask
        above = mask.removesuffix("*")
        if above != mask and path.startswith(above) and not _PROCESS.match(path, len(above)):
            return mask
    return None
