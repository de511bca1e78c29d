"""Children that each do one thing, so many at a time, and never longer than they may."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from nodeward.host.vantage import Answer, run_apart

LONG = 30.0
"""What a busy machine may take where the time is not what is tested."""


def say(text: object) -> Answer:
    return Answer(problem=str(text))


def counting(folder: Path, number: int) -> Callable[[], Answer]:
    """A child that stays for a while, and says how many are there with it."""

    def work() -> Answer:
        (folder / str(number)).touch()
        time.sleep(0.05)  # without a limit all of them would be here by then
        together = len(os.listdir(folder))
        (folder / str(number)).unlink()
        return say(together)

    return work


def test_no_more_work_side_by_side_than_may(tmp_path: Path) -> None:
    answers = run_apart(Answer, [counting(tmp_path, n) for n in range(9)], 3, LONG, LONG)
    assert len(answers) == 9
    assert max(int(a.problem) for a in answers) <= 3


def test_a_child_that_is_late_is_killed_and_told_as_such() -> None:
    def stay() -> Answer:
        while True:
            signal.pause()

    begin = time.monotonic()
    answers = run_apart(Answer, [stay] * 3, 2, 0.3, LONG)
    assert [a.problem for a in answers] == ["the probe was too slow"] * 3
    assert time.monotonic() - begin < LONG / 2


def test_when_the_time_is_up_nothing_more_is_begun() -> None:
    answers = run_apart(Answer, [lambda: say("begun")] * 3, 3, LONG, -1.0)
    assert [a.problem for a in answers] == ["no time was left in this round"] * 3


def test_a_child_that_dies_is_told() -> None:
    def die() -> Answer:
        os._exit(3)

    def fail() -> Answer:
        raise ValueError("no such thing")

    answers = run_apart(Answer, [die, fail], 2, LONG, LONG)
    assert [a.problem for a in answers] == ["the probe died", "ValueError: no such thing"]


def test_a_child_holds_no_file_of_its_parent_but_its_pipe(tmp_path: Path) -> None:
    with (tmp_path / "secret").open("w"):
        (answer,) = run_apart(
            Answer, [lambda: say(len(os.listdir("/proc/self/fd")))], 1, LONG, LONG
        )
    assert int(answer.problem) <= 5  # 0, 1, 2, the pipe, and the folder that is listed
