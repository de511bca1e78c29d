"""Findings in the forms of other programs."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeward.collector import export

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
    event = json.loads(export.ocsf([_row(status=status)]))
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
def test_a_waived_finding_is_suppressed_and_keeps_its_status() -> None:
    event = json.loads(export.ocsf([_row(waiver={"id": "w", "until": "2027-01-01T00:00:00Z"})]))
    assert (event["status_id"], event["compliance"]["status_id"]) == (3, 3)


@pytest.mark.usefixtures("database")
def test_a_findings_uid_is_the_same_whatever_its_status() -> None:
    one, two = (json.loads(export.ocsf([_row(status=s)])) for s in ("fail", "pass"))
    assert one["finding_info"]["uid"] == two["finding_info"]["uid"]


@pytest.mark.usefixtures("database")
def test_junit_is_xml_whatever_the_node_says() -> None:
    @given(WORDS, WORDS, st.sampled_from(["fail", "pass", "unknown", "error", "not-applicable"]))
    def check(because: str, value: str, status: str) -> None:
        piece = {"what": "w", "value": value, "source": "s"}
        text = export.junit([_row(because=because, evidence=[piece], status=status)])
        suite = ET.fromstring(text)[0]
        assert suite.attrib["tests"] == "1"
        counted = sum(int(suite.attrib[n]) for n in ("failures", "errors", "skipped"))
        assert counted == (0 if status == "pass" else 1)

    check()


@pytest.mark.usefixtures("database")
def test_csv_reads_back_and_runs_nothing_in_a_spreadsheet() -> None:
    @given(WORDS)
    def check(because: str) -> None:
        rows = list(
            csv.DictReader(io.StringIO(export.csv_text([_row(because=because)]), newline=""))
        )
        assert len(rows) == 1
        assert rows[0]["because"][:1] not in set("=+-@\t\r")

    check()


def test_each_form_comes_from_the_collector(collector: Any) -> None:
    agent = collector.agent("n1")
    f = {"severity": "high", "because": "seen"}
    agent.full({"check": "a.x", "status": "fail"} | f, {"check": "a.y", "status": "pass"} | f)
    for form, (_, kind) in export.FORMS.items():
        answer = collector.get("/v1/findings", format=form, limit=1)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith(kind.partition(";")[0])
        assert "a.x" in answer.text
        assert answer.headers["Nodeward-Next"]
    assert collector.get("/v1/findings", format="pdf").status_code == 400
