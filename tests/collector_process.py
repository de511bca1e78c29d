"""A collector as a process of its own, as systemd runs it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def free_port() -> int:
    """Below those that the kernel gives to who connects.

    Senders that try again while the collector is away could be given its own port to come from.
    """
    for port in range(20_000, 30_000):
        with contextlib.suppress(OSError), socket.socket() as free:
            free.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


class Process:
    """A collector as a process of its own, that can be killed."""

    def __init__(self, state: Path, database: str, **settings: str) -> None:
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.state = state
        self._environment = os.environ | {
            "PYTHONPATH": ":".join(str(ROOT / part) for part in ("probes", "agent", "collector")),
            "NODEWARD_COLLECTOR_STATE": str(state),
            "NODEWARD_COLLECTOR_DATABASE": database,
            "NODEWARD_COLLECTOR_LISTEN": f"127.0.0.1:{self.port}",
            **{f"NODEWARD_COLLECTOR_{name.upper()}": value for name, value in settings.items()},
        }
        self.options: list[str] = []
        self.prefix: list[str] = []
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._log = (self.state / "log").open("ab")
        self.process = subprocess.Popen(
            [
                *self.prefix,
                sys.executable,
                "-m",
                "nodeward.cli",
                "collector",
                *self.options,
                "serve",
            ],
            env=self._environment,
            stdout=self._log,
            stderr=self._log,
        )
        until = time.monotonic() + 60
        while not self._answers():
            assert self.process.poll() is None, self.log[-3000:]
            assert time.monotonic() < until
            time.sleep(0.02)  # nothing tells that it listens

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def stop(self, how: int = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(how)
        self.ended()

    def ended(self) -> int:
        """How it ended: 0, or minus the signal that it was told to end by."""
        assert self.process is not None
        code = self.process.wait(60)
        self._log.close()
        return code

    @property
    def log(self) -> str:
        return (self.state / "log").read_text()
