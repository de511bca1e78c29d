"""When to look, to send, to compare, to give up. Pure: time and what happened come in, decisions
go out; nothing is read, slept or started here.

All times are seconds of the boot clock, which counts suspend and never jumps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from nodeward.agent.backoff import full_jitter

NEVER = math.inf
HOUR_S = 3600.0
BREATH_S = 5.0
"""Full looks that somebody asks for are at least this far apart."""

THROTTLED_S = 60.0
"""So long changes wait while the budget is used up."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What the operator set (see nodeward.agent.config)."""

    interval_s: float = 300.0
    jitter: float = 0.1
    limit_s: float = 60.0
    quiet_s: float = 0.1
    latest_s: float = 0.5
    floor_s: float = 30.0
    cpu_share: float = 0.01


@dataclass(frozen=True, slots=True)
class Look:
    """One job for a worker. `send`: what waits may be sent along with it. `request`: the
    collector's, which a full look is for."""

    kind: Literal["full", "part", "push"]
    facts: frozenset[str] = frozenset()
    send: bool = True
    request: int = 0


# What happened.
@dataclass(frozen=True, slots=True)
class Changed:
    """These facts are stale. None: anything may be (events were lost)."""

    facts: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Done:
    """The worker's result. `left` reports wait; `failed` says that sending stopped, `after_s`
    how long the collector wants to be left alone; `look`: it wants a full look, by `request`."""

    cpu_s: float = 0.0
    left: int = 0
    failed: bool = False
    after_s: float | None = None
    look: bool = False
    request: int = 0


@dataclass(frozen=True, slots=True)
class Died:
    """The worker ended without a result."""

    cpu_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Spent:
    """Processor time that the resident itself used."""

    cpu_s: float


Happened: TypeAlias = Changed | Done | Died | Spent


# What to do.
@dataclass(frozen=True, slots=True)
class Warm:
    """Start a worker: its job comes when the burst is over."""


@dataclass(frozen=True, slots=True)
class Kill:
    """The worker took too long."""


@dataclass(frozen=True, slots=True)
class Compare:
    """Compare what no event source covers."""


Action: TypeAlias = Warm | Kill | Compare | Look


@dataclass(frozen=True, slots=True)
class State:
    """What the loop remembers."""

    next_full: float = 0.0
    next_compare: float = 0.0
    next_push: float = NEVER
    last_full: float = -NEVER
    stale: frozenset[str] = frozenset()
    first_change: float = 0.0
    last_change: float = 0.0
    warm: bool = False
    doing: Look | None = None
    give_up: float = NEVER
    refusals: int = 0
    deaths: int = 0
    used: float = 0.0
    used_at: float = 0.0
    throttled: bool = False
    request: int = 0
    """The collector's for a look, heard and not begun."""


def step(
    state: State,
    now: float,
    happened: Sequence[Happened],
    pace: Pace,
    luck: Callable[[], float],
) -> tuple[State, tuple[Action, ...]]:
    """Decide what to do at this instant. `luck` is in [0, 1)."""
    for event in happened:
        state = _take(state, now, event, pace, luck)
    actions: list[Action] = []
    if now >= state.next_compare:
        state = replace(state, next_compare=now + pace.floor_s)
        actions.append(Compare())
    if (state.doing is not None or state.warm) and now >= state.give_up:
        state = replace(state, give_up=now + _limit(state, pace))
        actions.append(Kill())
    if state.doing is None:
        look = _due(state, now, pace)
        if look is not None:
            state = _begin(state, now, look, pace, luck)
            actions.append(look)
        elif state.stale and not state.warm and not state.throttled:
            state = replace(state, warm=True, give_up=now + _limit(state, pace))
            actions.append(Warm())
    return state, tuple(actions)


def wait_s(state: State, now: float, pace: Pace) -> float:
    """How long nothing needs to be decided, if nothing happens."""
    timers = [state.next_compare]
    if state.doing is not None or state.warm:
        timers.append(state.give_up)
    if state.doing is None:
        timers += [state.next_full, state.next_push]
        if state.stale:
            timers.append(_settled(state, pace))
    return max(0.0, min(timers) - now)


def _limit(state: State, pace: Pace) -> float:
    """A worker that was killed may only have been slow: the node is overloaded. The next one gets
    more time."""
    return pace.limit_s * min(4, 1 + state.deaths)


def _due(state: State, now: float, pace: Pace) -> Look | None:
    send = state.next_push == NEVER or now >= state.next_push
    if now >= state.next_full:
        return Look("full", send=send, request=state.request)
    if state.stale and now >= _settled(state, pace):
        return Look("part", state.stale, send=send)
    return Look("push") if now >= state.next_push else None


def _settled(state: State, pace: Pace) -> float:
    """When a burst of changes is looked at: it rests, or it has gone on for long enough."""
    if state.throttled:
        return state.first_change + THROTTLED_S
    return min(state.last_change + pace.quiet_s, state.first_change + pace.latest_s)


def _begin(state: State, now: float, look: Look, pace: Pace, luck: Callable[[], float]) -> State:
    state = replace(state, doing=look, warm=False, give_up=now + _limit(state, pace))
    if look.kind == "push":
        return state
    if look.kind == "full":
        spread = 1 + pace.jitter * (2 * luck() - 1)
        state = replace(state, last_full=now, next_full=now + pace.interval_s * spread, request=0)
    return replace(state, stale=frozenset())


def _take(
    state: State, now: float, event: Happened, pace: Pace, luck: Callable[[], float]
) -> State:
    match event:
        case Changed(None):
            return _ask_full(state, now + pace.quiet_s)
        case Changed(facts) if not facts:
            return state
        case Changed(facts):
            assert facts is not None
            first = state.first_change if state.stale else now
            return replace(state, stale=state.stale | facts, first_change=first, last_change=now)
        case Spent(cpu_s):
            return _spend(state, now, cpu_s, pace)
        case Done():
            return _finish(_spend(state, now, event.cpu_s, pace), now, event, luck)
        case Died():
            return _bury(_spend(state, now, event.cpu_s, pace), now, luck)


def _ask_full(state: State, at: float) -> State:
    return replace(state, next_full=min(state.next_full, max(at, state.last_full + BREATH_S)))


def _finish(state: State, now: float, done: Done, luck: Callable[[], float]) -> State:
    sent = state.doing is None or state.doing.send
    state = replace(state, doing=None, warm=False, give_up=NEVER, deaths=0)
    if done.look:
        state = replace(_ask_full(state, now), request=done.request)
    if not sent:
        return state
    if not done.left:
        return replace(state, next_push=NEVER, refusals=0)
    if not done.failed:
        return replace(state, next_push=now, refusals=0)
    refusals = state.refusals + 1
    wait = max(done.after_s or 0.0, full_jitter(refusals, luck))
    return replace(state, next_push=now + wait, refusals=refusals)


def _bury(state: State, now: float, luck: Callable[[], float]) -> State:
    """Whatever the worker was at is done again, all of it, after a while that grows."""
    deaths = state.deaths + 1
    again = now + 1.0 + full_jitter(deaths, luck)
    lost = state.doing is not None and state.doing.kind != "push"
    state = replace(state, doing=None, warm=False, give_up=NEVER, deaths=deaths)
    if lost:
        return replace(state, next_full=min(state.next_full, again))
    return replace(
        state, next_push=max(state.next_push, again) if state.next_push < NEVER else NEVER
    )


def _spend(state: State, now: float, cpu_s: float, pace: Pace) -> State:
    """An hour's floating average, in shares of one core."""
    faded = state.used * math.exp(-max(0.0, now - state.used_at) / HOUR_S)
    used = faded + cpu_s / HOUR_S
    slack = 0.7 if state.throttled else 1.0  # not on and off at one and the same point
    return replace(state, used=used, used_at=now, throttled=used > pace.cpu_share * slack)
