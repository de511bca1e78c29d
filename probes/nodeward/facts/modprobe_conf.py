"""modprobe.d as kmod reads it: which files, in which order, and what each line means to it.

Rules from kmod's libkmod/libkmod-config.c and shared/util.c (freadline_wrapped, underscores).
Text is latin-1, one character a byte, because kmod compares bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field, replace
from enum import StrEnum
from functools import lru_cache
from heapq import merge
from typing import NamedTuple

from nodeward.facts.globs import WILD, matches
from nodeward.facts.invisible import BOM, shown
from nodeward.facts.module_index import normal
from nodeward.lazy import dataclass

# kmod's default_config_paths by version, highest first. A build may name others.
DIRS_28 = ("/etc/modprobe.d", "/run/modprobe.d", "/lib/modprobe.d")
DIRS_29 = ("/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d", "/lib/modprobe.d")
DIRS_32 = (
    "/etc/modprobe.d",
    "/run/modprobe.d",
    "/usr/local/lib/modprobe.d",
    "/usr/lib/modprobe.d",
    "/lib/modprobe.d",
)
ALL_DIRS = DIRS_32
COMMAND_LINE = "/proc/cmdline"
KEYWORDS = ("alias", "blacklist", "options", "install", "remove", "softdep", "weakdep")
CONTINUES = "it continues the comment before it"


class Kind(StrEnum):
    """What a directory entry leads to."""

    FILE = "file"
    DIRECTORY = "directory"
    DANGLING = "dangling link"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a modprobe.d. `data` is None when it was not or could not be read; `error`
    then says why. A link to /dev/null is an `other` and reads as empty."""

    path: str
    kind: Kind = Kind.FILE
    data: bytes | None = None
    error: str = ""

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]


class Rule(NamedTuple):
    """One line that kmod accepted. `name` is normalised ("-" is "_"), `value` is the rest."""

    kind: str
    name: str
    value: str
    file: str
    line: int
    text: str

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file

    @property
    def shown(self) -> str:
        """The line for a reader."""
        return shown(self.text)


class Oddity(NamedTuple):
    """A line that kmod throws away, and why."""

    file: str
    line: int
    text: str
    why: str


@dataclass(frozen=True, slots=True)
class Habits:
    """What differs between versions of kmod when it collects files.

    `alias_files`: it takes *.alias too (until 32). `dangling_hides`: a link that leads nowhere
    hides a lower file of its name. Until 33 kmod looked at memory it had not set there, so
    either can happen; from 34 on it never hides.
    """

    dirs: tuple[str, ...]
    alias_files: bool = False
    dangling_hides: bool = False


def habits(version: int | None, dirs: tuple[str, ...] = ()) -> tuple[Habits, ...]:
    """All that a kmod may do: one entry when it can be known. `dirs` are those compiled in."""
    if version is None:
        known = [(dirs or d, v) for d, v in ((DIRS_28, 28), (DIRS_29, 31), (DIRS_32, 32),
                                             (DIRS_32, 34))]  # fmt: skip
    else:
        by_version = DIRS_28 if version <= 28 else DIRS_29 if version <= 31 else DIRS_32
        known = [(dirs or by_version, version)]
    found = [
        Habits(folders, number <= 32, hides)
        for folders, number in known
        for hides in ((False, True) if number <= 33 else (False,))
    ]
    return tuple(dict.fromkeys(found))


def distinct(all_of: Sequence[Habits], entries: Sequence[Entry]) -> tuple[Habits, ...]:
    """Those habits that can lead to different files here."""
    config = [e for e in entries if is_config(e.name, alias_files=True)]
    dangling = any(e.kind is Kind.DANGLING for e in config)
    alias = any(e.name.endswith(".alias") for e in config)
    return tuple(
        dict.fromkeys(
            Habits(h.dirs, h.alias_files and alias, h.dangling_hides and dangling) for h in all_of
        )
    )


def is_config(name: str, *, alias_files: bool) -> bool:
    """Whether kmod looks at an entry of this name at all."""
    suffixes = (".conf", ".alias") if alias_files else (".conf",)
    return not name.startswith(".") and len(name) >= 6 and name.endswith(suffixes)


def logical_lines(raw: bytes) -> Iterator[tuple[int, str, int]]:
    """(first line, text, number of lines joined). A backslash joins lines, or vanishes."""
    text = raw.decode("latin-1")
    if "\\" not in text:
        for number, line in enumerate(text.split("\n"), 1):
            yield number, line, 1
        return
    parts: list[str] = []
    number = begun = 1
    i = 0
    while True:
        stop = next_stop(text, i)
        parts.append(text[i:stop])
        if stop >= len(text):
            yield begun, "".join(parts), number - begun + 1
            return
        if text[stop] == "\n":
            yield begun, "".join(parts), number - begun + 1
            parts, number = [], number + 1
            begun, i = number, stop + 1
        elif text[stop + 1 : stop + 2] == "\n":
            number, i = number + 1, stop + 2
        else:
            parts.append(text[stop + 1 : stop + 2] or "\xff")  # kmod stores its EOF as a character
            i = stop + 2


def next_stop(text: str, at: int) -> int:
    """Where the next newline or backslash is; the length when there is none."""
    newline, slash = text.find("\n", at), text.find("\\", at)
    return min(x if x >= 0 else len(text) for x in (newline, slash))


@lru_cache(maxsize=512)
def parse(raw: bytes, file: str) -> tuple[tuple[Rule, ...], tuple[Oddity, ...]]:
    """One file's rules and the lines that have no meaning to kmod."""
    rules: list[Rule] = []
    odd: list[Oddity] = []
    for number, whole, joined in logical_lines(raw):
        line = whole.partition("\0")[0]  # kmod's line is a C string
        if line.startswith("#"):
            if joined > 1 and (hidden := _hidden(raw, number, joined)):
                odd.append(Oddity(file, number + 1, hidden, CONTINUES))
            continue
        parsed = _one(line, file, number)
        if isinstance(parsed, Rule):
            rules.append(parsed)
        elif parsed:
            odd.append(Oddity(file, number, line, parsed))
    return tuple(rules), tuple(odd)


def _hidden(raw: bytes, number: int, joined: int) -> str:
    """The rule that a comment's trailing backslash has swallowed, if it looks like one."""
    lines = raw.decode("latin-1").split("\n")[number : number + joined - 1]
    return next((x for x in lines if x.split()[:1] and x.split()[0] in KEYWORDS), "")


def _one(line: str, file: str, number: int) -> Rule | str:
    """The rule of one line; "" when the line is blank; else why kmod ignores it."""
    word, rest = _token(line)
    if not word:
        return ""
    if word not in KEYWORDS:
        return _bad_word(word)
    name, rest = _token(rest)
    if not name:
        return f"{shown(word)!r} names no module"
    known = normal(name)
    if known is None:
        return f"the bracket in {shown(name)!r} is not closed"
    if word == "blacklist":
        return Rule(word, known, "", file, number, line)
    if word == "alias":
        module, _ = _token(rest)
        target = normal(module)
        if not module or target is None:
            return f"the alias {shown(name)!r} names no module"
        return Rule(word, known, target, file, number, line)
    if not rest:
        return f"{word} {shown(name)} says nothing more: " + (
            "no command follows" if word in ("install", "remove") else "nothing follows"
        )
    return Rule(word, known, rest, file, number, line)


def _token(text: str) -> tuple[str, str]:
    """strtok_r with "\\t ": the next word, and what stands after the one character behind it."""
    text = text.lstrip("\t ")
    for i, char in enumerate(text):
        if char in "\t ":
            return text[:i], text[i + 1 :]
    return text, ""


def _bad_word(word: str) -> str:
    if word.startswith("#"):
        return "" if len(word) > 0 else word
    if word.startswith(BOM):
        return "the file begins with a byte order mark, which kmod takes for a part of the word"
    if word.strip("\r") == "":
        return ""
    if word in ("include", "config"):
        return f"kmod no longer reads {word!r}"
    if word.lower() in KEYWORDS:
        return f"{word!r} is not {word.lower()!r}: kmod's words are lower case"
    return f"kmod knows no {shown(word[:40])!r}"


def parse_command_line(raw: bytes) -> tuple[Rule, ...]:
    """`modprobe.blacklist=a,b` of the kernel command line: not normalised, so "-" stays "-"."""
    return tuple(
        Rule("blacklist", name, "", COMMAND_LINE, 0, word)
        for word in kernel_words(raw)
        if word.startswith("modprobe.blacklist=")
        for name in word.partition("=")[2].split(",")
    )


def kernel_words(raw: bytes) -> Iterator[str]:
    """The kernel command line's words; quotes keep blanks and are taken off around a value."""
    word, quoted = "", False
    for char in raw.decode("latin-1"):
        if char == '"':
            quoted = not quoted
        elif char in " \n\t\v\f\r" and not quoted:
            if word:
                yield word
            word = ""
        else:
            word += char
    if word:
        yield word


def blacklist_words(raw: bytes) -> Iterator[str]:
    """The words `module_blacklist=...`; the kernel takes "-" for "_" in a parameter's name."""
    for word in kernel_words(raw):
        if word == "--":  # the rest is for init
            return
        key, equals, _ = word.partition("=")
        if equals and key.replace("-", "_") == "module_blacklist":
            yield word


def module_blacklist(raw: bytes) -> tuple[str, ...]:
    """`module_blacklist=a,b`, which the kernel itself enforces by exact name. The last one
    wins: it is one charp parameter."""
    words = list(blacklist_words(raw))
    return tuple(words[-1].partition("=")[2].split(",")) if words else ()


@dataclass(frozen=True, slots=True)
class Masked:
    """A file that kmod does not read because of `by`."""

    entry: Entry
    by: str


@dataclass(frozen=True)
class Configuration:
    """All rules in the order in which they count. First `install` wins; the rest adds up. `read`
    are files that are read though they lie outside of `dirs`."""

    rules: tuple[Rule, ...] = ()
    odd: tuple[Oddity, ...] = ()
    masked: tuple[Masked, ...] = ()
    unread: tuple[Entry, ...] = ()
    dirs: tuple[str, ...] = ALL_DIRS
    read: frozenset[str] = frozenset()
    _memo: dict[str, tuple[Rule, ...]] = field(default_factory=dict, repr=False, compare=False)
    _first: dict[str, Named | Layered] = field(default_factory=dict, repr=False, compare=False)
    _names: dict[str, frozenset[str]] = field(default_factory=dict, repr=False, compare=False)

    def of(self, kind: str) -> tuple[Rule, ...]:
        """The rules of one kind, in their order."""
        if kind not in self._memo:
            self._memo[kind] = tuple(r for r in self.rules if r.kind == kind)
        return self._memo[kind]

    def names(self, kind: str) -> frozenset[str]:
        """The names, and patterns, of the rules of one kind."""
        if kind not in self._names:
            self._names[kind] = frozenset(r.name for r in self.of(kind))
        return self._names[kind]

    def most_alike(self, kind: str) -> int:
        """How many patterns of a kind one name may have to be held against, and itself."""
        return self._named(kind).most_alike

    def first(self, kind: str, module: str) -> Rule | None:
        """The first rule of a kind whose name, a pattern, matches a module's."""
        return self._named(kind).first(module)

    def matching(self, kind: str, name: str) -> Iterator[Rule]:
        """All rules of a kind whose name, a pattern, matches, in their order."""
        return self._named(kind).all(name)

    def _named(self, kind: str) -> Named | Layered:
        if kind not in self._first:
            self._first[kind] = Named(self.of(kind))
        return self._first[kind]

    def plus(self, path: str, lines: Sequence[str]) -> Configuration:
        """The same with one more file, sorted in where its name belongs."""
        added, _ = parse("".join(f"{x}\n" for x in lines).encode("latin-1", "replace"), path)
        name = path.rpartition("/")[2]
        at = next(
            (i for i, r in enumerate(self.rules)
             if r.file == COMMAND_LINE or r.file.rpartition("/")[2] > name),
            len(self.rules),
        )  # fmt: skip
        kinds = {r.kind for r in added}
        changed = self._with((*self.rules[:at], *added, *self.rules[at:]), kinds)
        for kind in kinds:
            if isinstance(known := self._named(kind), Named):
                before = sum(r.kind == kind for r in self.rules[:at])
                more = Named([r for r in added if r.kind == kind])
                changed._first[kind] = Layered(known, before, more)
        return changed

    def instead(self, file: str, line: int, lines: Sequence[str]) -> Configuration:
        """The same with other lines in the place of one."""
        added, _ = parse("".join(f"{x}\n" for x in lines).encode("latin-1", "replace"), file)
        at = self._place(file, line)
        old = tuple(r for r in self.rules if (r.file, r.line) == (file, line))
        rules = (*self.rules[:at], *added, *self.rules[at + len(old) :])
        return self._with(rules, {r.kind for r in (*added, *old)})

    def _place(self, file: str, line: int) -> int:
        """Where the rules of a line stand, or would stand if it had any."""
        name = file.rpartition("/")[2]
        for i, rule in enumerate(self.rules):
            if rule.file == file and rule.line >= line:
                return i
            if rule.file == COMMAND_LINE or rule.file.rpartition("/")[2] > name:
                return i
        return len(self.rules)

    def _with(self, rules: tuple[Rule, ...], changed: set[str]) -> Configuration:
        """Other rules, that differ in these kinds; of the others nothing is sorted again."""
        return replace(
            self,
            rules=rules,
            _memo={kind: known for kind, known in self._memo.items() if kind not in changed},
            _first={kind: known for kind, known in self._first.items() if kind not in changed},
            _names={kind: known for kind, known in self._names.items() if kind not in changed},
        )


HEAD = 8  # characters; patterns are sorted by what stands before their first wildcard


class Named:
    """Rules by name: those with literal names at once, of the patterns those that begin alike."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._literal: dict[str, list[int]] = {}
        self._wild: dict[str, dict[str, list[int]]] = {}
        for i, rule in enumerate(rules):
            if WILD.isdisjoint(rule.name) and "\\" not in rule.name:
                self._literal.setdefault(rule.name, []).append(i)
            else:
                alike = self._wild.setdefault(_head(rule.name), {})
                alike.setdefault(rule.name, []).append(i)

    @property
    def most_alike(self) -> int:
        """How many patterns one name may have to be held against, and itself."""
        longest = [0] * (HEAD + 1)
        for head, alike in self._wild.items():
            longest[len(head)] = max(longest[len(head)], len(alike))
        return 1 + sum(longest)

    def _places(self, name: str) -> Iterator[list[int]]:
        """Where the rules stand that match, for each name or pattern."""
        if name in self._literal:
            yield self._literal[name]
        for head in dict.fromkeys(name[:n] for n in range(HEAD + 1)) if self._wild else ():
            for pattern, places in self._wild.get(head, {}).items():
                if matches(pattern, name):
                    yield places

    def numbered(self, name: str) -> Iterator[tuple[int, Rule]]:
        """Every rule that matches, in the order given, and which it is."""
        return ((i, self._rules[i]) for i in merge(*self._places(name)))

    def all(self, name: str) -> Iterator[Rule]:
        """Every rule that matches, in the order given."""
        return (rule for _, rule in self.numbered(name))

    def first(self, name: str) -> Rule | None:
        """The first that matches."""
        return next(self.all(name), None)


class Layered:
    """The same with a few more rules put in at one place: large configurations are tried with many
    files more, and sorted once."""

    def __init__(self, base: Named, at: int, more: Named) -> None:
        self._base, self._at, self._more = base, at, more

    @property
    def most_alike(self) -> int:
        return self._base.most_alike + self._more.most_alike

    def all(self, name: str) -> Iterator[Rule]:
        """Every rule that matches, in its order."""
        reached = False
        for i, rule in self._base.numbered(name):
            if i >= self._at and not reached:
                reached = True
                yield from self._more.all(name)
            yield rule
        if not reached:
            yield from self._more.all(name)

    def first(self, name: str) -> Rule | None:
        """The first that matches."""
        return next(self.all(name), None)


def _head(pattern: str) -> str:
    for i, char in enumerate(pattern[:HEAD]):
        if char in WILD or char == "\\":
            return pattern[:i]
    return pattern[:HEAD]


def configure(
    entries: Sequence[Entry],
    habits: Habits,
    *,
    softdep: tuple[str, bytes] | None = None,
    command_line: bytes = b"",
) -> Configuration:
    """Merge as kmod does: by file name, the higher folder wins, then in order of the names.

    `softdep` is the kernel's modules.softdep (path and text), sorted among them. A directory
    called x.conf hides nothing.
    """
    chosen: dict[str, Entry] = {}
    masked = []
    for folder in habits.dirs:
        for entry in entries:
            if entry.folder != folder or entry.kind is Kind.DIRECTORY:
                continue
            if not is_config(entry.name, alias_files=habits.alias_files):
                continue
            if entry.kind is Kind.DANGLING and not habits.dangling_hides:
                continue
            first = chosen.setdefault(entry.name, entry)
            if first is not entry:
                masked.append(Masked(entry, first.path))
    if softdep is not None:
        chosen["modules.softdep"] = Entry(softdep[0], data=softdep[1])
    rules: list[Rule] = []
    odd: list[Oddity] = []
    for name in sorted(chosen, key=lambda n: n.encode("utf-8", "surrogateescape")):
        entry = chosen[name]
        found, ignored = parse(entry.data or b"", entry.path)
        rules += found
        odd += ignored
    rules += parse_command_line(command_line)
    return Configuration(
        tuple(rules),
        tuple(odd),
        tuple(masked),
        tuple(e for e in chosen.values() if e.data is None and e.kind is not Kind.DANGLING),
        habits.dirs,
    )


def soft_dependencies(value: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """`pre: a b post: c` -> (("a", "b"), ("c",)). Words before the first colon count for none."""
    pre: list[str] = []
    post: list[str] = []
    into: list[str] | None = None
    for word in value.split():
        if word == "pre:":
            into = pre
        elif word == "post:":
            into = post
        elif into is not None:
            into.append(word)
    return tuple(pre), tuple(post)
