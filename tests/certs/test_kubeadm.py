"""What the certificate checks say of a real kubeadm node, line by line."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from kubeadm_tree import NOW
from nodeward.agent.scan import scan, select
from nodeward.host import TreeHost
from nodeward.model import Finding

AT = datetime.fromisoformat(NOW)
GOLDEN = Path(__file__).with_name("kubeadm.findings.txt")


def judge(tree: Path, glob: str = "cert.*", at: datetime = AT) -> dict[str, Finding]:
    report = scan(TreeHost(tree), select([glob]), at=at.timestamp())
    return {f.check: f for f in report.findings}


def line(finding: Finding) -> str:
    severity = f"({finding.severity})" if finding.status == "fail" else ""
    return f"{finding.check:36} {finding.status + severity:16} {finding.because}"


def test_the_review_of_a_fresh_node(kubeadm_root: Path, update_goldens: bool) -> None:
    """Its one open point is super-admin.conf, which kubeadm leaves where it made it."""
    found = judge(kubeadm_root)
    text = "".join(f"{line(f)}\n" for f in found.values())
    if update_goldens:
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def test_a_year_later_everything_is_late_at_once(kubeadm_root: Path) -> None:
    """Made on one day, the certificates end on one day: kubeadm's own and the kubelet's alike."""
    found = judge(kubeadm_root, "cert.expiry.*", AT + timedelta(days=345))
    late = {c for c, f in found.items() if f.status == "fail"}
    assert late == {c for c, f in found.items() if f.status != "not-applicable"}
    assert {f.severity for c, f in found.items() if c in late} == {"high"}


def test_two_years_later_the_node_is_dead(kubeadm_root: Path) -> None:
    found = judge(kubeadm_root, at=AT + timedelta(days=730))
    dead = {c for c, f in found.items() if f.status == "fail" and f.severity == "critical"}
    assert {"cert.expiry.kubelet-client", "cert.expiry.apiserver", "cert.expiry.etcd-peer"} <= dead
    assert found["cert.rotation-stalled"].status == "fail"
    assert found["cert.sa-key-age"].status == "fail"
    assert found["cert.ca-expiry"].status == "pass"
