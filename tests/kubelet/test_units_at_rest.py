"""Kubelets that do not run: what their unit tells, and what it cannot tell."""

from __future__ import annotations

from pathlib import Path

import pytest

import kubelet_hosts
from kubelet_hosts import HEAD, Host, Run
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


@pytest.mark.parametrize(
    ("named", "file"),
    [
        ("/etc/default/kubelet.d/*.env", "/etc/default/kubelet.d/1.env"),
        ("-/etc/default/%N", "/etc/default/kubelet"),
        ("-/etc/%p/env", "/etc/kubelet/env"),
    ],
)
def test_environment_files_are_found_by_pattern_and_specifier(
    named: str, file: str, tmp_path: Path
) -> None:
    files = {
        UNIT: f"[Service]\nEnvironmentFile={named}\nExecStart=/usr/bin/kubelet --config=/c $A\n",
        file: "A=--v=2\\ --read-only-port=10255\n",
        "/c": HEAD,
    }
    (found,) = judge(files, tmp_path, "kubelet.port.readonly")
    assert found.status is Status.FAIL
    assert file in found.because


@pytest.mark.parametrize("named", ["-/etc/%H/env", "-/etc/*/env"])
def test_an_environment_file_that_cannot_be_told_leaves_it_unknown(
    named: str, tmp_path: Path
) -> None:
    files = {
        UNIT: f"[Service]\nEnvironmentFile={named}\nExecStart=/usr/bin/kubelet --config=/c $A\n",
        "/c": HEAD,
    }
    (found,) = judge(files, tmp_path, "kubelet.port.readonly")
    assert found.status is Status.UNKNOWN
    assert "what this stands for is not known" in found.because


def test_a_masked_unit_starts_nothing(tmp_path: Path) -> None:
    files = {
        UNIT: "->/dev/null",
        "/usr/lib/systemd/system/kubelet.service": "[Service]\nExecStart=/usr/bin/kubelet\n",
        "/usr/bin/kubelet": "",
    }
    found = judge(files, tmp_path, *DECIDING)
    assert {f.status for f in found} == {Status.UNKNOWN}


def test_an_open_quote_in_its_unit_does_not_hide_what_a_kubelet_was_given(tmp_path: Path) -> None:
    run = Run("/opt/v1.36.2/kubelet", ("kubelet", "--config=/c", "--read-only-port=10255"))
    host = Host({UNIT: "[Service]\nExecStart=/usr/bin/kubelet 'open\n", "/c": HEAD}, (run,))
    report = scan(
        TreeHost(kubelet_hosts.build(host, tmp_path / "host")),
        select(["kubelet.port.readonly"]),
        at=kubelet_hosts.BOOT,
    )
    assert report.findings[0].status is Status.FAIL


START = "/opt/v1.36.2/kubelet --anonymous-auth=false --authorization-mode=Webhook"
SERVICE = f"[Service]\nExecStart={START}\n"
CASES = {
    "a masked drop-in": (
        {UNIT: SERVICE, f"{UNIT}.d/9.conf": "->/dev/null"}, Status.PASS),
    "a drop-in that is masked in a stronger place": (
        {UNIT: SERVICE, f"{UNIT}.d/9.conf": "->/dev/null",
         "/usr/lib/systemd/system/kubelet.service.d/9.conf":
         "[Service]\nExecStart=\nExecStart=/opt/v1.36.2/kubelet\n"}, Status.PASS),
    "one for every service is weaker than one for this": (
        {UNIT: SERVICE, "/etc/systemd/system/service.d/9.conf": "[Service]\n",
         "/usr/lib/systemd/system/kubelet.service.d/9.conf":
         "[Service]\nExecStart=\nExecStart=/opt/v1.36.2/kubelet\n"}, Status.FAIL),
    "two commands": (
        {UNIT: SERVICE, f"{UNIT}.d/9.conf": f"[Service]\nExecStart={START}\n"}, Status.UNKNOWN),
    "a command that replaces another": (
        {UNIT: SERVICE, f"{UNIT}.d/9.conf": f"[Service]\nExecStart=\nExecStart={START}\n"},
        Status.PASS),
    "an escape": (
        {UNIT: SERVICE.replace("false", "\\x74rue")}, Status.FAIL),
    "another root": (
        {UNIT: f"{SERVICE}RootDirectory=/other\n"}, Status.UNKNOWN),
    "a variable of the service manager": (
        {UNIT: f"{SERVICE.rstrip()} $MORE\nPassEnvironment=MORE\n"}, Status.UNKNOWN),
    "one that the unit sets too": (
        {UNIT: f"{SERVICE.rstrip()} $MORE\nPassEnvironment=MORE\nEnvironment=MORE=\n"},
        Status.PASS),
    "one that the command does not name": (
        {UNIT: f"{SERVICE}PassEnvironment=MORE\n"}, Status.PASS),
    "the name of the host": (
        {UNIT: f"{SERVICE.rstrip()} --hostname-override=%H\n", "/etc/hostname": "n1\n"},
        Status.PASS),
    "the name of a host that has none": (
        {UNIT: f"{SERVICE.rstrip()} --hostname-override=%H\n"}, Status.UNKNOWN),
    "the same in a variable": (
        {UNIT: f"{SERVICE.rstrip()} $MORE\nEnvironment=MORE=--hostname-override=%H\n"},
        Status.UNKNOWN),
    "a sign of per cent": (
        {UNIT: f"{SERVICE.rstrip()} --node-labels=a=%%H\n"}, Status.PASS),
    "a unit that a generator made": (
        {"/run/systemd/generator/kubelet.service": SERVICE,
         "/usr/lib/systemd/system/kubelet.service": "[Service]\nExecStart=/opt/v1.36.2/kubelet\n"},
        Status.PASS),
}  # fmt: skip


@pytest.mark.parametrize(("files", "status"), CASES.values(), ids=CASES)
def test_a_unit_is_read_as_systemd_reads_it(
    files: dict[str, str], status: Status, tmp_path: Path
) -> None:
    found = judge(files, tmp_path, "kubelet.authn.anonymous")
    assert [f.status for f in found] == [status], found[0].because
