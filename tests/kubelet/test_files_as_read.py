"""Files with which no kubelet starts, drop-ins of an unknown version, and links set elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import kubelet_hosts
from kubelet_hosts import BOOT, HEAD, Host, Run, findings
from nodeward.agent.scan import scan, select
from nodeward.host import TreeHost
from nodeward.model import Status

CONFIG = "/var/lib/kubelet/config.yaml"
V136 = "/opt/v1.36.2/kubelet"
OPEN = "authentication: {anonymous: {enabled: true}}\n"
NO_CONFIGURATION = (
    "maxPods: 9\n",
    "kind: KubeletConfiguration\n",
    "apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\n",
)


def node(config: str, dropin: str = HEAD, *, exe: str = V136) -> Host:
    words = ("kubelet", f"--config={CONFIG}", "--config-dir=/d")
    return Host({CONFIG: config, "/d/1.conf": dropin}, (Run(exe, words),))


@pytest.mark.parametrize("config", NO_CONFIGURATION)
def test_a_file_with_which_no_kubelet_starts_promises_nothing(config: str, tmp_path: Path) -> None:
    found = findings(node(config), tmp_path)
    assert found["kubelet.config.ignored-field"].status is Status.FAIL
    assert "no kubelet starts" in found["kubelet.config.ignored-field"].because
    assert found["kubelet.authn.anonymous"].status is Status.UNKNOWN
    assert found["kubelet.config.dropin-order"].status is Status.UNKNOWN


def test_nor_does_such_a_drop_in(tmp_path: Path) -> None:
    dropin = "apiVersion: v1\nkind: ConfigMap\nauthentication: {anonymous: {enabled: false}}\n"
    found = findings(node(HEAD + OPEN, dropin), tmp_path)
    assert found["kubelet.config.ignored-field"].status is Status.FAIL
    assert found["kubelet.config.dropin-order"].status is Status.FAIL
    assert found["kubelet.authn.anonymous"].status is Status.UNKNOWN


def test_from_1_29_to_1_31_a_drop_in_needs_no_kind(tmp_path: Path) -> None:
    found = findings(node(HEAD, OPEN, exe="/opt/v1.30.2/kubelet"), tmp_path)
    assert found["kubelet.authn.anonymous"].status is Status.FAIL
    assert found["kubelet.config.ignored-field"].status is Status.PASS


def test_a_drop_in_that_not_every_version_takes_is_unknown_where_the_version_is(
    tmp_path: Path,
) -> None:
    found = findings(node(HEAD, "readOnlyPort: 0\n", exe="/opt/kubelet"), tmp_path)
    order = found["kubelet.config.dropin-order"]
    assert order.status is Status.UNKNOWN
    assert "the merge rules of 1.32 and later" in order.because


@pytest.mark.parametrize("linked", [CONFIG, "/var/lib/kubelet"], ids=["file", "folder"])
def test_a_link_that_leads_elsewhere_since_the_start_is_drift(linked: str, tmp_path: Path) -> None:
    """The file that it leads to now is older than the process."""
    below = CONFIG.removeprefix(linked)
    files = {f"/v1{below}": HEAD, f"/v2{below}": HEAD + OPEN, linked: "->/v1"}
    host = Host(files, (Run(V136, ("kubelet", f"--config={CONFIG}")),))
    root = kubelet_hosts.build(host, tmp_path / "host")
    drift = select(["kubelet.config.drift"])
    assert scan(TreeHost(root), drift, at=BOOT + 3600).findings[0].status is Status.PASS
    link = root / linked.lstrip("/")
    link.unlink()
    link.symlink_to("/v2")
    os.utime(link, (BOOT + 1800, BOOT + 1800), follow_symlinks=False)
    found = scan(TreeHost(root), drift, at=BOOT + 3600).findings[0]
    assert found.status is Status.FAIL
    assert CONFIG in found.because
