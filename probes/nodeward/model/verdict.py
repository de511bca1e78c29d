"""What a check says of one host, and what that is worth."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from typing import NewType

from nodeward.lazy import dataclass, pattern

CheckId = NewType("CheckId", str)

_SURROGATE = pattern("[\ud800-\udfff]")

MOST_EVIDENCE = 50
"""A check about many things names at most this many, worst first, and the count of all."""


class Status(StrEnum):
    """One of five. `unknown` and `error` are never folded into `pass`."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    NOT_APPLICABLE = "not-applicable"
    UNKNOWN = "unknown"
    ERROR = "error"


class Severity(StrEnum):
    """How bad a failure is. Compare with `rank`: a StrEnum would compare by letters."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INFO = "info"

    @property
    def rank(self) -> int:
        """4 for critical down to 0 for info."""
        return 4 - list(Severity).index(self)


class Table(StrEnum):
    """What a reader may draw from evidence. A reader that does not know one leaves it out."""

    REACH = "reach"
    """A place in the network by the endpoints asked from there; the cells are outcomes."""
    LISTENER = "listener"
    """A listening socket: address, port, program, and from where it can be reached."""
    ANSWER = "answer"
    """A port that was asked without credentials; the cells are what it answered, by request."""
    ENDS = "ends"
    """A certificate: the day it ends, whether it is in use, and who renews it."""
    STEP = "step"
    """A step on the way from a request to the module that it loads, or to what stops it."""


@dataclass(frozen=True, slots=True)
class Row:
    """An evidence as a row of a table: the same that `value` says, in parts, so that whoever draws
    it need not take sentences to pieces. It says nothing that `value` and `source` do not."""

    table: Table | str
    name: str
    cells: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """One value seen, and where: `source` is a path with line, a flag, a port, a kernel interface.

    `value` is safe to show to anyone who may read the posture: never a key, token, password,
    environment value or request body. A value that could be one is shown as its sha256.
    """

    what: str
    value: str
    source: str = ""
    row: Row | None = None

    def each(self, safe: Callable[[str], str]) -> Evidence:
        """The same with every text of it made safe in some way."""
        row = self.row and Row(
            self.row.table,
            safe(self.row.name),
            tuple((safe(k), safe(v)) for k, v in self.row.cells),
        )
        return Evidence(safe(self.what), safe(self.value), safe(self.source), row)


LONGEST_TEXT = 4000
"""Characters of one text of a finding. A name on the host may be longer; what is cut says so."""


def legible(text: str) -> str:
    r"""The text as Unicode that every JSON reader takes: a byte that was no UTF-8 as \xNN.

    Names on a host are bytes; in our strings such a byte is a lone surrogate, which strict
    decoders refuse.
    """
    if len(text) > LONGEST_TEXT:
        text = f"{text[:LONGEST_TEXT]}... ({len(text)} characters)"
    return _SURROGATE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


@dataclass(frozen=True, slots=True)
class Remedy:
    """How to mend it by hand. Text for people: nodeward never runs it."""

    text: str
    steps: tuple[str, ...] = ()
    breaks: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check says of one host now; `because` is one sentence that shows the value seen.

    `severity` overrides the check's default for this one verdict; `because` then says why.
    `remedy` overrides the check's own, where the fix for this very node is known.
    """

    status: Status
    because: str
    evidence: tuple[Evidence, ...] = ()
    severity: Severity | None = None
    remedy: Remedy | None = None

    def __post_init__(self) -> None:
        if not self.because:
            raise ValueError("a verdict says why")

    @classmethod
    def passed(cls, because: str, *evidence: Evidence) -> Verdict:
        return cls(Status.PASS, because, evidence)

    @classmethod
    def failed(
        cls,
        because: str,
        *evidence: Evidence,
        severity: Severity | None = None,
        remedy: Remedy | None = None,
    ) -> Verdict:
        return cls(Status.FAIL, because, evidence, severity, remedy)

    @classmethod
    def not_applicable(cls, because: str, *evidence: Evidence) -> Verdict:
        return cls(Status.NOT_APPLICABLE, because, evidence)

    @classmethod
    def unknown(cls, because: str, *evidence: Evidence, remedy: Remedy | None = None) -> Verdict:
        return cls(Status.UNKNOWN, because, evidence, None, remedy)

    @classmethod
    def defect(cls, because: str, *evidence: Evidence) -> Verdict:
        return cls(Status.ERROR, because, evidence)


def most(offenders: Sequence[Evidence]) -> tuple[Evidence, ...]:
    """The first MOST_EVIDENCE of them (worst first is the caller's order), and the count of all."""
    if len(offenders) <= MOST_EVIDENCE:
        return tuple(offenders)
    rest = Evidence("in all", str(len(offenders)))
    return (*offenders[: MOST_EVIDENCE - 1], rest)


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict with its check id, severity and evidence, as it travels."""

    check: CheckId
    status: Status
    severity: Severity
    because: str
    evidence: tuple[Evidence, ...] = ()
    remedy: Remedy | None = None
    mappings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
