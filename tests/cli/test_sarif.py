"""SARIF: true to the official schema, whatever the host's names are."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from nodeward.checks import catalog
from nodeward.cli.accept import Accepted
from nodeward.cli.sarif import to_json
from nodeward.model import Check, CheckId, Evidence, Severity, Status
from program import nodeward
from reports import EVERY_STATUS, finding, report

SCHEMA = json.loads(
    (Path(__file__).parents[1] / "data/sarif/sarif-2.1.0-rtm.5.json").read_text(encoding="utf-8")
)


def rules(ids: list[str]) -> list[Check[...]]:
    import dataclasses

    some = next(iter(catalog().values()))
    return [dataclasses.replace(some, id=CheckId(i)) for i in ids]


def rendered(*findings: object, accepted: dict[CheckId, Accepted] | None = None) -> dict[str, Any]:
    whole = report(*findings)  # type: ignore[arg-type]
    made = to_json(whole, rules([f.check for f in whole.findings]), accepted or {})
    data = json.loads(json.dumps(made))
    jsonschema.Draft4Validator(SCHEMA).validate(data)
    return dict(data["runs"][0])


def of(run: dict[str, Any], check: str) -> dict[str, Any]:
    (result,) = [r for r in run["results"] if r["ruleId"] == check]
    return dict(result)


def test_every_status_and_hostile_text_is_valid() -> None:
    run = rendered()
    assert len(run["results"]) == len(EVERY_STATUS)
    assert {r["ruleId"]: (r["kind"], r["level"]) for r in run["results"]} == {
        "a.fail.critical": ("fail", "error"),
        "a.fail.high": ("fail", "error"),
        "a.fail.low": ("fail", "note"),
        "f.hostile": ("fail", "note"),
        "b.error": ("open", "none"),
        "c.unknown": ("open", "none"),
        "d.pass": ("pass", "none"),
        "e.idle.one": ("notApplicable", "none"),
        "e.idle.two": ("notApplicable", "none"),
    }


def test_each_result_points_to_its_rule() -> None:
    run = rendered()
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]


def test_files_and_lines_of_the_evidence_are_places() -> None:
    result = of(rendered(), "a.fail.high")
    assert result["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "etc/kubernetes/admin.conf", "uriBaseId": "NODE"}
    }
    (second,) = result["relatedLocations"]
    assert second["physicalLocation"]["artifactLocation"]["uri"] == "var/lib/kubelet/config.yaml"
    assert second["physicalLocation"]["region"] == {"startLine": 14}


@pytest.mark.parametrize("source", ["/etc/caf\udce9 %#?\x1b", "/a b:0", "/x:99999999999", "/", "x"])
def test_odd_names_make_valid_addresses(source: str) -> None:
    odd = finding("a.b", Status.FAIL, Severity.LOW, "x", Evidence("file", "y", source))
    rendered(odd)


def test_what_stands_behind_a_place_is_no_part_of_it() -> None:
    source = "/etc/x.yaml:4 (changed after the kubelet started)"
    result = of(
        rendered(finding("a.b", Status.FAIL, Severity.LOW, "x", Evidence("a", "b", source))), "a.b"
    )
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "etc/x.yaml"
    assert place["region"] == {"startLine": 4}


def test_an_accepted_failure_is_suppressed_with_its_reason() -> None:
    exception = Accepted("*", "until the move", "net-team", 2e9, "2033-05-18")
    run = rendered(accepted={CheckId("a.fail.high"): exception})
    assert of(run, "a.fail.high")["suppressions"] == [
        {"kind": "external", "justification": "until 2033-05-18 by net-team: until the move"}
    ]
    assert "suppressions" not in of(run, "a.fail.low")


def test_a_defect_makes_the_run_unsuccessful() -> None:
    assert rendered()["invocations"][0]["executionSuccessful"] is False
    passed = finding("a.b", Status.PASS)
    assert rendered(passed)["invocations"][0]["executionSuccessful"] is True


def test_the_whole_catalogue_is_valid(kubeadm_root: Path) -> None:
    said = nodeward("scan", "--root", kubeadm_root, "-o", "sarif", "--at", "2026-11-22T04:00:00Z")
    assert said.code == 0, said.err
    data = json.loads(said.out)
    jsonschema.Draft4Validator(SCHEMA).validate(data)
    assert len(data["runs"][0]["results"]) == len(catalog())
