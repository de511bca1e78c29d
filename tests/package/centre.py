"""A real collector of the tests, on loopback with TLS."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from node import ROOT
from nodeward.client import Client, ClientError, Where

ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "PYTHONPATH": ":".join(str(ROOT / name) for name in ("probes", "agent", "collector")),
}


@dataclass(frozen=True, slots=True)
class Centre:
    """Where it is, how to ask it, and how an operator manages it."""

    url: str
    folder: Path
    client: Client

    @property
    def ca(self) -> str:
        return (self.folder / "ca.crt").read_text()

    def join_token(self, node: str) -> str:
        return manage(self.folder, "token", "create", "--cluster", "test", "--node", node)

    def finding(self, node: str, check: str) -> Mapping[str, Any] | None:
        """What it holds of this check on this node now."""
        found = list(self.client.items("/v1/findings", [("node", node), ("check", check)]))
        return found[0] if found else None

    def until(self, node: str, check: str, status: str, limit_s: float = 60) -> Mapping[str, Any]:
        """Wait until it knows this status."""
        end = time.monotonic() + limit_s
        while True:
            finding = self.finding(node, check)
            if finding is not None and finding["status"] == status:
                return finding
            assert time.monotonic() < end, f"{check} on {node} is {finding}"
            time.sleep(0.1)


def manage(folder: Path, *argv: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "nodeward.cli", "collector",
         "--config", folder / "collector.yaml", *argv],
        env=ENVIRONMENT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


@contextmanager
def serving(folder: Path) -> Iterator[Centre]:
    """Serve until the end of the block."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    settings = {"listen": f"127.0.0.1:{port}", "state": str(folder)}
    (folder / "collector.yaml").write_text(yaml.safe_dump(settings))
    manage(folder, "init", "--name", "127.0.0.1")
    token = manage(folder, "access", "create", "tests")
    url = f"https://127.0.0.1:{port}"
    client = Client(Where(url, str(folder / "ca.crt"), token))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "nodeward.cli", "collector",
             "--config", folder / "collector.yaml", "serve"],
            env=ENVIRONMENT, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        _until_it_answers(client, process, folder / "log")
        yield Centre(url, folder, client)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _until_it_answers(client: Client, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        try:
            client.get("/v1/nodes")
        except ClientError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(log.read_text(errors="replace")[-3000:])
