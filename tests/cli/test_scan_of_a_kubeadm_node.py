"""`nodeward scan --root` of a recorded kubeadm node, as an image baker would call it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import kubeadm_tree

CERTIFICATES = (
    "kubelet-client",
    "kubelet-server",
    "apiserver",
    "apiserver-kubelet-client",
    "apiserver-etcd-client",
    "front-proxy-client",
    "etcd-server",
    "etcd-peer",
    "etcd-healthcheck-client",
    "controller-manager",
    "scheduler",
    "admin",
    "super-admin",
)
SAYS = {
    "kubelet.authn.anonymous": "pass",
    "kubelet.authz.mode": "pass",
    "kubelet.port.readonly": "pass",
    **{f"cert.expiry.{name}": "pass" for name in CERTIFICATES},
    "cert.expiry.kube-proxy": "not-applicable",  # not a file of the node
    "kernel.module.dccp": "unknown",  # the recording has no kernel
    "kernel.module.sctp": "unknown",
    "meta.host.reach": "not-applicable",  # no cloud
}


@pytest.fixture
def report(kubeadm_root: Path) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "nodeward.cli", "scan", "--root", kubeadm_root, "-o", "json",
         "--at", kubeadm_tree.NOW],
        capture_output=True, text=True, check=True,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    return json.loads(done.stdout)


def test_the_verdicts_are_those_of_the_node(report: Any) -> None:
    found = {f["check"]: f["status"] for f in report["findings"]}
    assert {check: found.get(check) for check in SAYS} == SAYS


def test_no_verdict_is_an_error_and_each_has_a_reason(report: Any) -> None:
    assert report["summary"]["error"] == 0
    assert all(f["because"] for f in report["findings"])


def test_the_report_is_of_that_moment_and_node(report: Any) -> None:
    assert report["schema"] == "nodeward.scan/v1"
    assert report["taken_at"] == "2026-11-22T04:00:00.000Z"
    assert (report["node"], report["live"]) == ("k8s-node1", False)
