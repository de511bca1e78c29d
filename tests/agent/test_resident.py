"""The daemon as systemd starts it: a real process, a node of files, a collector that answers."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from nodeward.agent.seal import BusyError, seal

ANONYMOUS = "kubelet.authn.anonymous"


Make = Callable[..., Any]


def status_of(stand: Any, check: str = ANONYMOUS) -> str | None:
    finding = stand.posture.get(check)
    return finding["status"] if finding else None


def changes(stand: Any) -> list[str]:
    """Every status of ANONYMOUS that was told."""
    return [
        f["status"]
        for report in stand.history
        for f in report["findings"]
        if f["check"] == ANONYMOUS
    ]


def test_it_looks_enrols_sends_and_stops(make: Make, stand: Any) -> None:
    agent = make(stand.url)
    agent.start()
    agent.heard("READY=1")
    assert stand.wait_for(lambda: status_of(stand) == "pass")
    agent.heard("STATUS=0 reports wait; all is well")
    assert agent.stop() == 0
    agent.heard("STOPPING=1")
    assert stand.history[0]["node"] == "n1"
    assert stand.posture["agent.spool.dropped"]["status"] == "pass"


def test_a_change_of_a_file_becomes_a_changed_finding(make: Make, stand: Any) -> None:
    """And only what depends on the file is judged again: the report is a delta of few findings."""
    agent = make(stand.url)
    agent.start()
    agent.heard("READY=1")
    assert stand.wait_for(lambda: status_of(stand) == "pass")
    agent.set_anonymous(True)
    assert stand.wait_for(lambda: status_of(stand) == "fail")
    last = stand.history[-1]
    assert last["kind"] == "delta"
    assert len(last["findings"]) < 10


def test_what_was_missing_is_noticed_when_it_comes(make: Make, stand: Any) -> None:
    agent = make(stand.url)
    lost = agent.root / "etc/kubernetes/pki/apiserver.crt"
    content = lost.read_bytes()
    lost.unlink()
    agent.start()
    agent.heard("READY=1")
    assert stand.wait_for(lambda: bool(stand.posture))
    assert status_of(stand, "cert.expiry.apiserver") != "pass"
    lost.write_bytes(content)
    assert stand.wait_for(lambda: status_of(stand, "cert.expiry.apiserver") == "pass")


def with_anonymous(folder: Path) -> None:
    """Let the configuration of the kubelet that is a copy in `folder` let anybody in."""
    path = folder / "var/lib/kubelet/config.yaml"
    written = path.stat().st_mtime_ns
    text = path.read_text().replace("    enabled: false", "    enabled: true", 1)
    new = path.with_name("new")
    new.write_text(text)
    new.chmod(0o644)
    os.utime(new, ns=(written, written))
    new.rename(path)


def copy_of(root: Path, to: Path) -> Path:
    for name in ("etc", "var"):
        shutil.copytree(root / name, to / name, symlinks=True, ignore=lambda _, names: [
            name for name in names if name.endswith(".sock")
        ])  # fmt: skip
    return to


def test_a_folder_above_that_is_swapped_is_noticed(make: Make, stand: Any) -> None:
    agent = make(stand.url, events={"floor_s": 3600})
    new = copy_of(agent.root, agent.folder / "new")
    with_anonymous(new)
    agent.start()
    agent.heard("READY=1")
    assert stand.wait_for(lambda: status_of(stand) == "pass")
    (agent.root / "var").rename(agent.root / "var.old")
    (new / "var").rename(agent.root / "var")
    assert stand.wait_for(lambda: status_of(stand) == "fail")


def test_files_of_a_kubelet_with_a_root_of_its_own_are_watched(make: Make, stand: Any) -> None:
    agent = make(stand.url, events={"floor_s": 3600})
    (process,) = [
        path.parent
        for path in (agent.root / "proc").glob("[0-9]*/cmdline")
        if path.read_bytes().startswith(b"kubelet")
    ]
    for number, folder in enumerate((agent.root / "proc/1", process)):
        (folder / "ns").mkdir(exist_ok=True)
        (folder / "ns/mnt").unlink(missing_ok=True)
        (folder / "ns/mnt").symlink_to(f"mnt:[{number}]")
    (process / "root").unlink(missing_ok=True)
    copy_of(agent.root, process / "root")
    agent.start()
    agent.heard("READY=1")
    assert stand.wait_for(lambda: status_of(stand) == "pass")
    with_anonymous(process / "root")
    assert stand.wait_for(lambda: status_of(stand) == "fail")


@pytest.mark.root
def test_a_file_system_mounted_over_a_watched_folder_is_compared(make: Make, stand: Any) -> None:
    agent = make(stand.url, events={"floor_s": 1})
    new = copy_of(agent.root, agent.folder / "new")
    with_anonymous(new)
    agent.start()
    agent.heard("READY=1")
    assert stand.wait_for(lambda: status_of(stand) == "pass")
    over = agent.root / "var/lib/kubelet"
    subprocess.run(["mount", "--bind", new / "var/lib/kubelet", over], check=True)
    try:
        assert stand.wait_for(lambda: status_of(stand) == "fail")
    finally:
        agent.stop(signal.SIGKILL)
        subprocess.run(["umount", "-l", over], check=True)


def test_a_part_with_a_defect_is_told_and_the_rest_goes_on(
    make: Make, stand: Any, tmp_path: Path
) -> None:
    """One defect before the look, one in it, one after it."""
    agent = make(stand.url, metrics={"textfile": str(tmp_path)})
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "if 'nodeward.agent.start' in sys.orig_argv:\n"
        "    import nodeward.agent.plan, nodeward.agent.sandbox, nodeward.agent.metrics\n"
        "    nodeward.agent.sandbox._hidden = None\n"
        "    nodeward.agent.plan._add = None\n"
        "    nodeward.agent.metrics._lines = None\n"
    )
    agent.path = [tmp_path]
    agent.start()
    agent.heard("READY=1")
    assert stand.wait_for(lambda: status_of(stand, "agent.part.broken") == "fail"), agent.log()
    assert status_of(stand) == "pass"
    assert status_of(stand, "agent.sandbox") == "fail"
    told = str(stand.posture["agent.part.broken"]["evidence"])
    assert all(f"{part}: TypeError" in told for part in ("sandbox", "watches", "status"))
    agent.heard("sandbox: TypeError")
    (tmp_path / "sitecustomize.py").write_text("")
    agent.send(signal.SIGHUP)
    assert stand.wait_for(lambda: status_of(stand, "agent.part.broken") == "pass"), agent.log()
    assert status_of(stand, "agent.sandbox") == "pass"


def test_a_worker_that_fails_is_told_to_systemd_and_to_the_collector(
    make: Make, stand: Any, tmp_path: Path
) -> None:
    agent = make(stand.url)
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'nodeward.agent.start' in sys.orig_argv:\n"
        "    import nodeward.agent.locks\n    nodeward.agent.locks.own = None\n"
    )
    agent.path = [tmp_path]
    agent.start()
    agent.heard("STATUS=no look is finished: the worker ended with status 1")
    (tmp_path / "sitecustomize.py").write_text("")
    assert stand.wait_for(lambda: status_of(stand, "agent.part.broken") == "fail"), agent.log()
    assert stand.wait_for(lambda: status_of(stand, "agent.part.broken") == "pass"), agent.log()


def test_the_resident_imports_little(make: Make, stand: Any, tmp_path: Path) -> None:
    """Looked at in a running one, after a look: what it maps and what it has imported."""
    agent = make(stand.url)
    show = tmp_path / "sitecustomize.py"
    show.write_text(
        "import atexit, os, sys\n"
        f"path = {str(tmp_path / 'modules')!r} + '.' + str(os.getpid())\n"
        "atexit.register(lambda: open(path, 'w').write('\\n'.join(sys.modules)))\n"
    )
    agent.path = [tmp_path]
    agent.start()
    agent.heard("READY=1")
    assert agent.process is not None
    pid = agent.process.pid
    agent.stop()
    imported = set((tmp_path / f"modules.{pid}").read_text().split())
    heavy = {"pyroute2", "requests", "cryptography", "psutil", "asyncio", "ssl", "http", "urllib3"}
    heavy |= {"click", "sqlite3", "email", "unittest", "prometheus_client"}
    assert "nodeward.agent.resident" in imported
    assert not heavy & {name.split(".")[0] for name in imported}
    ours = {name for name in imported if name.startswith("nodeward.")}
    assert not {n for n in ours if n.split(".")[1] not in ("agent", "cli")}
    assert not {n for n in ours if n.startswith("nodeward.cli.")}


def test_a_broken_file_at_reload_keeps_the_old_settings(make: Make, stand: Any) -> None:
    agent = make(stand.url)
    agent.start()
    agent.heard("READY=1")
    for bad in ({"nod": "x"}, {"checks": {"kubelet.no.such": {"a": 1}}}):
        agent.forget()
        agent.configure(**bad)
        agent.send(signal.SIGHUP)
        agent.heard("READY=1")
    assert "did you mean 'node'?" in agent.log()
    assert "kubelet.no.such: unknown key" in agent.log()
    agent.set_anonymous(True)
    assert stand.wait_for(lambda: status_of(stand) == "fail")


def test_a_reload_takes_new_settings(make: Make, stand: Any, new_stand: Any, serve: Any) -> None:
    agent = make("http://127.0.0.1:9")
    agent.start()
    agent.heard("READY=1")
    agent.url = stand.url
    agent.configure()
    agent.send(signal.SIGHUP)
    assert stand.wait_for(lambda: status_of(stand) == "pass")
    agent.heard("RELOADING=1")


def test_systemd_is_asked_for_as_much_time_as_the_first_look_may_take(make: Make) -> None:
    agent = make(None, looks={"first_within_s": 3600, "limit_s": 100})
    agent.start()
    agent.heard(f"EXTEND_TIMEOUT_USEC={(3600 + 100 + 30) * 1_000_000}")


def test_seal_is_refused_between_the_looks_of_a_running_agent(make: Make, stand: Any) -> None:
    agent = make(stand.url)
    agent.start()
    assert stand.wait_for(lambda: status_of(stand) == "pass")
    until = time.monotonic() + 30
    while agent.workers() and time.monotonic() < until:
        time.sleep(0.01)
    state = str(agent.folder / "state")
    with pytest.raises(BusyError):
        seal(Path("/"), state, str(agent.folder / "run"), hold=False)
    assert (agent.folder / "state/identity/key").exists()


def test_a_state_folder_that_others_could_read_is_closed(make: Make, stand: Any) -> None:
    """A kubelet makes the folder of a hostPath volume with mode 0755."""
    agent = make(stand.url)
    state = agent.folder / "state"
    state.mkdir(mode=0o755)
    agent.start()
    agent.heard("READY=1")
    assert state.stat().st_mode & 0o777 == 0o700


def test_a_wrong_configuration_ends_with_status_2(make: Make) -> None:
    for bad in ({"nod": "x"}, {"checks": {"kubelet.no.such": {"a": 1}}}):
        agent = make(None, **bad)
        agent.start()
        assert agent.process is not None
        assert agent.process.wait(30) == 2
        assert "unknown key" in agent.log()
        assert "agent.yaml: " in agent.log()


def test_a_worker_that_hangs_is_killed_and_the_change_is_still_found(
    make: Make, stand: Any
) -> None:
    """SIGSTOP stands for a worker stuck in the kernel."""
    agent = make(stand.url, looks={"limit_s": 8.0})
    agent.start()
    agent.heard("READY=1")
    assert stand.wait_for(lambda: status_of(stand) == "pass")
    agent.set_anonymous(True)
    until = time.monotonic() + 10
    while not (workers := agent.workers()) and time.monotonic() < until:
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):
        os.kill(workers[0], signal.SIGSTOP)
    assert stand.wait_for(lambda: status_of(stand) == "fail")


def test_the_watchdog_is_pinged_while_looks_are_taken(make: Make, stand: Any) -> None:
    agent = make(stand.url)
    agent.watchdog_s = 0.5
    agent.start()
    for _ in range(3):
        agent.heard("WATCHDOG=1")
        agent.forget()


def test_metrics_are_served_on_loopback(make: Make, stand: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    agent = make(stand.url, metrics={"listen": f"127.0.0.1:{port}"})
    silent = socket.socket()
    agent.start()
    agent.heard("READY=1")
    silent.connect(("127.0.0.1", port))  # a client that says nothing must not keep the others out
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    silent.close()
    assert f'nodeward_check_info{{check="{ANONYMOUS}",severity="critical",status="pass"}} 1' in text


def test_the_textfile_collector_finds_the_posture_and_nobody_else(
    make: Make, stand: Any, tmp_path: Path
) -> None:
    (tmp_path / "textfile").mkdir()
    agent = make(stand.url, metrics={"textfile": str(tmp_path / "textfile")})
    agent.start()
    agent.heard("READY=1")
    written = tmp_path / "textfile/nodeward.prom"
    assert f'check="{ANONYMOUS}"' in written.read_text()
    assert 'component="apiserver",path="/etc/kubernetes/pki/apiserver.crt"' in written.read_text()
    assert written.stat().st_mode & 0o777 == 0o644
    readable = {p.name for p in (agent.folder / "run").iterdir() if p.stat().st_mode & 0o004}
    assert readable == {"agent.json"}
    assert not any(p.stat().st_mode & 0o077 for p in (agent.folder / "state").iterdir())


def test_metrics_that_cannot_be_written_are_told_once(make: Make, stand: Any) -> None:
    agent = make(stand.url, metrics={"textfile": "/nowhere/to/be/found"}, looks={"interval_s": 1})
    agent.start()
    agent.heard("READY=1")
    for wanted in (True, False):
        agent.set_anonymous(wanted)
        assert stand.wait_for(lambda w=wanted: status_of(stand) == ("fail" if w else "pass"))
    told = "status or metrics could not be written: why=/nowhere/to/be/found:"
    assert agent.log().count(told) == 1


@pytest.mark.root
def test_a_disk_that_is_full_costs_time_and_nothing_else(make: Make, stand: Any) -> None:
    """The state folder on a tmpfs of 1 MiB; what fills it goes away after a while."""
    agent = make(stand.url)
    state = agent.folder / "state"
    state.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "none", state], check=True)
    try:
        agent.start()
        agent.heard("READY=1")
        assert stand.wait_for(lambda: status_of(stand) == "pass")
        with pytest.raises(OSError, match="space"):
            (state / "filler").write_bytes(b"x" * (2 << 20))
        agent.set_anonymous(True)
        agent.logged("could not be kept")
        (state / "filler").unlink()
        assert stand.wait_for(lambda: status_of(stand) == "fail")
        assert stand.posture["agent.spool.dropped"]["status"] == "pass"
    finally:
        agent.stop(signal.SIGKILL)
        subprocess.run(["umount", "-l", state], check=True)


def test_a_frozen_agent_goes_on_when_it_thaws(make: Make, stand: Any) -> None:
    """A cgroup that is frozen, or a suspended machine: here by SIGSTOP."""
    agent = make(stand.url)
    agent.start()
    agent.heard("READY=1")
    assert stand.wait_for(lambda: status_of(stand) == "pass")
    agent.send(signal.SIGSTOP)
    agent.set_anonymous(True)
    time.sleep(1)
    agent.send(signal.SIGCONT)
    assert stand.wait_for(lambda: status_of(stand) == "fail")


def test_an_outage_is_survived_with_every_change_accounted_for(
    make: Make, new_stand: Any, serve: Any
) -> None:
    first = serve(new_stand())
    stand = next(first)
    port = int(stand.url.rpartition(":")[2])
    agent = make(stand.url, looks={"interval_s": 2})
    agent.start()
    assert stand.wait_for(lambda: status_of(stand) == "pass")
    first.close()
    for on in (True, False, True):
        agent.set_anonymous(on)
        agent.kept("fail" if on else "pass")
    second = serve(stand, None, port)
    next(second)
    assert stand.wait_for(lambda: changes(stand) == ["pass", "fail", "pass", "fail"], 60)
    second.close()
    assert status_of(stand, "agent.spool.dropped") == "pass"


def kills(make: Make, stand: Any, count: int, seed: int) -> None:
    """Kill agent and worker at random instants while a setting flips. The stand checks that no
    sequence number comes twice with another content, and that each delta starts from what it
    holds."""
    luck = random.Random(seed)
    agent = make(stand.url, events={"quiet_s": 0.02, "latest_s": 0.1})
    start = time.monotonic()
    agent.start()
    assert stand.wait_for(lambda: status_of(stand) == "pass")
    span = 1.3 * (time.monotonic() - start)  # so that every part of a life is hit
    on = False
    for _ in range(count):
        on = not on
        agent.set_anonymous(on)
        time.sleep(luck.uniform(0, span))
        if luck.random() < 0.5 and (workers := agent.workers()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(workers[0], signal.SIGKILL)
        else:
            agent.stop(signal.SIGKILL)
            agent.start()
    assert len(stand.history) > count // 50  # it got somewhere in between; how far is the load's
    wanted = "fail" if on else "pass"
    # After many deaths in a row the next look is a while away.
    assert stand.wait_for(lambda: status_of(stand) == wanted, 200), agent.log()
    assert stand.posture["agent.spool.dropped"]["status"] == "pass"
    assert not any("500 defect" in line for line in agent.log().splitlines()), agent.log()
    accounted(stand)


def accounted(stand: Any) -> None:
    """Nothing that was kept is missing and nothing came twice: the numbers of one spool have no
    gap, and each report that names the setting says something else than the one before."""
    assert len({boot for boot, _ in stand.seen}) == 1
    assert sorted(seq for _, seq in stand.seen) == list(range(1, len(stand.seen) + 1))
    told = [f for report in stand.history for f in report["findings"] if f["check"] == ANONYMOUS]
    assert not [finding for finding, next_ in pairwise(told) if finding == next_]


def test_random_kills_lose_and_double_nothing(make: Make, stand: Any) -> None:
    kills(make, stand, 20, seed=1)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_thousand_random_kills(make: Make, stand: Any) -> None:
    kills(make, stand, 1000, seed=2)


def test_who_makes_many_events_does_not_keep_the_agent_busy(make: Make, stand: Any) -> None:
    """A neighbour of a watched file that is written all the time."""
    agent = make(stand.url)
    agent.start()
    agent.heard("READY=1")
    assert stand.wait_for(lambda: status_of(stand) == "pass")
    assert agent.process is not None
    before = switches(agent.process.pid)
    start = time.monotonic()
    while (passed := time.monotonic() - start) < 2:
        (agent.root / "var/lib/kubelet/noise").write_text("x")
    assert switches(agent.process.pid) - before < 40 * passed
    agent.set_anonymous(True)
    assert stand.wait_for(lambda: status_of(stand) == "fail")


def switches(pid: int) -> int:
    """How often it has waited for something."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("voluntary_ctxt")).split()[1])


def test_a_worker_is_bounded(make: Make, stand: Any) -> None:
    agent = make(stand.url, looks={"memory_limit_bytes": 300 << 20, "cpu_limit_s": 7})
    agent.start()
    limits = ""
    until = time.monotonic() + 30
    while "7                    12" not in limits and time.monotonic() < until:
        for pid in agent.workers():
            with contextlib.suppress(OSError):
                limits = Path(f"/proc/{pid}/limits").read_text()
        time.sleep(0.005)
    assert str(300 << 20) in limits
