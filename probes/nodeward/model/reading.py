"""What a look at a host can yield: the thing, its absence, or the failure to look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Generic, TypeAlias, TypeVar

from nodeward.lazy import dataclass


class Fact:
    """Something read from one host, as a frozen dataclass. Subclasses live in nodeward.facts.

    `events` names what else than a changed file can make the fact stale; files need no
    declaration, because the runner notes which ones the probe really read.
    Known events: "module", "process", "listener", "route", "pod", "sysctl".
    """

    __slots__ = ()
    events: ClassVar[tuple[str, ...]] = ()


class Params(Fact):
    """What an operator may set, as a frozen dataclass whose defaults are the shipped ones.

    `section` is the path of keys in the configuration file, for example
    ("checks", "kernel.module.sctp") or ("metadata",). Judges and probes ask for it like for
    any fact.
    """

    __slots__ = ()
    section: ClassVar[tuple[str, ...]]


F_co = TypeVar("F_co", bound=Fact, covariant=True)


@dataclass(frozen=True, slots=True)
class Seen(Generic[F_co]):
    """The probe looked and this is what is there."""

    fact: F_co


@dataclass(frozen=True, slots=True)
class Absent:
    """The probe looked and the thing is not on this host."""

    what: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The probe could not look. Never to be mistaken for Absent.

    `error` says why in a few words ("EACCES", "offline", "more than 1048576 bytes").
    """

    what: str
    error: str


@dataclass(frozen=True, slots=True)
class Broken(Unreadable):
    """The probe itself has a defect. `error` holds the exception's class and place, no values."""


Reading: TypeAlias = Seen[F_co] | Absent | Unreadable
Readings: TypeAlias = Mapping[type[Fact], Reading[Fact]]
