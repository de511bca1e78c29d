"""A posture as bytes: one number per check, content-addressed.

Thousands of nodes share a posture, so it is stored once and named by its digest. `value` packs
status and severity into one byte: status code times 8, plus the severity's rank. 0 means "this
node has no such check"; it is only ever the `old` or `new` of a change.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from nodeward.model import Severity, Status

NONE: Final = 0
CODE: Final[Mapping[Status, int]] = {
    Status.PASS: 1,
    Status.FAIL: 2,
    Status.NOT_APPLICABLE: 3,
    Status.UNKNOWN: 4,
    Status.ERROR: 5,
}
_STATUS: Final = {code: status for status, code in CODE.items()}
_SEVERITY: Final = {severity.rank: severity for severity in Severity}
WORST_FIRST: Final = (
    Status.FAIL,
    Status.ERROR,
    Status.UNKNOWN,
    Status.PASS,
    Status.NOT_APPLICABLE,
)
POSTED: Final = frozenset((Status.FAIL, Status.UNKNOWN, Status.ERROR))
"""The statuses people search for: each has a row per (check, state set)."""
WEIGHT: Final = {4: 1_000_000, 3: 10_000, 2: 100, 1: 10, 0: 1}
"""What one failure of that severity adds to a node's score. Only the order of scores means much."""


PACKED: Final[Mapping[str, Mapping[str, int]]] = {
    status.value: {severity.value: code * 8 + severity.rank for severity in Severity}
    for status, code in CODE.items()
}
"""By the words of the wire; for loops, where a call of `pack` would be half the time."""


def pack(status: str, severity: str) -> int:
    """The words of the wire, or Status and Severity: hashing an enum's member costs a call."""
    return PACKED[status][severity]


_WEIGHTS: Final = {CODE[Status.FAIL] * 8 + rank: weight for rank, weight in WEIGHT.items()}
_UNPACKED: Final = {
    code * 8 + rank: (status, severity)
    for code, status in _STATUS.items()
    for rank, severity in _SEVERITY.items()
}
WORDS: Final = {v: (status.value, severity.value) for v, (status, severity) in _UNPACKED.items()}
"""Value -> the words of the wire, for loops: an enum's `.value` costs a call."""


def unpack(value: int) -> tuple[Status, Severity]:
    return _UNPACKED[value]


LEVELS: Final = tuple(
    pack(status, severity)
    for status in WORST_FIRST
    for severity in sorted(Severity, key=lambda s: -s.rank)
)
"""Every value, the worst first."""
LEVEL_OF: Final = {value: level for level, value in enumerate(LEVELS)}


@dataclass(frozen=True)
class State:
    """The values of one posture: `rules` are the ids of checks, ascending; `vec` lies beside it."""

    rules: tuple[int, ...]
    vec: bytes

    @classmethod
    def of(cls, values: Mapping[int, int]) -> State:
        rules = tuple(sorted(values))
        return cls(rules, bytes(values[rule] for rule in rules))

    def values(self) -> dict[int, int]:
        return dict(zip(self.rules, self.vec, strict=True))

    def replaced(self, values: Mapping[int, int]) -> State:
        """This state with some checks at other values."""
        if values.keys() <= self.index.keys():
            vec = bytearray(self.vec)
            for rule, value in values.items():
                vec[self.index[rule]] = value
            return self.having(bytes(vec))
        return State.of(self.values() | dict(values))

    def having(self, vec: bytes) -> State:
        """The same checks at these values."""
        out = State(self.rules, vec)
        out.__dict__.update(index=self.index, layout=self.layout)  # what a cached_property does
        return out

    @cached_property
    def index(self) -> dict[int, int]:
        return {rule: place for place, rule in enumerate(self.rules)}

    @cached_property
    def layout(self) -> bytes:
        """Digest of the list of checks, 16 bytes."""
        return hashlib.sha256(struct.pack(f">{len(self.rules)}I", *self.rules)).digest()[:16]

    @cached_property
    def digest(self) -> bytes:
        """Digest of checks and values, 16 bytes."""
        return hashlib.sha256(self.layout + self.vec).digest()[:16]

    @cached_property
    def fails(self) -> int:
        return sum(self.vec.count(value) for value in _WEIGHTS)

    @cached_property
    def score(self) -> int:
        """How bad: the weights of all failures, summed."""
        return sum(weight * self.vec.count(value) for value, weight in _WEIGHTS.items())

    @cached_property
    def mask(self) -> int:
        """Bit n is set when some check is at LEVELS[n]."""
        mask = 0
        for value in set(self.vec):
            mask |= 1 << LEVEL_OF[value]
        return mask

    def posted(self) -> Iterable[tuple[int, int]]:
        """(check, value) of what is not well."""
        codes = {CODE[status] for status in POSTED}
        return ((r, v) for r, v in zip(self.rules, self.vec, strict=True) if v >> 3 in codes)


EMPTY: Final = State((), b"")


@dataclass(frozen=True, slots=True)
class Order:
    """A list of checks as reports have it: some state of them, and the place in the list of each
    value of that."""

    checks: tuple[str, ...]
    like: State
    places: tuple[int, ...]

    @classmethod
    def of(cls, checks: tuple[str, ...], rules: Mapping[str, int]) -> Order:
        ids = [rules[check] for check in checks]
        places = tuple(sorted(range(len(ids)), key=ids.__getitem__))
        like = State(tuple(ids[place] for place in places), bytes(len(ids)))
        return cls(checks, like, places)

    def state(self, values: bytes) -> State:
        """From the values as they came."""
        return self.like.having(bytes(map(values.__getitem__, self.places)))


def differences(old: State, new: State) -> list[tuple[int, int, int]]:
    """(check, old value, new value) where they differ, by check."""
    if old.rules == new.rules:
        if old.vec == new.vec:
            return []
        both = zip(old.rules, old.vec, new.vec, strict=True)
        return [(rule, a, b) for rule, a, b in both if a != b]
    if not old.rules:
        return [(rule, NONE, value) for rule, value in zip(new.rules, new.vec, strict=True)]
    before, after = old.values(), new.values()
    return [
        (rule, before.get(rule, NONE), after.get(rule, NONE))
        for rule in sorted(before.keys() | after.keys())
        if before.get(rule, NONE) != after.get(rule, NONE)
    ]
