"""YAML as the Kubernetes daemons read it: sigs.k8s.io/yaml over goyaml.v2.

Built from the parser's events and not by PyYAML's constructors, because these differ: `y` and `n`
are booleans here, `1:30` is no number, and a mapping that names a key twice keeps the last one.
Duplicate keys, the line of every key, and further documents (which a daemon never reads) are
kept, since a daemon says nothing about them. Depth and the number of values are bounded, so that
neither brackets nor aliases can cost more than the file's size allows.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any, TypeAlias

import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    ScalarEvent,
)

from nodeward.facts.errors import ParseError
from nodeward.lazy import dataclass, pattern

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # a PyYAML without libyaml is slower, not different
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]

MAX_DEPTH = 64
MAX_VALUES = 200_000

Key: TypeAlias = str
Path: TypeAlias = tuple[str | int, ...]


class BoundError(ParseError):
    """More of it than we look at; a daemon may take it."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A key that a mapping names again. The last one counts. `line` is the later one's."""

    path: Path
    line: int


@dataclass(frozen=True, slots=True)
class Document:
    """One document: dicts with text keys, lists, text, int, float, bool, None.

    `lines` holds the line (from 1) of every mapping key by its path; `more` says that other
    documents follow, which a daemon that reads one document never sees.
    """

    value: Any
    lines: Mapping[Path, int] = field(default_factory=dict)
    duplicates: tuple[Duplicate, ...] = ()
    more: bool = False

    def line(self, *path: str | int) -> int:
        """The line of a key; of its nearest parent where it came through an alias; else 0."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 0)

    def get(self, dotted: str) -> Any:  # noqa: ANN401  JSON of the host
        """A nested value by "a.b.c"; None when it is not there."""
        value = self.value
        for key in dotted.split("."):
            if not isinstance(value, dict) or key not in value:
                return None
            value = value[key]
        return value


def parse_document(raw: bytes, what: str) -> Document:
    """The first document, as a daemon reads it; an empty file is a document of None.

    Raises ParseError naming `what` and the line.
    """
    found = _documents(raw, what)
    first = next(found, None)
    if first is None:
        return Document(None)
    try:
        more = next(found, None) is not None
    except ParseError:  # a daemon never comes to it
        more = True
    return Document(first.value, first.lines, first.duplicates, more=more)


def parse_documents(raw: bytes, what: str) -> tuple[Document, ...]:
    """Every document of the file. Raises ParseError naming `what` and the line."""
    return tuple(_documents(raw, what))


def _documents(raw: bytes, what: str) -> Iterator[Document]:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ParseError(what, raw.count(b"\n", 0, exc.start) + 1, "not UTF-8") from None
    try:
        yield from _Builder(what).documents(yaml.parse(text, Loader=_Loader))
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line = mark.line + 1 if mark else 0
        raise ParseError(what, line, exc.problem or "not YAML") from None
    except yaml.YAMLError:
        raise ParseError(what, 0, "not YAML (a control character)") from None


class _Pairs(list[tuple[Any, Any, int]]):
    """A mapping under construction: key, value, line. Kept apart to see duplicates and merges."""


@dataclass(slots=True)
class _Open:
    """A collection whose end has not come. `key` is a key that waits for its value."""

    items: _Pairs | list[Any]
    anchor: str | None
    key: Any = None
    line: int = 0
    waiting: bool = False


@dataclass(slots=True)
class _Builder:
    what: str
    stack: list[_Open] = field(default_factory=list)
    anchors: dict[str, Any] = field(default_factory=dict)
    root: Any = None
    values: int = 0

    def documents(self, events: Iterator[Event]) -> Iterator[Document]:
        for event in events:
            if isinstance(event, DocumentStartEvent):
                if event.version not in (None, (1, 1)):
                    raise ParseError(self.what, 1, "its %YAML directive names no YAML 1.1")
                self.stack, self.anchors, self.root = [], {}, None
            elif isinstance(event, DocumentEndEvent):
                yield _Finish(self.what).document(self.root)
            else:
                self.take(event)

    def take(self, event: Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, ScalarEvent):
            self.add(_scalar(event, self.what, line), line, event.anchor)
        elif isinstance(event, AliasEvent):
            self.add(self.alias(event.anchor, line), line, None)
        elif isinstance(event, CollectionStartEvent):
            if len(self.stack) >= MAX_DEPTH:
                raise BoundError(self.what, line, f"nested more than {MAX_DEPTH} deep")
            items = _Pairs() if isinstance(event, MappingStartEvent) else list[Any]()
            self.stack.append(_Open(items, event.anchor, line=line))
        elif isinstance(event, CollectionEndEvent):
            done = self.stack.pop()
            self.add(done.items, done.line, done.anchor)

    def alias(self, anchor: str | None, line: int) -> Any:  # noqa: ANN401
        if anchor not in self.anchors:  # not there, or still open: a value inside itself
            raise ParseError(self.what, line, f"no finished value is anchored as {anchor}")
        return self.anchors[anchor]

    def add(self, value: Any, line: int, anchor: str | None) -> None:  # noqa: ANN401
        self.values += 1
        if self.values > MAX_VALUES:
            raise BoundError(self.what, line, f"more than {MAX_VALUES} values")
        if anchor is not None:
            self.anchors[anchor] = value
        if not self.stack:
            self.root = value
            return
        parent = self.stack[-1]
        if not isinstance(parent.items, _Pairs):
            parent.items.append(value)
        elif parent.waiting:
            parent.items.append((parent.key, value, parent.line))
            parent.waiting = False
        else:
            parent.key, parent.line, parent.waiting = value, line, True


@dataclass(slots=True)
class _Finish:
    """Turns pairs into dicts, once each anchored value has its place; aliases are written out."""

    what: str
    lines: dict[Path, int] = field(default_factory=dict)
    duplicates: list[Duplicate] = field(default_factory=list)
    values: int = 0

    def document(self, root: Any) -> Document:  # noqa: ANN401
        return Document(self.plain(root, ()), self.lines, tuple(self.duplicates))

    def bound(self, depth: int) -> None:
        self.values += 1
        if self.values > MAX_VALUES:
            raise BoundError(self.what, 0, f"its aliases make more than {MAX_VALUES} values")
        if depth > MAX_DEPTH:
            raise BoundError(self.what, 0, f"its aliases nest more than {MAX_DEPTH} deep")

    def plain(self, value: Any, path: Path) -> Any:  # noqa: ANN401
        self.bound(len(path))
        if isinstance(value, _Pairs):
            return self.mapping(value, path)
        if isinstance(value, list):
            return [self.plain(v, (*path, i)) for i, v in enumerate(value)]
        return value

    def mapping(self, pairs: _Pairs, path: Path, merges: int = 0) -> dict[str, Any]:
        """goyaml.v2 takes keys and "<<" in their order: whatever comes later wins."""
        self.bound(merges)
        found: dict[str, Any] = {}
        for raw, value, line in pairs:
            if isinstance(raw, _Merge):
                for source in reversed(self.sources(value, line)):
                    merged = self.mapping(source, path, merges + 1)
                    self.duplicates += [Duplicate((*path, k), line) for k in merged if k in found]
                    found |= merged
                continue
            key = self.key(raw, line)
            here = (*path, key)
            if key in found:
                self.duplicates.append(Duplicate(here, line))
            self.lines[here] = line
            found[key] = self.plain(value, here)
        return found

    def sources(self, value: Any, line: int) -> list[_Pairs]:  # noqa: ANN401
        many = [value] if isinstance(value, _Pairs) else value
        if not isinstance(many, list) or not all(isinstance(m, _Pairs) for m in many):
            raise ParseError(self.what, line, "what << names is no mapping")
        return many

    def key(self, raw: Any, line: int) -> str:  # noqa: ANN401
        """JSON knows text keys only; goyaml writes others out the way Go prints them."""
        match raw:
            case str():
                return raw
            case bool():
                return "true" if raw else "false"
            case int() | float():
                return str(raw)
            case None:
                return "null"
            case _:
                raise ParseError(self.what, line, "a key that is no scalar")


class _Merge:
    """The key `<<`."""


# goyaml.v2 resolve.go. Words by the first letter of which it would even look them up.
_WORDS: dict[str, Any] = {
    **dict.fromkeys(
        ["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"], True
    ),
    **dict.fromkeys(
        ["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"], False
    ),
    **dict.fromkeys(["", "~", "null", "Null", "NULL"]),
    **dict.fromkeys([".nan", ".NaN", ".NAN"], float("nan")),
    **dict.fromkeys([".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"], float("inf")),
    **dict.fromkeys(["-.inf", "-.Inf", "-.INF"], float("-inf")),
}
_FLOAT = pattern(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INT = pattern(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[oO]?([0-7]+)|0[bB]([01]+)|([0-9]+))")
_RESOLVED_TAGS = frozenset(f"tag:yaml.org,2002:{t}" for t in ("bool", "int", "float", "null"))


def _scalar(event: ScalarEvent, what: str, line: int) -> Any:  # noqa: ANN401
    text: str = event.value
    if len(text) > 1 << 20:
        raise BoundError(what, line, "a value of more than a megabyte")
    if event.tag == "tag:yaml.org,2002:binary":
        return _binary(text, what, line)
    if text == "<<" and (event.implicit[0] or event.tag == "tag:yaml.org,2002:merge"):
        return _Merge()
    if not event.implicit[0] and event.tag not in _RESOLVED_TAGS:
        return text  # quoted, a block, or tagged as text
    value = _WORDS[text] if text in _WORDS else _plain(text)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ParseError(what, line, "a number that JSON cannot hold")
        # On the way to JSON, Go writes a whole number without a point: 1e4 as 10000.
        return int(value) if value.is_integer() and abs(value) < _EXPONENT else value
    return value


_EXPONENT = 1e21
"""From here on Go's encoding/json writes an exponent, which no integer field takes."""


def _binary(text: str, what: str, line: int) -> str:
    try:
        return base64.b64decode("".join(text.split()), validate=True).decode("utf-8", "replace")
    except ValueError:
        raise ParseError(what, line, "!!binary that is no base64") from None


def _plain(text: str) -> Any:  # noqa: ANN401
    return _number(text) if text[0] in "0123456789+-." else text


def _number(text: str) -> int | float | str:
    """A number by Go's rules: no sexagesimal, `017` and `0o17` octal, `_` ignored."""
    plain = text.replace("_", "")
    if found := _INT.fullmatch(plain):
        sign, base16, base8, base2, base10 = found.groups()
        digits, base = next(
            (d, b) for d, b in ((base16, 16), (base8, 8), (base2, 2), (base10, 10)) if d
        )
        if len(digits) <= 64:  # more is no number of any setting, and int() would refuse 4300
            return -int(digits, base) if sign == "-" else int(digits, base)
        return text
    return float(plain) if _FLOAT.fullmatch(plain) else text
