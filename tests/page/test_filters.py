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


@pytest.mark.parametrize(
    "wanted",
    ["severity=critical", "severity=high", "node=prod-eu-worker-0003", "cluster=lab&severity=high"],
)
def test_the_numbers_of_a_check_are_those_of_its_lists(
    fleet: Site, reader: requests.Session, wanted: str
) -> None:
    where = f"{fleet.url}/checks/cert.expiry.kubelet-client?format=json&limit=500&{wanted}"
    numbers = reader.get(where).json()["nodes"]
    for status, many in numbers.items():
        assert len(reader.get(f"{where}&status={status}").json()["items"]) == many
    assert 0 < sum(numbers.values()) < 120


def test_a_number_that_no_counter_knows_is_not_shown(operator: Eyes) -> None:
    operator.go("/checks/kernel.module.sctp?waived=true")
    expect(operator.page.get_by_role("link", name="fail", exact=True)).to_be_visible()
    expect(operator.page.get_by_label("Waived")).to_have_value("true")


@pytest.mark.parametrize("path", ["/nodes?status=fail", "/heat?cluster=lab", "/?cluster=lab"])
def test_a_filter_that_a_view_would_ignore_is_refused(
    fleet: Site, reader: requests.Session, path: str
) -> None:
    answer = reader.get(fleet.url + path)
    assert (answer.status_code, "this view has no such filter" in answer.text) == (400, True)


def test_the_number_on_a_tile_is_that_of_the_list_it_opens(
    fleet: Site, reader: requests.Session
) -> None:
    def told(path: str) -> dict[str, list[dict[str, int]]]:
        answer: dict[str, list[dict[str, int]]] = reader.get(fleet.url + path).json()
        return answer

    where = "/certificates?format=json&limit=500&cluster=lab"
    for tile in told(where)["ending"]:
        assert len(told(f"{where}&days={tile['within']}")["items"]) == tile["certificates"]


@pytest.mark.parametrize("wanted", ["cluster=lab", "node=lab-worker-0002", "cluster=no-such"])
def test_the_numbers_of_keys_are_those_of_their_lists(
    fleet: Site, reader: requests.Session, wanted: str
) -> None:
    where = f"{fleet.url}/agents?format=json&limit=500&{wanted}"
    whole = reader.get(where).json()
    assert sum(whole["states"].values()) == len(whole["items"]) < 120
    for state, many in whole["states"].items():
        assert len(reader.get(f"{where}&state={state}").json()["items"]) == many


def test_what_was_found_says_that_there_is_more(fleet: Site, reader: requests.Session) -> None:
    def found(part: str, form: str) -> requests.Response:
        return reader.get(f"{fleet.url}/find?q={part}&format={form}")

    assert "There are more" in found("lab-worker", "html").text
    assert found("lab-worker", "json").json()["truncated"]
    assert found("lab-worker", "csv").text.splitlines()[-1].startswith("More than these 12 rows")
    assert "There are more" not in found("lab-worker-0002", "html").text
    assert not found("lab-worker-0002", "json").json()["truncated"]


@pytest.mark.parametrize("path", ["/findings?severity=none", "/nodes?nope=1", "/sql?sql=x"])
@pytest.mark.parametrize("form", ["json", "csv"])
def test_who_asks_for_data_reads_in_json_why_there_are_none(
    fleet: Site, reader: requests.Session, path: str, form: str
) -> None:
    answer = reader.get(f"{fleet.url}{path}&format={form}")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]["message"]


def test_a_waiver_for_no_cluster_is_refused_by_the_name_of_the_field(operator: Eyes) -> None:
    page = operator.page
    operator.go("/waivers?check=kernel.module.sctp&cluster=no-such")
    form = page.locator("form[action='/waivers']")
    for field, text in {"Reason": "old", "Owner": "platform", "Until": "3d"}.items():
        form.get_by_label(field).fill(text)
    form.get_by_role("button", name="Ask").click()
    expect(page.get_by_role("alert")).to_contain_text("Cluster: no cluster is called so")
    expect(form.get_by_label("Cluster")).to_have_value("no-such")
    operator.complaints.clear()  # that an answer was a 400
