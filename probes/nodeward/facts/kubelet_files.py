"""The files a kubelet lives on, and who beside root may read or change them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from nodeward.facts.pki import Folder, Guard, within
from nodeward.lazy import dataclass
from nodeward.model import Fact

CONFIG, SERVICE, KUBECONFIG, CA = "configuration", "service", "kubeconfig", "client CA"
ROOT, CREDENTIAL, VOLUME, STATIC = (
    "root directory",
    "credential provider",
    "volume plugin",
    "static pod",
)
PROGRAM = "program"

READ, WRITE = "read", "change"


@dataclass(frozen=True, slots=True)
class FileRow:
    """One path. `guard` is None when it could not be looked at (`error`) or is not there."""

    role: str
    path: str
    guard: Guard | None = None
    error: str = ""
    absent: bool = False

    @property
    def directory(self) -> bool:
        return self.guard is not None and self.guard.mode & 0o170000 == 0o040000


@dataclass(frozen=True, slots=True)
class KubeletFiles(Fact):
    """By role. `owners`: whether owners mean anything (not in a tree an ordinary user unpacked).
    `replaced` says what happened to the running program's file, "" when nothing did."""

    events: ClassVar[tuple[str, ...]] = ("process",)

    rows: tuple[FileRow, ...]
    owners: bool = True
    replaced: str = ""

    def of(self, *roles: str) -> tuple[FileRow, ...]:
        return tuple(row for row in self.rows if row.role in roles)


@dataclass(frozen=True, slots=True)
class Leak:
    """What others than root may do with a file, and by which bit: ("change", "mode 0666"). `folder`
    is the directory above whose owner or mode it is."""

    what: str
    how: str
    folder: str = ""


def leaks(guard: Guard, *, owners: bool) -> Iterator[Leak]:
    """Everything that others than root may do, worst first: by owner, mode, ACL, and by the
    directories above, which may close what the file leaves open, or open what it closes."""
    found = [*_of_owner(guard, owners), *_of_mode(guard, owners), *_of_folders(guard, owners)]
    yield from sorted(found, key=lambda leak: leak.what != WRITE)


def _of_owner(guard: Guard, owners: bool) -> Iterator[Leak]:
    if owners and guard.uid != 0:
        yield Leak(WRITE, f"owned by uid {guard.uid}")


def _of_mode(guard: Guard, owners: bool) -> Iterator[Leak]:
    mode = f"mode {guard.mode & 0o7777:04o}"
    group = owners and guard.gid != 0
    closed_to_others = any(not f.mode & 0o001 for f in guard.folders)
    closed_to_group = any(
        not (f.mode & 0o001 or (f.mode & 0o010 and f.gid == guard.gid)) for f in guard.folders
    )
    sticky = guard.mode & 0o041000 == 0o041000
    for bit, what in ((2, WRITE), (4, READ)):
        if guard.mode & bit and not closed_to_others and not (what is WRITE and sticky):
            yield Leak(what, mode)
        elif group and guard.mode & (bit << 3) and not closed_to_group:
            yield Leak(what, f"{mode}, group {guard.gid}")
    if not closed_to_others:
        for entry in guard.acl:
            yield Leak(WRITE if "w" in entry.rpartition(":")[2] else READ, f"access list, {entry}")


def _of_folders(guard: Guard, owners: bool) -> Iterator[Leak]:
    """Who may write in a directory above may put another file in this one's place."""
    reachable = True
    for folder in reversed(guard.folders):  # from "/" down
        yield from _of_folder(folder, owners, reachable=reachable)
        reachable = reachable and bool(folder.mode & 0o001)
    for folder in guard.ways:  # those that hold a link to it
        above = (f for f in (*guard.folders, *guard.ways) if f.path != folder.path)
        reachable = all(f.mode & 0o001 for f in above if within(folder.path, f.path))
        yield from _of_folder(folder, owners, reachable=reachable)


def _of_folder(folder: Folder, owners: bool, *, reachable: bool) -> Iterator[Leak]:
    if owners and folder.uid != 0:
        yield Leak(WRITE, f"{folder.path} is owned by uid {folder.uid}", folder.path)
    elif folder.mode & 0o1000 or folder.link:
        return
    elif folder.mode & 0o002 and reachable:
        yield Leak(WRITE, f"{folder.path} has mode {folder.mode & 0o7777:04o}", folder.path)
    elif writer := next((e for e in folder.acl if "w" in e.rpartition(":")[2]), None):
        yield Leak(WRITE, f"{folder.path} has an access list, {writer}", folder.path)
