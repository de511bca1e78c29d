"""Kubelets that do not run: what their unit tells, and what it cannot tell."""

from __future__ import annotations

from pathlib import Path

import pytest

import kubelet_hosts
from kubelet_hosts import HEAD, Host
from nodeward.agent.scan import scan, select
from nodeward.host import TreeHost
from nodeward.model import Finding, Status

UNIT = "/etc/systemd/system/kubelet.service"
DECIDING = ("kubelet.authn.anonymous", "kubelet.authz.mode", "kubelet.config.legacy-defaults")


def judge(files: dict[str, str], tmp_path: Path, *checks: str) -> list[Finding]:
    root = kubelet_hosts.build(Host(files), tmp_path / "host")
    report = scan(TreeHost(root), select(list(checks)), at=kubelet_hosts.BOOT)
    return list(report.findings)


@pytest.mark.parametrize(
    "start",
    [
        "/usr/local/bin/start-kubelet.sh",
        "/usr/local/bin/kubelet-wrapper --anonymous-auth=false",
        "/bin/zsh -c kubelet",
        "/usr/bin/env kubelet",
    ],
)
def test_what_another_program_gives_the_kubelet_is_unknown(start: str, tmp_path: Path) -> None:
    found = judge({UNIT: f"[Service]\nExecStart={start}\n"}, tmp_path, *DECIDING)
    assert {f.status for f in found} == {Status.UNKNOWN}
    assert all("what that gives the kubelet is not known" in f.because for f in found)


@pytest.mark.parametrize("start", ["/opt/bin/kubelet", "/hyperkube kubelet"])
def test_the_kubelet_itself_is_judged_by_its_unit(start: str, tmp_path: Path) -> None:
    found = judge({UNIT: f"[Service]\nExecStart={start}\n"}, tmp_path, *DECIDING)
    assert {f.status for f in found} == {Status.FAIL}


@pytest.mark.parametrize("unit", ["rke2-server", "rke2-agent", "k0sworker", "k3s"])
def test_a_kubelet_that_a_supervisor_would_start_is_unknown(unit: str, tmp_path: Path) -> None:
    files = {f"/usr/local/lib/systemd/system/{unit}.service": "[Service]\nExecStart=/x agent\n"}
    found = judge(files, tmp_path, *DECIDING)
    assert {f.status for f in found} == {Status.UNKNOWN}
    assert all(f"{unit}.service" in f.because for f in found)


def test_an_exported_line_of_an_environment_file_counts_for_nothing(tmp_path: Path) -> None:
    files = {
        UNIT: "[Service]\nEnvironmentFile=/etc/default/kubelet\n"
        "ExecStart=/usr/bin/kubelet $KUBELET_EXTRA_ARGS\n",
        "/etc/default/kubelet": 'export KUBELET_EXTRA_ARGS="--config=/c.yaml"\n',
        "/c.yaml": HEAD,
    }
    found = judge(files, tmp_path, *DECIDING)
    assert {f.status for f in found} == {Status.FAIL}
