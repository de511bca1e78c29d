"""What a node does to an agent: it runs out of watches, it freezes, its clocks jump."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ANONYMOUS = "kubelet.authn.anonymous"
Make = Callable[..., Any]


def status_of(stand: Any, check: str = ANONYMOUS) -> str | None:
    finding = stand.posture.get(check)
    return finding["status"] if finding else None


def ready(agent: Any, stand: Any) -> None:
    agent.start()
    agent.heard("READY=1")
    assert stand.wait_for(lambda: status_of(stand) == "pass"), agent.log()


# -- watches -------------------------------------------------------------------------------

# A user namespace has a count of its own; the machine's setting stays as it is.
FEW = 'echo 4 >/proc/sys/user/max_inotify_watches && exec "$@"'


@pytest.mark.root
def test_watches_that_are_used_up_are_told_and_changes_are_found_by_comparing(
    make: Make, stand: Any
) -> None:
    agent = make(stand.url, looks={"interval_s": 2}, events={"floor_s": 1})
    agent.within = ["unshare", "--user", "--map-root-user", "--", "sh", "-c", FEW, "sh"]
    ready(agent, stand)
    assert stand.wait_for(lambda: status_of(stand, "agent.watch.degraded") == "fail"), agent.log()
    told = stand.posture["agent.watch.degraded"]
    assert "fs.inotify.max_user_watches is used up" in str(told)
    agent.configure(looks={"interval_s": 3600})
    agent.forget()
    agent.send(signal.SIGHUP)
    agent.heard("READY=1")
    agent.set_anonymous(True)
    assert stand.wait_for(lambda: status_of(stand) == "fail"), agent.log()


def test_events_that_the_kernel_dropped_are_told_and_all_is_looked_at(
    make: Make, stand: Any
) -> None:
    """More changes than the kernel keeps, while the agent does not read."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    agent = make(stand.url)
    ready(agent, stand)
    agent.send(signal.SIGSTOP)
    folder = agent.root / "var/lib/kubelet"
    for n in range(limit // 2 + 10):  # equal neighbours are merged
        (folder / "a").touch()
        (folder / f"b{n % 2}").touch()
    agent.set_anonymous(True)  # of this there is no event
    agent.send(signal.SIGCONT)
    assert stand.wait_for(lambda: status_of(stand) == "fail"), agent.log()
    assert stand.wait_for(lambda: status_of(stand, "agent.watch.degraded") == "fail")
    assert "the kernel dropped events" in agent.log()


# -- time ----------------------------------------------------------------------------------


@pytest.fixture
def cgroup(tmp_path: Path) -> Iterator[Path]:
    """A control group of ours, in the kernel's own tree of version 2."""
    tree = tmp_path / "cgroup"
    tree.mkdir()
    subprocess.run(["mount", "-t", "cgroup2", "none", tree], check=True)
    made = tree / f"nodeward-test-{os.getpid()}"
    try:
        made.mkdir()
        yield made
    finally:
        (made / "cgroup.freeze").write_text("0")
        (made / "cgroup.kill").write_text("1")
        while "populated 0" not in (made / "cgroup.events").read_text():
            time.sleep(0.01)
        made.rmdir()
        subprocess.run(["umount", "-l", tree], check=True)


def frozen(cgroup: Path) -> bool:
    return "frozen 1" in (cgroup / "cgroup.events").read_text()


@pytest.mark.root
def test_a_frozen_control_group_goes_on_when_it_thaws(make: Make, stand: Any, cgroup: Path) -> None:
    agent = make(stand.url)
    ready(agent, stand)
    (cgroup / "cgroup.procs").write_text(str(agent.process.pid))
    (cgroup / "cgroup.freeze").write_text("1")
    while not frozen(cgroup):
        time.sleep(0.01)
    agent.set_anonymous(True)
    assert not stand.wait_for(lambda: status_of(stand) == "fail", 2)
    (cgroup / "cgroup.freeze").write_text("0")
    assert stand.wait_for(lambda: status_of(stand) == "fail"), agent.log()
    agent.stop()


# Both clocks as the agent reads them, moved by what a file says.
JUMPING = """
import time
real_time, real_clock = time.time, time.clock_gettime
def moved(line):
    try:
        return float(open({file!r}).read().split()[line])
    except (OSError, ValueError, IndexError):
        return 0.0
time.time = lambda: real_time() + moved(0)
time.clock_gettime = lambda which: real_clock(which) + moved(1)
"""


def clocks(agent: Any, wall_s: float, boot_s: float) -> None:
    whole = agent.folder / "clocks.new"
    whole.write_text(f"{wall_s} {boot_s}")
    whole.rename(agent.folder / "clocks")


def with_clocks(agent: Any) -> Any:
    text = JUMPING.format(file=str(agent.folder / "clocks"))
    (agent.folder / "sitecustomize.py").write_text(text)
    agent.path = [agent.folder]
    return agent


YEAR_S = 365 * 86400.0


def test_a_wall_clock_that_jumps_loses_and_delays_nothing(make: Make, stand: Any) -> None:
    stand.skew_s = 11 * YEAR_S
    agent = with_clocks(make(stand.url, looks={"interval_s": 3600}))
    ready(agent, stand)
    told = ["pass"]
    for n, jump in enumerate((10 * YEAR_S, -10 * YEAR_S, 0.0)):
        clocks(agent, jump, 0)
        agent.set_anonymous(n % 2 == 0)
        told.append("fail" if n % 2 == 0 else "pass")
        assert stand.wait_for(lambda: status_of(stand) == told[-1]), agent.log()
    found = [f["status"] for r in stand.history for f in r["findings"] if f["check"] == ANONYMOUS]
    assert found == told
    assert status_of(stand, "agent.spool.dropped") == "pass"
    assert agent.log().count("looked: checks") < 3 + len(told)  # no storm of looks


def test_after_a_suspend_what_is_overdue_is_done(make: Make, stand: Any) -> None:
    """The boot clock has counted the night; nothing else has happened."""
    agent = with_clocks(
        make(stand.url, looks={"interval_s": 3600, "jitter": 0}, events={"floor_s": 1})
    )
    ready(agent, stand)
    stand.skew_s = YEAR_S

    def told() -> int:
        return len(stand.heartbeats) + len(stand.history)

    before = told()
    agent.send(signal.SIGSTOP)
    clocks(agent, 8 * 3600, 8 * 3600)
    agent.send(signal.SIGCONT)
    assert stand.wait_for(lambda: told() > before), agent.log()
    agent.set_anonymous(True)
    assert stand.wait_for(lambda: status_of(stand) == "fail")


# -- what is missing, full or slow for a while --------------------------------------------------


def test_a_machine_id_that_is_gone_for_a_while_costs_no_identity(make: Make, stand: Any) -> None:
    """Its token was for one use."""
    agent = make(stand.url)
    file = agent.root / "etc/machine-id"
    file.write_text("0123456789abcdef" * 2 + "\n")
    ready(agent, stand)
    stand.tokens.clear()
    key = (agent.folder / "state/identity/key").read_bytes()
    file.write_text("")
    agent.set_anonymous(True)
    assert stand.wait_for(lambda: status_of(stand) == "fail"), agent.log()
    file.write_text("0123456789abcdef" * 2 + "\n")
    agent.set_anonymous(False)
    assert stand.wait_for(lambda: status_of(stand) == "pass"), agent.log()
    assert (agent.folder / "state/identity/key").read_bytes() == key
    assert len(stand.keys) == 1


def shown(status: str) -> str:
    return f'nodeward_check_info{{check="{ANONYMOUS}",severity="critical",status="{status}"}} 1'


def has(file: Path, words: str) -> None:
    """Wait until it says so."""
    until = time.monotonic() + 60
    while not (file.exists() and words in file.read_text()):
        assert time.monotonic() < until, file.exists() and file.read_text()
        time.sleep(0.02)


def test_a_collector_that_never_ends_its_answer_keeps_nobody_from_looking(
    make: Make, dripping: Any, tmp_path: Path
) -> None:
    looks = {"interval_s": 3600, "limit_s": 8}
    with dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n") as url:
        agent = make(url, looks=looks, metrics={"textfile": str(tmp_path)})
        agent.start()
        has(tmp_path / "nodeward.prom", shown("pass"))
        assert (agent.folder / "run/agent.json").exists()
        agent.set_anonymous(True)
        has(tmp_path / "nodeward.prom", shown("fail"))
        agent.logged("the answer took too long")
        agent.stop(signal.SIGKILL)


@pytest.mark.root
def test_a_disk_that_is_full_keeps_nobody_from_looking(
    make: Make, stand: Any, tmp_path: Path
) -> None:
    """Status and metrics, elsewhere, tell what is; and it says that nothing is kept."""
    agent = make(stand.url, looks={"interval_s": 3600}, metrics={"textfile": str(tmp_path)})
    state = agent.folder / "state"
    state.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "none", state], check=True)
    try:
        ready(agent, stand)
        with pytest.raises(OSError, match="space"):
            (state / "filler").write_bytes(b"x" * (2 << 20))
        agent.set_anonymous(True)
        has(tmp_path / "nodeward.prom", shown("fail"))
        has(tmp_path / "nodeward.prom", "nodeward_spool_failing 1")
        has(agent.folder / "run/agent.json", '"failing": "')
        assert status_of(stand) == "pass"
        (state / "filler").unlink()
        assert stand.wait_for(lambda: status_of(stand) == "fail"), agent.log()
        has(tmp_path / "nodeward.prom", "nodeward_spool_failing 0")
    finally:
        agent.stop(signal.SIGKILL)
        subprocess.run(["umount", "-l", state], check=True)


# -- what it says of itself ------------------------------------------------------------------


def test_an_agent_over_its_budget_says_so(make: Make, stand: Any) -> None:
    agent = make(stand.url, looks={"interval_s": 1}, budget={"cpu_share": 0.000001})
    ready(agent, stand)
    assert stand.wait_for(lambda: status_of(stand, "agent.budget") == "fail"), agent.log()


def test_a_key_that_is_taken_for_another_nodes_is_told(
    make: Make, stand: Any, refusal: Any
) -> None:
    """The collector refuses twice (a session, and what follows); the next report tells of it."""
    agent = make(stand.url, looks={"interval_s": 1})
    ready(agent, stand)
    with stand.lock:
        stand.moods = [refusal(403, "other-node"), refusal(403, "other-node")]
    check = "agent.identity.conflict"
    assert stand.wait_for(lambda: status_of(stand, check) == "fail"), agent.log()
    assert stand.wait_for(lambda: status_of(stand, check) == "pass"), agent.log()
