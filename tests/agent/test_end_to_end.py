"""From a change on disk to the changed finding in a real collector, over TLS."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from centre import Centre
from daemon import Daemon


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    made = Centre(tmp_path / "centre")
    try:
        made.start()
        yield made
    finally:
        made.stop()


def joined(make: Callable[..., Daemon], centre: Centre, **settings: Any) -> Daemon:
    daemon = make(None, **settings)
    daemon.token = centre.manage("token", "create", "--cluster", "default", "--node", "n1")
    daemon.url = centre.url
    daemon.ca = centre.ca
    daemon.configure()
    daemon.start()
    centre.until(lambda: centre.status() == "pass")
    return daemon


def test_a_change_on_disk_is_a_change_in_the_collector(
    make: Callable[..., Daemon], centre: Centre
) -> None:
    daemon = joined(make, centre)
    daemon.set_anonymous(True)
    centre.until(lambda: centre.status() == "fail")
    daemon.set_anonymous(False)
    centre.until(lambda: centre.status() == "pass")
    assert centre.changes() == ["fail", "pass"]


def test_a_collector_that_was_away_gets_every_change(
    make: Callable[..., Daemon], centre: Centre
) -> None:
    daemon = joined(make, centre, looks={"interval_s": 2})
    centre.stop()
    for on in (True, False, True):
        daemon.set_anonymous(on)
        daemon.kept("fail" if on else "pass")
    centre.start()
    centre.until(lambda: centre.changes() == ["fail", "pass", "fail"])


def test_a_look_that_was_asked_for_is_taken_and_told(
    make: Callable[..., Daemon], centre: Centre
) -> None:
    """Until the node says so, the collector keeps the request."""
    daemon = joined(make, centre, looks={"interval_s": 2})
    with closing(sqlite3.connect(centre.folder / "state/collector.db", timeout=30)) as store:
        with store:
            store.execute("INSERT INTO look SELECT id, 41, 'tests' FROM node")
        centre.until(lambda: store.execute("SELECT count(*) FROM look").fetchone() == (0,), 300)
    with closing(sqlite3.connect(daemon.folder / "state/spool.db")) as spool:
        kept = spool.execute("SELECT value FROM about WHERE key = 'looked'").fetchone()
    assert kept == (41,)


def test_heartbeats_pass_within_a_session(make: Callable[..., Daemon], centre: Centre) -> None:
    """Each is a worker of its own; what the first was given, the next one uses."""
    daemon = joined(make, centre, looks={"interval_s": 1})
    kept = daemon.folder / "state/identity/session.json"
    centre.until(lambda: kept.exists() and bool(json.loads(kept.read_bytes())["id"]))
    begun = kept.read_bytes()
    looks = daemon.log().count("looked")
    centre.until(lambda: daemon.log().count("looked") > looks + 2)
    assert "failed" not in daemon.log()
    assert kept.read_bytes() == begun
