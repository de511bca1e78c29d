"""Service units: what systemd would start, from unit files, drop-ins and environment files.

systemd.unit(5), systemd.service(5), systemd.exec(5), as far as a command line depends on them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from types import MappingProxyType

from nodeward.facts.errors import ParseError
from nodeward.lazy import dataclass, pattern

UNIT_DIRECTORIES = (
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/run/systemd/system",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
)
"""Strongest first: a unit or drop-in of the same name hides those after it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One `Key=value` of a unit file. `source` is path:line."""

    section: str
    key: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class Word:
    """One argument, and the file it was written in."""

    text: str
    source: str


def parse_unit(raw: bytes, path: str) -> tuple[Entry, ...]:
    """The assignments of one unit file or drop-in, continued lines joined."""
    return tuple(_entries(raw.decode("utf-8", "surrogateescape"), path))


def _entries(text: str, path: str) -> Iterator[Entry]:
    section, pending, start = "", "", 0
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if pending and stripped.startswith(("#", ";")):
            continue  # a comment inside a continued line is left out
        if not pending:
            start = number
            if not stripped or stripped[0] in "#;":
                continue
        if stripped.endswith("\\"):
            pending += stripped[:-1] + " "
            continue
        whole, pending = pending + stripped, ""
        if whole.startswith("[") and whole.endswith("]"):
            section = whole[1:-1]
            continue
        key, equals, value = whole.partition("=")
        if equals:
            yield Entry(section, key.strip(), value.strip(), f"{path}:{start}")


def service_entries(entries: Iterable[Entry], key: str) -> tuple[Entry, ...]:
    """The values of one list setting of [Service]; an empty assignment resets the list."""
    found: list[Entry] = []
    for entry in entries:
        if entry.section == "Service" and entry.key == key:
            found = [*found, entry] if entry.value else []
    return tuple(found)


_NAME = pattern(r"\s*(?:[#;][^\n]*|([^=\n]*)(=?))")
_PART = pattern(
    r"(?s)[ \t]*(?:'([^']*)'?|"
    r'"((?:[^"\\]|\\.)*)"?|'
    r"((?:[^\s'\"\\]|\\.)(?:[^\n\\]|\\.)*))"
)
"""A piece of a value: in single quotes, in double quotes, or bare. The last goes to the end of its
line, with every quote in it; quoted ones may span lines, and are put together."""


def parse_environment_file(raw: bytes, path: str) -> Mapping[str, Word]:
    """EnvironmentFile=: NAME=value, by systemd's parse_env_file; a later one wins. It is no shell
    script: systemd drops a line that starts with "export", for no name has a blank in it. A
    backslash at the end of a comment does nothing, as from systemd 254 on."""
    text = raw.decode("utf-8", "surrogateescape").replace("\r", "\n")
    found: dict[str, Word] = {}
    place = 0
    while place < len(text) and (head := _NAME.match(text, place)):
        place = head.end()
        if not head[2]:
            continue
        value, place = _value_at(text, place)
        name = head[1].strip()
        if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            found[name] = Word(value, f"{path}: {name}")
    return found


def _value_at(text: str, place: int) -> tuple[str, int]:
    """The value that begins there, and where it ends."""
    value = ""
    while part := _PART.match(text, place):
        place = part.end()
        single, double, bare = part.groups()
        if bare is not None:
            return value + _plain(r"\\(.)", bare.rstrip()), place
        value += single if single is not None else _plain(r"\\([\"\\`$\n])", double)
    return value, place


def _plain(escape: str, text: str) -> str:
    """Without the backslashes that escape a character; one before the end of a line joins two."""
    return re.sub(f"(?s){escape}", lambda m: m[1].replace("\n", ""), text)


def parse_environment(entry: Entry) -> Mapping[str, Word]:
    """Environment=: one or more NAME=value words."""
    found: dict[str, Word] = {}
    for word in split_words(entry.value, entry.source):
        name, equals, value = word.partition("=")
        if equals:
            found[name] = Word(value, f"{entry.source}: {name}")
    return found


_FIXED = {
    "%": "%", "E": "/etc", "S": "/var/lib", "C": "/var/cache", "L": "/var/log", "t": "/run",
    "T": "/tmp", "V": "/var/tmp", "h": "/root",  # noqa: S108  systemd's own
    "u": "root", "U": "0", "g": "root", "G": "0",
}  # fmt: skip


def with_specifiers(text: str, unit: str, more: Mapping[str, str] = MappingProxyType({})) -> str:
    """systemd.unit(5), Specifiers: those that the unit's name decides, and those that are the same
    for every system service, and `more`. The others are left as they stand."""
    known = _known(unit, more)
    return re.sub(r"%(.)", lambda m: known.get(m[1], m[0]), text)


def unresolved(text: str, unit: str, more: Mapping[str, str]) -> str:
    """The first specifier of which it is not known what it stands for; "" where there is none."""
    known = _known(unit, more)
    return next((f"%{c}" for c in re.findall(r"%(.)", text) if c not in known and c.isalpha()), "")


def _known(unit: str, more: Mapping[str, str]) -> Mapping[str, str]:
    stem = unit.rpartition(".")[0]
    prefix, _, instance = stem.partition("@")
    last = prefix.rpartition("-")[2]
    named = {"n": unit, "N": stem, "p": prefix, "i": instance, "I": instance, "j": last}
    return {**_FIXED, **named, **more}


def without(environment: Mapping[str, Word], entry: Entry) -> dict[str, Word]:
    """UnsetEnvironment=: names, or NAME=value for what has that very value."""
    words = split_words(entry.value, entry.source)
    return {n: w for n, w in environment.items() if n not in words and f"{n}={w.text}" not in words}


def split_words(text: str, what: str, *, relaxed: bool = False) -> list[str]:
    """Split as systemd does: blanks, quotes that open a word or stand inside one, C escapes. A
    quote that is never closed ends with the text where `relaxed`, as in a variable's value."""
    words: list[str] = []
    word: str | None = None
    quote = ""
    chars = iter(text)
    for char in chars:
        if char == "\\":
            word = (word or "") + (next(chars, "") if relaxed else _escaped(chars))
        elif quote:
            quote, word = ("", word) if char == quote else (quote, (word or "") + char)
        elif char in "\"'":
            quote, word = char, word or ""
        elif char.isspace():
            words += [] if word is None else [word]
            word = None
        else:
            word = (word or "") + char
    if quote and not relaxed:
        raise ParseError(what, 0, "an open quote")
    return words if word is None else [*words, word]


_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
            "s": " ", "\\": "\\", '"': '"', "'": "'"}  # fmt: skip
_NUMBERS = {"x": (2, 16), "u": (4, 16), "U": (8, 16)}


def _escaped(chars: Iterator[str]) -> str:
    """What a backslash of a command line makes of that which follows (systemd.service(5)); what is
    no escape stays, with its backslash."""
    first = next(chars, "")
    if first in _ESCAPES:
        return _ESCAPES[first]
    length, base = _NUMBERS.get(first, (2, 8) if first in "01234567" else (0, 0))
    digits = "".join(islice(chars, length))
    text = digits if base == 16 else first + digits
    if length and len(digits) == length and all(c in "0123456789abcdefABCDEF"[:22] for c in text):
        try:
            return chr(int(text, base))
        except (ValueError, OverflowError):
            pass
    return f"\\{first}{digits}"


_WHOLE = pattern(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_INSIDE = pattern(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def command(entry: Entry, environment: Mapping[str, Word]) -> tuple[Word, ...]:
    """ExecStart= as arguments. `$NAME` as a word of its own is split at blanks, `${NAME}` is
    not; a name that is nowhere set is empty. Prefixes of the path (`-`, `@`, `+`, `!`) go."""
    found: list[Word] = []
    for text in split_words(entry.value, entry.source):
        if whole := _WHOLE.fullmatch(text):
            value = environment.get(whole[1])
            if value is not None:
                words = split_words(value.text, value.source, relaxed=True)
                found += [Word(w, value.source) for w in words]
            continue
        sources = [environment[n].source for n in _INSIDE.findall(text) if n in environment]
        plain = _INSIDE.sub(lambda m: environment[m[1]].text if m[1] in environment else "", text)
        source = sources[0] if sources else entry.source
        found.append(Word(plain.replace("$$", "$"), source))
    if found:
        found[0] = Word(found[0].text.lstrip("-@:+!"), found[0].source)
    return tuple(found)
