"""The requests that lead to a module by a way other than its own alias: what draws it in. Pure.

Worked backwards. A module comes with whatever needs it (modules.dep), and with what a softdep or
the command of an install rule ties to it; that in turn may be drawn in by something else. The
aliases of all of these are the names to try; the engine then tells whether they really lead there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import islice
from typing import NamedTuple

from nodeward.facts.autoload import EndlessError, Modprobe, Program
from nodeward.facts.globs import WILD, matches
from nodeward.facts.install_command import Modprobe as Call
from nodeward.facts.install_command import Unclear
from nodeward.facts.modprobe_conf import Rule, soft_dependencies
from nodeward.facts.module_askers import Asker, asker, instances
from nodeward.facts.module_index import Index, normal
from nodeward.facts.module_requests import COMPONENTS, Request
from nodeward.lazy import pattern

MOST_DRAWN = 20_000  # names in all softdep and install rules together
MOST_PATTERNS = 200  # rules with a wildcard that lead to one module
MOST_NAMES = 2000  # requests that are tried for one module
MOST_TRIED = 4_000_000  # patterns of aliases held against all those names
OWN = {normal(r.name) or "": r for c in COMPONENTS for r in c.requests}


class Drawn(NamedTuple):
    """Why a module brings another along: a rule, or that it needs it (None)."""

    module: str
    by: Rule | None = None

    @property
    def words(self) -> str:
        if self.by is None:
            return f"it needs {self.module}"
        return f"{self.by.shown!r} in {self.by.place}"


class Door(NamedTuple):
    """A name that may lead to the module, and who asks for it."""

    request: Request
    asker: Asker
    module: str  # whose alias it is, as far as the aliases tell


class Doors:
    """All of it for one modprobe with its configuration and index."""

    def __init__(
        self,
        engine: Modprobe,
        index: Index,
        kernel: tuple[int, int],
        closed: frozenset[str] = frozenset(),
    ) -> None:
        self._closed = closed
        self._engine = engine
        self._index = index
        self._kernel = kernel
        self._drawn: dict[str, Mapping[str, Drawn | None] | None] = {}
        self._doors: dict[str, tuple[Door, ...] | None] = {}

    def drawing(self, module: str) -> Mapping[str, Drawn | None]:
        """Every module, and bare name of an install rule, that brings this one along, with what it
        brings it along by; the module itself is one of them. EndlessError."""
        if module not in self._drawn:
            self._drawn[module] = self._back_from(module)
        if (found := self._drawn[module]) is None:
            raise EndlessError
        return found

    def _back_from(self, module: str) -> Mapping[str, Drawn | None] | None:
        """None: further than we follow."""
        if self._rules is None:
            return None
        found: dict[str, Drawn | None] = {module: None}
        todo = [module]  # grows behind: the nearest first
        patterns: dict[str, Drawn] = {}
        for at in todo:
            new = [(name, Drawn(at)) for name in self._index.dependents(at)]
            for rule in self._rules.get(at, ()):
                if WILD.isdisjoint(rule.name):
                    new.append((rule.name, Drawn(at, rule)))
                elif rule.name not in patterns:
                    patterns[rule.name] = drawn = Drawn(at, rule)
                    new += [(name, drawn) for name in self._like(rule.name)]
            if len(patterns) > MOST_PATTERNS:
                return None
            for name, drawn in new:
                if name not in found:
                    found[name] = drawn
                    todo.append(name)
        return found

    def _like(self, wild: str) -> list[str]:
        """The modules that the index or an alias names and that match a pattern."""
        return [name for name in self._modules if matches(wild, name)]

    @cached_property
    def _modules(self) -> tuple[str, ...]:
        known = (name for name, _ in self._index.dep.plain())
        return tuple(dict.fromkeys((*known, *self._aliases)))

    @cached_property
    def _rules(self) -> Mapping[str, list[Rule]] | None:
        """The softdep and install rules by the modules that they draw in; None: too many."""
        found: dict[str, list[Rule]] = {}
        if self._engine.program is Program.BUSYBOX:
            return found
        every = ((name, rule) for rule in self._tying() for name in _drawn_by(rule, self._engine))
        targets = list(islice(every, MOST_DRAWN + 1))
        if len(targets) > MOST_DRAWN:
            return None
        if len(targets) * self._engine.conf.most_alike("alias") > MOST_TRIED:
            return None
        for name, rule in targets:
            for module in dict.fromkeys(f.name for f in self._engine.lookup(name)):
                found.setdefault(module, []).append(rule)
        return found

    def _tying(self) -> Iterator[Rule]:
        yield from self._engine.conf.of("softdep")
        yield from self._engine.conf.of("install")

    @cached_property
    def _aliases(self) -> Mapping[str, list[str]]:
        """The configuration's aliases by the modules that they lead to."""
        found: dict[str, list[str]] = {}
        for rule in self._engine.conf.of("alias"):
            found.setdefault(rule.value, []).append(rule.name)
        return found

    def doors(self, module: str) -> tuple[Door, ...]:
        """The names to try, nearest first. Kept. EndlessError when there are too many."""
        if module not in self._doors:
            self._doors[module] = self._found(module)
        if (found := self._doors[module]) is None:
            raise EndlessError
        return found

    def _found(self, module: str) -> tuple[Door, ...] | None:
        found: dict[str, Door] = {}
        for drawing in self.drawing(module):
            for name in self._names(drawing):
                who = asker(name, self._kernel)
                if who is not None and who.prefix not in self._closed:
                    found.setdefault(name, Door(OWN.get(name) or who.request(name), who, drawing))
                if len(found) > MOST_NAMES:
                    return None
        return tuple(found.values())

    def _names(self, module: str) -> Iterator[str]:
        """Under which a module may be asked for: its aliases, and its own name."""
        yield from self._literal(self._index.names.get(module, ()))
        yield from self._literal(self._aliases.get(module, ()))
        yield module

    def _literal(self, names: Iterable[str]) -> Iterator[str]:
        patterns = 0
        for name in names:
            if WILD.isdisjoint(name):
                yield name
                continue
            patterns += 1
            if patterns > MOST_PATTERNS:
                raise EndlessError
            yield from (own for own in OWN if matches(name, own))
            yield from (one for one in instances(name) if matches(name, one))

    def way(self, module: str, start: str) -> Drawn | None:
        """What brings the module along with another: of the rules and needs that lead there, the
        first rule, or the first need where it is needs alone."""
        drawing = self.drawing(module)
        steps_there: list[Drawn] = []
        while (drawn := drawing.get(start)) is not None and len(steps_there) < len(drawing):
            steps_there.append(drawn)
            start = drawn.module
        return next((d for d in steps_there if d.by is not None), next(iter(steps_there), None))


def _drawn_by(rule: Rule, engine: Modprobe) -> Iterator[str]:
    """The names that a rule has modprobe look up. A command that cannot be followed may load what
    its text names."""
    if rule.kind == "softdep":
        pre, post = soft_dependencies(rule.value)
        yield from pre
        yield from post
        return
    for _, step in engine.steps(rule):
        if isinstance(step, Call):
            yield from step.names
        elif isinstance(step, Unclear):
            yield from _named_in(rule.value)


def _named_in(command: str) -> Iterator[str]:
    yield from (word for word in _WORD.findall(command.replace("-", "_")) if word in JUDGED)


_WORD = pattern(r"\w+")
JUDGED = frozenset(m for c in COMPONENTS for m in c.modules)
