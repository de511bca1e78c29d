"""A file tree as a host: "/" live, "/host" in a pod, an unpacked image, a test's tmp_path.

Every step of a path is taken by directory descriptor without following, and links are walked by
us, so that an absolute link, a `..` or a link swapped between two steps stays inside the root.
What is no regular file is recognised by an O_PATH descriptor, which opens no device and waits
for no FIFO.
"""

from __future__ import annotations

import errno
import os
import stat as statmod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self, TypeVar

from nodeward.host.base import (
    LIMIT,
    MOST_NAMES,
    HostError,
    MissingError,
    NotRegularError,
    OfflineError,
    Stat,
    TooBigError,
    translate,
)

if TYPE_CHECKING:
    from nodeward.host.query import Query

T = TypeVar("T")
A = TypeVar("A")

MAX_LINKS = 40  # Linux's own limit, path_resolution(7)
STEP = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class Walk:
    """Where a path resolution stands: the directories entered, and what is still to do. As a
    context it closes them at its end."""

    todo: list[str]
    fds: list[int]  # fds[0] is the root
    names: list[str] = field(default_factory=list)
    step: str = ""  # the one that is being taken
    links: int = 0
    prefix: str = ""  # "/proc/7/root" once another process's root has been entered

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        for fd in self.fds:
            os.close(fd)

    def up(self) -> None:
        if self.names:
            self.names.pop()
            os.close(self.fds.pop())

    def to_root(self) -> None:
        while self.names:
            self.up()


class TreeHost:
    """See nodeward.host.base.Host. `live` says that the tree is a running machine's own."""

    def __init__(self, root: str | os.PathLike[str], *, live: bool = False) -> None:
        self._root = os.path.abspath(os.fspath(root))
        self._live = live

    @property
    def live(self) -> bool:
        return self._live

    @property
    def root(self) -> str:
        return self._root

    def read(self, path: str, *, limit: int = LIMIT) -> bytes:
        def ask(fd: int) -> bytes:
            if not statmod.S_ISREG(os.fstat(fd).st_mode):
                raise NotRegularError(path, _kind(os.fstat(fd).st_mode))
            return _read_all(path, fd, limit)

        return self._at(path, ask)

    def stat(self, path: str) -> Stat:
        return self._at(path, _stat)

    def lstat(self, path: str) -> Stat:
        return self._at(path, _stat, follow=False)

    def link(self, path: str) -> str:
        return self._at(path, lambda fd: os.readlink("", dir_fd=fd), follow=False)

    def real(self, path: str) -> str:
        with self._walked(path, follow=True) as walk:
            return walk.prefix + "/" + "/".join(walk.names)

    def names(self, path: str) -> tuple[str, ...]:
        def ask(fd: int) -> tuple[str, ...]:
            inside = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
            try:
                found = _entries(path, inside)
            finally:
                os.close(inside)
            return tuple(sorted(found))

        return self._at(path, ask)

    def xattr(self, path: str, name: str) -> bytes:
        def ask(fd: int) -> bytes:
            try:
                return os.getxattr(f"/proc/self/fd/{fd}", name)
            except OSError as exc:
                if exc.errno in (errno.ENODATA, errno.EOPNOTSUPP):
                    raise MissingError(path, name) from exc
                raise _own_proc(path, exc) from exc

        return self._at(path, ask)

    def ask(self, query: Query[A]) -> A:
        if not self._live and not query.at_rest:
            raise OfflineError(type(query).__name__, "offline")
        try:
            return query.answer(self)
        except OSError as exc:
            raise translate(type(query).__name__, exc) from exc

    def at(self, path: str, ask: Callable[[int], T]) -> T:
        """For queries: what `ask` makes of an O_PATH descriptor of the file; OSError translated."""
        return self._at(path, ask)

    def _at(self, path: str, ask: Callable[[int], T], *, follow: bool = True) -> T:
        with self._walked(path, follow=follow) as walk:
            try:
                return ask(walk.fds[-1])
            except OSError as exc:
                raise translate(path, exc) from exc

    def _walked(self, path: str, *, follow: bool) -> Walk:
        if not path.startswith("/") or "\0" in path or not (path.isascii() or _encodable(path)):
            raise HostError(path, "not an absolute path")
        try:
            root = os.open(self._root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as exc:
            raise translate(path, exc) from exc
        walk = Walk(_parts(path), [root])
        try:
            self._resolve(walk, follow=follow)
        except BaseException as exc:
            walk.__exit__()
            if isinstance(exc, OSError):
                raise translate(path, exc) from exc
            raise
        return walk

    def _resolve(self, walk: Walk, *, follow: bool) -> None:
        while walk.todo:
            part = walk.step = walk.todo.pop(0)
            if part in (".", ".."):
                if not statmod.S_ISDIR(os.fstat(walk.fds[-1]).st_mode):
                    raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
                if part == "..":
                    walk.up()
                continue
            if walk.todo and (inside := _directory(part, walk.fds[-1])) is not None:
                walk.fds.append(inside)
                walk.names.append(part)
                continue
            fd = os.open(part, STEP, dir_fd=walk.fds[-1])
            if not (follow or walk.todo) or not statmod.S_ISLNK(os.fstat(fd).st_mode):
                walk.fds.append(fd)
                walk.names.append(part)
            elif self._live and part == "root" and _is_process(walk) and _magic(fd):
                os.close(fd)
                self._enter(walk, part)
            else:
                self._follow(walk, fd)

    def _follow(self, walk: Walk, fd: int) -> None:
        walk.links += 1
        try:
            if walk.links > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = os.readlink("", dir_fd=fd)
        finally:
            os.close(fd)
        if target.startswith("/"):
            walk.to_root()
        walk.todo = _parts(target) + walk.todo

    def _enter(self, walk: Walk, part: str) -> None:
        """Go into another process's root: its link is no text to be walked, only the kernel's own
        way leads into the mount namespace. What it holds is then resolved inside it."""
        fd = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=walk.fds[-1])
        walk.prefix = "/" + "/".join([*walk.names, part])
        for old in walk.fds:
            os.close(old)
        walk.fds[:] = [fd]
        walk.names.clear()


def _parts(path: str) -> list[str]:
    """The steps of a path. A slash or dot at its end demands a directory, as for the kernel."""
    parts = [p for p in path.split("/") if p not in ("", ".")]
    return [*parts, "."] if parts and path.endswith(("/", "/.")) else parts


def _directory(part: str, parent: int) -> int | None:
    """The next step where it is a directory, as most are: one call. None: a link, or no directory;
    OSError where it is not to be had."""
    try:
        return os.open(part, STEP | os.O_DIRECTORY, dir_fd=parent)
    except NotADirectoryError:
        return None


def _encodable(path: str) -> bool:
    try:
        os.fsencode(path)
    except UnicodeEncodeError:  # a surrogate that stands for no byte: no file has such a name
        return False
    return True


def _is_process(walk: Walk) -> bool:
    """Whether we stand in /proc/PID of the host itself. Inside another process's root anyone may
    have made a folder that looks like it."""
    names = walk.names
    return not walk.prefix and len(names) == 2 and names[0] == "proc" and names[1].isdecimal()


def _magic(fd: int) -> bool:
    """The kernel's own links have no length; a link on a disk is as long as its text."""
    return os.fstat(fd).st_size == 0


def _own_proc(path: str, exc: OSError) -> Exception:
    """Reopening a descriptor goes through our own /proc. Without it nothing can be read, which
    must not look like a file that is not there."""
    if exc.errno in (errno.ENOENT, errno.ENOTDIR) and not os.path.isdir("/proc/self/fd"):
        return HostError(path, "needs /proc to be mounted for nodeward itself")
    return exc


def _kind(mode: int) -> str:
    if statmod.S_ISDIR(mode):
        return "a directory"
    if statmod.S_ISFIFO(mode):
        return "a FIFO"
    if statmod.S_ISSOCK(mode):
        return "a socket"
    return "a device"


def _stat(fd: int) -> Stat:
    st = os.fstat(fd)
    return Stat(
        st.st_mode,
        st.st_uid,
        st.st_gid,
        st.st_size,
        st.st_mtime,
        st.st_ino,
        st.st_dev,
        st.st_ctime,
    )


def _read_all(path: str, fd: int, limit: int) -> bytes:
    # The O_PATH descriptor names one inode for good, so what was seen to be regular is opened.
    try:
        real = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        raise _own_proc(path, exc) from exc
    try:
        chunks, size = [], 0
        while chunk := os.read(real, min(limit + 1 - size, 1 << 16)):
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                raise TooBigError(path, f"more than {limit} bytes")
    finally:
        os.close(real)
    return b"".join(chunks)


def _entries(path: str, fd: int) -> list[str]:
    found = []
    with os.scandir(fd) as entries:
        for entry in entries:
            found.append(entry.name)
            if len(found) > MOST_NAMES:
                raise TooBigError(path, f"more than {MOST_NAMES} entries")
    return found
