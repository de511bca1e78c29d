"""A check: a pure rule with everything a reader of its verdicts needs, in one declaration."""

from __future__ import annotations

import re
import traceback
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Generic, ParamSpec, TypeAlias

from nodeward.lazy import dataclass
from nodeward.model.advice import help_for
from nodeward.model.reading import Absent, Broken, Fact, Params, Readings, Seen, Unreadable
from nodeward.model.verdict import (
    CheckId,
    Finding,
    Remedy,
    Severity,
    Status,
    Verdict,
    legible,
)

P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Source:
    """Who says so: a name and a link a reader can open."""

    name: str
    url: str


Given: TypeAlias = Fact | Absent | Unreadable


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a check's truth table: test case and documentation at once.

    `given` stands for the judge's needs in their order; a single value may be given bare.
    Trailing Params may be left out (their defaults apply).
    """

    expect: Status
    given: Given | tuple[Given, ...]
    note: str = ""

    def readings(self, needs: Sequence[Need]) -> Readings:
        """The readings that this row describes."""
        given = self.given if isinstance(self.given, tuple) else (self.given,)
        # Not strict: trailing Params may be left out.
        return {
            need.fact: g if isinstance(g, Absent | Unreadable) else Seen(g)
            for need, g in zip(needs, given, strict=False)
        }


@dataclass(frozen=True, slots=True)
class Need:
    """One parameter of a judge or probe: a fact, and which failures it handles itself."""

    fact: type[Fact]
    absent: bool = False
    unreadable: bool = False


@dataclass(frozen=True, slots=True)
class Check(Generic[P]):
    """A named rule: what it needs, how it judges, why it matters, how to mend it."""

    id: CheckId
    title: str
    why: str
    severity: Severity
    remedy: Remedy
    sources: tuple[Source, ...]
    table: Callable[[], tuple[Example, ...]]
    mappings: Mapping[str, tuple[str, ...]]
    needs: tuple[Need, ...]
    judge: Callable[P, Verdict]
    how: str = ""  # what decides, in words, where the examples alone do not tell

    @property
    def examples(self) -> tuple[Example, ...]:
        """The truth table. Made when it is asked for: a judge does without."""
        return self.table()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Verdict:
        return self.judge(*args, **kwargs)


def needs_of(
    function: types.FunctionType | Callable[..., object], skip: int = 0
) -> tuple[Need, ...]:
    """What a function asks for, read from its annotations.

    `F` must be there; `F | Absent`, `F | Unreadable` or both mean that the function handles
    that reading itself.
    """
    hints = typing.get_type_hints(function)
    code = function.__code__  # inspect.signature tells the same in ten times the time
    names = code.co_varnames[skip : code.co_argcount]
    return tuple(_need(function.__qualname__, hints[name]) for name in names)


def _need(where: str, hint: object) -> Need:
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    facts = [p for p in parts if isinstance(p, type) and issubclass(p, Fact)]
    if len(facts) != 1 or not set(parts) - set(facts) <= {Absent, Unreadable}:
        raise TypeError(f"{where}: {hint!r} is not one Fact (with Absent or Unreadable at most)")
    return Need(facts[0], Absent in parts, Unreadable in parts)


def check(
    id: str,  # noqa: A002
    *,
    title: str,
    why: str,
    severity: Severity,
    remedy: Remedy,
    sources: Sequence[Source],
    examples: Callable[[], Sequence[Example]],
    mappings: Mapping[str, Sequence[str]] | None = None,
    how: str = "",
) -> Callable[[Callable[P, Verdict]], Check[P]]:
    """Turn a judging function into a Check. The title says the good state; `examples` are made
    by a function, because making all of them takes longer than a whole look."""

    def wrap(judge: Callable[P, Verdict]) -> Check[P]:
        return Check(
            CheckId(id),
            title,
            why,
            severity,
            remedy,
            tuple(sources),
            cache(lambda: tuple(examples())),
            {name: tuple(ids) for name, ids in (mappings or {}).items()},
            needs_of(judge),
            judge,
            how,
        )

    return wrap


def decide(rule: Check[...], readings: Readings) -> Verdict:
    """Judge one check. The only place that says what a missing fact means."""
    arguments: list[Given] = []
    for need in rule.needs:
        match readings.get(need.fact):
            case Seen(fact):
                arguments.append(fact)
            case Broken(what, error):
                return Verdict.defect(f"the probe of {what} is defective: {error}")
            case Absent() as gone if need.absent:
                arguments.append(gone)
            case Unreadable() as dark if need.unreadable:
                arguments.append(dark)
            case Absent(what):
                return Verdict.not_applicable(f"{what} is not on this host")
            case Unreadable(what, error):
                return Verdict.unknown(f"could not look at {spoken(what)}: {error}")
            case None if issubclass(need.fact, Params):
                arguments.append(need.fact())
            case None:
                return Verdict.defect(f"no probe reads {need.fact.__name__}")
    try:
        return rule(*arguments)
    except Exception as exc:  # noqa: BLE001  one rule's defect must not cost the others
        return Verdict.defect(f"the rule is defective: {place(exc)}")


def spoken(name: str) -> str:
    """The name of one of our classes as words: "listening sockets" of ListeningSockets. A path
    stays as it is."""
    if re.fullmatch(r"[A-Z][a-z]+(?:[A-Z][a-z]+)*", name):
        return re.sub(r"(?<!^)(?=[A-Z])", " ", name).lower()
    return name


def place(exc: BaseException) -> str:
    """An exception's class and where it was raised. Its text may hold values of the host."""
    frames = traceback.extract_tb(exc.__traceback__)
    where = f" at {frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
    return f"{type(exc).__name__}{where}"


def finding(rule: Check[...], verdict: Verdict) -> Finding:
    """A verdict as it travels: the check's severity and remedy where it has none of its own, and
    text that every reader can decode."""
    remedy = verdict.remedy
    if remedy is None and verdict.status is Status.FAIL:
        remedy = rule.remedy
    elif remedy is None and verdict.status is Status.UNKNOWN:
        remedy = help_for(verdict.because)
    return Finding(
        check=rule.id,
        status=verdict.status,
        severity=verdict.severity or rule.severity,
        because=legible(verdict.because),
        evidence=tuple(e.each(legible) for e in verdict.evidence),
        remedy=remedy
        and Remedy(legible(remedy.text), tuple(map(legible, remedy.steps)), legible(remedy.breaks)),
        mappings=rule.mappings,
    )
