"""From a report's statuses to a posture, and from postures to the counters."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import open_engine
from nodeward.collector.posture import LEVELS, WORDS, Order, State
from nodeward.collector.problem import Problem
from nodeward.collector.store.counters import FLEET, Moves
from nodeward.collector.wire import ReportIn, statuses

RULES = {f"a.c{number}": number for number in range(1, 200)}
VALUES = st.dictionaries(st.integers(1, 199), st.sampled_from(LEVELS), max_size=90)


def _report(*pairs: tuple[str, int]) -> ReportIn:
    findings: list[Any] = [
        _Finding(check, *WORDS[value]) for check, value in pairs
    ]  # what is looked at of one
    return ReportIn(
        schema="nodeward.report/v1", node="n", taken_at="", boot="b", seq=1, kind="full",
        digest="", findings=findings,
    )  # fmt: skip


class _Finding:
    def __init__(self, check: str, status: str, severity: str) -> None:
        self.check, self.status, self.severity = check, status, severity


@given(VALUES, st.randoms(use_true_random=False))
def test_a_posture_is_the_same_in_whatever_order_a_report_lists_its_checks(
    values: dict[int, int], chance: Any
) -> None:
    pairs = [(f"a.c{rule}", value) for rule, value in values.items()]
    chance.shuffle(pairs)
    told = statuses(_report(*pairs))
    state = Order.of(told.checks, RULES).state(told.values)
    assert state == State.of(values)
    assert (state.digest, state.index) == (State.of(values).digest, State.of(values).index)


def test_a_list_of_checks_is_looked_at_once() -> None:
    good = _report(("a.c1", 9), ("a.c2", 9))
    told = statuses(good, lambda _checks: None)
    assert statuses(good, lambda _checks: told.checks).checks is told.checks
    for bad, field in (
        (_report(("a.c1", 9), ("a.c1", 9)), "findings"),
        (_report(("a.c1", 9), ("A c1", 9)), "findings[1].check"),
    ):
        with pytest.raises(Problem) as refused:
            statuses(bad)
        assert refused.value.field == field


STEPS = st.lists(st.tuples(st.integers(1, 3), VALUES, VALUES), min_size=1, max_size=4)


@given(st.lists(STEPS, max_size=3))
@settings(max_examples=40, deadline=None)
def test_counters_are_what_all_steps_come_to(
    tmp_path_factory: pytest.TempPathFactory, groups: list[list[Any]]
) -> None:
    folder = tmp_path_factory.mktemp("counted")
    counted, nodes = Counter[tuple[int, int, int]](), Counter[int]()
    engine = _fresh(folder)
    for group in groups:
        with engine.execution_options(writes=True).begin() as connection:
            moves = Moves()
            for cluster, old, new in group:
                moves.step(cluster, State.of(old), State.of(new))
                moves.nodes(cluster, 1)
                nodes[cluster] += 1
                for values, many in ((old, -1), (new, 1)):
                    for rule, value in values.items():
                        counted[rule, cluster, value] += many
            moves.write(connection)
    wanted = Counter[tuple[int, int, int]]()
    for (rule, cluster, value), many in counted.items():
        wanted[rule, FLEET, value] += many
        wanted[0, cluster, value] += many
    for cluster, many in nodes.items():
        wanted[0, cluster, 0] += many
    assert _rows(engine, t.counter) == _without_zeros(counted)
    assert _rows(engine, t.total) == _without_zeros(wanted)
    engine.dispose()


def _fresh(folder: Path) -> Any:
    engine = open_engine(f"sqlite:///{folder}/collector.db")
    for table in (t.counter, t.total):
        table.create(engine)
    return engine


def _rows(engine: Any, table: Any) -> dict[tuple[int, int, int], int]:
    with engine.connect() as connection:
        rows = connection.execute(select(table)).all()
    return _without_zeros({(row.rule, row.cluster, row.value): row.nodes for row in rows})


def _without_zeros(counts: Any) -> dict[tuple[int, int, int], int]:
    return {key: many for key, many in counts.items() if many}
