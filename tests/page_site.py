"""A real collector in a thread, and a browser's tab that remembers what it complained of."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests
import uvicorn
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

import fleet_seed
from nodeward.collector import pki
from nodeward.collector.center import Center
from nodeward.collector.clock import now_ms
from nodeward.collector.serve import configure
from nodeward.collector.settings import Settings
from nodeward.collector.store.access import Role, make_access

CHROMIUM = "/usr/bin/chromium"
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP collector.example 127.0.0.1",
]
ARTEFACTS = Path(os.environ.get("NODEWARD_ARTEFACTS", "artefacts"))


@dataclass
class Site:
    """A collector in a thread, and tokens for it."""

    center: Center
    url: str
    ca: str

    def token(self, name: str, role: Role, **labels: str) -> str:
        return self.center.writer.act_now(
            lambda connection: make_access(
                connection, name=name, role=role, labels=labels, ttl_ms=3_600_000, now=now_ms()
            )
        )

    def visitor(self, token: str) -> requests.Session:
        """Somebody with the cookie, without a browser."""
        http = requests.Session()
        http.trust_env = False
        http.verify = self.ca
        http.cookies.set("nodeward", token)
        return http


def served(state: Path) -> Iterator[Site]:
    state.mkdir(parents=True, exist_ok=True)
    pki.write_ca(state)
    pki.write_server(state, ["localhost", "127.0.0.1", "collector.example"])
    config = configure(Settings(state=str(state), listen="127.0.0.1:0"))
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the collector did not start"
        time.sleep(0.005)  # uvicorn has no event to wait for
    port = server.servers[0].sockets[0].getsockname()[1]
    center: Center = config.app.state.center  # type: ignore[union-attr]
    yield Site(center, f"https://127.0.0.1:{port}", str(state / "ca.crt"))
    server.should_exit = True
    thread.join(30)


def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """120 nodes, three clusters, 30 days."""
    for site in served(tmp_path_factory.mktemp("fleet")):
        fleet_seed.make_fleet(site.center, tmp_path_factory.mktemp("tree"), now_ms())
        yield site


@dataclass
class Eyes:
    """A tab, and what the browser complained about in it."""

    page: Page
    site: Site
    complaints: list[str] = field(default_factory=list)

    def log_in(self, token: str) -> None:
        self.page.goto(f"{self.site.url}/login")
        self.page.get_by_label("Token").fill(token)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url(lambda url: "/login" not in url)
        self.settle()

    def go(self, path: str) -> None:
        answer = self.page.goto(self.site.url + path)
        assert answer is not None
        self.settle()

    def settle(self) -> None:
        """Wait for all that the page's script draws."""
        expect(self.page.locator("[data-trend]:empty")).to_have_count(0)

    def shot(self, name: str, *, full: bool = False) -> None:
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=ARTEFACTS / f"{name}.png", full_page=full)


def eyes(chromium: Browser, site: Site, **how: object) -> Iterator[Eyes]:
    how = {"viewport": {"width": 1280, "height": 900}, **how}
    context = chromium.new_context(ignore_https_errors=True, **how)  # type: ignore[arg-type]
    page = context.new_page()
    seen = Eyes(page, site)

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            seen.complaints.append(message.text)

    page.on("console", heard)
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    yield seen
    context.close()
    if seen.complaints:
        pytest.fail(f"the browser complained: {seen.complaints}")
