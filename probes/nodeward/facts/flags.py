"""Command lines of daemons that use Go's flag packages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Flags:
    """Flags of one daemon. Each name holds its values in order: where a flag counts once, the
    last stands; names have no dashes in front and `-` for `_`, as spf13/pflag normalises them.

    A flag without a value ("--profiling") holds "true".
    """

    values: Mapping[str, tuple[str, ...]]

    def get(self, name: str) -> str | None:
        """The value that counts, None where the flag is not given."""
        found = self.values.get(name)
        return found[-1] if found else None

    def all(self, name: str) -> tuple[str, ...]:
        return self.values.get(name, ())

    def on(self, name: str, *, default: bool = False) -> bool:
        """A boolean, as Go's strconv.ParseBool reads it; the default for anything else."""
        return _BOOLEANS.get(self.get(name) or "", default)


_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}


def parse_flags(words: Sequence[str]) -> Flags:
    """The arguments after the program's name. `--name=value`, `--name value`, `-name=value`;
    a word after a bare flag is its value unless it is a flag itself. After "--" nothing is."""
    found: dict[str, list[str]] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            break
        if not word.startswith("-") or word == "-":
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("-") else "true"
        found.setdefault(name.replace("_", "-"), []).append(value)
    return Flags({name: tuple(values) for name, values in found.items()})


def split_list(values: Iterable[str]) -> tuple[str, ...]:
    """A list flag: commas, or the flag repeated."""
    return tuple(word for value in values for word in value.split(",") if word)
