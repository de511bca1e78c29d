"""Paths of the host that our own service's sandbox has put something empty over.

systemd hides a path (InaccessiblePaths=, ProtectKernelModules=, ...) by mounting a file or folder
of /run/systemd/inaccessible over it, see systemd.exec(5). Who may read everything then sees an
empty folder there, which must not be taken for the host's own.
"""

from __future__ import annotations

from functools import cache

from nodeward.lazy import pattern

_MARK = "/systemd/inaccessible/"
_OCTAL = pattern(r"\\([0-7]{3})")


@cache
def masked_paths() -> tuple[str, ...]:
    """Those paths, sorted. Mounts of a service do not change while it runs."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            return parse_masks(file.read())
    except OSError:
        return ()


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


def parse_masks(mountinfo: str) -> tuple[str, ...]:
    """proc_pid_mountinfo(5): the fourth field is the mounted root within its file system, the
    fifth where it is mounted."""
    found = set()
    for line in mountinfo.split("\n"):
        fields = line.split(" ")
        if len(fields) > 4 and _MARK in fields[3]:
            found.add(_OCTAL.sub(lambda m: chr(int(m[1], 8)), fields[4]))
    return tuple(sorted(found))


def masked(path: str) -> str | None:
    """The masked path that this one is or is inside of."""
    for mask in masked_paths():
        if path == mask or path.startswith(mask + "/"):
            return mask
    return None
