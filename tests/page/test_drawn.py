"""What is drawn from rows of evidence, as the checks themselves send them."""

from __future__ import annotations

import pytest
import requests

from fleet_seed import ANONYMOUS, DEPENDENCY, POD, PORT, Finding, by_example
from nodeward.collector.page.certificates import timeline
from nodeward.collector.page.chain import chains, plain
from nodeward.collector.page.listeners import listeners
from nodeward.collector.page.matrix import matrix
from nodeward.collector.store.access import Role
from nodeward.collector.store.evidence import Said
from nodeward.collector.store.expiry import ends_of
from nodeward.model import Row, Table
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
    finding = said("kernel.module.dccp", note)
    first = chains([finding])[0]
    assert [step["what"] for step in first["steps"]][: len(steps)] == steps
    assert first["request"].startswith("net-pf-")
    assert not {"request", "alias", "inserts"} & {piece["what"] for piece in plain(finding)}


def certificate(note: str) -> Finding:
    return said("cert.expiry.kubelet-client", note)


def test_certificates_stand_on_a_line_by_the_day_they_end() -> None:
    now = 1_780_272_000_000  # 2026-06-01
    lines = timeline(
        [certificate("20 days left of a year"), certificate("expired a week ago")], now
    )
    assert [line["days"] for line in lines] == [-7, 20]
    assert [line["place"] for line in lines] == [0, 5]
    assert lines[1]["renewer"] == "the kubelet"


def kept(finding: Finding) -> Said:
    import json

    import msgspec

    return Said(findings={finding["check"]: msgspec.Raw(json.dumps(finding).encode())})


@pytest.mark.parametrize("note", ["20 days left of a year", "expired a week ago"])
@pytest.mark.parametrize("rows", [True, False])
def test_an_agent_without_rows_is_understood_by_its_words(note: str, rows: bool) -> None:
    finding = certificate(note)
    if not rows:
        finding = finding | {"evidence": [{**e, "row": None} for e in finding["evidence"]]}
    (end,) = ends_of(kept(finding)).values()
    assert end.at == {"20": 1_782_000_000_000, "ex": 1_779_667_200_000}[note[:2]]


def test_a_certificate_that_was_replaced_ends_nothing() -> None:
    finding = certificate("20 days left of a year")
    for piece in finding["evidence"]:
        piece["row"]["cells"]["use"] = "already replaced"
    finding["because"] = "all is well"
    assert ends_of(kept(finding)) == {}


def test_a_row_survives_the_wire_and_an_odd_one_is_left_out() -> None:
    finding = finding_from_json(said(PORT, "private addresses only"))
    assert finding.evidence[0].row == Row(
        Table.LISTENER,
        "0.0.0.0:10250",
        finding.evidence[0].row.cells,  # type: ignore[union-attr]
    )
    assert finding_from_json(finding_to_json(finding)) == finding
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


def test_a_link_to_a_finding_opens_it(operator: Eyes) -> None:
    operator.go("/nodes/prod-eu/prod-eu-worker-0003#kernel.taint")
    assert operator.page.locator("#kernel\\.taint").is_visible()


def test_the_json_of_a_node_has_the_rows_too(fleet: Site) -> None:
    http: requests.Session = fleet.visitor(fleet.token("ivan", Role.VIEWER))
    answer = http.get(fleet.url + "/nodes/prod-eu/prod-eu-worker-0003?format=json").json()
    tables = {
        piece["row"]["table"]
        for finding in answer["findings"]
        for piece in finding["evidence"]
        if "row" in piece
    }
    assert tables >= {"reach", "listener", "answer", "ends", "step"}


def test_the_heat_map_by_kernel_adds_up_to_the_one_by_cluster(fleet: Site) -> None:
    http = fleet.visitor(fleet.token("judy", Role.VIEWER))

    def fails(by: str) -> dict[str, int]:
        answer = http.get(f"{fleet.url}/heat?by={by}&format=json").json()
        return {row["check"]: sum(c["fail"] for c in row["cells"]) for row in answer["rows"]}

    assert fails("node.kernel") == fails("cluster") == fails("node.roles")
    assert http.get(f"{fleet.url}/heat?by=node.nonsense").status_code == 400
