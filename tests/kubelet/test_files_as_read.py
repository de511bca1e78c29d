"""Files with which no kubelet starts, and drop-ins where the version is not known."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubelet_hosts import HEAD, Host, Run, findings
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
