"""Whether a component can come in: the state, the reason, and the chain that leads there. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, replace
from enum import StrEnum
from functools import cache
from posixpath import join

from nodeward.facts.autoload import Does, Event, Run
from nodeward.facts.kernel_modules import Variant
from nodeward.facts.module_requests import Request
from nodeward.lazy import dataclass
from nodeward.model import Evidence, Row, Table


class State(StrEnum):
    """From the worst to the best; a host with several kernels has the worst of them."""

    LOADED = "loaded"
    BUILT_IN = "built in"
    OPEN = "can be loaded"
    PARTLY = "can be loaded in part"
    UNKNOWN = "not known"
    BLOCKED = "blocked"
    OFF = "loading is off"
    UNREACHABLE = "no request leads to it"
    ABSENT = "not in this kernel"


BAD = frozenset({State.LOADED, State.BUILT_IN, State.OPEN, State.PARTLY})


@dataclass(frozen=True, slots=True)
class Exposure:
    """The answer in one sentence. `place` is where what decides it stands.

    `trace` makes the chain from the request to the verdict when somebody wants it: to name the
    line of a large index costs more than the verdict.
    """

    state: State
    because: str
    place: str = ""
    by: tuple[Request, ...] = ()  # those that come through
    trace: Callable[[], tuple[Evidence, ...]] = field(default=tuple, repr=False, compare=False)

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        return self.trace()


def exposure_of(state: State, because: str, *evidence: Evidence) -> Exposure:
    place = evidence[-1].source if evidence else ""
    return Exposure(state, because, place, trace=lambda: evidence)


def either(names: tuple[str, ...]) -> str:
    return " or ".join(names)


def traced(state: State, because: str, variant: Variant, *played: tuple[Request, Run]) -> Exposure:
    """With the chain of each request as evidence."""
    last = next((e.place or e.detail for e in reversed(played[0][1].events) if e.place), "")

    @cache
    def trace() -> tuple[Evidence, ...]:
        return tuple(row for request, run in played for row in chain(variant, request, run))

    return Exposure(state, because, last, trace=trace)


def stopped_by(run: Run) -> str:
    """The event that stopped a run, in words."""
    for event in run.events:
        match event.does:
            case Does.BLACKLISTED | Does.RUNS:
                return f"{event.detail!r} in {event.place}"
            case Does.REFUSED:
                return f"{event.module}: {event.detail}"
            case _:
                pass
    return "it leads to no module"


def chain(variant: Variant, request: Request, run: Run) -> tuple[Evidence, ...]:
    """The request, the alias, and what is done, each with its place."""
    who = "udev" if request.name.startswith("usb:") else "the kernel's request_module()"
    rows = [Evidence("request", f"{request.by} -> {request.name}", who)]
    for found in run.found:
        if found.alias is not None:
            line = variant.index.alias_line(found.alias, found.name)
            place = f"{found.place}:{line}" if line else found.place
            rows.append(Evidence("alias", f"{request.name} -> {found.name}", place))
    rows += [_row(variant, event) for event in run.events]
    step = Row(Table.STEP, request.name)
    return tuple(replace(row, row=step) for row in rows)


def _row(variant: Variant, event: Event) -> Evidence:
    match event.does:
        case Does.INSERT:
            return Evidence("inserts", event.module, join(variant.tree.folder, event.detail))
        case Does.RUNS | Does.BLACKLISTED:
            return Evidence("rule", event.detail, event.place)
        case _:
            return Evidence(str(event.does), event.module, event.detail or event.place)
