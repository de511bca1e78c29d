"""JUnit: every CI system can read it, and no text of a host breaks it."""

from xml.etree import ElementTree as ET

from nodeward.cli.accept import Accepted
from nodeward.cli.junit import render
from nodeward.model import CheckId
from reports import EVERY_STATUS, report

EXCEPTION = Accepted("*", "until the move", "net-team", 2e9, "2033-05-18")


def cases(text: str) -> dict[str, ET.Element]:
    return {case.attrib["name"]: case for case in ET.fromstring(text).iter("testcase")}


def kinds(text: str) -> dict[str, str]:
    return {name: (case[0].tag if len(case) else "passed") for name, case in cases(text).items()}


def test_each_status_has_its_element() -> None:
    assert kinds(render(report(), {}, strict=False)) == {
        "a.fail.critical": "failure",
        "a.fail.high": "failure",
        "a.fail.low": "failure",
        "f.hostile": "failure",
        "b.error": "error",
        "c.unknown": "skipped",
        "d.pass": "passed",
        "e.idle.one": "skipped",
        "e.idle.two": "skipped",
    }


def test_strict_makes_the_unknown_an_error() -> None:
    assert kinds(render(report(), {}, strict=True))["c.unknown"] == "error"


def test_an_accepted_failure_is_skipped_and_says_why() -> None:
    text = render(report(), {CheckId("a.fail.high"): EXCEPTION}, strict=False)
    (skipped,) = cases(text)["a.fail.high"]
    assert skipped.tag == "skipped"
    assert "until 2033-05-18 by net-team: until the move" in skipped.attrib["message"]
    assert "the mode is 0644" in skipped.attrib["message"]


def test_the_counts_are_those_of_the_cases() -> None:
    suite = ET.fromstring(render(report(), {}, strict=False))[0]
    assert {k: suite.attrib[k] for k in ("tests", "failures", "errors", "skipped")} == {
        "tests": str(len(EVERY_STATUS)), "failures": "4", "errors": "1", "skipped": "3",
    }  # fmt: skip
    assert suite.attrib["hostname"] == "worker-7"


def test_a_failure_holds_evidence_and_fix() -> None:
    (failure,) = cases(render(report(), {}, strict=False))["a.fail.high"]
    assert failure.attrib == {"type": "high", "message": "the mode is 0644, want 0600"}
    assert (failure.text or "").split("\n")[1:] == [
        "mode: 0644 [/etc/kubernetes/admin.conf]",
        "line: mode: x [/var/lib/kubelet/config.yaml:14]",
        "flag: --x=1 [arguments of pid 812]",
        "fix: Set the mode.",
        "$ chmod 600 /etc/kubernetes/admin.conf",
    ]
