"""The report that people read."""

import re

import pytest

from nodeward.cli.accept import Accepted
from nodeward.cli.paint import Paint
from nodeward.cli.table import columns, page
from nodeward.model import CheckId, Evidence, Severity, Status
from reports import EVERY_STATUS, finding, report

PLAIN = Paint(colour=False, unicode=True, width=100)
EXCEPTION = Accepted("a.fail.high", "until the move", "net-team", 2e9, "2033-05-18")


def shown(*findings: object, paint: Paint = PLAIN) -> str:
    return page(report(*findings), paint, {})  # type: ignore[arg-type]


def test_the_worst_comes_first_and_the_count_last() -> None:
    text = shown()
    order = [
        "a.fail.critical", "a.fail.high", "a.fail.low", "f.hostile", "b.error", "c.unknown",
        "d.pass", "e.idle.one",
    ]  # fmt: skip
    places = [text.index(check) for check in order]
    assert places == sorted(places)
    last = text.split("\n")[-3:]
    assert last[:2] == [
        "✗ 4 fail (1 critical, 1 high, 1 low, 1 info)   ! 1 error   ? 1 unknown   ✓ 1 pass",
        "– 2 not applicable",
    ]
    assert last[2].endswith("nodeward explain a.fail.critical")


def test_the_first_line_says_which_node_it_is() -> None:
    assert shown().split("\n")[0] == (
        "worker-7 · debian 12 · Linux 6.1.0-56-amd64 · kubelet 1.36.2 · containerd 1.6.20 · aws ·"
    )
    assert shown().split("\n")[1] == "  worker (kubeadm) · 2026-11-22 04:10 UTC"


def test_a_failure_shows_value_place_and_fix() -> None:
    text = shown()
    start = text.index("✗ fail  high   a.fail.high")
    assert text[start:].split("\n")[:9] == [
        "✗ fail  high   a.fail.high",
        "  the mode is 0644, want 0600",
        "    · mode: 0644  [/etc/kubernetes/admin.conf]",
        "    · line: mode: x  [/var/lib/kubelet/config.yaml:14]",
        "    · flag: --x=1  [arguments of pid 812]",
        "  fix: Set the mode.",
        "       $ chmod 600 /etc/kubernetes/admin.conf",
        "  may break: Nothing.",
        "",
    ]


def test_evidence_that_the_sentence_has_told_is_not_told_again() -> None:
    told = Evidence("mode", "0644", "/etc/x")
    text = shown(finding("a.b", Status.FAIL, Severity.LOW, "the mode of /etc/x is 0644", told))
    assert text.count("0644") == 1


def test_what_does_not_apply_is_told_once_for_its_reason() -> None:
    assert "– not applicable: etcd is not on this host\n    e.idle.one, e.idle.two\n" in shown()


def test_a_host_that_is_no_node_says_so_in_one_line() -> None:
    import dataclasses

    bare = dataclasses.replace(report(), inventory={"roles": []})
    assert page(bare, PLAIN, {}).split("\n")[1].startswith("This host is not a Kubernetes node")


def test_a_tree_at_rest_is_named() -> None:
    assert "the tree at /img" in page(report(live=False, root="/img"), PLAIN, {})


def test_a_long_list_of_evidence_is_cut_and_says_so() -> None:
    many = [Evidence("file", f"/f{n}") for n in range(9)]
    text = shown(finding("a.b", Status.FAIL, Severity.LOW, "x", *many))
    assert "/f5" in text
    assert "/f6" not in text
    assert "and 3 more (-o json)" in text


def test_an_accepted_failure_stays_and_says_by_whom() -> None:
    text = page(report(), PLAIN, {CheckId("a.fail.high"): EXCEPTION})
    assert "✗ fail  high   a.fail.high" in text
    assert "accepted until 2033-05-18 by net-team: until the move" in text
    assert "1 of those that fail are accepted for now" in text


@pytest.mark.parametrize("width", [20, 40, 80, 110])
@pytest.mark.parametrize("colour", [True, False])
def test_no_control_character_of_the_host_reaches_the_terminal(width: int, colour: bool) -> None:
    text = page(report(), Paint(colour, unicode=True, width=width), {})
    ours = re.sub(r"\x1b\[[0-9;]*m", "", text) if colour else text
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800]", ours)
    assert "\\x1b[31m" in ours or width < 40


def test_without_colour_there_is_no_escape() -> None:
    assert "\x1b" not in shown()


def test_a_terminal_without_unicode_gets_letters() -> None:
    plain = tuple(f for f in EVERY_STATUS if f.check != "f.hostile")
    text = shown(*plain, paint=Paint(colour=False, unicode=False, width=100))
    assert text.isascii()
    assert "x fail  high   a.fail.high" in text


def test_status_is_told_by_a_word_and_not_by_colour_alone() -> None:
    text = shown()
    for word in ("fail", "error", "unknown", "pass", "not applicable"):
        assert word in text


def test_a_pipe_gets_one_line_a_finding() -> None:
    lines = columns(report()).split("\n")
    assert len(lines) == len(EVERY_STATUS)
    assert lines[0] == "fail\tcritical\ta.fail.critical\tanybody may run commands"
    assert all(line.count("\t") == 3 for line in lines)


def test_nothing_selected_is_said() -> None:
    import dataclasses

    assert "nothing was judged" in page(dataclasses.replace(report(), findings=()), PLAIN, {})
