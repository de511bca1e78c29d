"""What a view says of its filter is what it shows."""

from __future__ import annotations

import re

import pytest
import requests
from playwright.sync_api import expect

from nodeward.collector.store.access import Role
from page_site import Eyes, Site


@pytest.fixture(scope="module")
def reader(fleet: Site) -> requests.Session:
    return fleet.visitor(fleet.token("filterer", Role.VIEWER))


def test_two_statuses_stay_chosen_when_a_severity_is_added(operator: Eyes) -> None:
    page = operator.page
    operator.go("/findings?status=unknown,error")
    status = page.get_by_label("Status")
    expect(status).to_have_value("unknown,error")
    expect(status.locator("option:checked")).to_have_text("unknown or error")
    with operator.page.expect_response(lambda r: "severity=high" in r.url):
        page.get_by_label("Severity").select_option("high")
    expect(page).to_have_url(re.compile("status=unknown%2Cerror"))
    expect(page.locator("#rows .badge.fail")).to_have_count(0)


def test_all_changes_are_not_said_to_be_of_seven_days(operator: Eyes) -> None:
    operator.go("/changes")
    expect(operator.page.get_by_label("Since")).to_have_value("")
    operator.go("/changes?since=24h")
    expect(operator.page.get_by_label("Since")).to_have_value("24h")


def test_a_check_within_a_cluster_counts_that_cluster(operator: Eyes) -> None:
    page = operator.page
    operator.go("/checks?cluster=lab")
    page.get_by_role("link", name="kernel.module.sctp", exact=True).click()
    expect(page).to_have_url(re.compile("cluster=lab"))
    many = page.locator("details.finding").count()
    expect(page.get_by_role("link", name=re.compile("^fail"))).to_have_text(f"fail ({many})")


def test_the_number_on_a_tile_is_that_of_the_list_it_opens(
    fleet: Site, reader: requests.Session
) -> None:
    def told(path: str) -> dict[str, list[dict[str, int]]]:
        answer: dict[str, list[dict[str, int]]] = reader.get(fleet.url + path).json()
        return answer

    where = "/certificates?format=json&limit=500&cluster=lab"
    for tile in told(where)["ending"]:
        assert len(told(f"{where}&days={tile['within']}")["items"]) == tile["certificates"]
