"""What a missing fact means, told in one place, and how a verdict travels."""

from dataclasses import dataclass

import pytest

from nodeward.model import (
    Absent,
    Broken,
    Check,
    Evidence,
    Example,
    Fact,
    Finding,
    Reading,
    Remedy,
    Seen,
    Severity,
    Source,
    Status,
    Unreadable,
    Verdict,
    check,
    decide,
    finding,
    legible,
    most,
)
from nodeward.model.advice import help_for


@dataclass(frozen=True, slots=True)
class Door(Fact):
    open: bool


MEND = Remedy("Close it.", ("shut /door",), "Nobody comes in.")


def rule(**more: object) -> Check[...]:
    declared: dict[str, object] = {
        "title": "The door is shut",
        "why": "Cold.",
        "severity": Severity.MEDIUM,
        "remedy": MEND,
        "sources": [Source("s", "https://example.org")],
        "examples": [Example(Status.PASS, Door(False))],
        "mappings": {"sac": ["doors"]},
        **more,
    }

    @check("door.shut", **declared)  # type: ignore[arg-type]
    def shut(door: Door) -> Verdict:
        if door.open:
            return Verdict.failed("the door is open", Evidence("door", "open", "/door"))
        return Verdict.passed("the door is shut")

    return shut


@pytest.mark.parametrize(
    ("reading", "status", "because"),
    [
        (Seen(Door(False)), Status.PASS, "the door is shut"),
        (Seen(Door(True)), Status.FAIL, "the door is open"),
        (Absent("a door"), Status.NOT_APPLICABLE, "a door is not on this host"),
        (Unreadable("/door", "EACCES"), Status.UNKNOWN, "could not look at /door: EACCES"),
        (Broken("Door", "KeyError at x.py:3"), Status.ERROR,
         "the probe of Door is defective: KeyError at x.py:3"),
        (None, Status.ERROR, "no probe reads Door"),
    ],
)  # fmt: skip
def test_what_a_reading_means(reading: Reading[Fact] | None, status: Status, because: str) -> None:
    verdict = decide(rule(), {} if reading is None else {Door: reading})
    assert (verdict.status, verdict.because) == (status, because)


def test_what_has_no_path_is_named_in_words() -> None:
    verdict = decide(rule(), {Door: Unreadable("ListeningSockets", "offline")})
    assert verdict.because == "could not look at listening sockets: offline"


def test_a_failure_brings_the_checks_remedy_and_severity() -> None:
    found = finding(rule(), decide(rule(), {Door: Seen(Door(True))}))
    assert found == Finding(
        rule().id, Status.FAIL, Severity.MEDIUM, "the door is open",
        (Evidence("door", "open", "/door"),), MEND, {"sac": ("doors",)},
    )  # fmt: skip


def test_a_verdict_may_have_its_own_severity_and_remedy() -> None:
    own = Remedy("Call the porter.")
    verdict = Verdict.failed("the door is gone", severity=Severity.HIGH, remedy=own)
    found = finding(rule(), verdict)
    assert (found.severity, found.remedy) == (Severity.HIGH, own)


def test_a_pass_needs_no_remedy() -> None:
    assert finding(rule(), Verdict.passed("it is shut")).remedy is None


def test_an_unknown_says_what_would_help() -> None:
    found = finding(rule(), decide(rule(), {Door: Unreadable("/door", "EACCES")}))
    assert found.remedy is not None
    assert "root" in found.remedy.text


@pytest.mark.parametrize(
    "error",
    ["EACCES", "EPERM", "offline", "processes of others are hidden from us", "more than 9 bytes",
     "not in this recording", "took longer than 20 s", "ELOOP", "EIO", "nested too deeply",
     "not known to be in the host's network namespace",
     "needs /proc to be mounted for nodeward itself"],
)  # fmt: skip
def test_every_obstacle_of_the_host_layer_has_advice(error: str) -> None:
    assert help_for(f"could not look at /x: {error}") is not None


def test_an_obstacle_that_nobody_knows_has_none() -> None:
    assert help_for("the two files disagree") is None


def test_a_verdict_without_a_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="says why"):
        Verdict(Status.PASS, "")


def test_fifty_offenders_are_named_and_all_are_counted() -> None:
    many = [Evidence("file", str(n)) for n in range(80)]
    shown = most(many)
    assert len(shown) == 50
    assert shown[0] == many[0]
    assert shown[-1] == Evidence("in all", "80")
    assert most(many[:50]) == tuple(many[:50])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("café", "café"),
        ("caf\udce9", "caf\\xe9"),
        ("\ud800", "\\ud800"),
        ("x" * 4001, "x" * 4000 + "... (4001 characters)"),
    ],
)
def test_text_of_the_host_becomes_text_that_all_can_read(text: str, shown: str) -> None:
    assert legible(text) == shown
    assert legible(text).encode("utf-8")


def test_no_text_of_a_finding_is_without_encoding() -> None:
    odd = "\udcff"
    verdict = Verdict.failed(odd, Evidence(odd, odd, odd), remedy=Remedy(odd, (odd,), odd))
    assert repr(finding(rule(), verdict)).count("\\\\xff") == 7


def test_severities_are_ranked() -> None:
    assert sorted(Severity, key=lambda s: -s.rank) == [
        Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM, Severity.LOW, Severity.INFO,
    ]  # fmt: skip
