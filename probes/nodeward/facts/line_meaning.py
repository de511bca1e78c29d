"""Which modules a line of modprobe configuration was meant for, however it is spelt. Pure.

kmod takes the one word behind the keyword for a name as it stands. People write several names, with
commas, quotes, suffixes and paths, and misspell them; this reads a line as they meant it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from nodeward.facts.autoload import Modprobe
from nodeward.facts.globs import WILD, matches
from nodeward.facts.invisible import bare, invisible
from nodeward.facts.module_doors import JUDGED
from nodeward.facts.module_index import Index, normal
from nodeward.facts.module_requests import COMPONENTS

REQUESTS = {normal(r.name) or "": c.registers for c in COMPONENTS for r in c.requests}
SORTED, ASKED = sorted(JUDGED), sorted(REQUESTS)
LONGEST = 40
SHORTEST = 4  # of the last part of a name: of shorter ones too many are one letter apart
MOST_WORDS = 50


class Meant(NamedTuple):
    """One word as its author meant it: the names, the modules behind them, and what is wrong with
    it as it stands ("" if nothing)."""

    names: tuple[str, ...]
    modules: tuple[str, ...]
    wrong: str = ""


def words_of(text: str) -> list[str]:
    """The words behind the keyword, without a comment; only blanks and tabs part them."""
    words = text.replace("\t", " ").split(" ", MOST_WORDS * 2)
    words = [word for word in words if word][1 : MOST_WORDS + 1]
    end = next((i for i, word in enumerate(words) if word.startswith("#")), len(words))
    return words[:end]


class Reader:
    """Reads names against one kernel's modules."""

    def __init__(self, engine: Modprobe, index: Index) -> None:
        self._engine = engine
        self._index = index
        self._meant: dict[str, Meant] = {}

    def known(self, name: str) -> bool:
        """Whether this kernel has such a module."""
        return self._engine.path(name) is not None or self._engine.is_builtin(name)

    def modules(self, words: Iterable[str]) -> tuple[str, ...]:
        """All modules that are meant by these words."""
        return tuple(dict.fromkeys(m for word in words for m in self.read(word).modules))

    def read(self, word: str) -> Meant:
        """What one word means. Kept: thousands of lines may be about the same."""
        if word not in self._meant:
            self._meant[word] = self._read(word)
        return self._meant[word]

    def _read(self, word: str) -> Meant:
        name = normal(word)
        if name is not None and (self.known(name) or name in JUDGED):
            return Meant((word,), (name,))
        if name is not None and (led := self.led(name)):
            return Meant((word,), led)
        parts, wrong = _cleaned(word)
        right = {part: self._right(part) for part in parts}
        names = tuple(n for n, _ in right.values() if n)
        modules = tuple(dict.fromkeys(m for _, found in right.values() for m in found))
        if not modules:
            return Meant((word,), (name,) if name else ())
        if parts == [word]:  # as it stands, but for capital letters or a letter
            wrong = f"there is no module {word}, and {names[0]} is one letter away"
            if normal(names[0]) == normal(word.lower()):
                wrong = "names of modules are case-sensitive"
        return Meant(names, modules, wrong)

    def led(self, name: str) -> tuple[str, ...]:
        """The modules that a request, or a pattern of names or of requests, leads to."""
        if WILD.isdisjoint(name):
            found = self._index.alias.match(name) or REQUESTS.get(name, ())
            return tuple(m for m in found if self.known(m))
        head = re.split(r"[*?\[\\]", name, maxsplit=1)[0]
        like = {m for m in _beginning(SORTED, head) if matches(name, m)}
        like |= {m for own in _beginning(ASKED, head) if matches(name, own) for m in REQUESTS[own]}
        return tuple(sorted(m for m in like if self.known(m)))

    def _right(self, part: str) -> tuple[str, tuple[str, ...]]:
        """A name as it should be written, and the modules behind it; ("", ()) for none."""
        for one in dict.fromkeys((part, part.lower())):
            name = normal(one) or ""
            if self.known(name) or name in JUDGED:
                return name, (name,)
            if led := self.led(name):
                return one, led
        close = next((m for m in nearest(normal(part) or "") if self.known(m)), "")
        return close, (close,) if close else ()


def _beginning(names: Sequence[str], head: str) -> Iterator[str]:
    """Those of sorted names that begin so."""
    at = bisect_left(names, head)
    while at < len(names) and names[at].startswith(head):
        yield names[at]
        at += 1


def _cleaned(word: str) -> tuple[list[str], str]:
    """The names in a word, and what kmod makes of it."""
    if unseen := invisible(word):
        return bare(word).split(), f"the name holds a {' and a '.join(unseen)}"
    parts = [p for p in re.split(r"[,;:|&+\"'`()]+", word.partition("#")[0]) if p]
    names = [re.sub(r"\.ko(\.(gz|xz|zst|bz2))?$", "", p.rpartition("/")[2]) for p in parts]
    found = [name for name in names if normal(name)]
    if len(found) > 1:
        return found, f"{word!r} is one name to modprobe: each wants a line of its own"
    if any("/" in part for part in parts):
        return found, "a module is named without its path"
    if ".ko" in word:
        return found, "a module's name has no suffix"
    signs = "".join(sorted(set(re.findall(r"[^\w.*?\[\]-]", word))))
    return found, f"{signs!r} is a part of the name to modprobe" if signs else ""


@lru_cache(maxsize=1)
def _shortened() -> Mapping[str, list[str]]:
    """Judged names by themselves with one letter less."""
    found: dict[str, list[str]] = {}
    for name in SORTED:
        for short in _less(name):
            found.setdefault(short, []).append(name)
    return found


def _less(name: str) -> set[str]:
    return {name, *(name[:i] + name[i + 1 :] for i in range(len(name)))}


def nearest(word: str) -> list[str]:
    """The judged names that are one letter away from a word."""
    if len(word) > LONGEST:
        return []
    found = {name for short in _less(word) for name in _shortened().get(short, ())}
    return sorted(name for name in found if near(word, name))


def near(word: str, name: str) -> bool:
    """Whether a word is a name with one letter too many, missing, wrong, or two exchanged."""
    if abs(len(word) - len(name)) > 1 or len(name.rpartition("_")[2]) < SHORTEST:
        return False
    at = next((i for i, (a, b) in enumerate(zip(word, name, strict=False)) if a != b),
              min(len(word), len(name)))  # fmt: skip
    mine, theirs = word[at:], name[at:]
    return mine != theirs and (
        mine[1:] == theirs[1:] or mine[1:] == theirs or mine == theirs[1:]
        or (mine[:2] == theirs[1::-1] and mine[2:] == theirs[2:])
    )  # fmt: skip
