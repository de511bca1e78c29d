"""The version that a Kubernetes program was linked with, read from its file and not by running it.

`go build -ldflags "-X k8s.io/component-base/version.gitVersion=v1.36.2"` puts that text between
two NULs into the read-only data. Nothing else there has this form, as long as it is the only one.
"""

from __future__ import annotations

import mmap
import os
import stat
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from nodeward.host.query import Query
from nodeward.lazy import dataclass, pattern

if TYPE_CHECKING:
    from nodeward.host.tree import TreeHost

MOST_SECTIONS = 200
MOST_BYTES = 256 << 20

_LINKED = pattern(rb"\0(v1\.\d{2}\.\d{1,3}(?:[-+][0-9A-Za-z.+-]{1,60})?)\0")


@dataclass(frozen=True, slots=True)
class GoVersion(Query[str | None]):
    """None where the file is no such program, or two versions stand in it."""

    answer_type: ClassVar[object] = str | None
    at_rest: ClassVar[bool] = True

    path: str

    def answer(self, host: TreeHost) -> str | None:
        return host.at(self.path, lambda fd: read_only_data(fd, _linked))


def read_only_data(fd: int, ask: Callable[[mmap.mmap, int, int], str | None]) -> str | None:
    """What `ask` finds between the two places at which the program's constants stand; None of a
    file that is no program."""
    if not stat.S_ISREG(os.fstat(fd).st_mode) or os.fstat(fd).st_size < 64:
        return None
    real = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(real, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            start, end = _read_only_data(data)
        except (struct.error, ValueError, OverflowError):
            return None
        return ask(data, start, end)


def _linked(data: mmap.mmap, start: int, end: int) -> str | None:
    """The only version between `start` and `end`; it is sought from the end, where it stands."""
    found: set[bytes] = set()
    place = end
    while (place := data.rfind(b"\0v1.", start, place)) >= 0:
        if match := _LINKED.match(data, place):
            found.add(match[1])
    return found.pop().decode("ascii") if len(found) == 1 else None


def _read_only_data(data: mmap.mmap) -> tuple[int, int]:
    """Where .rodata stands in a 64-bit little-endian ELF file, elf(5)."""
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("no such ELF file")
    (table,) = struct.unpack_from("<Q", data, 0x28)
    size, count, names = struct.unpack_from("<HHH", data, 0x3A)
    if count > MOST_SECTIONS or names >= count:
        raise ValueError("odd section table")
    rows = [struct.unpack_from("<IIQQQQ", data, table + i * size) for i in range(count)]
    texts = rows[names][4]
    for name, _, _, _, offset, length in rows:
        if data[texts + name : texts + name + 8] == b".rodata\0":
            return _within(data, offset, length)
    raise ValueError("no .rodata")


def _within(data: mmap.mmap, offset: int, length: int) -> tuple[int, int]:
    if offset > len(data):
        raise ValueError("beyond the end")
    return offset, min(offset + min(length, MOST_BYTES), len(data))
