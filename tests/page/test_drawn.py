"""What is drawn from rows of evidence, as the checks themselves send them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import msgspec
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import expect

from fleet_seed import ANONYMOUS, DEPENDENCY, POD, PORT, PROXY, Finding, by_example
from nodeward.checks import catalog
from nodeward.collector.clock import DAY_MS, HOUR_MS
from nodeward.collector.page.certificates import timeline
from nodeward.collector.page.chain import chains, plain
from nodeward.collector.page.listeners import listeners
from nodeward.collector.page.matrix import matrix
from nodeward.collector.store.access import Role
from nodeward.collector.store.evidence import Said
from nodeward.collector.store.expiry import end_ms, end_text, ends_of, left
from nodeward.model import Evidence, Row, Table, decide, finding
from nodeward.model.report import finding_from_json, finding_to_json, row_from_json
from page_site import Eyes, Site


def said(check: str, note: str) -> Finding:
    return by_example(check, note)


def test_pods_and_host_are_rows_of_the_matrix_and_each_address_a_column() -> None:
    found = matrix(
        [
            said("meta.host.reach", "IMDSv1 answers without a token"),
            said(POD, "IPv4 is blocked, IPv6 is not"),
        ]
    )
    assert found is not None
    four, six = "aws-imds 169.254.169.254:80", "aws-imds [fd00:ec2::254]:80"
    assert found.endpoints == (four, six)
    assert found.cells == {
        "pod default/web": {four: "unreachable", six: "open"},
        "host": {four: "open"},
    }
    assert found.tone("pod default/web", six, "open") == "fail"
    assert found.tone("pod default/web", four, "unreachable") == "pass"
    assert found.tone("host", four, "open") == "warn"
    assert found.tone("pod default/web", six, "an outcome of a later agent") == "unknown"
    assert found.tone("pod default/web", six, "not tested") == "unknown"


def test_a_network_that_could_not_be_asked_says_so_and_claims_no_outcome() -> None:
    found = matrix([said(POD, "a pod's network went away while it was asked")])
    assert found is not None
    assert any(found.problems.values())


def test_a_node_without_metadata_findings_has_no_matrix() -> None:
    assert matrix([said(POD, "no cloud is recognised: nothing is sent")]) is None


def test_a_port_is_shown_with_its_owner_who_reaches_it_and_what_it_answers() -> None:
    found = listeners(
        [
            said(PORT, "private addresses only"),
            said(ANONYMOUS, "and the port answers 401"),
            said("kubeproxy.metrics-bind", "loopback"),
        ]
    )
    proxy, kubelet = found
    assert (proxy["port"], proxy["program"], proxy["reach"]) == (10249, "kube-proxy", "this node")
    assert (kubelet["address"], kubelet["reach"]) == ("0.0.0.0", "every address")
    assert kubelet["answers"] == {"GET /pods": "401"}
    assert {v["check"] for v in kubelet["verdicts"]} == {PORT, ANONYMOUS}


def test_the_worst_verdict_about_a_port_comes_first() -> None:
    (port,) = listeners(
        [
            said(PORT, "private addresses only"),
            said(ANONYMOUS, "the file says no, the port still says system:anonymous"),
        ]
    )
    assert [v["status"] for v in port["verdicts"]] == ["fail", "pass"]


@pytest.mark.parametrize(
    ("note", "steps"),
    [
        ("a socket loads dccp_ipv4", ["request", "alias", "inserts", "inserts"]),
        (DEPENDENCY, ["request", "alias", "inserts", "inserts"]),
        (
            "`install dccp /bin/false`: every DCCP module needs dccp",
            ["request", "alias", "rule"],
        ),
    ],
)
def test_the_way_of_a_module_leads_from_the_request_to_what_ends_it(
    note: str, steps: list[str]
) -> None:
    found = said("kernel.module.dccp", note)
    first = chains([found])[0]
    assert [step["what"] for step in first["steps"]][: len(steps)] == steps
    assert first["request"].startswith("net-pf-")
    assert not {"request", "alias", "inserts"} & {piece["what"] for piece in plain(found)}


def certificate(note: str) -> Finding:
    return said("cert.expiry.kubelet-client", note)


def test_certificates_stand_on_a_line_by_when_they_end() -> None:
    now = 1_780_272_000_000  # 2026-06-01
    lines = timeline(
        [certificate("20 days left of a year"), certificate("expired a week ago")], now
    )
    assert [line["days"] for line in lines] == [-7, 20]
    assert [line["place"] for line in lines] == [0, 5]
    assert lines[1]["renewer"] == "the kubelet"


def ending(until: str) -> Finding:
    """The kubelet's certificate as an agent tells of it that knows so much of its end."""
    one = certificate("20 days left of a year")
    for piece in one["evidence"]:
        piece["row"]["cells"]["until"] = until
    return one


MIDNIGHT = 1_782_000_000_000  # 2026-06-21


@pytest.mark.parametrize(
    ("hour", "days", "said"),
    [(12, 0, "today"), (-12, 1, "1 day"), (36, -1, "ended 1 day ago"), (-60, 3, "3 days")],
)
def test_a_certificate_whose_hour_is_not_told_is_good_until_its_day_is_over(
    hour: int, days: int, said: str
) -> None:
    (line,) = timeline([ending("2026-06-21")], MIDNIGHT + hour * HOUR_MS)
    assert (line["ends"], line["days"], line["left"]) == ("2026-06-21", days, said)


@pytest.mark.parametrize(
    ("hour", "days", "said"),
    [(3, 0, "7 hours"), (9, 0, "60 min"), (-48, 2, "2 days"), (15, -1, "ended 5 hours ago")],
)
@pytest.mark.parametrize("told", ["2026-06-21T10:00:00Z", "2026-06-21 10:00 UTC"])
def test_a_certificate_whose_hour_is_told_is_shown_to_the_hour(
    hour: int, days: int, said: str, told: str
) -> None:
    (line,) = timeline([ending(told)], MIDNIGHT + hour * HOUR_MS)
    assert line["ends"] == "2026-06-21T10:00:00.000Z"
    assert (line["days"], line["left"]) == (days, said)


@given(seconds=st.integers(-(2**33), 2**36), now=st.integers(0, 2**42))
def test_an_end_is_read_as_it_is_written(seconds: int, now: int) -> None:
    moment = 1000 * seconds
    assert end_ms(end_text(moment)) == moment
    day = end_text(moment)[:10]
    last = end_ms(day)
    assert last is not None
    assert end_text(last) == day
    assert 0 <= last - moment < DAY_MS
    assert ("ago" in left(moment, now)) == (moment < now)
    assert "-" not in left(last, now)


@given(st.text())
def test_what_is_no_time_ends_nothing(text: str) -> None:
    assert end_ms(text) is None or text[:4].isdigit()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-13-01",
        "2026-06-21T25:00Z",
        "20260621",
        "\u0662\u0660\u0662\u0666-06-21",
        "9999-12-31T23:59-12:00",
    ],
)
def test_an_odd_time_ends_nothing(text: str) -> None:
    assert end_ms(text) is None


def kept(one: Finding) -> Said:
    return Said(findings={one["check"]: msgspec.Raw(json.dumps(one).encode())})


@pytest.mark.parametrize("note", ["20 days left of a year", "expired a week ago"])
@pytest.mark.parametrize("rows", [True, False])
def test_an_agent_without_rows_is_understood_by_its_words(note: str, rows: bool) -> None:
    one = certificate(note)
    if not rows:
        one = one | {"evidence": [{**e, "row": None} for e in one["evidence"]]}
    (end,) = ends_of(kept(one)).values()
    assert end_text(end.at)[:10] == {"20": "2026-06-21", "ex": "2026-05-25"}[note[:2]]


def test_the_words_tell_the_moment_where_they_have_it() -> None:
    one = certificate("20 days left of a year") | {"evidence": []}
    for words in ("ends on 2026-06-21T10:00:00Z, in 20 days", "expired on 2026-06-21 10:00 UTC, 1"):
        (end,) = ends_of(kept(one | {"because": words})).values()
        assert end.at == MIDNIGHT + 10 * HOUR_MS


def test_a_certificate_that_was_replaced_ends_nothing() -> None:
    one = certificate("20 days left of a year")
    for piece in one["evidence"]:
        piece["row"]["cells"]["use"] = "already replaced"
    one["because"] = "all is well"
    assert ends_of(kept(one)) == {}


def test_a_row_survives_the_wire_and_an_odd_one_is_left_out() -> None:
    one = finding_from_json(said(PORT, "private addresses only"))
    assert one.evidence[0].row == Row(
        Table.LISTENER,
        "0.0.0.0:10250",
        one.evidence[0].row.cells,  # type: ignore[union-attr]
    )
    assert finding_from_json(finding_to_json(one)) == one
    odd: tuple[object, ...] = (7, [], {"table": "reach"}, {"table": 1, "name": "", "cells": {}})
    assert [row_from_json(raw) for raw in odd] == [None] * len(odd)
    assert row_from_json({"table": "of a later version", "name": "x", "cells": {}}) is not None


def test_the_node_shows_all_of_it(operator: Eyes) -> None:
    operator.go("/nodes/prod-eu/prod-eu-worker-0003")
    for heading in (
        "Which ports answer whom",
        "Who reaches the metadata endpoints",
        "When its certificates end",
        "Kernel modules: from a request to where it ends",
    ):
        assert operator.page.get_by_role("heading", name=heading).is_visible()
    ports = operator.page.locator("section", has=operator.page.locator("#listeners"))
    said = ports.locator("p.dim")
    for check in (PORT, PROXY, "kubelet.port.readonly"):
        expect(said.get_by_role("link", name=check)).to_have_attribute("href", f"#{check}")
    expect(said).to_contain_text("What listens besides, no check looked at")
    operator.page.locator("#listeners").evaluate(
        "heading => heading.parentElement.scrollIntoView()"
    )
    operator.shot("node-drawn")


def test_a_link_to_a_finding_opens_it(operator: Eyes) -> None:
    operator.go("/nodes/prod-eu/prod-eu-worker-0003#kernel.taint")
    assert operator.page.locator("#kernel\\.taint").is_visible()


def test_the_json_of_a_node_has_the_rows_too(fleet: Site) -> None:
    http: requests.Session = fleet.visitor(fleet.token("ivan", Role.VIEWER))
    answer = http.get(fleet.url + "/nodes/prod-eu/prod-eu-worker-0003?format=json").json()
    tables = {
        piece["row"]["table"]
        for one in answer["findings"]
        for piece in one["evidence"]
        if "row" in piece
    }
    assert tables >= {"reach", "listener", "answer", "ends", "step"}


def test_the_heat_map_by_kernel_adds_up_to_the_one_by_cluster(fleet: Site) -> None:
    """What does not apply to a node was not judged, however nodes are grouped."""
    http = fleet.visitor(fleet.token("judy", Role.VIEWER))

    def told(by: str) -> dict[str, list[int]]:
        answer = http.get(f"{fleet.url}/heat?by={by}&format=json").json()
        return {
            row["check"]: [sum(c[k] for c in row["cells"]) for k in ("fail", "judged", "unknown")]
            for row in answer["rows"]
        }

    assert told("node.kernel") == told("cluster") == told("node.roles")
    assert http.get(f"{fleet.url}/heat?by=node.nonsense").status_code == 400


def test_a_cluster_without_nodes_is_no_column_of_the_heat_map(empty: Site) -> None:
    http = empty.visitor(empty.token("early", Role.OPERATOR))
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', http.get(empty.url + "/agents").text)
    assert found
    form = {"csrf": found[1], "on": "planned", "uses": "1"}
    assert http.post(empty.url + "/agents/enrol", data=form).status_code == 200
    told = http.get(empty.url + "/heat?format=json").json()
    assert (told["columns"], told["groups"]) == ([], 0)


def _rows() -> Iterator[tuple[str, Evidence]]:
    """Each evidence with a row that any check gives in any of its examples."""
    for rule in catalog().values():
        for example in rule.examples:
            found = finding(rule, decide(rule, example.readings(rule.needs)))
            yield from ((rule.id, piece) for piece in found.evidence if piece.row is not None)


ROWS = list(_rows())


@pytest.mark.parametrize(("check", "piece"), ROWS)
def test_a_row_says_nothing_that_its_evidence_does_not(check: str, piece: Evidence) -> None:
    """The digest of a posture covers the words alone: what only a row said would never be sent."""
    row, cells = piece.row, dict(piece.row.cells) if piece.row else {}
    assert row is not None
    match row.table:
        case Table.REACH:
            assert all(f"{k}: {v}" in piece.value for k, v in cells.items())
            assert row.name in (piece.what, "host")
        case Table.LISTENER:
            assert row.name == piece.value
            assert (cells["program"], cells["address"]) == (
                piece.source,
                row.name.rpartition(":")[0].strip("[]"),
            )
        case Table.ANSWER:
            assert list(cells.values()) == [piece.value]
            assert f":{row.name}" in piece.source or f"port {row.name}" in piece.source
        case Table.ENDS:
            assert cells["until"] in piece.value or "not valid before" in piece.value
        case Table.STEP:
            assert cells == {}
        case other:
            pytest.fail(f"{check} draws {other}, which nobody knows")


def test_each_table_has_a_check_that_draws_it() -> None:
    assert {piece.row.table for _, piece in ROWS if piece.row} == set(Table)
