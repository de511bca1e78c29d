"""The questions one may put to a machine. There is no write and no exec among them."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Protocol, TypeVar

from nodeward.lazy import dataclass

if TYPE_CHECKING:
    from nodeward.host.query import Query

A = TypeVar("A")

LIMIT = 1 << 20
"""Bytes that `read` takes unless the probe says otherwise; more is a TooBigError, never a cut."""

MOST_NAMES = 100_000
"""Entries that `names` takes of one directory."""


class HostError(Exception):
    """A question to the host that got no answer."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path!r}: {why}")
        self.path = path
        self.why = why


class MissingError(HostError):
    """There is no such thing on the host."""


class DeniedError(HostError):
    """It is there, and we may not read it."""


class TooBigError(HostError):
    """It is larger than the limit the probe set."""


class NotRegularError(HostError):
    """A directory, FIFO, socket or device where a file was expected. It was not opened."""


class OfflineError(HostError):
    """A tree at rest cannot answer this: there is no file that holds it."""


ERRORS: dict[str, type[HostError]] = {
    c.__name__: c
    for c in (HostError, MissingError, DeniedError, TooBigError, NotRegularError, OfflineError)
}


def translate(path: str, exc: OSError) -> HostError:
    """An operating system error as one of ours, by what a caller does about it."""
    why = errno.errorcode.get(exc.errno or 0, "EIO")
    if exc.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESRCH):
        return MissingError(path, why)
    if exc.errno in (errno.EACCES, errno.EPERM):
        return DeniedError(path, why)
    return HostError(path, why)


@dataclass(frozen=True, slots=True)
class Stat:
    """inode(7). `mode` holds type and permission bits; `mtime` and `ctime` are seconds since 1970.
    In a tree at rest `ctime` says when it was unpacked."""

    mode: int
    uid: int
    gid: int
    size: int
    mtime: float = 0.0
    inode: int = 0
    device: int = 0
    ctime: float = 0.0


class Host(Protocol):
    """One machine, live or at rest. Every path is absolute and resolved inside the root.

    All raise HostError: MissingError when the thing is not there, another when one cannot look.
    """

    @property
    def live(self) -> bool:
        """Whether this is a running machine and not a file tree at rest."""

    @property
    def root(self) -> str:
        """Where the machine's "/" is for us: "/", "/host" in a pod, a directory at rest."""

    def read(self, path: str, *, limit: int = LIMIT) -> bytes:
        """A regular file, whole. Links are followed inside the root."""

    def stat(self, path: str) -> Stat:
        """What the path leads to."""

    def lstat(self, path: str) -> Stat:
        """The entry itself; the last component is not followed."""

    def link(self, path: str) -> str:
        """The text of a symbolic link, as it stands."""

    def real(self, path: str) -> str:
        """The path after all links, as seen from inside the root. It must exist."""

    def names(self, path: str) -> tuple[str, ...]:
        """The entries of a directory, sorted."""

    def xattr(self, path: str, name: str) -> bytes:
        """One extended attribute (system.posix_acl_access). MissingError when it has none."""

    def ask(self, query: Query[A]) -> A:
        """What is no file: sockets, ports, processes. OfflineError on a tree at rest."""
