"""What the kernel shows of the kubelet's limits: processes of all pods, and swap."""

from __future__ import annotations

from collections.abc import Iterator

from nodeward.facts.errors import ParseError
from nodeward.lazy import dataclass
from nodeward.model import Fact


@dataclass(frozen=True, slots=True)
class Swap:
    """One line of /proc/swaps. `encrypted`: by dm-crypt; None where that could not be told."""

    path: str
    kind: str
    encrypted: bool | None = None


@dataclass(frozen=True, slots=True)
class KubeletLimits(Fact):
    """`pids_max` is that of the cgroup of all pods: a number, "max", or None when there is none;
    `pids_source` is its path. `swaps` is None where /proc/swaps is not there to be read.
    `containers` are those of pods whose first process could be looked at, `unconfined` the pids
    among them that run without a seccomp filter; None where no cgroup of pods is there."""

    pids_max: str | None = None
    pids_source: str = ""
    swaps: tuple[Swap, ...] | None = None
    containers: int | None = None
    unconfined: tuple[int, ...] = ()


def parse_seccomp(raw: bytes) -> int | None:
    """The mode in /proc/PID/status: 0 is none, 2 a filter. None where the kernel shows none."""
    for line in raw.split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"Seccomp" and value.strip().isdigit():
            return int(value)
    return None


def parse_swaps(raw: bytes) -> tuple[Swap, ...]:
    """/proc/swaps: a heading, then Filename, Type, Size, Used, Priority; blanks in octal."""
    return tuple(_swaps(raw))


def _swaps(raw: bytes) -> Iterator[Swap]:
    for number, line in enumerate(raw.split(b"\n")[1:], 2):
        fields = line.split()
        if not fields:
            continue
        if len(fields) < 5:
            raise ParseError("/proc/swaps", number, line.decode("utf-8", "replace"))
        path = fields[0].decode("utf-8", "surrogateescape").removesuffix("\\040(deleted)")
        yield Swap(path, fields[1].decode("utf-8", "replace"))
