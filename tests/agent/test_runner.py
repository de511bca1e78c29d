"""One look: each fact is read once, in order, within its time, and no defect costs the others."""

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from nodeward.agent.runner import Looker, examine
from nodeward.facts.errors import ParseError
from nodeward.host import DeniedError, Host, HostError, MissingError, OfflineError, TreeHost
from nodeward.model import (
    Absent,
    Broken,
    Example,
    Fact,
    Params,
    Reading,
    Remedy,
    Seen,
    Severity,
    Source,
    Status,
    Unreadable,
    Verdict,
    check,
)
from nodeward.model.rule import Check
from nodeward.probes.registry import Probe, probe, probes


@dataclass(frozen=True, slots=True)
class Door(Fact):
    open: bool


@dataclass(frozen=True, slots=True)
class House(Fact):
    door: Door | None


@dataclass(frozen=True, slots=True)
class Wish(Params):
    section: ClassVar[tuple[str, ...]] = ("wish",)
    wanted: bool = True


Use = Callable[..., None]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Let the runner know these probes and no others."""

    def known(*readers: Probe) -> None:
        table = {reader.fact: reader for reader in readers}
        monkeypatch.setattr("nodeward.agent.runner.probes", lambda: table)

    return known


def looker(root: Path, limit_s: float = 20.0) -> Looker:
    return Looker(TreeHost(root), limit_s=limit_s)


def raising(error: BaseException) -> Probe:
    @probe
    def read_door(host: Host) -> Door:
        raise error

    return read_door


def test_a_fact_is_read_once_however_often_it_is_needed(tmp_path: Path, use: Use) -> None:
    calls = []

    @probe
    def read_door(host: Host) -> Door:
        calls.append(1)
        return Door(True)

    @probe
    def read_house(host: Host, door: Door) -> House:
        return House(door)

    use(read_door, read_house)
    look = looker(tmp_path)
    assert look.look(House) == Seen(House(Door(True)))
    assert look.look(Door) == Seen(Door(True))
    assert look.look(House) == Seen(House(Door(True)))
    assert len(calls) == 1


READINGS = {
    "missing": (MissingError("/x", "ENOENT"), Absent("/x")),
    "denied": (DeniedError("/x", "EACCES"), Unreadable("/x", "EACCES")),
    "offline": (OfflineError("sock_diag", "offline"), Unreadable("sock_diag", "offline")),
    "another": (HostError("/x", "EIO"), Unreadable("/x", "EIO")),
    "no such text": (ParseError("/x", 3, "a"), Unreadable("/x", "/x, line 3: 'a'")),
    "too deep": (RecursionError(), Unreadable("Door", "nested too deeply")),
    "too large": (MemoryError(), Unreadable("Door", "too large for our memory")),
}


@pytest.mark.parametrize("name", READINGS)
def test_every_way_to_fail_is_a_reading(tmp_path: Path, use: Use, name: str) -> None:
    error, reading = READINGS[name]
    use(raising(error))
    assert looker(tmp_path).look(Door) == reading


def test_a_defect_names_its_class_and_place_and_no_value(tmp_path: Path, use: Use) -> None:
    use(raising(KeyError("hunter2-canary")))
    reading = looker(tmp_path).look(Door)
    assert isinstance(reading, Broken)
    assert reading.error.startswith("KeyError at test_runner.py:")
    assert "hunter2" not in reading.error


def test_what_a_probe_starts_from_fails_it(tmp_path: Path, use: Use) -> None:
    @probe
    def read_house(host: Host, door: Door) -> House:
        return House(door)

    use(raising(DeniedError("/door", "EACCES")), read_house)
    assert looker(tmp_path).look(House) == Unreadable("/door", "EACCES")


@pytest.mark.parametrize(
    ("error", "handled"),
    [(MissingError("/d", "ENOENT"), True), (DeniedError("/d", "EACCES"), True),
     (KeyError("x"), False)],
)  # fmt: skip
def test_a_probe_may_handle_absence_and_failure_but_no_defect(
    tmp_path: Path, use: Use, error: Exception, handled: bool
) -> None:
    @probe
    def read_house(host: Host, door: Door | Absent | Unreadable) -> House:
        return House(door if isinstance(door, Door) else None)

    use(raising(error), read_house)
    reading = looker(tmp_path).look(House)
    assert (reading == Seen(House(None))) is handled
    assert isinstance(reading, Seen if handled else Broken)


def test_a_probe_that_needs_itself_is_a_defect(tmp_path: Path, use: Use) -> None:
    @probe
    def read_house(host: Host, door: Door) -> House:
        return House(door)

    @probe
    def read_door(host: Host, house: House) -> Door:
        return Door(True)

    use(read_house, read_door)
    assert isinstance(looker(tmp_path).look(House), Broken)


def test_a_fact_that_no_probe_reads_is_a_defect(tmp_path: Path, use: Use) -> None:
    use()
    assert looker(tmp_path).look(Door) == Broken("Door", "no probe reads it")


def test_settings_have_their_shipped_values_unless_given(tmp_path: Path, use: Use) -> None:
    use()
    assert looker(tmp_path).look(Wish) == Seen(Wish(True))
    given: dict[type[Fact], Reading[Fact]] = {Wish: Seen(Wish(False))}
    assert Looker(TreeHost(tmp_path), given).look(Wish) == Seen(Wish(False))


def test_a_probe_that_hangs_is_interrupted(tmp_path: Path, use: Use) -> None:
    @probe
    def read_door(host: Host) -> Door:
        threading.Event().wait()
        return Door(True)

    use(read_door)
    start = time.monotonic()
    assert looker(tmp_path, 0.05).look(Door) == Unreadable("Door", "took longer than 0.05 s")
    assert time.monotonic() - start < 10


def test_a_probe_that_goes_on_after_an_error_is_interrupted_too(tmp_path: Path, use: Use) -> None:
    """Many probes skip what they cannot read; the end of their time is no such thing."""

    @probe
    def read_door(host: Host) -> Door:
        while True:
            try:
                host.read("/none")
                threading.Event().wait(0.01)
            except HostError:
                continue

    use(read_door)
    assert isinstance(looker(tmp_path, 0.05).look(Door), Unreadable)


def test_the_time_of_a_probe_does_not_count_what_it_needs(tmp_path: Path, use: Use) -> None:
    """The alarm of the second is later than that of the first, however slow the machine is."""
    alarms: list[float] = []

    @probe
    def read_door(host: Host) -> Door:
        threading.Event().wait(0.05)
        now = time.monotonic()
        alarms.append(now + signal.getitimer(signal.ITIMER_REAL)[0])
        return Door(True)

    @probe
    def read_house(host: Host, door: Door) -> House:
        left = signal.getitimer(signal.ITIMER_REAL)[0]
        alarms.append(time.monotonic() + left)
        return House(door)

    use(read_door, read_house)
    assert isinstance(looker(tmp_path, 3600).look(House), Seen)
    assert alarms[1] > alarms[0] + 0.04


def test_after_a_look_the_alarm_is_as_it_was(tmp_path: Path, use: Use) -> None:
    use(raising(KeyError()))
    before = signal.getsignal(signal.SIGALRM)
    timer = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        looker(tmp_path, 0.05).look(Door)
        assert signal.getsignal(signal.SIGALRM) is before
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)


def test_an_alarm_of_the_caller_is_set_again(tmp_path: Path, use: Use) -> None:
    use(raising(KeyError()))
    before = signal.setitimer(signal.ITIMER_REAL, 5000, 7)
    try:
        looker(tmp_path).look(Door)
        left, interval = signal.getitimer(signal.ITIMER_REAL)
    finally:
        signal.setitimer(signal.ITIMER_REAL, *before)
    assert 4000 < left <= 5000
    assert interval == 7


def test_another_thread_can_look_without_a_limit(tmp_path: Path, use: Use) -> None:
    @probe
    def read_door(host: Host) -> Door:
        return Door(True)

    use(read_door)
    found: list[Reading[Fact]] = []
    thread = threading.Thread(target=lambda: found.append(looker(tmp_path).look(Door)))
    thread.start()
    thread.join()
    assert found == [Seen(Door(True))]


def rule(judge: Callable[..., Verdict]) -> Check[...]:
    made: Check[...] = check(
        f"test.{judge.__name__}",
        title="t",
        why="w",
        severity=Severity.LOW,
        remedy=Remedy("r"),
        sources=[Source("s", "https://example.org")],
        examples=lambda: [Example(Status.PASS, Door(True))],
    )(judge)
    return made


def test_each_check_gets_one_finding_whatever_the_others_do(tmp_path: Path, use: Use) -> None:
    def bad(door: Door) -> Verdict:
        raise ValueError("hunter2-canary")

    def good(door: Door) -> Verdict:
        return Verdict.passed("it is open")

    @probe
    def read_door(host: Host) -> Door:
        return Door(True)

    use(read_door)
    found = examine(looker(tmp_path), [rule(bad), rule(good)])
    assert [(f.check, f.status) for f in found] == [
        ("test.bad", Status.ERROR),
        ("test.good", Status.PASS),
    ]
    assert "ValueError at test_runner.py" in found[0].because
    assert "hunter2" not in found[0].because


def test_a_defective_probe_is_an_error_of_each_check_that_needs_it(
    tmp_path: Path, use: Use
) -> None:
    def needs_it(door: Door | Absent | Unreadable) -> Verdict:
        return Verdict.passed("whatever it is")

    use(raising(KeyError("hunter2-canary")))
    (found,) = examine(looker(tmp_path), [rule(needs_it)])
    assert found.status is Status.ERROR
    assert "hunter2" not in found.because


def test_two_probes_of_one_fact_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    import nodeward.probes as package

    first, second = types.ModuleType("first"), types.ModuleType("second")
    first.__dict__["a"] = raising(KeyError())
    second.__dict__["b"] = raising(KeyError())
    modules = {f"{package.__name__}.first": first, f"{package.__name__}.second": second}
    monkeypatch.setattr(
        "pkgutil.iter_modules",
        lambda path, prefix: [types.SimpleNamespace(name=name) for name in modules],
    )
    monkeypatch.setattr("importlib.import_module", modules.__getitem__)
    with pytest.raises(ValueError, match="two probes read Door"):
        probes.__wrapped__()


def test_every_fact_that_a_check_needs_has_a_probe() -> None:
    """Or comes from the operator or the clock."""
    from nodeward.checks import catalog
    from nodeward.facts.clock import Now

    wanted = {need.fact for c in catalog().values() for need in c.needs}
    wanted |= {need.fact for p in probes().values() for need in p.needs}
    assert not [
        f.__name__
        for f in wanted
        if f not in probes() and f is not Now and not issubclass(f, Params)
    ]


@pytest.mark.parametrize("hint", ["int", "Door | House", "Door | None", "Absent"])
def test_a_need_that_is_not_one_fact_is_refused(hint: str) -> None:
    def judge(x: object) -> Verdict:
        return Verdict.passed("x")

    judge.__annotations__["x"] = eval(hint)
    with pytest.raises(TypeError, match="not one Fact"):
        rule(judge)
