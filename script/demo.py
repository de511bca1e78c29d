"""Start a collector and an agent on loopback, and show what is known of this host then."""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType

import yaml

from nodeward.client import Client, ClientError, Where

STATE = Path(os.environ.get("NODEWARD_DEMO_DIR", Path(__file__).parents[1] / ".demo"))
NODEWARD = [sys.executable, "-m", "nodeward.cli"]
PORT = 8443
CLUSTER = "demo"
PATIENCE_S = 90.0
SHOWN = ("fail", "error", "unknown", "pass")  # what does not apply here is only counted
PR_SET_PDEATHSIG = 1


class Failed(Exception):
    """The demo cannot go on. The text says why, and what to read."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="exit when the findings are shown")
    once = parser.parse_args().once
    STATE.mkdir(mode=0o700, exist_ok=True)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with alone(), running() as url:
            show(url)
            if not once:
                tell(url)
                signal.pause()
    except Failed as exc:
        print(f"script/demo: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped")
    return 0


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def alone() -> Iterator[None]:
    """One demo a folder. The lock ends with us, however we end."""
    with (STATE / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed(f"another demo runs with {STATE}; stop it with Ctrl-C there") from None
        yield


@contextmanager
def running() -> Iterator[str]:
    """A collector that serves, and an agent that reports to it."""
    port = free_port()
    url = f"https://127.0.0.1:{port}"
    ca = STATE / "collector" / "ca.crt"
    config = write("collector.yaml", {"listen": f"127.0.0.1:{port}", "state": f"{ca.parent}"})
    manage = [*NODEWARD, "collector", "--config", str(config)]
    call([*manage, "init", "--name", "127.0.0.1", "--name", "localhost"])
    token = kept("viewer-token", [*manage, "access", "create", "demo"])
    client = Client(Where(url, str(ca), token))
    with started("collector", [*manage, "serve"]) as collector:
        wait_for(collector, lambda: answers(client))
        since = time.time() - 1
        resident = [sys.executable, "-m", "nodeward.agent", agent_config(url, manage)]
        with started("agent", resident) as agent:
            wait_for(agent, lambda: known(client, since))
            yield url


def agent_config(url: str, manage: Sequence[str]) -> str:
    """The agent's settings. A join token is made only while the agent is not enrolled."""
    state = STATE / "agent"
    if not (state / "identity" / "enrolment.json").exists():
        node = socket.gethostname()
        join = output([*manage, "token", "create", "--cluster", CLUSTER, "--node", node])
        secret("join-token", join)
    settings = {
        "node": socket.gethostname(),
        "cluster": CLUSTER,
        "state_dir": str(state),
        "run_dir": str(STATE / "run"),
        "collector": {"urls": [url], "ca": [str(STATE / "collector" / "ca.crt")]},
        "enrol": {"join_token_file": str(STATE / "join-token")},
        "looks": {"interval_s": 60},
    }
    (STATE / "run").mkdir(exist_ok=True)
    return str(write("agent.yaml", settings))


def free_port() -> int:
    """The usual one, or any other while that is taken."""
    for port in (PORT, 0):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(listener.getsockname()[1])
    raise Failed("no port of 127.0.0.1 is free")


def write(name: str, settings: object) -> Path:
    path = STATE / name
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def secret(name: str, text: str) -> str:
    path = STATE / name
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return text


def kept(name: str, command: Sequence[str]) -> str:
    """The secret in this file; the first time it is what the command prints."""
    path = STATE / name
    if path.exists() and path.stat().st_size:
        return path.read_text(encoding="utf-8").strip()
    return secret(name, output(command))


def clean_environment() -> dict[str, str]:
    """Without settings of another nodeward; only whether metadata may be asked stays."""
    keep = {"NODEWARD_METADATA"}
    return {k: v for k, v in os.environ.items() if not k.startswith("NODEWARD_") or k in keep}


def call(command: Sequence[str]) -> None:
    output(command)


def output(command: Sequence[str]) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=clean_environment()
    )
    if done.returncode:
        raise Failed(f"{shlex.join(command)} failed:\n{done.stderr}")
    return done.stdout.strip()


@dataclass(frozen=True, slots=True)
class Started:
    """A process of the demo; its log is STATE/name.log."""

    name: str
    process: subprocess.Popen[bytes]

    def last_words(self) -> str:
        log = STATE / f"{self.name}.log"
        return "\n".join([f"({log})", *log.read_text(errors="replace").splitlines()[-15:]])


@contextmanager
def started(name: str, command: Sequence[str]) -> Iterator[Started]:
    """A process that ends with the block; and with us, should we be killed."""
    with (STATE / f"{name}.log").open("w") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=clean_environment(),
            start_new_session=True, preexec_fn=_die_with_parent,
        )  # fmt: skip
        try:
            yield Started(name, process)
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def wait_for(running: Started, true: Callable[[], bool]) -> None:
    """Until it is true, while the process lives and our patience lasts."""
    end = time.monotonic() + PATIENCE_S
    while not true():
        if running.process.poll() is not None:
            raise Failed(f"the {running.name} ended {running.last_words()}")
        if time.monotonic() > end:
            raise Failed(f"the {running.name} was not ready in time {running.last_words()}")
        time.sleep(0.1)


def answers(client: Client) -> bool:
    try:
        client.get("/v1/nodes", [("limit", "1")])
    except ClientError as exc:
        if exc.code == "unreachable":
            return False
        raise Failed(f"the collector refuses us: {exc}") from None
    return True


def known(client: Client, since: float) -> bool:
    """Whether the collector has heard of this host since then, and holds findings of it."""
    nodes = list(client.items("/v1/nodes", []))
    return any(
        sum(node["summary"].values()) and parse(node["last_seen"]) >= since for node in nodes
    )


def parse(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def show(url: str) -> None:
    """The findings table, from the collector, by the program that people use for that."""
    ask = [*NODEWARD, "get", "findings", *(f"--status={status}" for status in SHOWN)]
    sys.stdout.flush()
    subprocess.run(ask, check=True, env=clean_environment() | asking(url))
    print()
    sys.stdout.flush()
    subprocess.run([*NODEWARD, "get", "nodes"], check=True, env=clean_environment() | asking(url))


def asking(url: str) -> dict[str, str]:
    """What `nodeward get` has to be told."""
    return {
        "NODEWARD_COLLECTOR": url,
        "NODEWARD_CA": str(STATE / "collector" / "ca.crt"),
        "NODEWARD_TOKEN": (STATE / "viewer-token").read_text(encoding="utf-8").strip(),
    }


def tell(url: str) -> None:
    """How to go on, and how to stop."""
    told = asking(url) | {"NODEWARD_TOKEN": f"$(cat {STATE / 'viewer-token'})"}
    print(
        f"""
The collector serves {url} and the agent reports every minute. In another terminal:

  export {" ".join(f'{name}="{value}"' for name, value in told.items())}
  {Path(sys.executable).with_name("nodeward")} get changes --since 1h
  {Path(sys.executable).with_name("nodeward")} explain CHECK

Ctrl-C (or kill {os.getpid()}) stops both. `rm -r {STATE}` forgets them.""",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
