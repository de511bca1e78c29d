"""The JSON and the CSV of a view are its data, and all of them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from playwright.sync_api import expect

from nodeward.checks import catalog
from nodeward.collector.page import visit
from nodeward.collector.page.sql import BUILT_IN
from nodeward.collector.store.access import Role
from nodeward.model import CheckId
from page_site import Eyes, Site


@pytest.fixture(scope="module")
def reader(fleet: Site) -> requests.Session:
    return fleet.visitor(fleet.token("reader", Role.VIEWER))


def table(answer: requests.Response) -> list[list[str]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/csv")
    return list(csv.reader(answer.text.splitlines()))


def pages(fleet: Site, reader: requests.Session, path: str) -> Iterator[int]:
    """How many items each page of a list has."""
    params = {"format": "json"}
    while True:
        told = reader.get(fleet.url + path, params=params).json()
        yield len(told["items"])
        if not told["next"]:
            return
        params["cursor"] = told["next"]


@pytest.mark.parametrize("path", ["/findings", "/nodes", "/changes", "/certificates", "/agents"])
def test_the_csv_of_a_list_has_the_rows_of_all_its_pages(
    fleet: Site, reader: requests.Session, path: str
) -> None:
    many = sum(pages(fleet, reader, path))
    answer = reader.get(fleet.url + path, params={"format": "csv"})
    assert many > 50
    assert len(table(answer)) == 1 + many
    assert "link" not in answer.headers


def test_a_csv_that_ends_early_says_so_and_where_it_goes_on(
    fleet: Site, reader: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = table(reader.get(fleet.url + "/findings?format=csv"))
    monkeypatch.setattr(visit, "MOST_ROWS", 400)
    answer = reader.get(fleet.url + "/findings?format=csv")
    rows, parts = table(answer), 1
    while answer.links:
        rest = answer.links["next"]["url"]
        said = rows.pop()
        assert re.fullmatch(rf"More than these \d+ rows: {re.escape(rest)}", said[0])
        answer = reader.get(fleet.url + rest)
        rows += table(answer)[1:]
        parts += 1
    assert parts > 1
    assert rows == whole


def test_sql_keeps_columns_of_one_name_and_the_names_of_an_empty_answer(
    fleet: Site, reader: requests.Session
) -> None:
    def asked(sql: str) -> requests.Response:
        return reader.get(fleet.url + "/sql", params={"sql": sql, "format": "csv"})

    assert table(asked("SELECT 1 AS node, 2 AS node")) == [["node", "node"], ["1", "2"]]
    assert table(asked("SELECT node, fails FROM node WHERE 1 = 0")) == [["node", "fails"]]
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
    cut = asked(f"{endless} LIMIT 10001")
    assert table(cut)[-1][0].startswith("More than these 10000 rows")
    assert cut.headers["x-nodeward-truncated"] == "true"
    assert asked("SELECT nothing").status_code == 400


def test_since_when_a_node_can_load_sctp_is_told_of_each(
    fleet: Site, reader: requests.Session
) -> None:
    sql = BUILT_IN["Which nodes can load SCTP, since when"]
    head, *rows = table(reader.get(fleet.url + "/sql", params={"sql": sql, "format": "csv"}))
    assert head == ["cluster", "node", "since"]
    listed = table(reader.get(fleet.url + "/checks/kernel.module.sctp?format=csv"))[1:]
    assert {(c, n): since[:19] for c, n, since in rows} == {(r[0], r[1]): r[6][:19] for r in listed}


@pytest.mark.parametrize(
    ("path", "nothing"),
    [
        ("/findings", "check=zzz"),
        ("/nodes", "node=zzz"),
        ("/changes", "node=zzz"),
        ("/certificates", "check=zzz"),
        ("/checks", "check=zzz"),
        ("/checks/kernel.module.sctp", "node=zzz"),
        ("/agents", "node=zzz"),
        ("/certificates/keys", "node=zzz"),
        ("/find?q=worker", "q=zzz"),
    ],
)
def test_an_empty_list_has_its_header_all_the_same(
    fleet: Site, reader: requests.Session, path: str, nothing: str
) -> None:
    full = table(reader.get(fleet.url + path, params={"format": "csv"}))
    path = path.partition("?")[0]
    assert len(full) > 1
    assert table(reader.get(f"{fleet.url}{path}?{nothing}&format=csv")) == full[:1]


def test_a_collector_without_nodes_has_headers_everywhere(empty: Site) -> None:
    http = empty.visitor(empty.token("first", Role.VIEWER))
    for path in ("/", "/nodes", "/heat", "/waivers", "/agents", "/find", "/changes"):
        head = table(http.get(f"{empty.url}{path}?format=csv"))[0]
        assert len(head) > 1, path


def test_the_json_of_a_check_says_why_and_what_to_do(fleet: Site, reader: requests.Session) -> None:
    rule = catalog()[CheckId("meta.pod.reach")]
    told = reader.get(fleet.url + "/checks/meta.pod.reach?format=json").json()["about"]
    assert told["why"] == rule.why
    assert told["remedy"]["text"] == rule.remedy.text
    assert told["remedy"]["steps"] == list(rule.remedy.steps)


def test_keys_on_several_nodes_are_a_view_of_their_own(operator: Eyes) -> None:
    operator.go("/certificates")
    operator.page.get_by_role("link", name="Keys that lie on several nodes").click()
    shown = operator.page.get_by_role("region", name="Keys on more than one node")
    expect(shown).to_contain_text("3 clusters have one cluster-ca key")
    operator.page.get_by_label("Reading").select_option("clone")
    operator.page.get_by_role("button", name="Show").click()
    expect(shown).to_contain_text("120 nodes have one kubelet-server key")
    expect(shown).not_to_contain_text("cluster-ca")


def test_the_data_of_shared_keys_are_those_of_all_pages(
    fleet: Site, reader: requests.Session
) -> None:
    where = fleet.url + "/certificates/keys?reading=all"
    whole = reader.get(f"{where}&format=json").json()["items"]
    first = reader.get(f"{where}&format=json&limit=2").json()
    rest = reader.get(f"{where}&format=json", params={"cursor": first["next"]}).json()
    assert first["items"] + rest["items"] == whole
    rows = table(reader.get(f"{where}&format=csv"))[1:]
    assert [row[2] for row in rows] == [item["key"] for item in whole]
    assert len(rows) > 2


def test_the_links_to_the_data_follow_the_filters_and_the_pages(operator: Eyes) -> None:
    page = operator.page
    operator.go("/findings")
    page.get_by_label("Cluster").select_option("lab")
    for form in ("JSON", "CSV"):
        link = page.get_by_role("link", name=form, exact=True)
        expect(link).to_have_attribute("href", re.compile("cluster=lab"))
    page.get_by_role("link", name="More", exact=True).click()
    page.wait_for_url(re.compile("cursor="))
    (cursor,) = parse_qs(urlsplit(page.url).query)["cursor"]
    href = page.get_by_role("link", name="JSON", exact=True).get_attribute("href") or ""
    assert parse_qs(urlsplit(href).query)["cursor"] == [cursor]
    whole = page.get_by_role("link", name="CSV", exact=True).get_attribute("href") or ""
    assert "cursor" not in whole
    expect(page.get_by_text("the whole list as CSV")).to_be_visible()


def test_a_link_keeps_each_of_several_values(fleet: Site, reader: requests.Session) -> None:
    shown = reader.get(fleet.url + "/findings?check=kernel.*&check=cert.*").text
    assert "/findings?check=kernel.%2A&amp;check=cert.%2A&amp;format=json" in shown


def test_why_a_check_matters_is_shown_to_its_end(fleet: Site, reader: requests.Session) -> None:
    shown = reader.get(fleet.url + "/checks/meta.pod.reach").text
    assert catalog()[CheckId("meta.pod.reach")].why.split()[-1] in shown
    about = shown.partition("Who says so")[0]
    assert "characters; the JSON has them all" not in about
