"""What the certificate checks say of a real kubeadm node."""

from datetime import datetime
from pathlib import Path

import pytest

from kubeadm_tree import NOW
from nodeward.agent.scan import scan, select
from nodeward.host import TreeHost
from nodeward.model import Finding, Status

AT = datetime.fromisoformat(NOW).timestamp()


def judge(tree: Path, glob: str, at: float = AT) -> dict[str, Finding]:
    report = scan(TreeHost(tree), select([glob]), at=at)
    return {f.check: f for f in report.findings}


@pytest.mark.parametrize(
    "component", ["kubelet-client", "kubelet-server", "apiserver", "etcd-server", "etcd-peer"]
)
def test_a_fresh_node_has_a_year(kubeadm_root: Path, component: str) -> None:
    found = judge(kubeadm_root, f"cert.expiry.{component}")[f"cert.expiry.{component}"]
    assert found.status is Status.PASS
    assert "2027-11-22" in found.because
