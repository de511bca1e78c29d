"""Cases that other tools are known to judge wrongly, one named test each.

docs/compare-kube-bench.md lists them with what kube-bench says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

import kubelet_hosts
from kubelet_hosts import HEAD, Host, Run, findings
from nodeward.agent.scan import scan, select
from nodeward.host import TreeHost
from nodeward.model import Status

CONFIG = "/var/lib/kubelet/config.yaml"
FAIL, PASS, GONE, UNKNOWN = Status.FAIL, Status.PASS, Status.NOT_APPLICABLE, Status.UNKNOWN
V136 = "/opt/v1.36.2/kubelet"
KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: k, user: u}}]
clusters: [{name: k, cluster: {server: "https://10.0.0.1:6443"}}]
users: [{name: u, user: {client-certificate: /c.pem, client-key: /c.pem}}]
"""
OPEN = "authentication: {anonymous: {enabled: true}}\n"
V132 = "/opt/v1.32.0/kubelet"


def node(
    *arguments: str,
    config: str | None = None,
    exe: str = V136,
    extra: Mapping[str, str] | None = None,
) -> Host:
    """A running kubelet with these arguments, and --config where a file is given."""
    files = dict(extra or {})
    words = ["kubelet", *arguments]
    if config is not None:
        files[CONFIG] = HEAD + config
        words.insert(1, f"--config={CONFIG}")
    return Host(files, (Run(exe, tuple(words)),))


CASES = {
    # name: (host, check, verdict)
    "seccompDefault false is no seccomp default": (
        node(config="seccompDefault: false\n"), "kubelet.seccomp-default", FAIL,
    ),
    "--seccomp-default=false is no seccomp default": (
        node("--seccomp-default=false", config=""), "kubelet.seccomp-default", FAIL,
    ),
    "podPidsLimit -1 is no limit": (
        node(config="podPidsLimit: -1\n"), "kubelet.pod-pids", FAIL,
    ),
    "without a file the read-only port is open": (
        node("--node-ip=10.0.0.1"), "kubelet.port.readonly", FAIL,
    ),
    "without a file everybody is let in": (
        node("--node-ip=10.0.0.1"), "kubelet.authn.anonymous", FAIL,
    ),
    "without a file everything is allowed": (
        node("--node-ip=10.0.0.1"), "kubelet.authz.mode", FAIL,
    ),
    "a file that does not name anonymous access closes it": (
        node(config="maxPods: 100\n"), "kubelet.authn.anonymous", PASS,
    ),
    "a file that does not name the mode means Webhook": (
        node(config="maxPods: 100\n"), "kubelet.authz.mode", PASS,
    ),
    "the streaming timeout has no effect from 1.34": (
        node(config="streamingConnectionIdleTimeout: 0s\n"), "kubelet.streaming-timeout", GONE,
    ),
    "a timeout of 0s by flag is never": (
        node("--streaming-connection-idle-timeout=0s", config="", exe=V132),
        "kubelet.streaming-timeout", FAIL,
    ),
    "the last of two flags counts": (
        node("--anonymous-auth=false", "--anonymous-auth=true", config=""),
        "kubelet.authn.anonymous", FAIL,
    ),
    "and the other way round": (
        node("--anonymous-auth=true", "--anonymous-auth=false", config=""),
        "kubelet.authn.anonymous", PASS,
    ),
    "a flag may be written with underscores": (
        node("--anonymous_auth=true", config=""), "kubelet.authn.anonymous", FAIL,
    ),
    "a flag without a value is true": (
        node("--anonymous-auth", config=""), "kubelet.authn.anonymous", FAIL,
    ),
    "a flag's value may be the next word": (
        node("--read-only-port", "10255", config=""), "kubelet.port.readonly", FAIL,
    ),
    "a flag wins over the file": (
        node("--authorization-mode=AlwaysAllow", config="authorization: {mode: Webhook}\n"),
        "kubelet.authz.mode", FAIL,
    ),
    "serving certificates by request are the good ones": (
        node(config="serverTLSBootstrap: true\n"), "kubelet.tls.server-bootstrap", PASS,
    ),
    "the gate alone requests no serving certificate": (
        node("--feature-gates=RotateKubeletServerCertificate=true", config=""),
        "kubelet.tls.server-bootstrap", FAIL,
    ),
    "a serving certificate may have any file name": (
        node(config="tlsCertFile: /etc/pki/node.pem\n"), "kubelet.tls.server-bootstrap", PASS,
    ),
    "rotation that nobody switched on is off": (
        node("--kubeconfig=/k", config="", extra={"/k": KUBECONFIG}),
        "kubelet.tls.rotate-client", FAIL,
    ),
    "no limit of events is not a limit of at least 0": (
        node(config="eventRecordQPS: 0\n"), "kubelet.event-qps", FAIL,
    ),
    "nor by flag": (node("--event-qps=0", config=""), "kubelet.event-qps", FAIL),
    "cipher suites in the file are read": (
        node(config="tlsCipherSuites: [TLS_RSA_WITH_AES_128_CBC_SHA]\n"),
        "kubelet.tls.ciphers", FAIL,
    ),
    "an empty --config is no file": (
        node("--config="), "kubelet.authn.anonymous", FAIL,
    ),
    "a gate is off where all beta features are": (
        node(config="serverTLSBootstrap: true\nfeatureGates: {AllBeta: false}\n"),
        "kubelet.tls.server-bootstrap", FAIL,
    ),
    "--config-dir is not --config": (
        node("--config-dir=/etc/kubelet.d", extra={"/etc/kubelet.d/1.conf": HEAD}),
        "kubelet.config.legacy-defaults", FAIL,
    ),
    "--config-dir alone leaves the read-only port open": (
        node("--config-dir=/etc/kubelet.d", extra={"/etc/kubelet.d/1.conf": HEAD}),
        "kubelet.port.readonly", FAIL,
    ),
    "--image-credential-provider-config is not --config": (
        node("--image-credential-provider-config=/etc/p.yaml", extra={"/etc/p.yaml": HEAD}),
        "kubelet.authn.anonymous", FAIL,
    ),
    "a drop-in counts": (
        node("--config-dir=/etc/kubelet.d", config="",
             extra={"/etc/kubelet.d/1.conf": HEAD + OPEN}),
        "kubelet.authn.anonymous", FAIL,
    ),
    "of two drop-ins the last by name counts": (
        node("--config-dir=/etc/kubelet.d", config="",
             extra={"/etc/kubelet.d/10-hardening.conf": HEAD + "readOnlyPort: 0\n",
                    "/etc/kubelet.d/99-debug.conf": HEAD + "readOnlyPort: 10255\n"}),
        "kubelet.port.readonly", FAIL,
    ),
    "a drop-in whose name ends otherwise is not read": (
        node("--config-dir=/etc/kubelet.d", config="",
             extra={"/etc/kubelet.d/99.yaml": HEAD + "readOnlyPort: 10255\n"}),
        "kubelet.port.readonly", PASS,
    ),
    "a mistyped key hardens nothing": (
        node("--anonymous-auth=true", config="authentication: {anonymus: {enabled: false}}\n"),
        "kubelet.config.ignored-field", FAIL,
    ),
    "yes is true": (
        node(config="authentication: {anonymous: {enabled: yes}}\n"),
        "kubelet.authn.anonymous", FAIL,
    ),
    "tokens alone do not hold whoever has one": (
        node("--anonymous-auth=false", "--authentication-token-webhook=true"),
        "kubelet.authz.mode", FAIL,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_case_that_others_judge_wrongly(name: str, tmp_path: Path) -> None:
    host, check, verdict = CASES[name]
    found = findings(host, tmp_path)[check]
    assert found.status is verdict, found.because


TABLE = Path(__file__).parents[2] / "docs" / "compare-kube-bench.md"


def test_the_published_table_says_what_the_tests_say() -> None:
    single = TABLE.read_text().partition("| case |")[2].partition("## Repeat")[0]
    rows = [line.strip("| ").split(" | ") for line in single.splitlines()[2:] if line[:1] == "|"]
    assert len(rows) >= 20
    sources = "".join(p.read_text() for p in Path(__file__).parent.glob("test_*.py"))
    for *_, ours, name in rows:
        if name.startswith("test_"):
            assert f"def {name}(" in sources
            continue
        _, check, status = CASES[name]
        named = re.match(r"`([a-z0-9.-]+)`", ours)
        assert named is None or named[1] == check, ours
        assert str(status) in ours


def test_another_program_that_names_the_kubelet_is_none(tmp_path: Path) -> None:
    """`ps | grep kubelet` finds the API server, and an editor of the kubelet's file."""
    runs = (
        Run("/usr/bin/kube-apiserver", ("kube-apiserver", "--kubelet-client-key=/k",
                                        "--authorization-mode=Node,RBAC"), pid=7),
        Run("/usr/bin/vim", ("vim", "/etc/kubelet", "--anonymous-auth=false"), pid=8),
    )  # fmt: skip
    found = findings(Host({}, runs), tmp_path)
    assert {f.status for f in found.values()} <= {GONE, UNKNOWN}
    assert found["kubelet.authn.anonymous"].status is GONE


def test_a_process_that_calls_itself_kubelet_is_none(tmp_path: Path) -> None:
    fake = Run("/usr/bin/sleep", ("kubelet", "--anonymous-auth=false"), pid=7)
    assert findings(Host({}, (fake,)), tmp_path)["kubelet.authn.anonymous"].status is GONE


@pytest.mark.parametrize("name", ["conf.yml", "kubelet.conf", "settings", "config.json"])
def test_the_file_is_that_of_the_process_whatever_its_name(name: str, tmp_path: Path) -> None:
    place = f"/srv/strange/{name}"
    host = Host(
        {place: HEAD + "readOnlyPort: 10255\n", CONFIG: HEAD + "readOnlyPort: 0\n"},
        (Run(V136, ("kubelet", "--config", place)),),
    )
    assert findings(host, tmp_path)["kubelet.port.readonly"].status is FAIL


def test_a_relative_config_path_counts_from_the_kubelets_directory(tmp_path: Path) -> None:
    host = Host(
        {"/srv/kubelet/my.yaml": HEAD + "readOnlyPort: 10255\n"},
        (Run(V136, ("kubelet", "--config=my.yaml"), cwd="/srv/kubelet"),),
    )
    assert findings(host, tmp_path)["kubelet.port.readonly"].status is FAIL


def test_a_missing_file_has_no_wrong_mode(tmp_path: Path) -> None:
    """Once FAIL and once PASS elsewhere, for the same missing unit."""
    found = findings(node("--kubeconfig=/etc/k.conf", config=""), tmp_path)
    assert found["kubelet.file.service-perms"].status is GONE
    assert found["kubelet.file.kubeconfig-perms"].status is GONE


@pytest.mark.parametrize("mode", [0o444, 0o466, 0o477, 0o577, 0o604])
def test_modes_are_bits_and_no_decimal_numbers(mode: int, tmp_path: Path) -> None:
    host = Host(
        {"/etc/k.conf": "a: 1\n"},
        (Run(V136, ("kubelet", "--kubeconfig=/etc/k.conf")),),
        modes={"/etc/k.conf": mode},
    )
    assert findings(host, tmp_path)["kubelet.file.kubeconfig-perms"].status is FAIL


@pytest.mark.root
@pytest.mark.parametrize("owner", [(1000, 0), (65534, 65534)])
def test_an_owner_that_only_sounds_like_root_is_none(
    owner: tuple[int, int], tmp_path: Path
) -> None:
    host = Host(
        {"/etc/k.conf": "a: 1\n"},
        (Run(V136, ("kubelet", "--kubeconfig=/etc/k.conf")),),
        modes={"/etc/k.conf": 0o600},
    )
    root = kubelet_hosts.build(host, tmp_path / "host")
    os.chown(root / "etc/k.conf", *owner)
    report = scan(TreeHost(root), select(["kubelet.file.kubeconfig-perms"]), at=2e9)
    assert report.findings[0].status is FAIL


def test_a_closed_directory_closes_what_is_in_it(tmp_path: Path) -> None:
    host = Host(
        {"/etc/closed/k.conf": "a: 1\n"},
        (Run(V136, ("kubelet", "--kubeconfig=/etc/closed/k.conf")),),
        modes={"/etc/closed/k.conf": 0o644, "/etc/closed": 0o700},
    )
    assert findings(host, tmp_path)["kubelet.file.kubeconfig-perms"].status is PASS


def test_a_link_is_judged_by_what_it_leads_to(tmp_path: Path) -> None:
    host = Host(
        {"/etc/k.conf": "->/srv/real.conf", "/srv/real.conf": "a: 1\n"},
        (Run(V136, ("kubelet", "--kubeconfig=/etc/k.conf")),),
        modes={"/srv/real.conf": 0o666},
    )
    assert findings(host, tmp_path)["kubelet.file.kubeconfig-perms"].status is FAIL


def test_running_containers_without_a_filter_are_counted(tmp_path: Path) -> None:
    group = "/sys/fs/cgroup/kubepods.slice"
    files = {f"{group}/pids.max": "max\n", f"{group}/cgroup.procs": ""}
    for pid, mode in ((901, 0), (902, 2), (903, 2)):
        folder = f"{group}/kubepods-pod{pid}.slice"
        files |= {
            f"{folder}/cgroup.procs": "",
            f"{folder}/cri-containerd-{pid}.scope/cgroup.procs": f"{pid}\n{pid + 50}\n",
            f"/proc/{pid}/status": f"Name:\tx\nSeccomp:\t{mode}\nSeccomp_filters:\t1\n",
        }
    found = findings(node(config="", extra=files), tmp_path)["kubelet.seccomp-default"]
    assert "1 of 3 containers run without a filter" in found.because
    assert [e.value for e in found.evidence if e.value.startswith("pid")] == ["pid 901"]


def test_what_k3s_was_given_counts_and_not_a_log_line(tmp_path: Path) -> None:
    found = findings(kubelet_hosts.k3s_130_agent(), tmp_path)["kubelet.authn.anonymous"]
    assert found.status is FAIL
    assert "/etc/rancher/k3s/config.yaml" in found.because
