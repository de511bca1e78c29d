"""A finding as it travels: what is written comes back, and other JSON is refused by name."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeward.model import CheckId, Evidence, Finding, Remedy, Severity, Status
from nodeward.model.report import (
    WireError,
    finding_from_json,
    finding_to_json,
    posture_digest,
    report_to_json,
)
from reports import EVERY_STATUS, report

TEXT = st.text(st.characters(codec="utf-8"), max_size=10)
FINDING = st.builds(
    Finding,
    TEXT.map(CheckId),
    st.sampled_from(Status),
    st.sampled_from(Severity),
    TEXT,
    st.lists(st.builds(Evidence, TEXT, TEXT, TEXT), max_size=3).map(tuple),
    st.none() | st.builds(Remedy, TEXT, st.lists(TEXT, max_size=2).map(tuple), TEXT),
    st.dictionaries(TEXT, st.lists(TEXT, max_size=2).map(tuple), max_size=2),
)


@given(FINDING)
def test_a_finding_comes_back_from_json_as_it_was(found: Finding) -> None:
    assert finding_from_json(json.loads(json.dumps(finding_to_json(found)))) == found


GOOD = finding_to_json(EVERY_STATUS[0])
NAMES = st.sampled_from(
    ["check", "status", "severity", "because", "evidence", "remedy", "mappings"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            NAMES | st.sampled_from(["what", "value", "text", "steps"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


def fault(raw: object) -> str | None:
    """The member at fault; None where there is none."""
    try:
        finding_from_json(raw, "findings[3]")
    except WireError as exc:
        return exc.field
    return None


@given(NAMES, JSON)
def test_a_member_that_is_wrong_is_named(name: str, value: object) -> None:
    field = fault({**GOOD, name: value})
    assert field is None or field.startswith(f"findings[3].{name}")


@given(JSON)
def test_other_json_is_a_wire_error_and_nothing_else(value: object) -> None:
    fault(value)


def test_a_member_of_a_newer_version_is_no_error() -> None:
    assert finding_from_json({**GOOD, "waiver": {"by": "x"}}) == EVERY_STATUS[0]


@pytest.mark.parametrize("name", ["check", "status", "severity", "because"])
def test_a_member_that_is_missing_is_named(name: str) -> None:
    with pytest.raises(WireError) as caught:
        finding_from_json({k: v for k, v in GOOD.items() if k != name})
    assert caught.value.field == f"finding.{name}"


def test_the_digest_is_that_of_what_a_posture_says() -> None:
    first = EVERY_STATUS[:8]
    assert posture_digest(first) == posture_digest(reversed(first))
    assert posture_digest(first) != posture_digest(first[1:])
    other = [Finding(f.check, f.status, f.severity, f.because + "!") for f in first]
    assert posture_digest(first) != posture_digest(other)
    mended = [
        Finding(f.check, f.status, f.severity, f.because, f.evidence, Remedy("other"))
        for f in first
    ]
    assert posture_digest(first) == posture_digest(mended)


def test_a_report_names_all_five_statuses() -> None:
    data = report_to_json(report(*EVERY_STATUS[:3]))
    assert data["summary"] == {
        "pass": 0, "fail": 3, "not-applicable": 0, "unknown": 0, "error": 0,
    }  # fmt: skip
