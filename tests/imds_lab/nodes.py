"""Plays scenarios, each in a node of its own, three at a time. Run as a program, as root:

    python -m imds_lab.nodes < {NAME: {"program": MODULE, ...}} > {NAME: result}

A node is a process in new pid, mount and network namespaces, forked from here: the modules are
loaded once. A program is a module of this folder with a function `play(scenario) -> result`.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

AT_ONCE = 3
LIMIT_S = 180
NEWNS, NEWPID, NEWNET = 0x20000, 0x20000000, 0x40000000
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass
class Node:
    name: str
    pid: int
    result: Path
    end: float


def start(name: str, scenario: dict[str, Any], folder: Path) -> Node:
    result = folder / str(len(os.listdir(folder)))
    result.touch()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            code = enter(scenario, result)
        finally:
            os._exit(code)
    return Node(name, pid, result, time.monotonic() + LIMIT_S)


def enter(scenario: dict[str, Any], result: Path) -> int:
    """Make the namespaces, and wait for the node's first process."""
    if _libc.unshare(NEWNS | NEWPID | NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    first = os.fork()
    if first == 0:
        code = 1
        try:
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            live(scenario, result)
            code = 0
        except Exception:  # noqa: BLE001  shown, and told by the exit code
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(first, 0)[1])


def live(scenario: dict[str, Any], result: Path) -> None:
    """As pid 1: nothing that is mounted or started here is seen outside, or outlives us."""
    for argv in (["mount", "--make-rprivate", "/"], ["mount", "-t", "proc", "proc", "/proc"]):
        subprocess.run(argv, check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    played = importlib.import_module(scenario["program"]).play(scenario)
    result.write_text(json.dumps(played))


def play_all(scenarios: dict[str, dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Results by name. A scenario that fails costs the others nothing, and is named."""
    waiting = list(scenarios)
    running: dict[int, Node] = {}
    found: dict[str, Any] = {}
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            name = waiting.pop(0)
            node = start(name, scenarios[name], folder)
            running[node.pid] = node
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid in running:
            node = running.pop(pid)
            if status:
                raise RuntimeError(f"{node.name}: its node ended with {status}")
            found[node.name] = json.loads(node.result.read_text())
        elif pid == 0:
            for late in [n for n in running.values() if n.end < time.monotonic()]:
                os.kill(late.pid, signal.SIGKILL)
            time.sleep(0.01)
    return found


def main() -> None:
    scenarios = json.load(sys.stdin)
    from nodeward.agent.scan import select
    from nodeward.probes.registry import probes

    select(["meta.*"])
    probes()
    with TemporaryDirectory(prefix="nodes") as folder:
        json.dump(play_all(scenarios, Path(folder)), sys.stdout)


if __name__ == "__main__":
    main()
