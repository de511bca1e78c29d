"""A seeded fleet, an empty collector, and Debian's Chromium to look at them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from nodeward.collector.store.access import Role
from page_site import CHROMIUM, QUIET, Eyes, Site, eyes, seeded, served

expect.set_options(timeout=30_000)  # milliseconds: what is awaited comes, on a busy machine later


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Nobody changes anything in it."""
    yield from seeded(tmp_path_factory)


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A collector on its first day."""
    yield from served(tmp_path_factory.mktemp("empty"))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def operator(chromium: Browser, fleet: Site) -> Iterator[Eyes]:
    """The security engineer, logged in."""
    for seen in eyes(chromium, fleet):
        seen.log_in(fleet.token("alice", Role.OPERATOR))
        yield seen


@pytest.fixture
def dark_phone(chromium: Browser, fleet: Site) -> Iterator[Eyes]:
    """The same on a narrow dark screen."""
    small = {"width": 390, "height": 844}
    for seen in eyes(chromium, fleet, color_scheme="dark", viewport=small):
        seen.log_in(fleet.token("alice", Role.OPERATOR))
        yield seen


@pytest.fixture
def dark(chromium: Browser, fleet: Site) -> Iterator[Eyes]:
    """The same on a dark screen."""
    for seen in eyes(chromium, fleet, color_scheme="dark"):
        seen.log_in(fleet.token("alice", Role.OPERATOR))
        yield seen
