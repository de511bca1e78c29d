"""Nothing passes that only stands in a file: what the kubelet has read decides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from nodeward.checks import catalog
from nodeward.checks.kubelet_authn import authorization_mode, token_webhook
from nodeward.checks.kubelet_config import legacy_defaults
from nodeward.checks.kubelet_identity import hostname_override, node_labels, standalone
from nodeward.checks.kubelet_samples import answers, reply
from nodeward.facts.kubelet import Kubelet, Launch, assemble, config_file, example
from nodeward.model import Absent, Check, CheckId, Example, Status, Unreadable, Verdict, decide

FILE = "--config=/var/lib/kubelet/config.yaml"
OFFLINE = Unreadable("ports", "offline")
LATER = 5000.0  # the kubelet of an example started at 1000
OF_THE_FILES = frozenset(
    ["kubelet.config.ignored-field", "kubelet.config.flag-override", "kubelet.config.dropin-order",
     "kubelet.config.drift", "kubelet.version-eol", "kubelet.version-skew"]
)  # fmt: skip
"""Checks of what is on disk, and of what no file of the kubelet's decides."""


def judge(check: str, kubelet: Kubelet, live: object = OFFLINE) -> Verdict:
    rule = catalog()[CheckId(check)]
    return decide(rule, Example(Status.PASS, (kubelet, live)).readings(rule.needs))  # type: ignore[arg-type]


def changed(kubelet: Kubelet, *, gone: str = "") -> Kubelet:
    """The same whose files were changed since it started; with `gone`, only this folder was."""
    if gone:
        return replace(kubelet, folders=((gone, LATER),))
    files = [replace(file, changed_at=LATER) for file in kubelet.files]
    return assemble(kubelet.launch, files, kubelet.dark)


def rows() -> Iterator[tuple[Check[...], Example, Kubelet]]:
    """Every row of a truth table that passes by a kubelet's files."""
    for check in catalog().values():
        if not check.id.startswith("kubelet.") or check.id in OF_THE_FILES:
            continue
        for row in check.examples:
            first = row.given[0] if isinstance(row.given, tuple) else row.given
            if row.expect is Status.PASS and isinstance(first, Kubelet) and first.files:
                yield check, row, first


ROWS = [pytest.param(*r, id=f"{r[0].id}-{n}") for n, r in enumerate(rows())]


@pytest.mark.parametrize("gone", ["", "/etc/kubernetes/kubelet.conf.d/"])
@pytest.mark.parametrize(("rule", "row", "kubelet"), ROWS)
def test_what_passes_by_a_file_is_unknown_once_that_was_changed(
    rule: Check[...], row: Example, kubelet: Kubelet, gone: str
) -> None:
    """Unless what passes is not from the file: a flag, an answer, a version."""
    given = row.given if isinstance(row.given, tuple) else (row.given,)
    late = changed(kubelet, gone=gone)
    verdict = decide(rule, replace(row, given=(late, *given[1:])).readings(rule.needs))
    blind = replace(kubelet, dark="the file cannot be read")
    without = decide(rule, replace(row, given=(blind, *given[1:])).readings(rule.needs))
    if without.status is Status.PASS:  # it does not go by the file at all
        assert verdict.status in (Status.PASS, Status.UNKNOWN)
        return
    assert verdict.status is Status.UNKNOWN, verdict.because
    where = gone or "/var/lib/kubelet/config.yaml"
    assert f"{where} was changed at 1970-01-01T01:23:20Z" in verdict.because
    assert "takes effect at the next start" in verdict.because


def test_most_rows_go_by_the_file() -> None:
    assert len(ROWS) >= 60


def test_what_is_bad_in_a_changed_file_is_a_failure_that_says_when_it_counts() -> None:
    verdict = judge("kubelet.event-qps", changed(example(FILE, "eventRecordQPS: 0")))
    assert verdict.status is Status.FAIL
    assert "that takes effect at the next start" in verdict.because
    assert any(e.value == "1970-01-01T01:23:20Z" for e in verdict.evidence)


def test_a_flag_is_in_force_whatever_happened_to_the_file() -> None:
    kubelet = changed(example(f"{FILE} --event-qps=50", "eventRecordQPS: 0"))
    assert judge("kubelet.event-qps", kubelet).status is Status.PASS


def test_a_gate_of_a_flag_is_in_force_and_one_of_a_changed_file_is_not() -> None:
    text = "serverTLSBootstrap: true"
    gate = "RotateKubeletServerCertificate"
    flags = f"{FILE} --rotate-server-certificates"
    check = "kubelet.tls.server-bootstrap"
    assert judge(check, changed(example(flags, text))).status is Status.UNKNOWN
    kubelet = changed(example(f"{flags} --feature-gates={gate}=true", text))
    assert judge(check, kubelet).status is Status.PASS


@pytest.mark.parametrize(
    ("text", "qps", "status"),
    [
        ("eventRecordQPS: 50", 0, Status.FAIL),
        ("eventRecordQPS: 50", 50, Status.PASS),
        ("eventRecordQPS: 0", 50, Status.PASS),
        ("eventRecordQPS: 0", 0, Status.FAIL),
    ],
)
@pytest.mark.parametrize("late", [True, False])
def test_what_the_kubelet_shows_of_itself_decides(
    text: str, qps: int, status: Status, late: bool
) -> None:
    kubelet = example(FILE, text, changed_at=LATER if late else 500.0)
    verdict = judge("kubelet.event-qps", kubelet, answers(configz={"eventRecordQPS": qps}))
    assert verdict.status is status
    if text != f"eventRecordQPS: {qps}":
        assert "GET /configz" in verdict.because
        assert text.split()[1] in verdict.because


def test_a_gate_that_it_shows_decides_too() -> None:
    kubelet = example(FILE, "{}", version="v1.34.1", changed_at=LATER)
    live = answers(configz={"featureGates": {"KubeletFineGrainedAuthz": False}})
    verdict = judge("kubelet.authz.finegrained", kubelet, live)
    assert verdict.status is Status.FAIL
    assert judge("kubelet.feature-gates", kubelet, live).status is not Status.PASS
    assert judge("kubelet.authz.finegrained", kubelet, answers(configz={})).status is Status.PASS


def test_of_a_kubelet_whose_start_is_not_known_it_is_not_known_what_it_read() -> None:
    verdict = judge("kubelet.event-qps", example(FILE, "eventRecordQPS: 50", started=False))
    assert verdict.status is Status.UNKNOWN
    assert "when it started is not known" in verdict.because


def hidden(words: str, changed_at: float) -> Kubelet:
    """A kubelet inside k3s, whose arguments are made of a file."""
    place = "/etc/rancher/k3s/config.yaml"
    launch = Launch(
        ("k3s", *words.split()), "pid 7", 7, "/usr/bin/k3s", 1000.0, "v1.30.4",
        sources=((place, changed_at),),
    )  # fmt: skip
    return assemble(launch)


CLOSED = "--anonymous-auth=false --authorization-mode=Webhook --read-only-port=0"
CLOSED += " --authentication-token-webhook --kubeconfig=/k --node-labels=a=b"


@pytest.mark.parametrize(
    "rule", [authorization_mode, token_webhook, legacy_defaults, hostname_override, node_labels,
             standalone], ids=lambda c: c.id
)  # fmt: skip
def test_arguments_that_are_not_seen_are_those_of_the_file_only_while_it_is_older(
    rule: Check[...],
) -> None:
    for at, status in ((500.0, Status.PASS), (LATER, Status.UNKNOWN)):
        given = (hidden(CLOSED, at), Absent("x"), Absent("x"))
        row = Example(status, given[: len(rule.needs)])
        verdict = decide(rule, row.readings(rule.needs))
        assert verdict.status is status, verdict.because


def test_an_answer_wins_over_a_file_that_was_changed_and_the_file_is_told() -> None:
    kubelet = example(FILE, "authorization: {mode: AlwaysAllow}", changed_at=LATER)
    text = "Forbidden (user=system:anonymous, verb=get, ..)"
    live = answers(pods=reply(403, text), unhandled=reply(403, text))
    verdict = judge("kubelet.authz.mode", kubelet, live)
    assert verdict.status is Status.PASS
    assert "authorization.mode is AlwaysAllow" in verdict.because


def test_one_of_two_changed_files_is_named_and_the_other_counted() -> None:
    launch = example(FILE, "{}").launch
    files = [config_file(f"/{n}.conf", b"{}", dropin=n > 0, changed_at=LATER + n) for n in range(2)]
    verdict = judge("kubelet.protect-kernel-defaults", assemble(launch, files))
    assert "/0.conf and 1 more was changed" in verdict.because
