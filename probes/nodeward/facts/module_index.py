"""What depmod wrote about one kernel's modules: the `.bin` tries that kmod reads, or the texts.

Text is kept as latin-1, one character a byte: kmod compares bytes. The format of the tries is in
the comment at the head of kmod's libkmod/libkmod-index.c.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import field
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple, Protocol

from nodeward.facts.errors import ParseError
from nodeward.facts.globs import WILD, matches
from nodeward.lazy import dataclass
from nodeward.lazy import pattern as regex

MAGIC = 0xB007F457
MAJOR = 2
HAS_PREFIX, HAS_VALUES, HAS_CHILDREN = 0x80000000, 0x40000000, 0x20000000
OFFSET = 0x0FFFFFFF
MOST_TEXT = 64_000_000  # characters of all patterns; nodes of a damaged file can overlap
LAST_WILD = max(map(ord, WILD))

_U32 = struct.Struct(">I")


class Lookup(Protocol):
    """A table from names or patterns to values, in depmod's order."""

    def get(self, name: str) -> str | None:
        """The first value of exactly this key; the key is no pattern."""

    def match(self, name: str) -> tuple[str, ...]:
        """The values of every pattern that matches the name, first in depmod's order."""

    def plain(self) -> Iterator[tuple[str, str]]:
        """Each (pattern, value) whose pattern has no colon: what is not a device's."""

    def naming(self, word: str) -> Iterator[str]:
        """Each value that holds this word, and not as its first."""


class _Node(NamedTuple):
    prefix: str
    first: int
    last: int
    children: int  # where the table of children begins
    values: int  # where the values begin; 0 when there are none


class Trie:
    """One `.bin` file. Raises ParseError that names the file when it is damaged."""

    def __init__(self, data: bytes, name: str) -> None:
        self._data = data
        self._name = name
        self._blank = name.startswith("modules.builtin")  # what is built in is a key alone
        if len(data) < 12 or _U32.unpack_from(data)[0] != MAGIC:
            raise ParseError(name, 0, "no index of depmod")
        if _U32.unpack_from(data, 4)[0] >> 16 != MAJOR:
            raise ParseError(name, 0, "an unknown version of the format")
        self._root = self._long(8)
        if not self._root & OFFSET:  # an empty index has a root too
            raise self._hollow(8)

    @property
    def empty(self) -> bool:
        """Whether depmod had nothing to put into it."""
        return not self._root & ~OFFSET

    def _hollow(self, at: int) -> ParseError:
        """depmod writes no node without the parts that the reference to it promises: where zeros
        stand for what was there, kmod would find nothing and say nothing."""
        return ParseError(self._name, 0, f"hollow at byte {at}")

    def _long(self, at: int) -> int:
        try:
            value: int = _U32.unpack_from(self._data, at)[0]
        except struct.error:
            raise ParseError(self._name, 0, f"cut off before byte {at}") from None
        return value

    def _text(self, at: int) -> tuple[str, int]:
        end = self._data.find(b"\0", at)
        if end < 0:
            raise ParseError(self._name, 0, f"cut off after byte {at}")
        return self._data[at:end].decode("latin-1"), end + 1

    def _node(self, reference: int) -> _Node | None:
        at = reference & OFFSET
        if not at:
            return None
        prefix, first, last, children = "", 1, 0, 0
        if reference & HAS_PREFIX:
            prefix, at = self._text(at)
            if not prefix:
                raise self._hollow(at)
        if reference & HAS_CHILDREN:
            if at + 2 > len(self._data):
                raise ParseError(self._name, 0, f"cut off after byte {at}")
            first, last = self._data[at], self._data[at + 1]
            if not 0 < first <= last:
                raise self._hollow(at)
            children, at = at + 2, at + 2 + 4 * (last - first + 1)
        if not reference & ~OFFSET and reference != self._root:
            raise self._hollow(at)
        return _Node(prefix, first, last, children, at if reference & HAS_VALUES else 0)

    def _child(self, node: _Node, char: str) -> _Node | None:
        code = ord(char)
        if not node.first <= code <= node.last:
            return None
        found = self._long(node.children + 4 * (code - node.first))
        if not found and not self._ends(node):
            raise self._hollow(node.children)
        return self._node(found)

    def _ends(self, node: _Node) -> bool:
        """Whether the first and the last child are there: a table begins and ends with one."""
        last = node.children + 4 * (node.last - node.first)
        return bool(self._long(node.children) and self._long(last))

    def _values(self, node: _Node) -> list[tuple[int, str]]:
        if not node.values:
            return []
        count, at = self._long(node.values), node.values + 4
        if count > len(self._data):
            raise ParseError(self._name, 0, f"{count} values at byte {at}")
        if not count:
            raise self._hollow(at)
        line = self._name == "modules.dep.bin"
        found = []
        for _ in range(count):
            priority = self._long(at)
            text, at = self._text(at + 4)
            if (line and ".ko" not in text.partition(":")[0]) or not (text or self._blank):
                raise self._hollow(at)
            found.append((priority, text))
        return found

    def get(self, name: str) -> str | None:
        node, i = self._node(self._root), 0
        while node is not None:
            if not name.startswith(node.prefix, i):
                return None
            i += len(node.prefix)
            if i == len(name):
                values = self._values(node)
                return min(values)[1] if values else None
            node, i = self._child(node, name[i]), i + 1
        return None

    def match(self, name: str) -> tuple[str, ...]:
        found: list[tuple[int, str]] = []
        node, i = self._node(self._root), 0
        while node is not None:
            if not WILD.isdisjoint(node.prefix):
                wild = next(j for j, c in enumerate(node.prefix) if c in WILD)
                if name.startswith(node.prefix[:wild], i):
                    self._wild(node, name[:i], name, found)
                break
            if not name.startswith(node.prefix, i):
                break
            i += len(node.prefix)
            for char in WILD if node.first <= LAST_WILD else ():
                child = self._child(node, char)
                if child is not None:
                    self._wild(child, name[:i] + char, name, found)
            if i == len(name):
                found += self._values(node)
                break
            node, i = self._child(node, name[i]), i + 1
        # kmod keeps equal priorities in the order found; depmod gives each line its own.
        return tuple(value for _, value in sorted(found, key=lambda f: f[0]))

    def _wild(self, node: _Node, before: str, name: str, found: list[tuple[int, str]]) -> None:
        for pattern, values in self._walk(node, before):
            if matches(pattern, name):
                found += values

    def _walk(
        self, node: _Node, before: str, *, colons: bool = True
    ) -> Iterator[tuple[str, list[tuple[int, str]]]]:
        """Every (pattern, values) below a node; `before` is the text that leads to it."""
        todo, seen, spent = [(node, before)], {0}, 0
        while todo:
            at, text = todo.pop()
            text += at.prefix
            if not colons and ":" in text:
                continue
            if at.values:
                yield text, self._values(at)
            for code, reference in self._children(at):
                child = self._node(reference)
                if child is None:
                    continue
                spent += len(text) + 1
                if reference & OFFSET in seen or spent > MOST_TEXT:  # depmod writes a tree
                    raise ParseError(self._name, 0, "leads in circles")
                seen.add(reference & OFFSET)
                todo.append((child, text + chr(code)))

    def _children(self, node: _Node) -> Iterator[tuple[int, int]]:
        """(character, reference) of each child that there is."""
        count = node.last - node.first + 1
        if count <= 0:
            return iter(())
        try:
            found = struct.unpack_from(f">{count}I", self._data, node.children)
        except struct.error:
            raise ParseError(self._name, 0, f"cut off after byte {node.children}") from None
        if not (found[0] and found[-1]):
            raise self._hollow(node.children)
        return ((code, ref) for code, ref in enumerate(found, node.first) if ref & OFFSET)

    def plain(self) -> Iterator[tuple[str, str]]:
        root = self._node(self._root)
        for pattern, values in self._walk(root, "", colons=False) if root is not None else ():
            for _, value in values:
                yield pattern, value

    def naming(self, word: str) -> Iterator[str]:
        """Found without a walk: a value ends with a NUL, and stands behind its priority."""
        wanted = b" " + word.encode("latin-1", "replace")
        at = self._data.find(wanted)
        while at >= 0:
            end = self._data.find(b"\0", at) % (len(self._data) + 1)
            start = self._data.rfind(b"\0", 0, at) + 1
            if self._data[at + len(wanted) : at + len(wanted) + 1] in (b" ", b"\0"):
                yield self._data[start:end].decode("latin-1")
                at = end
            at = self._data.find(wanted, at + 1)


HEAD = 4  # "pci:", "usb:", "net_"


@dataclass(frozen=True)
class Table:
    """The same from a text file's lines: (pattern, value) in the file's order."""

    rows: tuple[tuple[str, str], ...]

    @cached_property
    def _places(self) -> Mapping[str, list[int]]:
        found: dict[str, list[int]] = {}
        for i, (key, _) in enumerate(self.rows):
            found.setdefault(key, []).append(i)
        return found

    @cached_property
    def _wild(self) -> Mapping[str, list[str]]:
        """Patterns by their first characters, as far as those are literal: most are a bus's."""
        found: dict[str, list[str]] = {}
        for key in self._places:
            if not WILD.isdisjoint(key):
                head = key[:HEAD]
                found.setdefault(head if WILD.isdisjoint(head) else "*", []).append(key)
        return found

    def place(self, name: str) -> int | None:
        """Which row is the first of a name."""
        places = self._places.get(name)
        return places[0] if places else None

    def get(self, name: str) -> str | None:
        place = self.place(name)
        return None if place is None else self.rows[place][1]

    def match(self, name: str) -> tuple[str, ...]:
        places = list(self._places.get(name, ()) if WILD.isdisjoint(name) else ())
        for pattern in (*self._wild.get(name[:HEAD], ()), *self._wild.get("*", ())):
            if matches(pattern, name):
                places += self._places[pattern]
        return tuple(self.rows[i][1] for i in sorted(places))

    def plain(self) -> Iterator[tuple[str, str]]:
        return ((key, value) for key, value in self.rows if ":" not in key)

    def naming(self, word: str) -> Iterator[str]:
        wanted = f" {word} "
        return (value for _, value in self.rows if wanted in f"{value} ")


EMPTY = Table(())


class Kept:
    """A table that remembers its answers: many requests lead to few modules."""

    def __init__(self, inner: Lookup) -> None:
        self._inner = inner
        self._values: dict[str, str | None] = {}
        self._matches: dict[str, tuple[str, ...]] = {}

    def get(self, name: str) -> str | None:
        if name not in self._values:
            self._values[name] = self._inner.get(name)
        return self._values[name]

    def match(self, name: str) -> tuple[str, ...]:
        if name not in self._matches:
            self._matches[name] = self._inner.match(name)
        return self._matches[name]

    def plain(self) -> Iterator[tuple[str, str]]:
        return self._inner.plain()

    def naming(self, word: str) -> Iterator[str]:
        return self._inner.naming(word)


def normal(name: str) -> str | None:
    """ "-" as "_" outside of brackets; None where kmod refuses the name (a bracket unmatched)."""
    if "[" not in name and "]" not in name:
        return name.replace("-", "_")
    done, i = [], 0
    while i < len(name):
        char = name[i]
        if char == "]":
            return None
        if char == "[":
            end = name.find("]", i)
            if end < 0:
                return None
            done.append(name[i : end + 1])
            i = end
        else:
            done.append("_" if char == "-" else char)
        i += 1
    return "".join(done)


def module_name(path: str) -> str:
    """`kernel/net/sctp/sctp.ko.xz` -> `sctp`: what stands before the first dot of the file."""
    return path.rpartition("/")[2].partition(".")[0].replace("-", "_")


def _lines(raw: bytes) -> Iterator[str]:
    return (line for line in raw.decode("latin-1").split("\n") if line and line[0] != "#")


def parse_dep(raw: bytes) -> Table:
    """modules.dep: `path: path...`, by module name; the value is the whole line, as in the trie."""
    return Table(
        tuple((module_name(line.partition(":")[0]), line) for line in _lines(raw) if ":" in line)
    )


def parse_alias(raw: bytes) -> Table:
    """modules.alias and modules.symbols: `alias pattern module`."""
    rows = []
    for line in _lines(raw):
        words = line.split()
        if len(words) == 3 and words[0] == "alias" and (pattern := normal(words[1])) is not None:
            rows.append((pattern, words[2].replace("-", "_")))
    return Table(tuple(rows))


def parse_builtin(raw: bytes) -> Table:
    """modules.builtin: the path each module would have."""
    return Table(tuple((module_name(line), "") for line in _lines(raw)))


def parse_modinfo_names(raw: bytes) -> frozenset[str]:
    """The modules that modules.builtin.modinfo speaks of: each is built in."""
    entries = raw.decode("latin-1").split("\0")
    return frozenset(e.partition(".")[0].replace("-", "_") for e in entries if e)


def parse_builtin_modinfo(raw: bytes) -> Table:
    """modules.builtin.modinfo: `module.key=value`, a NUL after each; its aliases."""
    rows = []
    for entry in raw.decode("latin-1").split("\0"):
        key, _, value = entry.partition("=")
        module, dot, name = key.rpartition(".")
        if dot and name == "alias" and (pattern := normal(value)) is not None:
            rows.append((pattern, module.replace("-", "_")))
    return Table(tuple(rows))


_SHAPES = {
    "modules.dep": regex(r"[^:]*\.ko[^:]*:.*"),
    "modules.alias": regex(r"alias\s+\S.*\s\S+"),
    "modules.symbols": regex(r"alias\s+\S.*\s\S+"),
    "modules.builtin": regex(r"\S+\.ko\S*"),
}
"""What each line is, as kmod's and BusyBox's depmod write them."""
NEVER_EMPTY = ("modules.dep", "modules.alias")


def check_whole(raw: bytes, name: str) -> None:
    """ParseError when a text is empty, cut off in a line, or holds lines that depmod writes not."""
    if not raw:
        if name in NEVER_EMPTY:
            raise ParseError(name, 0, "it is empty")
        return
    if name == "modules.builtin.modinfo":
        if not raw.endswith(b"\0"):
            raise ParseError(name, 0, "cut off at its end")
        return
    if b"\0" in raw:
        raise ParseError(name, raw.count(b"\n", 0, raw.find(b"\0")) + 1, "zeros in a text")
    if not raw.endswith(b"\n"):
        raise ParseError(name, raw.count(b"\n") + 1, "cut off in its last line")
    for number, line in enumerate(raw.decode("latin-1").split("\n"), 1):
        if line.strip() and line[0] != "#" and not _SHAPES[name].fullmatch(line):
            raise ParseError(name, number, "no line of depmod")


def check_agreement(dep: Table, alias: Table) -> None:
    """ParseError when modules.alias speaks of a module that modules.dep has not: one run of depmod
    writes both, so that modules.dep was cut off, or they are of two runs."""
    known = {name for name, _ in dep.rows}
    for _, module in alias.rows:
        if module not in known:
            raise ParseError(
                "modules.dep", 0, f"cut off or old: modules.alias names {module}, and it does not"
            )


@dataclass(frozen=True)
class Index:
    """All that depmod wrote for one kernel. `text` says that the text files stand for the tries."""

    dep: Lookup = EMPTY
    alias: Lookup = EMPTY
    symbols: Lookup = EMPTY
    builtin: Lookup = EMPTY
    builtin_alias: Lookup = EMPTY
    text: bool = False
    lines: bytes = field(default=b"", repr=False)  # modules.alias, to name the line
    last: int | None = None  # the place in modules.dep of the last module with an alias

    def complete(self, module: str) -> bool:
        """Whether all aliases of a module are sure to be in the index. depmod writes modules.alias
        in the order of modules.dep, so that a text cut off exactly at the end of a line has lost
        those of the modules that come later; which nothing in it tells."""
        if self.last is None or not isinstance(self.dep, Table):
            return True
        place = self.dep.place(module)
        return place is None or place < self.last

    @cached_property
    def names(self) -> Mapping[str, tuple[str, ...]]:
        """The aliases of each module that are not a device's."""
        found: dict[str, list[str]] = {}
        for pattern, module in self.alias.plain():
            found.setdefault(module, []).append(pattern)
        return {module: tuple(sorted(p, key=_short_first)) for module, p in found.items()}

    def dependents(self, module: str) -> Iterator[str]:
        """The modules that need this one: depmod writes down all that each needs."""
        line = self.dep.get(module)
        if line is None:
            return
        for value in self.dep.naming(line.partition(":")[0]):
            name = module_name(value.partition(":")[0])
            # Where a path has no folder, up to four characters of the priority may lead.
            for start in range(min(5, len(name))) if "/" not in value.partition(":")[0] else (0,):
                if self.dep.get(name[start:]) is not None:
                    yield name[start:]
                    break

    def alias_line(self, pattern: str, module: str) -> int | None:
        """Where modules.alias says so, counting from 1. The text keeps "-" that tries do not."""
        if not self.lines:
            return None
        for text in (pattern.replace("_", "-"), pattern):  # as most stand there
            at = self.lines.find(f"alias {text} {module}\n".encode("latin-1"))
            if at >= 0:
                return self.lines.count(b"\n", 0, at) + 1
        end = f" {module}".encode("latin-1")
        at = self.lines.find(end)
        while at >= 0:
            start = self.lines.rfind(b"\n", 0, at) + 1
            words = self.lines[start : self.lines.find(b"\n", at) % (len(self.lines) + 1)].split()
            if (
                len(words) == 3
                and words[2] == end.strip()
                and normal(words[1].decode("latin-1")) == pattern
            ):
                return self.lines.count(b"\n", 0, start) + 1
            at = self.lines.find(end, at + 1)
        return None


def _short_first(name: str) -> tuple[int, str]:
    return len(name), name


BINARY = ("modules.dep.bin", "modules.alias.bin", "modules.builtin.bin",
          "modules.builtin.alias.bin")  # fmt: skip
TEXT = ("modules.dep", "modules.alias", "modules.builtin", "modules.builtin.modinfo")

BUILT_IN_FILES = frozenset({"modules.builtin", "modules.builtin.bin"})
"""Without either, the index does not say what is built in."""


class Reads(StrEnum):
    """Which of the two forms decides: kmod reads tries, BusyBox texts, a tree at rest either."""

    TRIES = "tries"
    TEXTS = "texts"
    EITHER = "either"


def read_index(files: Mapping[str, bytes], reads: Reads = Reads.EITHER) -> Index:
    """The index from the files of /lib/modules/RELEASE that are there. ParseError names the file.

    With EITHER the tries decide, and the texts stand for them where there is not one trie.
    """
    tries = any(name.endswith(".bin") for name in files)
    if reads is Reads.TRIES or (reads is Reads.EITHER and tries):
        return _of_tries(files)
    return _of_texts(files)


def _of_tries(files: Mapping[str, bytes]) -> Index:
    read = {n: Trie(raw, n) for n, raw in files.items() if n.endswith(".bin")}
    dep, alias = read.get("modules.dep.bin"), read.get("modules.alias.bin")
    if dep is not None and dep.empty and alias is not None and not alias.empty:
        raise ParseError("modules.dep.bin", 0, "it is empty, and modules.alias.bin is not")
    return Index(
        dep=Kept(dep or EMPTY),
        alias=Kept(alias or EMPTY),
        symbols=read.get("modules.symbols.bin", EMPTY),
        builtin=Kept(
            read.get("modules.builtin.bin") or parse_builtin(files.get("modules.builtin", b""))
        ),
        builtin_alias=Kept(read.get("modules.builtin.alias.bin", EMPTY)),
        lines=files.get("modules.alias", b""),
    )


def _of_texts(files: Mapping[str, bytes]) -> Index:
    for name in (*TEXT, "modules.symbols"):
        if name in files:
            check_whole(files[name], name)
    dep = parse_dep(files.get("modules.dep", b""))
    alias = parse_alias(files.get("modules.alias", b""))
    check_agreement(dep, alias)
    modinfo = files.get("modules.builtin.modinfo", b"")
    built_in = parse_builtin(files.get("modules.builtin", b"")).rows
    more = parse_modinfo_names(modinfo) - {name for name, _ in built_in}  # cut off there
    return Index(
        dep=dep,
        alias=Kept(alias),
        symbols=parse_alias(files.get("modules.symbols", b"")),
        builtin=Table((*built_in, *((name, "") for name in sorted(more)))),
        builtin_alias=parse_builtin_modinfo(modinfo),
        text=True,
        lines=files.get("modules.alias", b""),
        last=max((dep.place(module) or 0 for _, module in alias.rows), default=-1),
    )
