"""Who may read a file: its mode, its access list, and the directories above it, taken together."""

from __future__ import annotations

import stat
from collections.abc import Iterator

from nodeward.facts.pki import Folder, Guard

READ, WRITE = 4, 2


def readers(guard: Guard, *, owners: bool = True) -> tuple[str, ...]:
    """Everyone but root who can read it: "everyone", "group 1000", "user 1000". A directory that
    others may not enter keeps them out, whatever the file's own mode says."""
    return tuple(_those(guard, READ, owners=owners))


def _those(guard: Guard, bit: int, *, owners: bool) -> Iterator[str]:
    if owners and guard.uid != 0 and guard.mode >> 6 & bit:
        yield f"user {guard.uid}"
    # With an access list the group bits of the mode are its mask, not the group's rights.
    if guard.mode >> 3 & bit and not guard.acl and (guard.gid != 0 or not owners):
        group = f"group {guard.gid}" if owners else "its group"
        if all(_enters(f, guard.gid) for f in guard.folders):
            yield group
    for entry in guard.acl:
        letters = entry.rpartition(": ")[2]
        if letters["rwx".index("r" if bit == READ else "w")] != "-":
            yield entry.rpartition(":")[0]
    if guard.mode & bit and all(f.mode & 1 for f in guard.folders):
        yield "everyone"


def _enters(folder: Folder, gid: int) -> bool:
    return bool(folder.mode & 1 or (folder.gid == gid and folder.mode >> 3 & 1))


def replaceable(guard: Guard, *, owners: bool = True) -> tuple[str, ...]:
    """Directories above it in which another than root may put another file in its place: they are
    writable by group or others (without the sticky bit), or belong to somebody else."""
    found = []
    for folder in guard.folders:
        loose = folder.mode & 0o022 and not folder.mode & stat.S_ISVTX
        foreign = owners and folder.uid != 0
        if loose or foreign:
            whose = f", owner {folder.uid}" if foreign else ""
            found.append(f"{folder.path} ({stat.S_IMODE(folder.mode):04o}{whose})")
    return tuple(found)


def octal(guard: Guard) -> str:
    return f"{stat.S_IMODE(guard.mode):04o}"
