"""Arguments as spf13/pflag reads them, the library of every Kubernetes daemon's flags."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum

from nodeward.lazy import dataclass, pattern


class Kind(StrEnum):
    """What a flag holds. Only a BOOL may stand without a value."""

    BOOL = "bool"
    INT = "int"
    TEXT = "text"
    LIST = "list"
    GATES = "gates"
    MAP = "map"


@dataclass(frozen=True, slots=True)
class Flag:
    """One occurrence. `value` is its text, `place` the argument's number (the program is 0)."""

    name: str
    value: str
    place: int


@dataclass(frozen=True, slots=True)
class Arguments:
    """All occurrences in their order, and the words that belong to no flag."""

    flags: tuple[Flag, ...]
    stray: tuple[str, ...] = ()

    def last(self, name: str) -> Flag | None:
        """The one that counts for a scalar: the last."""
        return next((f for f in reversed(self.flags) if f.name == name), None)

    def given(self, name: str) -> Flag | None:
        """The last one, if it is not empty: for a daemon `--config=` is as good as none."""
        found = self.last(name)
        return found if found is not None and found.value else None

    def every(self, name: str) -> tuple[Flag, ...]:
        return tuple(f for f in self.flags if f.name == name)


def parse_arguments(argv: Iterable[str], kinds: Mapping[str, Kind]) -> Arguments:
    """Read the arguments after the program's name.

    `_` in a name counts as `-` (WordSepNormalizeFunc). A BOOL takes no separate value, so
    `--anonymous-auth false` is true and a stray word. A name that is not in `kinds` takes the next
    word unless that looks like a flag: no running daemon was given a flag it does not know.
    """
    words = list(argv)
    flags: list[Flag] = []
    stray: list[str] = []
    place = 1
    while place < len(words):
        word = words[place]
        if word == "--":
            stray += words[place + 1 :]
            break
        if len(word) < 2 or not word.startswith("-"):
            stray.append(word)
            place += 1
            continue
        name, equals, value = _split(word)
        used = 1
        if not equals:
            value, used = _value(words, place, kinds.get(name))
        flags.append(Flag(name, value, place))
        place += used
    return Arguments(tuple(flags), tuple(stray))


def _split(word: str) -> tuple[str, str, str]:
    if word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        return name.replace("_", "-"), equals, value
    # Shorthands: of all daemons only -v takes a value, also as -v2.
    name, rest = word[1], word[2:]
    return name, "=" if rest else "", rest.removeprefix("=")


def _value(words: list[str], place: int, kind: Kind | None) -> tuple[str, int]:
    following = words[place + 1] if place + 1 < len(words) else None
    if kind is Kind.BOOL:
        return "true", 1
    if following is None:
        return "", 1
    if kind is None and following.startswith("-"):
        return "true", 1
    return following, 2


_TRUE = frozenset(["1", "t", "T", "TRUE", "true", "True"])
_FALSE = frozenset(["0", "f", "F", "FALSE", "false", "False"])


def parse_bool(text: str) -> bool | None:
    """Go's strconv.ParseBool; None for what it refuses."""
    return True if text in _TRUE else False if text in _FALSE else None


_UNDERSCORES = pattern(r"[+-]?(0[xX]_?[\da-fA-F]+|0[oObB]_?\d+|\d+)(_[\da-fA-F]+)*")
"""They may stand between digits, and between a base and the first one."""


def parse_int(text: str) -> int | None:
    """Go's strconv.ParseInt with base 0; None for what it refuses."""
    plain = text.replace("_", "") if _UNDERSCORES.fullmatch(text) else text
    if "_" in plain or len(plain) > 20:
        return None
    digits = plain.lstrip("+-")
    octal = len(digits) > 1 and digits[0] == "0" and digits.isdigit()
    try:
        return int(plain, 8 if octal else 0)
    except ValueError:
        return None


def parse_pairs(texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """`a=b,c=d`, over all occurrences of a map flag."""
    for text in texts:
        for part in text.split(","):
            key, equals, value = part.strip().partition("=")
            if equals or key:
                yield key.strip(), value.strip()
