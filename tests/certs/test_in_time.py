"""Findings change on the right day, from issue to stalled to expired: the clock is a value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest

from certificate_maker import DAY, NOW, Authority, Spec, certificate, key, pem, write
from kubeadm_tree import add_process
from nodeward.checks import catalog
from nodeward.checks.cert_samples import place, together
from nodeward.facts.clock import Now
from nodeward.facts.pki import Pki
from nodeward.facts.served import Served
from nodeward.facts.x509 import parse_certificate
from nodeward.model import CheckId, Finding, Seen, Unreadable, decide, finding
from pki_node import NAME, PkiNode, client, server

LIFE = 365
AT_REST = Unreadable("TLS servers", "offline")
ISSUED = NOW


def of_days(facts: Pki, check: str, last: int = LIFE + 5) -> list[tuple[str, int]]:
    """What the check says day by day, at noon: (status and severity of a failure, first day)."""

    def says(day: int) -> str:
        at = Now((ISSUED + (day + 0.5) * DAY).timestamp())
        found = finding(rule, decide(rule, {Pki: Seen(facts), Served: AT_REST, Now: Seen(at)}))
        return f"fail {found.severity}" if found.status == "fail" else str(found.status)

    rule = catalog()[CheckId(check)]
    runs = groupby(range(-2, last), key=says)
    return [(status, next(days)) for status, days in runs]


def node(component: str, path: str, life: float = LIFE) -> Pki:
    raw = certificate(Spec(not_before=ISSUED, not_after=ISSUED + life * DAY))
    return together(place(component, path, parse_certificate(raw)))


CURRENT = "/var/lib/kubelet/pki/kubelet-client-current.pem"


def test_a_rotation_that_never_comes() -> None:
    """92 % of 365 days are over on day 335."""
    assert of_days(node("kubelet-client", CURRENT), "cert.expiry.kubelet-client") == [
        ("fail critical", -2),
        ("pass", 0),
        ("fail high", 336),
        ("fail critical", 365),
    ]


def test_the_same_by_the_check_of_rotation() -> None:
    assert of_days(node("kubelet-client", CURRENT), "cert.rotation-stalled") == [
        ("pass", -2),
        ("fail high", 336),
    ]


def test_short_lives_rotate_by_the_same_share() -> None:
    """A day's certificate of a cloud is renewed in hours: days left say nothing."""
    facts = node("kubelet-client", CURRENT, life=100)
    assert of_days(facts, "cert.expiry.kubelet-client", 102) == [
        ("fail critical", -2),
        ("pass", 0),
        ("fail high", 92),
        ("fail critical", 100),
    ]


def test_what_kubeadm_renews_is_told_two_months_and_one_month_before() -> None:
    assert of_days(
        node("apiserver", "/etc/kubernetes/pki/apiserver.crt"), "cert.expiry.apiserver"
    ) == [
        ("fail critical", -2),
        ("pass", 0),
        ("fail low", 305),
        ("fail high", 335),
        ("fail critical", 365),
    ]


K3S = "/var/lib/rancher/k3s/server/tls/serving-kube-apiserver.crt"


def started(day: float) -> Pki:
    at = (ISSUED + day * DAY).timestamp()
    return replace(node("apiserver", K3S), supervisor_started=at)


def test_k3s_wants_a_restart_in_its_last_120_days() -> None:
    assert of_days(started(1), "cert.expiry.apiserver") == [
        ("fail critical", -2),
        ("pass", 0),
        ("fail low", 245),
        ("fail high", 335),
        ("fail critical", 365),
    ]


def test_k3s_that_did_not_renew_at_its_start_has_failed_to() -> None:
    assert of_days(started(280), "cert.expiry.apiserver")[2] == ("fail high", 245)


def test_an_older_k3s_renews_in_the_last_90_days_only() -> None:
    assert of_days(started(250), "cert.expiry.apiserver")[2:4] == [
        ("fail low", 245),
        ("fail high", 335),
    ]


K0S = "/var/lib/k0s/pki/server.crt"


def of_k0s(started: float) -> Pki:
    at = (ISSUED + started * DAY).timestamp()
    return replace(node("apiserver", K0S), supervisor_started=at)


def test_k0s_makes_its_certificates_anew_at_every_start() -> None:
    """So it is late as what a person renews is, and not 120 days before."""
    assert of_days(of_k0s(0), "cert.expiry.apiserver") == [
        ("fail critical", -2),
        ("pass", 0),
        ("fail low", 305),
        ("fail high", 335),
        ("fail critical", 365),
    ]


def test_what_k0s_did_not_make_anew_at_its_start_it_never_will() -> None:
    """Another authority issued it."""
    rule = catalog()[CheckId("cert.expiry.apiserver")]
    at = Now((ISSUED + 340 * DAY).timestamp())
    found = finding(rule, decide(rule, {Pki: Seen(of_k0s(100)), Served: AT_REST, Now: Seen(at)}))
    assert "k0s did not make it anew at its start on 2027-03-02" in found.because
    assert found.remedy
    assert "whoever issued it" in found.remedy.text


def test_a_certificate_from_the_future_sends_to_the_clocks_first() -> None:
    rule = catalog()[CheckId("cert.expiry.apiserver")]
    facts = node("apiserver", "/etc/kubernetes/pki/apiserver.crt")
    at = Now((ISSUED - DAY / 8).timestamp())
    found = finding(rule, decide(rule, {Pki: Seen(facts), Served: AT_REST, Now: Seen(at)}))
    assert "not valid before 2026-11-22 04:00:00 UTC, in 3 hours by this node's clock" in (
        found.because
    )
    assert found.remedy
    assert "clock" in found.remedy.text
    assert found.remedy.steps[0] == "timedatectl"


def test_an_authority_warns_a_year_before() -> None:
    raw = certificate(Spec(not_before=ISSUED, not_after=ISSUED + 500 * DAY, ca=True))
    facts = together(place("cluster-ca", "/etc/kubernetes/pki/ca.crt", parse_certificate(raw)))
    use = replace(facts.uses[0], kind=type(facts.uses[0].kind)("trust"))
    assert of_days(replace(facts, uses=(use,)), "cert.ca-expiry", 503) == [
        ("fail critical", -2),
        ("pass", 0),
        ("fail low", 135),
        ("fail high", 410),
        ("fail critical", 500),
    ]


def life_of_a_node(root: Path) -> Iterator[tuple[str, Finding]]:
    """Joined, renewed in time, then the approver is gone; looked at from files each time."""
    node = PkiNode(root).build()

    def issue(day: float) -> None:
        start = ISSUED + day * DAY
        lives = {"not_before": start, "not_after": start + LIFE * DAY}
        node.kubelet(client(NAME, "system:nodes", **lives), server(NAME, **lives))

    def look(day: float) -> Finding:
        check = "cert.expiry.kubelet-client"
        return node.findings(ISSUED + day * DAY, check)[check]

    issue(0)
    yield "fresh", look(1)
    yield "due", look(300)
    issue(310)
    yield "renewed", look(311)
    yield "due again", look(310 + 300)
    yield "stalled", look(310 + 340)
    yield "expired", look(310 + 366)


def test_the_life_of_a_node(tmp_path: Path) -> None:
    seen = {
        name: (str(found.status), str(found.severity), found.because)
        for name, found in life_of_a_node(tmp_path / "root")
    }
    assert [(n, s, v) for n, (s, v, _) in seen.items()] == [
        ("fresh", "pass", "high"),
        ("due", "pass", "high"),
        ("renewed", "pass", "high"),
        ("due again", "pass", "high"),
        ("stalled", "fail", "high"),
        ("expired", "fail", "critical"),
    ]
    assert "rotation is due" in seen["due"][2]
    assert "2028-09-27" in seen["renewed"][2]


@pytest.mark.parametrize("at", ["1970-01-01", "1999-12-31"])
def test_a_clock_before_2000_judges_no_expiry(tmp_path: Path, at: str) -> None:
    from datetime import UTC, datetime

    node = PkiNode(tmp_path / "root").build()
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
    found = node.findings(moment, "cert.*")
    wrong = {
        c: f.because for c, f in found.items() if "expiry" in c and f.status in ("pass", "fail")
    }
    assert not wrong
    assert found["cert.expiry.apiserver"].status == "unknown"
    assert at in found["cert.expiry.apiserver"].because
    assert found["cert.key-perms"].status == "pass"  # needs no clock


def test_a_supervisor_without_its_daemons_counts_as_them(tmp_path: Path) -> None:
    """k3s holds every daemon in one process: what lies at its places is in use."""
    tls = tmp_path / "var/lib/rancher/k3s/server/tls"
    raw = Authority("k3s-server-ca").issue(Spec(not_after=NOW + 20 * DAY), key("P-256", 1))
    write(tls / "serving-kube-apiserver.crt", pem(raw))
    write(tmp_path / "proc/stat", f"btime {int(NOW.timestamp()) - 3600}\n")
    add_process(tmp_path, 7, ["k3s", "server"], exe="/usr/local/bin/k3s")
    from nodeward.agent.scan import scan, select
    from nodeward.host import TreeHost

    check = "cert.expiry.apiserver"
    report = scan(TreeHost(tmp_path), select([check]), at=NOW.timestamp())
    (found,) = report.findings
    assert (found.status, found.severity) == ("fail", "high")
    assert found.remedy
    assert "systemctl stop k3s" in found.remedy.steps
