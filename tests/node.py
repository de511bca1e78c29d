"""A Debian 12 node that boots: systemd as the first process, in a container of systemd-nspawn.

Its files are those of .cache/node (script/node-tree) under a layer that is thrown away. It shares
the tests' own network namespace, so what listens on loopback here answers there.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
TREE = ROOT / ".cache" / os.environ.get("NODEWARD_NODE_TREE", "node")
BOOT_S = 90.0


@dataclass(frozen=True, slots=True)
class Node:
    """A booted node. `leader` is its first process as we see it."""

    name: str
    leader: int
    console: Path

    def run(
        self, *argv: str, check: bool = True, given: str = "", limit_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """A command inside, as root. Its output is shown when it fails and was not to."""
        done = subprocess.run(
            ["nsenter", "--target", str(self.leader), "--all", "--", "env", "-i",
             "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", *argv],
            input=given, capture_output=True, text=True, timeout=limit_s, check=False,
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"{argv} gave {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def sh(self, script: str, *, check: bool = True) -> str:
        """A shell script inside; what it printed."""
        return self.run("sh", "-ec", script, check=check).stdout

    def write(self, path: str, text: str) -> None:
        """A file inside, made with its folders."""
        self.run("sh", "-ec", 'mkdir -p "${1%/*}"; cat >"$1"', "sh", path, given=text)

    def until(self, script: str, *, limit_s: float = 60) -> str:
        """Wait until a shell script inside succeeds; what it printed then."""
        end = time.monotonic() + limit_s
        while True:
            done = self.run("sh", "-ec", script, check=False)
            if not done.returncode:
                return done.stdout
            if time.monotonic() > end:
                log = self.run("journalctl", "--no-pager", "-n", "60", check=False).stdout
                raise AssertionError(f"never true: {script}\n{done.stdout}{done.stderr}\n{log}")
            time.sleep(0.1)


@contextmanager
def boot(
    folder: Path, *, tree: Path = TREE, binds: dict[Path, str] | None = None
) -> Iterator[Node]:
    """Boot a node and stop it at the end. `binds` are shown inside, read-only."""
    name = f"nw{os.getpid():x}{time.monotonic_ns() & 0xFFFF:x}"
    console = folder / f"{name}.console"
    shown = [f"--bind-ro={source}:{inside}" for source, inside in (binds or {}).items()]
    groups = _cgroups(name)
    with console.open("wb") as out:
        nspawn = subprocess.Popen(
            ["systemd-nspawn", "--boot", "--register=no", "--keep-unit", "--quiet",
             f"--machine={name}", "--console=pipe", "--directory", str(tree),
             "--volatile=overlay", "--capability=all", *shown],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            env=os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            preexec_fn=lambda: _move_into(groups),
        )  # fmt: skip
    try:
        node = Node(name, _leader(nspawn, console), console)
        node.until("systemctl is-system-running | grep -E 'running|degraded'", limit_s=BOOT_S)
        yield node
    finally:
        _stop(nspawn)
        for group in groups:
            _remove(group)


def _cgroups(name: str) -> list[Path]:
    """A control group of its own for the node: nodes in one group would fight for it."""
    top = Path("/sys/fs/cgroup")
    if (top / "cgroup.controllers").exists():
        roots = [top]
    else:
        roots = [top / part for part in ("systemd", "unified") if (top / part).is_dir()]
    made = [root / name for root in roots]
    for group in made:
        group.mkdir(exist_ok=True)
    return made


def _move_into(groups: list[Path]) -> None:
    for group in groups:
        (group / "cgroup.procs").write_text(str(os.getpid()))


def _remove(group: Path) -> None:
    for folder, _, _ in os.walk(group, topdown=False):
        try:
            Path(folder).rmdir()
        except OSError:
            return  # a process of the node is still being reaped


def _leader(nspawn: subprocess.Popen[bytes], console: Path) -> int:
    """The node's first process: the child of nspawn that has become systemd."""
    end = time.monotonic() + BOOT_S
    children = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children")
    while time.monotonic() < end and nspawn.poll() is None:
        for pid in children.read_text().split():
            comm = Path(f"/proc/{pid}/comm")
            if comm.exists() and comm.read_text().strip() == "systemd":
                return int(pid)
        time.sleep(0.05)
    _stop(nspawn)
    raise AssertionError(f"the node did not boot: {console.read_text(errors='replace')[-3000:]}")


def _stop(nspawn: subprocess.Popen[bytes]) -> None:
    """SIGTERM asks the node to power off; nspawn waits for that. A node that hangs is killed."""
    nspawn.terminate()
    try:
        nspawn.wait(timeout=20)
    except subprocess.TimeoutExpired:
        nspawn.kill()
        nspawn.wait()
