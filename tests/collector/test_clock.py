"""Whose clock counts: the database's, for all collectors that share it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from nodeward.collector import clock
from nodeward.collector.db.engine import clock_of

ROOT = Path(clock.__file__).parent
OWN = re.compile(r"\bnow_ms\b|\btime\.time(_ns)?\(|\bdatetime\.now\(|\butcnow\(|\btoday\(")
FOR_OTHERS = {"pki.py", "export/oscal.py"}
"""Certificates and documents bear the time that they were made at."""


def test_no_other_module_asks_what_time_it_is_on_this_machine() -> None:
    asking = {
        str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py") if OWN.search(path.read_text())
    }
    assert asking == FOR_OTHERS | {"clock.py"}


def test_the_time_that_goes_by_is_counted_from_what_was_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    since = [5_000_000_000]
    monkeypatch.setattr("nodeward.collector.clock.time.monotonic_ns", lambda: since[0])
    shared = clock.SharedClock()
    shared.heard(1_000_000)
    since[0] += 2_500_000_000
    assert shared.now() == 1_002_500
    shared.heard(7)
    assert shared.now() == 7


def test_the_database_is_heard_before_the_first_request(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodeward.collector.clock.now_ms", lambda: 1)
    center = start().center
    with center.engine.connect() as connection:
        before = clock_of(connection)
        now = center.clock.now()
        after = clock_of(connection)
    assert before - 60_000 < now < after + 60_000
