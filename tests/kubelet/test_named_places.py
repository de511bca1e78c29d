"""The paths that a kubelet's files name, and the static pods that lie there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from kubelet_hosts import HEAD, Host, Run, findings
from nodeward.facts.kubelet import Unknown, example
from nodeward.model import Status

CONFIG = "/var/lib/kubelet/config.yaml"
WORKER = {"/etc/kubernetes/kubelet.conf": "a: 1\n"}


def static_pods(
    config: str,
    *,
    dropin: str = "",
    pods: Mapping[str, str] | None = None,
    modes: Mapping[str, int] | None = None,
    version: str = "1.36.2",
) -> Host:
    """A running kubelet with this file and drop-in, which runs in /."""
    words = ("kubelet", f"--config={CONFIG}", "--config-dir=/d")
    environ = ("KUBELET_CONFIG_DROPIN_DIR_ALPHA=1",)
    files = {CONFIG: HEAD + config, "/d/1.conf": HEAD + dropin, **WORKER, **(pods or {})}
    return Host(files, (Run(f"/opt/v{version}/kubelet", words, environ),), modes or {})


@pytest.mark.parametrize("name", ["backdoor", "backdoor.txt", "backdoor.yaml~"])
def test_a_static_pod_is_one_whatever_its_name_ends_in(name: str, tmp_path: Path) -> None:
    host = static_pods("staticPodPath: /m\n", pods={f"/m/{name}": "a: 1\n"})
    found = findings(host, tmp_path)["kubelet.static-pod-path"]
    assert found.because.endswith("1 static pods") or found.status is Status.FAIL, found.because


def test_a_hidden_file_and_a_folder_are_no_static_pods(tmp_path: Path) -> None:
    pods = {"/m/.hidden.yaml": "a: 1\n", "/m/sub.yaml/pod.yaml": "a: 1\n"}
    found = findings(static_pods("staticPodPath: /m\n", pods=pods), tmp_path)
    assert found["kubelet.static-pod-path"].status is Status.PASS
    assert "0 static pods" in found["kubelet.static-pod-path"].because


def test_a_relative_path_in_a_drop_in_counts_from_where_the_kubelet_runs(tmp_path: Path) -> None:
    host = static_pods("", dropin="staticPodPath: m\n", modes={"/m": 0o777, "/d/m": 0o755})
    found = findings(host, tmp_path)["kubelet.static-pod-path"]
    assert found.status is Status.FAIL, found.because


def test_a_relative_path_in_the_file_counts_from_the_files_directory(tmp_path: Path) -> None:
    modes = {"/var/lib/kubelet/m": 0o777, "/m": 0o755}
    found = findings(static_pods("staticPodPath: m\n", modes=modes), tmp_path)
    assert found["kubelet.static-pod-path"].status is Status.FAIL


def test_where_a_relative_path_of_a_drop_in_leads_is_asked_of_every_version() -> None:
    """Of a kubelet of no known version: 1.28 counts it from the drop-in's folder."""
    dropin = {"1.conf": "staticPodPath: m"}
    untold = example("--config=/c --config-dir=/d", "{}", dropin, version=None, gate=True)
    value = untold.located("staticPodPath").value
    assert isinstance(value, Unknown)
    assert "/etc/kubernetes/kubelet.d/m by the merge rules of 1.28" in value.why
    assert "/m by the merge rules of 1.32" in value.why
    assert untold.path("staticPodPath") is None
    later = example("--config=/c --config-dir=/d", "{}", dropin, version=None, gate=False)
    assert later.path("staticPodPath") == "/m"


@pytest.mark.parametrize(
    ("environ", "told"), [((), True), (("KUBELET_CONFIG_DROPIN_DIR_ALPHA=1",), False)]
)
def test_static_pods_are_unknown_where_versions_differ_in_it(
    environ: tuple[str, ...], told: bool, tmp_path: Path
) -> None:
    host = static_pods("", dropin="staticPodPath: m\n", modes={"/m": 0o755, "/d/m": 0o777})
    run = replace(host.runs[0], exe="/opt/bin/kubelet", environ=environ)
    found = findings(replace(host, runs=(run,)), tmp_path)["kubelet.static-pod-path"]
    assert found.status is (Status.PASS if told else Status.UNKNOWN), found.because


def test_1_28_loads_drop_ins_as_it_loads_its_file() -> None:
    dropin = {"1.conf": "staticPodPath: m"}
    old, new = (
        example("--config=/c --config-dir=/d", "{}", dropin, version=version, gate=True)
        for version in ("v1.28.0", "v1.30.0")
    )
    assert old.path("staticPodPath") == "/etc/kubernetes/kubelet.d/m"
    assert new.path("staticPodPath") == "/m"


@pytest.mark.parametrize(
    ("url", "verdict"),
    [
        ("https://evil.example.com/p", Status.FAIL),
        ("http://127.0.0.1@evil.example.com/p", Status.FAIL),
        ("https://127.0.0.1:9443/p", Status.PASS),
        ("http://[::1]:9443/p", Status.PASS),
    ],
)
def test_static_pods_are_fetched_from_this_node_alone(
    url: str, verdict: Status, tmp_path: Path
) -> None:
    found = findings(static_pods(f"staticPodURL: '{url}'\n"), tmp_path)
    assert found["kubelet.static-pod-url"].status is verdict


@pytest.mark.parametrize(
    "place",
    [
        "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/acme~drv/drv",
        "/var/lib/kubelet/plugins/csi.acme/csi.sock",
    ],
)
def test_a_volume_driver_lies_in_a_folder_of_its_own(place: str, tmp_path: Path) -> None:
    """The kubelet runs VENDOR~DRIVER/DRIVER, or asks at DRIVER/csi.sock."""
    for mode, status in ((0o777, Status.FAIL), (0o755, Status.PASS)):
        host = static_pods("", pods={place: "#!/bin/sh\n"}, modes={place: mode})
        found = findings(host, tmp_path / str(mode))["kubelet.volume-plugins"]
        assert found.status is status, found.because
        assert status is Status.PASS or f"{place}: mode 0777" in found.because
