"""`script/demo`: this host through a collector on loopback, and no trace left."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nodeward.checks import catalog

ROOT = Path(__file__).parents[1]
DEMO = [sys.executable, str(ROOT / "script" / "demo.py")]
PORT = 8443


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {
        "NODEWARD_DEMO_DIR": str(folder),
        "NODEWARD_METADATA": "off",
        "PYTHONPATH": ":".join(str(ROOT / name) for name in ("probes", "agent", "collector")),
    }


def once(folder: Path) -> str:
    done = subprocess.run(
        [*DEMO, "--once"], env=environment(folder), capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout


def processes_of(folder: Path) -> list[str]:
    """Command lines that name the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


@contextmanager
def taken(port: int) -> Iterator[None]:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
        yield


def test_the_findings_of_this_host_come_from_the_collector(tmp_path: Path) -> None:
    shown = [line.split("\t") for line in once(tmp_path).splitlines()]
    checks = {row[4] for row in shown if len(row) > 5}
    assert checks
    assert checks <= set(catalog())
    assert processes_of(tmp_path) == []


def test_the_second_run_goes_on_with_the_same_agent_beside_a_taken_port(tmp_path: Path) -> None:
    once(tmp_path)
    enrolment = (tmp_path / "agent" / "identity" / "enrolment.json").read_text()
    with taken(PORT):
        once(tmp_path)
    assert (tmp_path / "agent" / "identity" / "enrolment.json").read_text() == enrolment
    assert f":{PORT}" not in (tmp_path / "collector.yaml").read_text()


def test_its_processes_end_with_it_even_if_it_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        DEMO, env=environment(tmp_path), stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        while "Ctrl-C" not in demo.stdout.readline():
            assert demo.poll() is None
        assert len(processes_of(tmp_path)) >= 2
        demo.send_signal(signal.SIGKILL)
    end = time.monotonic() + 30
    while left := processes_of(tmp_path):
        assert time.monotonic() < end, left
        time.sleep(0.05)
