"""What the resident tells systemd and the log, and what it does when it cannot start a worker."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nodeward.agent import notify as notifying
from nodeward.agent.config import from_tree
from nodeward.agent.log import INFO, log
from nodeward.agent.loop import Died, Look
from nodeward.agent.notify import notify, watchdog_s
from nodeward.agent.resident import Resident


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        ear.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield ear


@pytest.mark.parametrize("with_library", [True, False])
def test_systemd_hears_the_same_with_and_without_its_library(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch, with_library: bool
) -> None:
    if not with_library:
        monkeypatch.setattr(notifying, "_daemon", None)
    assert (notifying._daemon is not None) == with_library
    notify("READY=1\nSTATUS=all is well")
    assert systemd.recv(4096) == b"READY=1\nSTATUS=all is well"


def test_without_the_library_an_abstract_socket_is_reached_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(notifying, "_daemon", None)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(f"\0{tmp_path}")
        ear.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{tmp_path}")
        notify("WATCHDOG=1")
        assert ear.recv(100) == b"WATCHDOG=1"


@pytest.mark.parametrize("where", ["", "nowhere", "/no/such/socket"])
def test_outside_of_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.setattr(notifying, "_daemon", None)
    monkeypatch.setenv("NOTIFY_SOCKET", where)
    notify("READY=1")


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "x"}, None),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({}, None),
    ],
)
def test_how_often_systemd_wants_to_hear_of_us(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], seconds: float | None
) -> None:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert watchdog_s() == seconds


def test_a_log_line_is_a_sentence_and_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    log(INFO, "looked", checks=3, seq=None, cpu_s=0.5)
    assert capsys.readouterr().err == "looked: checks=3 cpu_s=0.5\n"


def test_a_worker_that_cannot_be_started_is_a_worker_that_died(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree: dict[str, Any] = {"state_dir": str(tmp_path / "s"), "run_dir": str(tmp_path / "r")}
    resident = Resident(from_tree(tree, {}), None)
    monkeypatch.setattr("sys.executable", "/no/such/python")
    resident._act(Look("full"))
    assert list(resident._wait(resident._patience())) == [Died()]
    assert resident._worker is None
    resident._end()
