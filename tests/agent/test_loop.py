"""The loop decides; no clock is needed to say so."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeward.agent.loop import (
    BREATH_S,
    NEVER,
    THROTTLED_S,
    Action,
    Changed,
    Compare,
    Died,
    Done,
    Happened,
    Kill,
    Look,
    Pace,
    Spent,
    State,
    Warm,
    step,
    wait_s,
)

PACE = Pace()
IDLE = State(next_full=1e6, next_compare=1e6)
F = frozenset({"F"})
FULL = Look("full")


def at(state: State, now: float, *happened: Happened) -> tuple[State, tuple[Action, ...]]:
    return step(state, now, happened, PACE, lambda: 0.5)


def test_the_first_thing_is_to_look_at_everything() -> None:
    state, actions = at(State(), 0.0)
    assert FULL in actions
    assert state.next_full == PACE.interval_s


def test_one_look_at_a_time() -> None:
    state, _ = at(State(), 0.0)
    _, actions = at(state, PACE.interval_s + 1, Changed(F))
    assert not any(isinstance(a, Look | Warm) for a in actions)


def test_a_change_warms_a_worker_and_is_looked_at_when_it_rests() -> None:
    state, actions = at(IDLE, 10.0, Changed(F))
    assert actions == (Warm(),)
    assert wait_s(state, 10.0, PACE) == pytest.approx(PACE.quiet_s)
    state, actions = at(state, 10.0 + PACE.quiet_s)
    assert actions == (Look("part", F),)
    assert state.stale == frozenset()


def test_a_burst_is_one_look_and_not_later_than_promised() -> None:
    state, looks = IDLE, list[float]()
    for tick in range(40):
        now = 10 + tick * 0.1
        state, actions = at(state, now, *([Changed(F)] if tick < 30 and not looks else []))
        looks += [now for action in actions if isinstance(action, Look)]
    assert len(looks) == 1
    assert looks[0] <= 10 + PACE.latest_s + 0.1


def test_what_changes_during_a_look_is_looked_at_after_it() -> None:
    state, _ = at(State(), 0.0)
    state, _ = at(state, 1.0, Changed(F))
    state, actions = at(state, 2.0, Done())
    assert actions == (Look("part", F),)


def test_lost_events_mean_a_full_look_but_not_one_after_the_other() -> None:
    state, _ = at(State(), 0.0)
    state, _ = at(state, 1.0, Done(), Changed(None))
    assert state.next_full == BREATH_S
    state, actions = at(state, BREATH_S)
    assert FULL in actions


def test_a_lost_event_is_found_by_the_next_full_look() -> None:
    _, actions = at(IDLE, 1e6)
    assert FULL in actions


def test_what_waits_is_sent_later_and_later() -> None:
    state = replace(IDLE, doing=Look("push"))
    waits = []
    for _ in range(12):
        state, _ = step(state, 0.0, [Done(left=1, failed=True)], PACE, lambda: 0.999)
        waits.append(state.next_push)
        state = replace(state, doing=Look("push"))
    assert waits == sorted(waits)
    assert waits[0] < 3
    assert 290 < waits[-1] <= 300


def test_the_collector_is_left_alone_for_as_long_as_it_asks() -> None:
    state = replace(IDLE, doing=FULL)
    state, _ = at(state, 0.0, Done(left=1, failed=True, after_s=90.0))
    assert state.next_push >= 90
    state, _ = at(state, 1.0, Changed(F))
    _, actions = at(state, 2.0)
    assert actions == (Look("part", F, send=False),)


def test_a_backlog_is_sent_without_a_pause() -> None:
    _, actions = at(replace(IDLE, doing=FULL), 5.0, Done(left=7))
    assert actions == (Look("push"),)


def test_after_success_nothing_is_due() -> None:
    state, _ = at(replace(IDLE, doing=Look("push"), refusals=4, next_push=3.0), 5.0, Done())
    assert (state.next_push, state.refusals) == (NEVER, 0)


def test_a_worker_that_hangs_is_killed_and_again() -> None:
    state, _ = at(State(next_compare=1e6), 0.0)
    state, actions = at(state, PACE.limit_s)
    assert actions == (Kill(),)
    _, actions = at(state, 2 * PACE.limit_s)
    assert actions == (Kill(),)


def test_after_a_kill_the_next_worker_gets_more_time() -> None:
    """Else a node that is overloaded would never be looked at."""
    state, _ = at(replace(IDLE, doing=FULL), 5.0, Died())
    state, _ = at(state, state.next_full)
    assert state.give_up - state.last_full == 2 * PACE.limit_s


def test_a_worker_that_dies_is_followed_by_a_full_look_a_little_later() -> None:
    state = replace(IDLE, doing=Look("part", F))
    state, actions = at(state, 5.0, Died())
    assert actions == ()
    assert 6.0 <= state.next_full <= 10
    _, actions = at(state, state.next_full)
    assert FULL in actions


def test_a_worker_that_dies_while_sending_costs_no_look() -> None:
    state, _ = at(replace(IDLE, doing=Look("push"), next_push=4.0), 5.0, Died())
    assert state.next_full == IDLE.next_full
    assert 6.0 <= state.next_push < NEVER


def test_past_its_budget_it_looks_less_often_and_recovers() -> None:
    state, _ = at(IDLE, 10.0, Spent(40.0))
    assert state.throttled
    state, actions = at(state, 11.0, Changed(F))
    assert actions == ()
    assert wait_s(state, 11.0, PACE) == THROTTLED_S
    state, _ = at(state, 11.0 + 2 * 3600, Spent(0.0))
    assert not state.throttled


def test_the_collector_may_ask_for_a_look() -> None:
    _, actions = at(replace(IDLE, doing=Look("push")), 9.0, Done(look=True))
    assert actions == (FULL,)


def test_a_look_that_was_asked_for_bears_its_request_once() -> None:
    state, actions = at(replace(IDLE, doing=Look("push")), 9.0, Done(look=True, request=41))
    assert actions == (replace(FULL, request=41),)
    _, actions = at(replace(state, doing=None, next_full=9.0), 9.0)
    assert actions == (FULL,)


def test_what_no_event_covers_is_compared_on_its_interval() -> None:
    state, actions = at(replace(IDLE, next_compare=30.0), 30.0)
    assert actions == (Compare(),)
    assert wait_s(state, 30.0, PACE) == PACE.floor_s


EVENTS = st.one_of(
    st.builds(Changed, st.none() | st.frozensets(st.sampled_from("FGH"), max_size=2)),
    st.builds(Spent, st.floats(0, 5)),
)
ENDS = st.one_of(
    st.builds(Died, st.floats(0, 5)),
    st.builds(Done, st.floats(0, 5), st.integers(0, 3), st.booleans(),
              st.none() | st.floats(0, 3600), st.booleans()),
)  # fmt: skip


@given(st.lists(st.tuples(st.floats(0, 400), st.lists(EVENTS, max_size=2), ENDS, st.booleans())))
def test_every_change_is_looked_at_and_the_loop_never_spins(
    story: list[tuple[float, list[Happened], Happened, bool]],
) -> None:
    """Whatever happens: one job at a time, a full look in every interval, no change forgotten,
    and a wait of zero only when there is something to do."""
    state, now, unseen = State(), 0.0, set[str]()
    busy_since: float | None = None
    for pause, happened, end, ends in story:
        now += pause
        taken = [*happened, *([end] if ends and busy_since is not None else [])]
        if ends:
            busy_since = None
        for event in happened:
            if isinstance(event, Changed) and event.facts:
                unseen |= event.facts
        before = state
        state, actions = step(state, now, taken, PACE, lambda: 0.5)
        looks = [a for a in actions if isinstance(a, Look)]
        assert len(looks) <= 1
        for look in looks:
            assert before.doing is None or ends
            busy_since = now
            if look.kind == "full":
                unseen.clear()
            unseen -= look.facts
        died = ends and isinstance(end, Died)
        if died and before.doing is not None and before.doing.kind == "part":
            assert state.next_full <= now + 302 or state.doing == FULL or looks
        assert unseen <= state.stale | (set() if state.doing is None else set(state.doing.facts))
        if state.doing is None:
            assert state.next_full <= now + PACE.interval_s * (1 + PACE.jitter)
            assert wait_s(state, now, PACE) > 0


def test_a_day_without_a_collector_is_looked_at_as_ever_and_knocked_at_seldom() -> None:
    """24 hours in which each attempt fails, with a change every ten minutes."""
    luck, look_s = Random(1), 0.5
    state, now, doing = State(), 0.0, None
    next_change, changed, full, attempts, seen = 600.0, 0, 0, 0, 0
    while now < 86_400:
        happened: list[Happened] = []
        if doing is not None and now >= doing[1]:
            happened.append(Done(0.2, left=1 + changed, failed=doing[0].send))
            doing = None
        if now >= next_change:
            happened.append(Changed(F))
            next_change, changed = next_change + 600, changed + 1
        state, actions = step(state, now, happened, PACE, luck.random)
        for look in actions:
            if isinstance(look, Look):
                doing = look, now + look_s
                full += look.kind == "full"
                seen += look.kind == "part"
                attempts += look.send
        waits = [wait_s(state, now, PACE), next_change - now, *([doing[1] - now] if doing else [])]
        now += max(0.001, min(waits))
    assert 280 <= full <= 300
    assert seen + full >= changed
    assert attempts < 700  # one in two minutes, as full jitter up to five has it
    state, actions = step(state, now + 301, [], PACE, luck.random)
    assert state.doing is not None
    assert state.doing.send


def test_no_second_of_a_day_is_spent_spinning() -> None:
    """A node on which nothing happens: one comparison in 30 s and one look in 5 minutes."""
    state, now, steps = State(), 0.0, 0
    while now < 86_400:
        state, actions = step(state, now, [], PACE, lambda: 0.5)
        if any(isinstance(action, Look) for action in actions):
            state, _ = step(state, now + 0.3, [Done(0.2)], PACE, lambda: 0.5)
        now += max(0.001, wait_s(state, now, PACE))
        steps += 1
    assert steps / 86_400 < 0.05
