"""Findings in the forms of other programs."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from py_ocsf_models.events.findings.compliance_finding import ComplianceFinding
from trestle.oscal.assessment_results import Model

from nodeward.collector.export import FORMS, junit, ocsf, openreports, oscal, table

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def _row(**over: Any) -> dict[str, Any]:
    row = {
        "cluster": "east", "node": "n1", "check": "a.x", "status": "fail", "severity": "high",
        "because": "it is open", "since": "2026-11-22T04:10:11.123Z",
        "last_seen": "2026-11-22T05:10:11.123Z", "waiver": None,
        "evidence": [{"what": "mode", "value": "0644", "source": "/etc/x"}],
        "remedy": {"text": "close it"}, "mappings": {"stig": ["V-1"], "sac": []},
    }  # fmt: skip
    return row | over


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize(
    ("status", "code", "severity"),
    [("fail", 3, 4), ("pass", 1, 1), ("unknown", 2, 1), ("error", 2, 1)],
)
def test_an_ocsf_event_has_what_the_class_requires(status: str, code: int, severity: int) -> None:
    event = json.loads(ocsf.write([_row(status=status)]))
    required = {
        "activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid",
        "finding_info", "compliance",
    }  # fmt: skip
    assert required <= event.keys()
    assert (event["class_uid"], event["type_uid"], event["category_uid"]) == (2003, 200302, 2)
    assert event["compliance"]["status_id"] == code
    assert event["severity_id"] == severity
    assert event["status_code"] == status
    assert {"version", "product"} <= event["metadata"].keys()


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("status", ["fail", "pass", "unknown", "error"])
@pytest.mark.parametrize("activity", [ocsf.CREATE, ocsf.UPDATE, ocsf.CLOSE])
def test_an_ocsf_event_is_one_to_a_library_of_the_schema(status: str, activity: int) -> None:
    """That library wants an address in `device`, which the schema does not."""
    event = dict(ocsf.event(_row(status=status), activity))
    event.pop("device")
    read = ComplianceFinding.model_validate(event)
    assert read.type_uid.value == event["type_uid"]
    assert read.finding_info.uid == event["finding_info"]["uid"]


@pytest.mark.usefixtures("database")
def test_a_waived_finding_is_suppressed_and_keeps_its_status() -> None:
    event = json.loads(ocsf.write([_row(waiver={"id": "w", "until": "2027-01-01T00:00:00Z"})]))
    assert (event["status_id"], event["compliance"]["status_id"]) == (3, 3)


@pytest.mark.usefixtures("database")
def test_a_findings_uid_is_the_same_whatever_its_status() -> None:
    one, two = (json.loads(ocsf.write([_row(status=s)])) for s in ("fail", "pass"))
    assert one["finding_info"]["uid"] == two["finding_info"]["uid"]


@pytest.mark.usefixtures("database")
def test_junit_is_xml_whatever_the_node_says() -> None:
    @given(WORDS, WORDS, st.sampled_from(["fail", "pass", "unknown", "error", "not-applicable"]))
    def check(because: str, value: str, status: str) -> None:
        piece = {"what": "w", "value": value, "source": "s"}
        text = junit.write([_row(because=because, evidence=[piece], status=status)])
        suite = ET.fromstring(text)[0]
        assert suite.attrib["tests"] == "1"
        counted = sum(int(suite.attrib[n]) for n in ("failures", "errors", "skipped"))
        assert counted == (0 if status == "pass" else 1)

    check()


@pytest.mark.usefixtures("database")
def test_csv_reads_back_and_runs_nothing_in_a_spreadsheet() -> None:
    @given(WORDS)
    def check(because: str) -> None:
        rows = list(csv.DictReader(io.StringIO(table.write([_row(because=because)]), newline="")))
        assert len(rows) == 1
        assert rows[0]["because"][:1] not in set("=+-@\t\r")

    check()


def test_each_form_comes_from_the_collector(collector: Any) -> None:
    agent = collector.agent("n1")
    f = {"severity": "high", "because": "seen"}
    agent.full({"check": "a.x", "status": "fail"} | f, {"check": "a.y", "status": "pass"} | f)
    for form, (_, kind) in FORMS.items():
        answer = collector.get("/v1/findings", format=form, limit=1)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith(kind.partition(";")[0])
        assert "a.x" in answer.text
        assert answer.headers["Nodeward-Next"]
    assert collector.get("/v1/findings", format="pdf").status_code == 400


# -- OSCAL


@pytest.mark.usefixtures("database")
def test_oscal_is_a_document_of_its_model_whatever_the_node_says() -> None:
    statuses = st.sampled_from(["fail", "pass", "unknown", "error", "not-applicable"])
    row = st.builds(
        lambda because, status, node, ids: _row(
            because=because, status=status, node=node, mappings={"stig": ids, "sac": []}
        ),
        WORDS, statuses, WORDS, st.lists(WORDS.filter(bool), max_size=2),
    )  # fmt: skip

    @given(st.lists(row, max_size=4))
    def check(rows: list[dict[str, Any]]) -> None:
        Model.model_validate_json(oscal.write(rows))

    check()


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize(
    ("statuses", "state"),
    [
        (["pass", "pass"], "satisfied"),
        (["pass", "not-applicable"], "satisfied"),
        (["pass", "fail"], "not-satisfied"),
        (["pass", "unknown"], "not-satisfied"),
        (["pass", "error"], "not-satisfied"),
        (["not-applicable"], "not-satisfied"),
    ],
)
def test_a_control_is_satisfied_only_where_all_that_apply_passed(
    statuses: list[str], state: str
) -> None:
    rows = [_row(node=f"n{i}", status=s) for i, s in enumerate(statuses)]
    (finding,) = oscal.results(rows, datetime.now(UTC))["results"][0]["findings"]
    assert finding["target"]["status"]["state"] == state


@pytest.mark.usefixtures("database")
def test_nodes_and_checks_keep_their_uuids_in_every_document() -> None:
    one, two = (json.loads(oscal.write([_row()]))["assessment-results"] for _ in range(2))
    for document in (one, two):
        result = document["results"][0]
        (subject,) = result["observations"][0]["subjects"]
        assert subject["subject-uuid"] == result["local-definitions"]["inventory-items"][0]["uuid"]
    assert (
        one["results"][0]["observations"][0]["uuid"] == two["results"][0]["observations"][0]["uuid"]
    )


# -- OpenReports

TEXT = {"type": "string"}
RESULT = {
    "type": "object",
    "required": ["policy"],
    "additionalProperties": False,
    "properties": {
        "policy": TEXT, "rule": TEXT, "message": TEXT, "scored": {"type": "boolean"},
        "result": {"enum": ["pass", "fail", "warn", "error", "skip"]},
        "severity": {"enum": ["critical", "high", "low", "medium", "info"]},
        "properties": {"type": "object", "additionalProperties": TEXT},
        "timestamp": {
            "type": "object", "required": ["nanos", "seconds"],
            "properties": {
                "nanos": {"type": "integer", "minimum": 0, "maximum": 999_999_999},
                "seconds": {"type": "integer"},
            },
        },
    },
}  # fmt: skip
REPORT = {
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata"],
    "properties": {
        "apiVersion": {"const": "openreports.io/v1alpha1"},
        "kind": {"const": "ClusterReport"},
        "metadata": {"type": "object"},
        "source": TEXT,
        "scope": {"type": "object", "additionalProperties": TEXT},
        "summary": {
            "type": "object", "additionalProperties": {"type": "integer"},
            "propertyNames": {"enum": ["pass", "fail", "warn", "error", "skip"]},
        },
        "results": {"type": "array", "items": RESULT},
    },
}  # fmt: skip
"""What the custom resource's schema admits, for the fields that are written."""


@pytest.mark.usefixtures("database")
def test_a_cluster_report_has_the_fields_of_its_resource() -> None:
    rows = [_row(check=f"a.{s}", status=s) for s in openreports.RESULT]
    (report,) = openreports.reports(rows, {"n1": "0f9a"})
    jsonschema.validate(report, REPORT)
    assert report["summary"] == dict.fromkeys(["pass", "fail", "warn", "error", "skip"], 1)
    assert [r["result"] for r in report["results"]] == ["fail", "warn", "error"]
    (owner,) = report["metadata"]["ownerReferences"]
    assert owner == {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "0f9a"}


@pytest.mark.usefixtures("database")
def test_a_report_is_of_one_node_and_fits_into_etcd() -> None:
    long = "x" * 100_000
    piece = {"what": long, "value": long, "source": long}
    rows = [_row(node=n, check=f"a.{i}", because=long, evidence=[piece], remedy={"text": long})
            for n in ("n1", "n2") for i in range(200)]  # fmt: skip
    lines = openreports.write(rows).splitlines()
    assert [json.loads(line)["scope"]["name"] for line in lines] == ["n1", "n2"]
    assert max(map(len, lines)) < 1_000_000


@pytest.mark.usefixtures("database")
def test_a_report_has_a_name_that_the_api_takes() -> None:
    @given(WORDS)
    def check(node: str) -> None:
        name = openreports.object_name(node)
        assert len(name) <= 253
        assert all(c.isascii() and (c.isalnum() or c in "-.") for c in name)

    check()
