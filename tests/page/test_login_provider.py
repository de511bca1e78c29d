"""Logging in through an organisation's provider, in a browser, with nothing left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

import oidc_provider
from nodeward.collector.oidc import oidc_of
from page_site import Site


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[oidc_provider.Provider]:
    yield from oidc_provider.provided(tmp_path)


def test_one_click_at_our_door_and_the_providers_own_form_log_a_person_in(
    chromium: Browser, empty: Site, provider: oidc_provider.Provider, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(oidc_provider.SECRET)
    oidc = oidc_of(
        {
            "issuer": provider.issuer,
            "client_id": oidc_provider.CLIENT,
            "url": empty.url,
            "secret_file": str(secret),
            "ca": provider.ca,
            "name": "Example",
            "scope": "openid",
            "grants": [{"group": "sre", "role": "operator"}],
        }
    )
    assert oidc is not None
    before = empty.center.settings
    empty.center.apply(replace(before, oidc=oidc))
    provider.client(oidc.redirect_uri)
    provider.log_in(provider.browser(), "alice")  # consent is given for ever
    context = chromium.new_context(ignore_https_errors=True)
    page = context.new_page()
    page.goto(f"{empty.url}/nodes")
    page.get_by_role("link", name="Sign in with Example").click()
    page.locator("#username").fill("alice")
    page.locator("#password").fill(oidc_provider.PASSWORD)
    page.locator("#loginbut").click()
    page.get_by_role("button", name="Continue").click()
    expect(page).to_have_url(f"{empty.url}/nodes")
    expect(page.get_by_text("alice@example.org")).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_url(f"{empty.url}/login")
    context.close()
    empty.center.apply(before)
