"""The daemon as systemd starts it, and a node made of files for it to judge."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from kubeadm_tree import build

PYTHON = os.environ.get("NODEWARD_TEST_PYTHON", sys.executable)
"""The interpreter that is tested: /usr/bin/python3 has the distribution's own libraries."""

SOURCES = [Path(__file__).parents[1] / name for name in ("probes", "agent", "collector")]
ANONYMOUS = "kubelet.authn.anonymous"


class Daemon:
    """One agent of a test. `said` is what systemd would have heard."""

    def __init__(self, folder: Path, url: str | None, **settings: Any) -> None:
        self.folder = folder
        self.root = build(folder / "root")
        (self.root / "proc/self").mkdir()
        self.settings = settings
        self.url = url
        self.token = "join-me"
        self.ca: str | None = None
        self.configure()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(folder / "notify"))
        self.said: list[str] = []
        self._news = threading.Condition()
        # All the time: sd_notify waits while nobody takes what it sent.
        self._ear = threading.Thread(target=self._listen, daemon=True)
        self._ear.start()
        self.process: subprocess.Popen[bytes] | None = None
        self.watchdog_s: float | None = None
        self.path: list[Path] = []
        self.within: list[str] = []
        """A command that becomes the daemon: unshare, sh -c 'exec "$@"'."""

    def configure(self, **more: Any) -> None:
        token = self.folder / "token"
        token.write_text(self.token)
        collector: dict[str, Any] = {"urls": [self.url], "timeout_s": 30} if self.url else {}
        if self.ca:
            collector["ca"] = [self.ca]
        tree = {
            "node": "n1",
            "host_root": str(self.root),
            "state_dir": str(self.folder / "state"),
            "run_dir": str(self.folder / "run"),
            "collector": collector,
            "enrol": {"join_token_file": str(token)},
            "metadata": "off",
            **self.settings,
            **more,
        }
        (self.folder / "agent.yaml").write_text(json.dumps(tree))

    def start(self) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, [*self.path, *SOURCES])),
            "NOTIFY_SOCKET": str(self.folder / "notify"),
        }
        if self.watchdog_s:
            environment["WATCHDOG_USEC"] = str(int(self.watchdog_s * 1e6))
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(
            [*self.within, PYTHON, "-m", "nodeward.cli", "agent", "--config",
             self.folder / "agent.yaml"],
            env=environment, stderr=log,
        )  # fmt: skip
        log.close()

    def heard(self, what: str) -> None:
        """Wait until systemd has heard it."""
        with self._news:
            heard = self._news.wait_for(lambda: any(what in said for said in self.said), 60)
        assert heard, self.log()

    def forget(self) -> None:
        with self._news:
            self.said.clear()

    def _listen(self) -> None:
        while message := self.socket.recv(4096):
            with self._news:
                self.said.append(message.decode())
                self._news.notify_all()

    def close(self) -> None:
        """Kill it, and stop listening."""
        self.stop(signal.SIGKILL)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", str(self.folder / "notify"))
        self._ear.join()
        self.socket.close()

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            self.send(number)
        status = self.process.wait(30)
        self.process = None
        return status

    def set_anonymous(self, on: bool) -> None:
        """What an operator's tool does: a new file takes the old one's place. It bears the old
        one's time, as from an image: of a file that is newer than the kubelet nobody can tell what
        is in force."""
        path = self.root / "var/lib/kubelet/config.yaml"
        written = path.stat().st_mtime_ns
        before, after = ("false", "true") if on else ("true", "false")
        text = path.read_text()
        changed = text.replace(
            f"anonymous:\n    enabled: {before}", f"anonymous:\n    enabled: {after}"
        )
        temporary = path.with_name("config.yaml.new")
        temporary.write_text(changed)
        temporary.chmod(0o644)
        os.utime(temporary, ns=(written, written))
        temporary.rename(path)

    def kept(self, status: str) -> None:
        """Wait until the spool holds this status of ANONYMOUS as the latest."""
        path = self.folder / "state/spool.db"
        query = "SELECT finding FROM latest WHERE check_id = ?"
        until = time.monotonic() + 60
        found = None
        while found != status:
            assert time.monotonic() < until, self.log()
            time.sleep(0.02)
            opened = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
            with contextlib.closing(opened) as db, contextlib.suppress(sqlite3.OperationalError):
                row = db.execute(query, (ANONYMOUS,)).fetchone()  # or busy
                found = json.loads(row[0])["status"] if row else None

    def logged(self, words: str) -> None:
        """Wait until the log says so."""
        until = time.monotonic() + 60
        while words not in self.log():
            assert time.monotonic() < until, self.log()
            time.sleep(0.02)

    def workers(self) -> list[int]:
        assert self.process is not None
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split() if _is_worker(pid)]

    def log(self) -> str:
        return (self.folder / "log").read_text()


def _is_worker(pid: str) -> bool:
    """Whether it has become one: until then its parent waits for it, as after any vfork(2)."""
    with contextlib.suppress(OSError):
        return b"nodeward.agent.start" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False
