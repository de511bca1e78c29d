"""Exceptions: dated, owned, reasoned; out of the exit code and never out of the result."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeward.cli.accept import Accepted, AcceptError, apply, parse
from nodeward.cli.scan import exit_code
from nodeward.model import Severity, Status
from program import nodeward
from reports import EVERY_STATUS, finding, report

KNOWN = ["kernel.module.sctp", "kernel.module.dccp", "kubelet.authn.anonymous"]
DAY = 1_798_761_599.999999  # the end of 2026-12-31 UTC


def entry(**more: object) -> str:
    good = {"check": "kernel.*", "reason": "needed", "owner": "net", "until": "2026-12-31"}
    return json.dumps([{**good, **more}])


def test_a_date_counts_to_its_end() -> None:
    (found,) = parse(entry(), KNOWN)
    assert found == Accepted("kernel.*", "needed", "net", DAY, "2026-12-31")


@pytest.mark.parametrize(
    ("until", "seconds"),
    [("2026-12-31T12:00:00Z", 1798718400.0), ("2026-12-31T12:00:00+02:00", 1798711200.0)],
)
def test_a_moment_is_taken_to_the_second(until: str, seconds: float) -> None:
    assert parse(entry(until=until), KNOWN)[0].until == seconds


def test_yaml_may_leave_the_date_unquoted() -> None:
    text = "- {check: kernel.module.sctp, reason: r, owner: o, until: 2026-12-31}\n"
    assert parse(text, KNOWN)[0].until == DAY


BAD = {
    "no yaml": ("[", "no YAML"),
    "no list": ("check: x", "must be a list"),
    "no mapping": ("- x", "entry 1 must be"),
    "twice": (
        "- check: kernel.*\n  until: 2020-01-01\n  until: 2030-01-01\n",
        "'until' is set twice",
    ),
    "blank reason": (entry(reason="  "), "entry 1: reason is missing"),
    "blank owner": (entry(owner="\t"), "entry 1: owner is missing"),
    "no reason": (entry(reason=""), "entry 1: reason is missing"),
    "no owner": (entry(owner=None), "entry 1: owner is missing"),
    "no end": (entry(until=None), "entry 1: until is missing"),
    "no date": (entry(until="soon"), "entry 1: until must be a date"),
    "a number as date": (entry(until=20261231), "entry 1: until must be a date"),
    "a number as owner": (entry(owner=7), "must be text"),
    "a typo": (entry(untill="x"), "'untill' is not known; did you mean until?"),
    "no such check": (entry(check="kernel.modul.*"), "no check matches 'kernel.modul.*'"),
    "aliases": ("a: &a [1]\nb: *a\n", "must be a list"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_and_says_where(name: str) -> None:
    text, why = BAD[name]
    with pytest.raises(AcceptError) as caught:
        parse(text, KNOWN)
    assert why in str(caught.value)


@pytest.mark.parametrize("text", ["", "# nothing any more\n", "[]"])
def test_a_file_without_entries_accepts_nothing(text: str) -> None:
    assert parse(text, KNOWN) == []


WORDS = st.lists(
    st.sampled_from(
        ["- ", "check", ": ", "until", "2026-12-31", "\n", "  ", "{", "}", "*a", "&a", "reason",
         "!!python/object:x", "? ", "'", '"', "999999-99-99", "\t", "[", "]"],
    ),
    max_size=20,
).map("".join)  # fmt: skip


@given(WORDS)
def test_any_text_is_a_list_of_exceptions_or_an_accept_error(text: str) -> None:
    try:
        parse(text, KNOWN)
    except AcceptError:
        return


def test_only_what_fails_or_is_unknown_can_be_accepted() -> None:
    everything = Accepted("*", "r", "o", DAY, "2026-12-31")
    assert set(apply([everything], EVERY_STATUS, at=0)) == {
        f.check for f in EVERY_STATUS if f.status in (Status.FAIL, Status.UNKNOWN)
    }


def test_what_has_run_out_covers_nothing() -> None:
    old = Accepted("*", "r", "o", 10.0, "1970-01-01")
    assert apply([old], EVERY_STATUS, at=10.1) == {}
    assert apply([old], EVERY_STATUS, at=10.0)


def test_the_first_that_fits_counts() -> None:
    first = Accepted("a.fail.*", "first", "o", DAY, "x")
    second = Accepted("a.*", "second", "o", DAY, "x")
    assert {e.reason for e in apply([first, second], EVERY_STATUS, at=0).values()} == {"first"}


# (fail-on, strict, what there is, what of it is accepted) -> exit code
FAILS = finding("a.b", Status.FAIL, Severity.MEDIUM)
DARK = finding("c.d", Status.UNKNOWN)
DEFECT = finding("e.f", Status.ERROR)
PASSES = finding("g.h", Status.PASS)
CODES = [
    (None, False, (FAILS, DARK, DEFECT), "", 0),
    (Severity.MEDIUM, False, (FAILS, DARK), "", 1),
    (Severity.LOW, False, (FAILS,), "", 1),
    (Severity.HIGH, False, (FAILS,), "", 0),
    (Severity.MEDIUM, True, (FAILS, DARK), "", 1),  # 1 before 3
    (Severity.HIGH, True, (FAILS, DARK), "", 3),
    (None, True, (DARK,), "", 3),
    (None, True, (DEFECT,), "", 3),
    (None, True, (FAILS, PASSES), "", 0),
    (Severity.INFO, False, (DARK, DEFECT), "", 0),  # --fail-on looks at fail only
    (Severity.MEDIUM, False, (FAILS,), "a.b", 0),
    (Severity.MEDIUM, True, (FAILS, DARK), "a.b", 3),
    (Severity.MEDIUM, True, (FAILS, DARK), "*", 0),
    (None, True, (DEFECT,), "*", 3),  # a defect is nothing to accept
]


@pytest.mark.parametrize(("fail_on", "strict", "findings", "glob", "code"), CODES)
def test_exit_codes(
    fail_on: Severity | None, strict: bool, findings: tuple[object, ...], glob: str, code: int
) -> None:
    whole = report(*findings)  # type: ignore[arg-type]
    entries = [Accepted(glob, "r", "o", DAY, "x")] if glob else []
    accepted = apply(entries, whole.findings, at=0)
    assert exit_code(whole, accepted, fail_on=fail_on, strict=strict) == code


@pytest.fixture
def open_kubelet(kubeadm_root: Path) -> Path:
    """The recorded node with one thing made bad."""
    config = kubeadm_root / "var/lib/kubelet/config.yaml"
    config.write_text(config.read_text().replace("enabled: false", "enabled: true", 1))
    return kubeadm_root


def test_an_exception_changes_the_exit_code_and_not_the_result(
    open_kubelet: Path, tmp_path: Path
) -> None:
    file = tmp_path / "accept.yaml"
    file.write_text(
        "- check: kubelet.authn.anonymous\n  reason: a lab\n  owner: me\n  until: 2026-12-31\n"
    )
    scan = ("scan", "--root", open_kubelet, "--check", "kubelet.authn.anonymous", "-o", "json",
            "--fail-on", "low")  # fmt: skip
    bare = nodeward(*scan, "--at", "2026-11-22T04:00:00Z")
    covered = nodeward(*scan, "--at", "2026-11-22T04:00:00Z", "--accept", file)
    late = nodeward(*scan, "--at", "2027-01-01T00:00:00Z", "--accept", file)
    assert (bare.code, covered.code, late.code) == (1, 0, 1)
    assert "ran out on 2026-12-31" in late.err
    plain, said = json.loads(bare.out), json.loads(covered.out)
    (finding_,) = said["findings"]
    assert finding_.pop("accepted") == {
        "check": "kubelet.authn.anonymous", "reason": "a lab", "owner": "me", "until": "2026-12-31",
    }  # fmt: skip
    assert said == plain
