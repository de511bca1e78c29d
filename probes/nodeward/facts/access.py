"""Who may read a file or put another in its place: its mode and access list, and those of the
directories above it and above each link that leads to it, taken together."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator

from nodeward.facts.pki import Folder, Guard, within

READ, WRITE = 4, 2


def readers(guard: Guard, *, owners: bool = True) -> tuple[str, ...]:
    """Everyone but root who can read it: "everyone", "group 1000", "user 1000". A directory that
    others may not enter keeps them out, whatever the file's own mode says."""
    return tuple(dict.fromkeys(_those(guard, READ, owners=owners)))


def _those(guard: Guard, bit: int, *, owners: bool) -> Iterator[str]:
    if owners and guard.uid != 0 and guard.mode >> 6 & bit:
        yield f"user {guard.uid}"
    # With an access list the group bits of the mode are its mask, not the group's rights.
    if guard.mode >> 3 & bit and not guard.acl and (guard.gid != 0 or not owners):
        group = f"group {guard.gid}" if owners else "its group"
        if all(_enters(f, guard.gid) for f in guard.folders):
            yield group
    yield from _named(guard.acl, "r" if bit == READ else "w")
    if guard.mode & bit:
        yield from _entering(guard.folders, owners=owners)


def _named(acl: Iterable[str], right: str) -> Iterator[str]:
    """Those whom an access list gives a right: "user 1000" of "user 1000: r--"."""
    for entry in acl:
        whom, _, letters = entry.rpartition(": ")
        if right in letters:
            yield whom


def _enters(folder: Folder, gid: int) -> bool:
    group = folder.gid == gid and folder.mode >> 3 & 1 and not folder.acl
    return bool(folder.mode & 1 or group or f"group {gid}" in _named(folder.acl, "x"))


def _entering(folders: Iterable[Folder], *, owners: bool) -> Iterator[str]:
    """Who gets through directories: everyone, or those whom each that is closed to others lets in
    by its group or access list."""
    admitted = [_admitted(f, owners=owners) for f in folders if not f.mode & 1]
    if not admitted:
        yield "everyone"
        return
    yield from (one for one in admitted[0] if all(one in others for others in admitted))


def _admitted(folder: Folder, *, owners: bool) -> tuple[str, ...]:
    if owners and folder.gid != 0 and folder.mode >> 3 & 1 and not folder.acl:
        return (f"group {folder.gid}",)
    return tuple(_named(folder.acl, "x"))


def replaceable(guard: Guard, *, owners: bool = True) -> tuple[str, ...]:
    """Directories on the way to it in which another than root may put another file, or link, in
    its place: they are writable by group or others (without the sticky bit), an access list opens
    them, or they belong to somebody else. What lies below a directory that others may not enter
    is open to them only by name."""
    found = {}
    for folder in (*guard.folders, *guard.ways):
        if text := _opened(folder, (*guard.folders, *guard.ways), owners=owners):
            found[folder.path] = f"{folder.path} ({text})"
    return tuple(found.values())


def _opened(folder: Folder, others: Iterable[Folder], *, owners: bool) -> str:
    """Its mode and what opens it; nothing where it is closed."""
    mode = f"{stat.S_IMODE(folder.mode):04o}"
    if owners and folder.uid != 0:
        return f"{mode}, owner {folder.uid}"
    if folder.mode & stat.S_ISVTX or folder.link:
        return ""
    entered = all(o.mode & 1 for o in others if within(folder.path, o.path))
    bits = folder.mode & (0o002 if folder.acl else 0o022)
    if bits and (entered or (bits & 0o020 and folder.gid != 0)):
        return mode
    writers = [e for e in folder.acl if "w" in e.rpartition(": ")[2]]
    return f"{mode}, access list {writers[0]}" if writers else ""


def octal(guard: Guard) -> str:
    return f"{stat.S_IMODE(guard.mode):04o}"
