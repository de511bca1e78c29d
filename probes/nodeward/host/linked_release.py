"""The release that a Go program was linked with, read from its file and not by running it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from nodeward.host.go_version import read_only_data
from nodeward.host.query import Query
from nodeward.lazy import dataclass, pattern

if TYPE_CHECKING:
    import mmap

    from nodeward.host.tree import TreeHost

_RELEASE = pattern(rb"\0v?(\d{1,2}\.\d{1,2}\.\d{1,3})(?:[-+~][0-9A-Za-z.+~-]{1,60})?\0")
_STARTS = tuple(b"\0" + v + n + b"." for v in (b"v", b"") for n in (b"1", b"2"))


@dataclass(frozen=True, slots=True)
class LinkedRelease(Query[str | None]):
    """1.6.20 of a containerd; None where the file is no such program, or two releases are in it.

    `-ldflags "-X .../version.Version=v1.6.20"` puts that text between two NULs into the
    read-only data.
    """

    answer_type: ClassVar[object] = str | None
    at_rest: ClassVar[bool] = True

    path: str

    def answer(self, host: TreeHost) -> str | None:
        return host.at(self.path, lambda fd: read_only_data(fd, _release))


def _release(data: mmap.mmap, start: int, end: int) -> str | None:
    found: set[bytes] = set()
    for first in _STARTS:
        place = start
        while (place := data.find(first, place, end)) >= 0:
            if match := _RELEASE.match(data, place):
                found.add(match[1])
            place += 1
    return found.pop().decode("ascii") if len(found) == 1 else None
