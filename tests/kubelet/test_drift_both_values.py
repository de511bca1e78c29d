"""Drift shows what is in force and what will be, or says that the first is not known."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

import kubelet_hosts
from kubelet_hosts import BOOT, HEAD, STARTED_TICKS, Host, Run
from nodeward.agent.scan import scan, select
from nodeward.checks.kubelet_drift import drift
from nodeward.checks.kubelet_samples import answers, reply
from nodeward.facts.kubelet import example
from nodeward.host import TreeHost
from nodeward.model import Finding, Severity, Status, Unreadable

OFFLINE = Unreadable("ports", "offline")
K3S_CONFIG, RKE2_CONFIG = "/etc/rancher/k3s/config.yaml", "/etc/rancher/rke2/config.yaml"
K3S_UNIT = "/etc/systemd/system/k3s.service"
OWN = "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d/00-k3s-defaults.conf"
COPY = "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d/10-cli-config.conf"
MINE = "/etc/rancher/k3s/kubelet.yaml"
ARGS = "/var/snap/microk8s/current/args/kubelet"
NOT_KNOWN = "what was read at the start is not known"


def k3s(version: str, options: str = "") -> tuple[Mapping[str, str], tuple[Run, ...]]:
    unit = f"[Service]\nExecStart=/opt/k3s-{version}/bin/k3s server {options}\n"
    run = Run(f"/opt/k3s-{version}/bin/k3s", ("/usr/local/bin/k3s server",))
    return {K3S_UNIT: unit}, (run,)


def judge(
    files: Mapping[str, str], runs: tuple[Run, ...], later: str, folder: Path, check: str = "drift"
) -> Finding:
    """With one file changed an hour after the start; "" for none."""
    root = kubelet_hosts.build(Host(files, runs), folder / "host")
    if later:
        os.utime(root / later.lstrip("/"), (BOOT + 3600, BOOT + 3600))
    wanted = {"drift": "kubelet.config.drift"}.get(check, check)
    return scan(TreeHost(root), select([wanted]), at=BOOT + 7200).findings[0]


def shown(found: Finding) -> str:
    return "\n".join(f"{e.what}: {e.value} @ {e.source}" for e in found.evidence)


def test_an_argument_of_k3s_that_was_changed_since_is_told(tmp_path: Path) -> None:
    files, runs = k3s("1.30.4")
    files = {**files, K3S_CONFIG: "kubelet-arg: [anonymous-auth=true]\n"}
    before = judge(files, runs, "", tmp_path / "before")
    assert before.status is Status.PASS
    found = judge(files, runs, K3S_CONFIG, tmp_path)
    assert (found.status, found.severity) == (Status.FAIL, Severity.MEDIUM)
    assert f"authentication.anonymous.enabled true ({NOT_KNOWN}) ({K3S_CONFIG})" in found.because
    verdict = judge(files, runs, K3S_CONFIG, tmp_path / "x", "kubelet.authn.anonymous")
    assert "changed after the kubelet started: from its next restart" in verdict.because


@pytest.mark.parametrize(
    ("files", "folder", "status"),
    [
        ({"/etc/rancher/k3s/other": ""}, "/etc/rancher/k3s", Status.UNKNOWN),
        ({"/etc/rancher/k3s/config.yaml.d/1.yaml": "a: b\n"}, "/etc/rancher/k3s/config.yaml.d",
         Status.UNKNOWN),
        ({K3S_CONFIG: "a: b\n"}, "/etc/rancher/k3s", Status.PASS),
        ({"/etc/rancher/k3s/k3s.yaml": ""}, "/etc/rancher/k3s", Status.PASS),
    ],
    ids=["its file", "one beside it", "its file is there", "a new one came"],
)  # fmt: skip
def test_a_configuration_of_k3s_that_was_removed_is_noticed_by_its_folder(
    files: Mapping[str, str], folder: str, status: Status, tmp_path: Path
) -> None:
    unit, runs = k3s("1.30.4")
    root = kubelet_hosts.build(Host({**unit, **files}, runs), tmp_path / "host")
    if "/etc/rancher/k3s/k3s.yaml" in files:  # k3s writes it at its first start
        os.utime(root / "etc/rancher/k3s/k3s.yaml", (BOOT + 3600, BOOT + 3600))
    os.utime(root / folder.lstrip("/"), (BOOT + 3600, BOOT + 3600))
    wanted = select(["kubelet.authn.anonymous", "kubelet.config.drift"])
    found = scan(TreeHost(root), wanted, at=BOOT + 7200).findings
    assert found[0].status is status, found[0].because
    assert (folder in found[0].because) is (status is Status.UNKNOWN)
    assert (found[1].status is Status.FAIL) is (status is Status.UNKNOWN)


def test_so_is_one_of_its_unit(tmp_path: Path) -> None:
    files, runs = k3s("1.30.4", "--kubelet-arg=anonymous-auth=true")
    found = judge(files, runs, K3S_UNIT, tmp_path)
    assert found.status is Status.FAIL
    assert f"authentication.anonymous.enabled true ({NOT_KNOWN}) ({K3S_UNIT})" in found.because


def test_a_changed_source_that_gives_the_kubelet_nothing_is_less_severe(tmp_path: Path) -> None:
    files, runs = k3s("1.30.4")
    found = judge({**files, K3S_CONFIG: "tls-san: [x]\n"}, runs, K3S_CONFIG, tmp_path)
    assert (found.status, found.severity) == (Status.FAIL, Severity.LOW)
    assert K3S_CONFIG in found.because
    assert "cannot be told" in found.because


def test_a_file_that_k3s_copies_at_its_next_start_shows_both_values(tmp_path: Path) -> None:
    files, runs = k3s("1.32.5")
    files = {
        **files,
        K3S_CONFIG: f"kubelet-arg: [config={MINE}]\n",
        MINE: HEAD + "readOnlyPort: 10255\n",
        OWN: HEAD,
        COPY: HEAD + "readOnlyPort: 0\n",
    }
    found = judge(files, runs, "", tmp_path)
    assert found.status is Status.FAIL
    assert "readOnlyPort 0 in force, readOnlyPort 10255 from the next restart" in found.because
    assert MINE in found.because
    same = {**files, COPY: files[MINE]}
    assert judge(same, runs, "", tmp_path / "same").status is Status.PASS


RKE2_KUBELET = "/var/lib/rancher/rke2/data/v1.32.5-rke2r1-0123456789ab/bin/kubelet"


def rke2(*words: str) -> tuple[Mapping[str, str], tuple[Run, ...]]:
    files = {
        "/etc/systemd/system/rke2-server.service": "[Service]\n"
        "ExecStart=/usr/local/bin/rke2 server\n",
        "/proc/812/cgroup": "0::/system.slice/rke2-server.service\n",
        "/d/00-own.conf": HEAD,
    }
    return files, (Run(RKE2_KUBELET, ("kubelet", "--config-dir=/d", *words)),)


def test_what_rke2_would_give_its_kubelet_now_stands_beside_what_it_has(tmp_path: Path) -> None:
    files, runs = rke2("--read-only-port=0")
    changed = {**files, RKE2_CONFIG: "kubelet-arg: [read-only-port=10255, anonymous-auth=true]\n"}
    found = judge(changed, runs, RKE2_CONFIG, tmp_path)
    assert found.status is Status.FAIL
    assert "--read-only-port=0 in force, --read-only-port=10255 from the next restart" in shown(
        found
    )
    assert "--anonymous-auth=true is new from the next restart; in force: " in shown(found)
    assert judge(files, runs, "", tmp_path / "before").status is Status.PASS


def test_an_argument_of_microk8s_that_was_changed_since_is_told(tmp_path: Path) -> None:
    host = kubelet_hosts.HOSTS["microk8s"]()
    found = judge(host.files, host.runs, ARGS, tmp_path)
    assert found.status is Status.FAIL
    assert "readOnlyPort 0" in found.because
    assert NOT_KNOWN in found.because
    assert judge(host.files, host.runs, "", tmp_path / "before").status is Status.PASS


@pytest.mark.parametrize(("after_s", "verdict"), [(40, Status.PASS), (90, Status.UNKNOWN)])
def test_what_microk8s_wrapper_writes_while_it_starts_is_no_change(
    after_s: int, verdict: Status, tmp_path: Path
) -> None:
    root = kubelet_hosts.build(kubelet_hosts.microk8s(), tmp_path)
    started = BOOT + STARTED_TICKS // 100
    os.utime(root / ARGS.lstrip("/"), (started + after_s, started + after_s))
    report = scan(TreeHost(root), select(["kubelet.authn.anonymous"]), at=BOOT + 7200)
    assert report.findings[0].status is verdict


def test_a_unit_shows_the_word_that_is_and_the_one_that_will_be(tmp_path: Path) -> None:
    exe = "/opt/v1.36.2/kubelet"
    unit = f"[Service]\nExecStart={exe} --read-only-port=10255 --v=2\n"
    runs = (Run(exe, ("kubelet", "--read_only_port=0", "--anonymous-auth=false")),)
    found = judge({"/etc/systemd/system/kubelet.service": unit}, runs, "", tmp_path)
    text = shown(found)
    assert "--read_only_port=0 in force, --read-only-port=10255 from the next restart" in text
    assert "--v=2 is new" in text
    assert "--anonymous-auth=false is gone from the next restart" in text


@pytest.mark.parametrize(
    ("given", "would", "told"),
    [
        (("--anonymous-auth=true", "--anonymous-auth=false"),
         ("--anonymous-auth=false", "--anonymous-auth=true"),
         "--anonymous-auth=false in force, --anonymous-auth=true from the next restart"),
        (("--config", "/a", "--kubeconfig", "/b"), ("--config", "/b", "--kubeconfig", "/a"),
         "--config=/a in force, --config=/b from the next restart"),
        (("--v=2", "--anonymous-auth=false"), ("--anonymous-auth=false", "--v=2"), ""),
    ],
)  # fmt: skip
def test_the_order_of_a_units_words_counts(
    given: tuple[str, ...], would: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    exe = "/opt/v1.36.2/kubelet"
    unit = f"[Service]\nExecStart={exe} {' '.join(would)}\n"
    files = {"/etc/systemd/system/kubelet.service": unit, "/a": HEAD, "/b": HEAD}
    found = judge(files, (Run(exe, ("kubelet", *given)),), "", tmp_path)
    assert found.status is (Status.FAIL if told else Status.PASS)
    assert told in shown(found)


FILE = "--config=/var/lib/kubelet/config.yaml"
CHANGED = "readOnlyPort: 0\nauthentication: {anonymous: {enabled: false}}\nhairpinMode: none\n"


@pytest.mark.parametrize(
    ("live", "told"),
    [
        (OFFLINE, f"authentication.anonymous.enabled false, readOnlyPort 0 ({NOT_KNOWN})"),
        (
            answers(pods=reply(200)),
            f"authentication.anonymous.enabled false, now true; readOnlyPort 0 ({NOT_KNOWN})",
        ),
        (
            answers(
                pods=reply(200),
                configz={"authentication": {"anonymous": {"enabled": True}}, "readOnlyPort": 10255},
            ),
            "authentication.anonymous.enabled false, now true; readOnlyPort 0, now 10255",
        ),
        (
            answers(pods=reply(401), configz={"authentication": {}}),
            "what it gives is in force already",
        ),
    ],
    ids=["nothing live", "the ports", "its configuration", "its configuration agrees"],
)
def test_both_values_of_a_changed_file_are_shown_as_far_as_the_kubelet_shows_them(
    live: object, told: str
) -> None:
    found = drift(example(FILE, CHANGED, changed_at=5000.0), live)  # type: ignore[arg-type]
    assert found.status is Status.FAIL
    assert f"in force from its restart: {told} (" in found.because


def test_of_a_changed_file_that_gives_nothing_it_is_said_that_the_old_values_are_not_known() -> (
    None
):
    found = drift(example(FILE, "hairpinMode: none\n", changed_at=5000.0), OFFLINE)
    assert f"it gives nothing that counts for security; {NOT_KNOWN}" in found.because


def test_a_list_that_counts_for_security_is_named_too() -> None:
    config = "tlsCipherSuites: [TLS_RSA_WITH_AES_128_CBC_SHA]"
    kubelet = example("--config=/var/lib/kubelet/config.yaml", config, changed_at=5000.0)
    assert "tlsCipherSuites TLS_RSA_WITH_AES_128_CBC_SHA" in drift(kubelet, OFFLINE).because
