"""What kind of program a path leads to, told from its name and its bytes; nothing is run."""

from __future__ import annotations

import re
import stat as statmod
from typing import TYPE_CHECKING, ClassVar

from nodeward.host.base import MissingError, Stat
from nodeward.host.query import Query
from nodeward.lazy import dataclass

if TYPE_CHECKING:
    from nodeward.host.tree import TreeHost

PROGRAM_LIMIT = 16 << 20
MOST_LINKS = 40  # as the kernel follows
NOTHING = ("false", "true")
# kmod keeps its default_config_paths as plain text. "/lib/modprobe.d" may share its bytes with
# the end of a longer one, so only the others can be told; it is in every version.
_DIRS = (
    b"/etc/modprobe.d",
    b"/run/modprobe.d",
    b"/usr/local/lib/modprobe.d",
    b"/usr/lib/modprobe.d",
)


@dataclass(frozen=True, slots=True)
class ProgramKind:
    """`kind` as in facts.kernel_modules.Helper; `dirs` only for a kmod that tells them."""

    kind: str
    real: str
    writable: str = ""
    dirs: tuple[str, ...] = ()
    version: int | None = None


@dataclass(frozen=True, slots=True)
class WhatProgram(Query[ProgramKind]):
    """Which module loader `path` is. MissingError where there is none."""

    answer_type: ClassVar[object] = ProgramKind
    at_rest: ClassVar[bool] = True

    path: str

    def answer(self, host: TreeHost) -> ProgramKind:
        writable = _writable(host, self.path)
        try:
            real = host.real(self.path)
            found = host.stat(self.path)
        except MissingError:
            return ProgramKind("missing", "", writable)
        name = real.rpartition("/")[2]
        if not statmod.S_ISREG(found.mode) or not found.mode & 0o111:
            return ProgramKind("not executable", real, writable)
        raw = host.read(self.path, limit=PROGRAM_LIMIT)
        if name in NOTHING:  # a script may be called so, and do what it likes
            return ProgramKind("other" if raw.startswith(b"#!") else name, real, writable)
        kind = _called(_from_bytes(raw), self.path.rpartition("/")[2])
        at = raw.find(b"kmod version ")
        told = re.match(rb"\d+", raw[at + 13 : at + 20]) if kind == "kmod" and at >= 0 else None
        dirs = _dirs(raw) if kind == "kmod" else ()
        return ProgramKind(kind, real, writable, dirs, int(told[0]) if told else None)


def _called(kind: str, name: str) -> str:
    """kmod and BusyBox are many programs in one: the name they are called by decides."""
    if kind not in ("kmod", "busybox") or name == "modprobe":
        return kind
    if name in NOTHING:
        return name
    return "false" if kind == "kmod" else "other"


def _from_bytes(raw: bytes) -> str:
    if b"BusyBox v" in raw:
        return "other" if b"modules.dep.bb" in raw else "busybox"
    if raw[:4] == b"\x7fELF" and (b"kmod version" in raw or b"libkmod" in raw):
        return "kmod"
    return "other"


def _dirs(raw: bytes) -> tuple[str, ...]:
    found = [d for d in _DIRS if b"\0" + d + b"\0" in raw]
    if b"/etc/modprobe.d" not in found:
        return ()  # its library holds them, or the build has folders of its own
    return (*(d.decode() for d in found), "/lib/modprobe.d")


def _writable(host: TreeHost, path: str) -> str:
    """What on the way to a program, every link followed, others than root may change: the first
    such folder, link or file. A path that leads nowhere is followed as far as it goes.

    In a tree whose "/" is not root's (unpacked by an ordinary user) owners mean nothing.
    """
    owned = host.stat("/").uid == 0
    at, todo, links = "", path.split("/"), 0
    open_to_all = _others(host.lstat("/"), owned=owned)
    while todo and not open_to_all:
        part = todo.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            at = at.rpartition("/")[0]
            continue
        here = f"{at}/{part}"
        try:
            found = host.lstat(here)
        except MissingError:
            return (at or "/") if _anybody(host.lstat(at or "/")) else ""
        if not statmod.S_ISLNK(found.mode):
            at, open_to_all = here, _others(found, owned=owned)
            continue
        if owned and found.uid != 0 and _anybody(host.lstat(at or "/")):
            return here  # in a folder with the sticky bit its owner may put another there
        links += 1
        if links > MOST_LINKS:
            return ""
        target = host.link(here)
        at = "" if target.startswith("/") else at
        todo[:0] = target.split("/")
    return (at or "/") if open_to_all else ""


def _anybody(found: Stat) -> bool:
    """Whether others than root may make entries in this folder, or write to this file."""
    return bool(found.mode & 0o002 or (found.mode & 0o020 and found.gid != 0))


def _others(found: Stat, *, owned: bool) -> bool:
    """Whether others than root may change this file, or what is in this folder already."""
    sticky = statmod.S_ISDIR(found.mode) and found.mode & statmod.S_ISVTX
    return (owned and found.uid != 0) or (_anybody(found) and not sticky)
