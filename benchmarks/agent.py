"""What the agent costs its node, and how soon a change is known in a real collector.

    script/isolated .venv/bin/python benchmarks/agent.py [--python PYTHON] [--busy] [--peers]

Run as root, after `script/setup tests`. `--python` is the interpreter that is measured
(/usr/bin/python3), `--busy` adds 2,000 processes and 5,000 sockets, `--peers` runs lynis and
OpenSCAP beside it where they are installed.
It runs in a pid namespace of its own, so that, as on a node, pid 1 shares our network and all
processes are seen. A look is a whole one as it happens every 5 minutes: worker, facts, verdicts,
spool, and a heartbeat to a real collector over TLS.
Absolute figures are those of this machine under its load of today; a peer or a bare interpreter is
measured in the same run, and the ratio is what counts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / name) for name in ("probes", "agent", "collector", "tests")]

import daemon as daemon_module  # noqa: E402
from centre import Centre  # noqa: E402

IDLE_S = 60.0
CHANGES = 100
PATH = os.pathsep.join(str(ROOT / name) for name in ("probes", "agent", "collector"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="the interpreter that is measured")
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--idle", type=float, default=IDLE_S, metavar="SECONDS")
    parser.add_argument("--changes", type=int, default=CHANGES)
    asked = parser.parse_args()
    if [name for _, name in socket.if_nameindex()] != ["lo"]:
        parser.error("run it through script/isolated")
    become_pid_one()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a package's modules are compiled
    os.environ["NODEWARD_METADATA"] = "off"
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder)) as centre,
        crowd(asked.busy) as described,
    ):
        print(f"on {os.cpu_count()} cores at load {os.getloadavg()[0]:.1f}, {described}")
        look_s = worker(asked.python, Path(folder), centre)
        resident(asked.python, Path(folder), asked.idle, look_s, centre)
        if asked.changes:
            latency(asked.python, Path(folder), asked.changes, centre)
        if asked.peers:
            peers(look_s)


def become_pid_one() -> None:
    if os.environ.get("NODEWARD_BENCHMARK") != "inside":
        os.environ["NODEWARD_BENCHMARK"] = "inside"
        apart = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
        os.execvp("unshare", [*apart, sys.executable, *sys.argv])


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Centre]:
    centre = Centre(folder / "centre")
    try:
        centre.start()
        yield centre
    finally:
        centre.stop()


def say(what: str, value: str, goal: str = "") -> None:
    print(f"{what:<46} {value:>24}   {goal}")


# -- one look ------------------------------------------------------------------------------


def worker(python: str, folder: Path, centre: Centre) -> float:
    """CPU seconds of one whole look in a fresh worker: the middle one of several, and their
    spread."""
    job = {"kind": "full", "config": {"tree": settings(folder, centre)}}
    bare = min(timed([python, "-c", "pass"])[0] for _ in range(5))
    one_look(python, job)  # joins, sends everything, begins the session
    one_look(python, job)
    looks = [one_look(python, job) for _ in range(9)]
    spent = sorted(float(look["cpu_s"]) for look in looks)
    middle = statistics.median(spent)
    span = f"{spent[0] * 1000:.0f} to {spent[-1] * 1000:.0f}"
    say(f"a look: {looks[0]['looked']} checks, CPU", f"{middle * 1000:.0f} ms", span)
    say("  against a bare interpreter", f"{middle / bare:.0f} times")
    say("  wall", f"{min(look['wall_s'] for look in looks):.2f} s", "at most 1 s")
    peak = max(look["peak_bytes"] for look in looks)
    say("  peak", f"{peak / 2**20:.0f} MiB", "at most 60 MiB")
    return middle


def one_look(python: str, job: dict[str, Any]) -> dict[str, Any]:
    start = time.monotonic()
    ran = subprocess.run(
        [python, "-m", "nodeward.agent.start", "60", str(512 << 20)],
        input=json.dumps(job) + "\n", env=environment(), capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    result = json.loads(ran.stdout)
    assert not result.get("failed"), result
    return {**result, "wall_s": time.monotonic() - start}


def settings(folder: Path, centre: Centre | None = None) -> dict[str, Any]:
    tree: dict[str, Any] = {
        "node": "bench",
        "state_dir": str(folder / "state"),
        "run_dir": str(folder / "run"),
        "metadata": "off",
    }
    if centre is not None:
        token = folder / "token"
        token.write_text(
            centre.manage("token", "create", "--cluster", "default", "--node", "bench")
        )
        tree["enrol"] = {"join_token_file": str(token)}
        tree["collector"] = {"urls": [centre.url], "ca": [centre.ca]}
    return tree


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": PATH}


def timed(command: list[str]) -> tuple[float, float, int]:
    """CPU seconds, wall seconds and peak bytes of a program and its children."""
    start = time.monotonic()
    devnull = os.open(os.devnull, os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, devnull, n) for n in (0, 1, 2)]
    pid = os.posix_spawnp(command[0], command, environment(), file_actions=actions)
    os.close(devnull)
    _, _, usage = os.wait4(pid, 0)
    return usage.ru_utime + usage.ru_stime, time.monotonic() - start, usage.ru_maxrss * 1024


# -- between looks -------------------------------------------------------------------------


def resident(python: str, folder: Path, idle_s: float, look_s: float, centre: Centre) -> None:
    file = folder / "agent.yaml"
    file.write_text(json.dumps(settings(folder, centre)))
    shutil.rmtree(folder / "run")
    process = subprocess.Popen(
        [python, "-m", "nodeward.agent", str(file)], env=environment(), stderr=subprocess.DEVNULL
    )
    try:
        while not (folder / "run/agent.json").exists():
            time.sleep(0.1)
        time.sleep(5)  # the worker's end, and what the first comparison allocates
        wakes, own = switches(process.pid), cpu(process.pid)
        time.sleep(idle_s)
        wakes, own = switches(process.pid) - wakes, cpu(process.pid) - own
        status = Path(f"/proc/{process.pid}/status").read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
    say("resident, RSS", f"{memory(status, 'VmRSS') / 1024:.1f} MiB", "at most 25 MiB")
    say("  of it anonymous", f"{memory(status, 'RssAnon') / 1024:.1f} MiB", "at most 12 MiB")
    say("  threads", str(memory(status, "Threads")))
    say("  wake-ups while nothing happens", f"{wakes / idle_s:.3f} /s", "at most 0.2 /s")
    own_share = own / idle_s
    say("  its own CPU", f"{own_share:.4%} of one core")
    share = own_share + look_s / 300
    say("all of it at a look in 5 minutes", f"{share:.3%} of one core", "0.15 %; busy 0.3 %")


def switches(pid: int) -> int:
    return memory(Path(f"/proc/{pid}/status").read_text(), "voluntary_ctxt_switches")


def cpu(pid: int) -> float:
    """Seconds on a processor, to the nanosecond: ticks of 10 ms would show nothing."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def memory(status: str, name: str) -> int:
    line = next(line for line in status.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])


# -- from a change to the collector --------------------------------------------------------


def latency(python: str, folder: Path, changes: int, centre: Centre) -> None:
    """From the rename on disk to the moment at which the collector has the change durably."""
    daemon_module.PYTHON = python
    daemon = daemon_module.Daemon(
        folder, None, looks={"interval_s": 600}, budget={"cpu_share": 1.0},
        state_dir=str(folder / "state-of-n1"),
    )  # fmt: skip
    try:
        daemon.token = centre.manage("token", "create", "--cluster", "default", "--node", "n1")
        daemon.url, daemon.ca = centre.url, centre.ca
        daemon.configure()
        daemon.start()
        centre.until(lambda: centre.status() == "pass")
        waits = [one_change(daemon, centre, n % 2 == 0) for n in range(changes)]
    finally:
        daemon.stop(signal.SIGTERM)
        daemon.close()
    waits.sort()
    say(f"a change until it is in the collector ({changes})", f"{statistics.median(waits):.2f} s")
    say("  95 of 100", f"{waits[int(len(waits) * 0.95)]:.2f} s", "at most 1 s")
    say("  99 of 100", f"{waits[int(len(waits) * 0.99)]:.2f} s", "at most 2 s")


def one_change(daemon: daemon_module.Daemon, centre: Centre, on: bool) -> float:
    time.sleep(random.uniform(0.2, 0.6))
    before = len(centre.changes())
    start = time.time()
    daemon.set_anonymous(on)
    centre.until(lambda: len(centre.changes()) > before)
    return centre.last_change() - start


# -- a busy node, and others ---------------------------------------------------------------


@contextlib.contextmanager
def crowd(busy: bool) -> Iterator[str]:
    """100 sleeping processes, or 2,000 and 5,000 sockets, 500 of them listening."""
    pids: list[int] = []
    sockets: list[socket.socket] = []
    try:
        if busy:
            _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
            sockets = listeners(500) + pairs(2250)
        sleepers = range(2000 if busy else 100)
        pids.extend(os.posix_spawn("/bin/sleep", ["sleep", "3600"], {}) for _ in sleepers)
        count = sum(name.isdigit() for name in os.listdir("/proc"))
        yield f"{count} processes, {len(sockets)} sockets"
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)
        for sock in sockets:
            sock.close()


def listeners(count: int) -> list[socket.socket]:
    return [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]


def pairs(count: int) -> list[socket.socket]:
    found = []
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        for _ in range(count):
            found.append(socket.create_connection(server.getsockname()))
            found.append(server.accept()[0])
    return found


# Both write reports; nothing of them is to stay.
ASIDE = [
    "unshare", "--mount", "sh", "-c",
    'mount -t tmpfs none /var/log && cd "$(mktemp -d -p /var/log)" && exec "$@"', "sh",
]  # fmt: skip


def peers(look_s: float) -> None:
    commands = {
        "lynis audit system --quick": ["lynis", "audit", "system", "--quick", "--no-colors"],
        # Debian 12 ships content for Debian 11 at most: rules that do not apply here cost nothing.
        "OpenSCAP, ANSSI high, where it applies": oscap(),
    }
    for name, command in commands.items():
        if not command or shutil.which(command[0]) is None:
            say(name, "not installed")
            continue
        spent, wall, peak = timed([*ASIDE, *command])
        say(name, f"{spent:.1f} s CPU", f"{wall:.0f} s wall, {peak / 2**20:.0f} MiB")
        say("  against a look", f"{spent / look_s:.0f} times")


def oscap() -> list[str]:
    folder = Path("/usr/share/xml/scap/ssg/content")
    content = sorted(folder.glob("ssg-debian*-ds.xml"))
    profile = "xccdf_org.ssgproject.content_profile_anssi_np_nt28_high"
    return ["oscap", "xccdf", "eval", "--profile", profile, str(content[-1])] if content else []


if __name__ == "__main__":
    main()
