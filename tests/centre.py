"""A real collector of a test: its own folder, port, certificate and database."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemon import ANONYMOUS
from nodeward.client import Client, ClientError, Where

NODEWARD = [sys.executable, "-m", "nodeward.cli"]


class Centre:
    """`nodeward collector serve` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"https://127.0.0.1:{port}"
        self.config = folder / "collector.yaml"
        settings = {"listen": f"127.0.0.1:{port}", "state": str(folder / "state")}
        self.config.write_text(yaml.safe_dump(settings))
        self.manage("init", "--name", "127.0.0.1")
        self.ca = str(folder / "state/ca.crt")
        self.client = Client(Where(self.url, self.ca, self.manage("access", "create", "tests")))
        self.process: subprocess.Popen[bytes] | None = None

    def manage(self, *words: str) -> str:
        command = [*NODEWARD, "collector", "--config", str(self.config), *words]
        ran = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=True
        )
        return ran.stdout.strip()

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def start(self) -> None:
        log = (self.folder / "log").open("ab")
        command = [*NODEWARD, "collector", "--config", str(self.config), "serve"]
        self.process = subprocess.Popen(command, env=self.environment, stderr=log, stdout=log)
        log.close()
        self.until(lambda: self.rows("nodes") is not None)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)
            self.process = None

    def rows(self, kind: str, **filters: str) -> list[Any] | None:
        try:
            return list(self.client.items(f"/v1/{kind}", [*filters.items()]))
        except ClientError:
            return None

    def until(self, true: Callable[[], bool], seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not true():
            if time.monotonic() > end:
                pytest.fail((self.folder / "log").read_text()[-3000:])
            time.sleep(0.05)

    def status(self) -> str | None:
        rows = self.rows("findings", check=ANONYMOUS) or []
        return rows[0]["status"] if rows else None

    def changes(self) -> list[str]:
        """What ANONYMOUS went to, the first first."""
        rows = self.rows("changes", check=ANONYMOUS) or []
        return [row["new"]["status"] for row in reversed(rows)]

    def last_change(self) -> float:
        """When the latest change of ANONYMOUS was durable here, in seconds since 1970."""
        rows = self.rows("changes", check=ANONYMOUS) or []
        return datetime.fromisoformat(rows[0]["at"]).timestamp()
