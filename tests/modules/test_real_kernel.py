"""What nodeward foretells inside a guest is what the guest's kernel then does.

Twelve scenarios in every run, made fresh from a seed that each commit has of its own; the long tier
has sixty, from a new seed each time. A failure and the header of the run show the seed, and
NODEWARD_SEED repeats it.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from commit_seed import VARIABLE, fresh, seed
from guest import Guest, build, missing
from module_events import parse_exec, requested
from module_scenarios import Scenario, alias, install_loads, nothing, scenarios, softdep

pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        bool(missing()) and os.environ.get("CI") != "true",
        reason=f"no guest here: {missing()}",
    ),
]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guest")
    build(folder)
    return folder


@pytest.fixture(scope="module")
def guest(image: Path) -> Iterator[Guest]:
    one = Guest(image)
    one.save("stock")
    one.ask("upstream")
    one.save("up")
    yield one
    one.close()


def play(guest: Guest, scenario: Scenario) -> list[str]:
    """The triggers of which the kernel did something else than nodeward said."""
    release = guest.ready["ready"]
    files = {path.replace("RELEASE", release): text for path, text in scenario.files.items()}
    rows = guest.ask("scenario", files, scenario.sysctl, scenario.prepare, scenario.triggers)
    return [
        f"{row['trigger']}: said {row['said']}, did {row['did']}"
        for row in rows
        if row["said"]["unclear"]
        or (row["said"]["ok"], row["said"]["loaded"]) != (row["did"]["ok"], row["did"]["loaded"])
    ]


def compare(guest: Guest, image: Path, chosen: int, count: int) -> None:
    wrong = []
    for scenario in scenarios(chosen, count):
        if scenario.command_line:
            other = Guest(image, scenario.command_line)
            try:
                other.ask("upstream")
                found = play(other, scenario)
            finally:
                other.close()
        else:
            guest.load(scenario.base)
            found = play(guest, scenario)
        if found:
            wrong.append((scenario, found))
    assert not wrong, f"{VARIABLE}={chosen}: {wrong}"


def test_twelve_configurations_do_what_was_foretold(guest: Guest, image: Path) -> None:
    compare(guest, image, seed(), 12)


def test_a_command_that_prints_fails_where_the_kernel_calls_it(guest: Guest) -> None:
    """It has no open file there. What comes behind it in modprobe's list is not tried."""
    lines = "softdep dccp_ipv4 pre: sctp\ninstall dccp {}\n"
    commands = ("/bin/echo no", "echo no >/dev/null", "/bin/true 2>&1", "/bin/true >/dev/null 2>&1")
    for shown, loads in zip(commands, (False, True, False, True), strict=True):
        guest.load("up")
        files: dict[str, str | None] = {"/etc/modprobe.d/x.conf": lines.format(shown)}
        scenario = Scenario("prints", files, triggers=("sock4-dccp",))
        assert play(guest, scenario) == []
        assert ("sctp" in guest.ask("loaded")) is loads, shown


@pytest.mark.long
def test_sixty_configurations_do_what_was_foretold(guest: Guest, image: Path) -> None:
    compare(guest, image, fresh(), 60)


@pytest.mark.parametrize("shape", [nothing, alias, softdep, install_loads])
def test_the_fix_really_blocks(guest: Guest, shape: Callable[[Random], Scenario]) -> None:
    """The files that nodeward proposes for DCCP and SCTP, written over a configuration that
    redirects, cancels or loads, keep them out of a real kernel."""
    files = {} if shape is nothing else shape(Random(seed())).files
    guest.load("up")
    guest.ask("put", files, {})
    lines = [guest.ask("mend", component) for component in ("dccp", "sctp")]
    rows = guest.ask("scenario", {}, {}, [], ["sock4-dccp", "sock6-dccp", "sock4-sctp"])
    assert all(lines), (seed(), files)
    assert [row["did"]["ok"] for row in rows] == [False, False, False], (seed(), files, lines, rows)


@pytest.mark.parametrize(
    ("request_name", "lines"),
    [
        ("algif-hash", "softdep algif_hash pre: sctp\n"),
        ("crypto-md4", "softdep md4 post: sctp\n"),
        ("fs-udf", "install udf /sbin/modprobe sctp\n"),
        ("bridge", "install bridge /sbin/modprobe sctp\n"),
        ("tty-ldisc-1", "alias tty-ldisc-1 odd\ninstall odd /sbin/modprobe sctp\n"),
    ],
)
def test_a_way_in_that_is_foretold_is_one(guest: Guest, request_name: str, lines: str) -> None:
    """What an ordinary user does there makes the kernel ask for that name, and sctp comes along."""
    guest.load("up")
    guest.ask("put", {"/etc/modprobe.d/x.conf": f"blacklist sctp\n{lines}"}, {})
    state, because = guest.ask("exposure", "sctp")
    assert state.startswith("can be loaded"), because
    assert f"asks for {request_name}" in because
    assert "sctp" in guest.ask("other_way", request_name)


def test_a_module_that_loads_is_heard(guest: Guest) -> None:
    """By the socket that wakes the agent; and here, too, the kernel would tell of processes."""
    guest.load("up")
    told = guest.ask("heard", "sock4-sctp")
    assert "sctp" in told["did"]["loaded"]
    assert told["failed"] == {}
    assert told["heard"] == ["module"]


def test_a_program_of_interest_is_heard_and_no_other(guest: Guest) -> None:
    """events.exec: the connector speaks only in a machine's own network namespace."""
    guest.load("up")
    quiet: dict[str, object] = {"started": [], "ended": [], "failed": {}}
    assert guest.ask("heard_of", "kubelet") == quiet | {
        "started": ["process"],
        "ended": ["process"],
    }
    assert guest.ask("heard_of", "sleeper") == quiet


def test_a_blocked_attempt_is_told_by_the_process_connector(guest: Guest) -> None:
    """No module comes, so there is no uevent; but the kernel has started modprobe."""
    guest.load("up")
    guest.ask("put", {"/etc/modprobe.d/x.conf": "install dccp /bin/false\n"}, {})
    told = guest.ask("attempted", "sock4-dccp")
    assert "net-pf-2-proto-33-type-6" in {requested(argv) for argv in told["started"]}
    assert "dccp" not in guest.ask("loaded")
    pids = [parse_exec(base64.b64decode(raw)) for raw in told["raw"]]
    assert all(pids)
