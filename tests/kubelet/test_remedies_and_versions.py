"""What to change is what is at fault, and the version is that of the program."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubelet_hosts import DPKG, HEAD, HOSTS, Host, Run, build, findings
from nodeward.checks.kubelet_limits import swap
from nodeward.checks.kubelet_settings import debug_handlers
from nodeward.checks.kubelet_support import mend
from nodeward.facts.kubelet import example
from nodeward.facts.kubelet_limits import KubeletLimits, Swap
from nodeward.host import TreeHost
from nodeward.model import Absent, Status
from nodeward.probes.kubelet_version import version_of

CONFIG = "/var/lib/kubelet/config.yaml"
DIR = "--config=/c --config-dir=/d"
EXE = "/opt/v1.36.2/kubelet"


def test_1_28_is_told_where_a_zero_has_an_effect() -> None:
    opened = "authentication: {anonymous: {enabled: true}}"
    old = example(DIR, "{}", {"1.conf": opened}, version="v1.28.4", gate=True)
    advice = mend(old, "authentication.anonymous.enabled", "false").text
    assert advice.startswith("Remove authentication.anonymous.enabled from /etc/kubernetes/")
    assert "false belongs in /var/lib/kubelet/config.yaml" in advice


def test_a_default_that_1_28_fills_in_is_overruled_in_the_drop_in() -> None:
    old = example(DIR, "{}", {"1.conf": "maxPods: 5"}, version="v1.28.4", gate=True)
    assert mend(old, "podPidsLimit", "4096").text.endswith(
        "4096 in /etc/kubernetes/kubelet.d/1.conf."
    )
    qps = mend(old, "eventRecordQPS", "0").text
    assert qps == "1.28 fills its default of eventRecordQPS into every drop-in: add --event-qps=0."


def test_a_folder_at_fault_is_what_is_mended(tmp_path: Path) -> None:
    host = Host(
        {CONFIG: HEAD, "/d/1.conf": HEAD},
        (Run(EXE, ("kubelet", f"--config={CONFIG}", "--config-dir=/d")),),
        modes={CONFIG: 0o600, "/d/1.conf": 0o600, "/d": 0o777, "/var/lib/kubelet": 0o755},
    )
    found = findings(host, tmp_path)["kubelet.file.config-perms"]
    assert found.status is Status.FAIL
    assert found.remedy is not None
    assert "chmod 0600 /d" not in found.remedy.steps


@pytest.mark.parametrize(("mode", "wanted"), [(0o666, "0644"), (0o777, "0755")])
def test_a_file_that_is_no_program_is_not_made_one(mode: int, wanted: str, tmp_path: Path) -> None:
    flag = "--image-credential-provider-config=/p.yaml"
    host = Host(
        {CONFIG: HEAD, "/p.yaml": "a: 1\n"},
        (Run(EXE, ("kubelet", f"--config={CONFIG}", flag)),),
        modes={"/p.yaml": mode},
    )
    found = findings(host, tmp_path)["kubelet.credential-provider"]
    assert found.remedy is not None
    assert f"chmod {wanted} /p.yaml" in found.remedy.steps


@pytest.mark.parametrize(
    ("status", "version"),
    [("install ok installed", "v1.36.2"), ("hold ok installed", "v1.36.2"),
     ("deinstall ok config-files", None)],
)  # fmt: skip
def test_a_package_that_was_removed_tells_no_version(
    status: str, version: str | None, tmp_path: Path
) -> None:
    package = DPKG.format("1.36.2").replace("install ok installed", status)
    host = Host({"/usr/bin/kubelet": "", "/var/lib/dpkg/status": package})
    assert version_of(TreeHost(build(host, tmp_path)), "/usr/bin/kubelet", "", None) == version


@pytest.mark.parametrize("exe", ["/opt/app-1.2.3/kubelet", "/opt/containerd-1.28.4/kubelet"])
def test_a_number_that_is_no_release_of_the_kubelet_is_no_version(exe: str, tmp_path: Path) -> None:
    assert version_of(TreeHost(tmp_path), exe, "", None) is None


@pytest.mark.parametrize(("version", "named"), [("v1.28.4", False), ("v1.36.2", True)])
def test_no_swap_is_advised_where_there_is_such_a_value(version: str, named: bool) -> None:
    config = "{failSwapOn: false, memorySwap: {swapBehavior: LimitedSwap}}"
    limits = KubeletLimits(swaps=(Swap("/dev/sda2", "partition", False),))
    kubelet = example("--config=/c", config, version=version)
    verdict = swap(kubelet, Absent("ports"), limits)
    assert verdict.remedy is not None
    assert ("swapBehavior: NoSwap" in verdict.remedy.text) is named


REMEDIES = {
    ("rke2-1.32.2", "kubelet.port.readonly"): (
        "Add read-only-port=0 to kubelet-arg in the configuration file of rke2"
        " (/etc/rancher/rke2/config.yaml where none is named)."
    ),
    ("rke2-1.32.2", "kubelet.pod-pids"): (
        "Set podPidsLimit: 4096 in a drop-in of your own,"
        " /var/lib/rancher/rke2/agent/etc/kubelet.conf.d/90-own.conf."
    ),
    ("k0s", "kubelet.pod-pids"): (
        "Set podPidsLimit: 4096 in a profile for workers (spec.workerProfiles of the controller's"
        " k0s.yaml, named by --profile of this node's k0s), or add --pod-max-pids=4096 to its"
        " --kubelet-extra-args: k0s writes the kubelet's own file anew at each start."
    ),
    ("rke2-1.32.2", "kubelet.config.legacy-defaults"): (
        "Add read-only-port=0 to kubelet-arg in the configuration file of rke2"
        " (/etc/rancher/rke2/config.yaml where none is named)."
    ),
    ("microk8s", "kubelet.config.legacy-defaults"): (
        "Give the line --authorization-mode=Webhook in /var/snap/microk8s/current/args/kubelet."
    ),
    ("microk8s", "kubelet.pod-pids"): (
        "Give the line --pod-max-pids=4096 in /var/snap/microk8s/current/args/kubelet."
    ),
}
UNITS = {
    "rke2-1.32.2": "systemctl try-restart rke2-server.service rke2-agent.service",
    "k0s": "systemctl try-restart k0scontroller.service k0sworker.service",
    "microk8s": "snap restart microk8s.daemon-kubelite",
}


@pytest.mark.parametrize("name", UNITS)
def test_what_a_distribution_writes_anew_is_not_what_to_change(name: str, tmp_path: Path) -> None:
    found = findings(HOSTS[name](), tmp_path)
    for check, advice in ((c, text) for (host, c), text in REMEDIES.items() if host == name):
        remedy = found[check].remedy
        assert remedy is not None, check
        assert (remedy.text, remedy.steps) == (advice, (UNITS[name],))


def test_all_settings_that_are_wrong_are_named() -> None:
    found = debug_handlers(example(DIR, "enableProfilingHandler: false"), Absent("ports"))
    assert found.remedy is not None
    assert "enableProfilingHandler" not in found.remedy.text
    for name in ("enableDebugFlagsHandler", "enableSystemLogHandler"):
        assert f"Set {name}: false in /var/lib/kubelet/config.yaml." in found.remedy.text


def test_a_remedy_names_what_is_wrong_and_not_what_is_set_already(tmp_path: Path) -> None:
    label = "node-restriction.kubernetes.io/a"
    words = ("kubelet", f"--config={CONFIG}", "--config-dir=/d", f"--node-labels={label}=b")
    gates = "featureGates: {RotateKubeletServerCertificate: false, AllAlpha: true}\n"
    files = {
        CONFIG: HEAD + "serverTLSBootstrap: true\n" + gates + "foo: 1\n",
        "/d/1.conf": HEAD + "readOnlyPort: 10255\n",
    }
    found = findings(Host(files, (Run(EXE, words),)), tmp_path)
    wanted = {
        "tls.server-bootstrap": f"RotateKubeletServerCertificate: true in {CONFIG}:4.",
        "feature-gates": f"Correct or remove AllAlpha in {CONFIG}:4.",
        "config.ignored-field": f"Correct or remove foo in {CONFIG}:5.",
        "config.dropin-order": "Correct or remove readOnlyPort in /d/1.conf:3.",
        "node-labels": f"the label {label} in --node-labels (argument 3 of pid 812).",
    }
    for check, advice in wanted.items():
        remedy = found[f"kubelet.{check}"].remedy
        assert remedy is not None
        assert advice in remedy.text
        assert remedy.steps == ("systemctl restart kubelet",)
