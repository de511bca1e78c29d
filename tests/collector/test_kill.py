"""Killed in the midst of ingest: nothing acknowledged is lost, nothing is stored twice.

The truth is the senders' own ledger (tests/ledger.py).
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from collector_process import Process
from ledger import strike_often

# A connection that is cut in its handshake is left to the garbage collector by urllib3.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

KILLS = [pytest.param(20), pytest.param(200, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]


@pytest.mark.parametrize("kills", KILLS)
def test_sqlite_collector_killed_in_ingest(state: Path, senders: Any, kills: int) -> None:
    process = Process(state, "")

    def strike() -> None:
        process.stop(signal.SIGKILL)
        process.start()

    strike_often(process, f"sqlite:///{state / 'collector.db'}", senders, kills, strike)


@pytest.mark.root
@pytest.mark.parametrize("kills", KILLS)
def test_postgresql_and_collector_killed_in_ingest(
    state: Path, senders: Any, own_postgres: Any, kills: int
) -> None:
    """In turn: the collector, and PostgreSQL with all its processes."""
    url = own_postgres.database()
    process = Process(state, url)
    turn = iter(range(kills))

    def strike() -> None:
        if next(turn) % 2:
            process.stop(signal.SIGKILL)
            process.start()
        else:
            own_postgres.kill()
            own_postgres.start()

    strike_often(process, url, senders, kills, strike)
