"""The kubelet inside k3s: where k3s puts what it is given, by version, and what it gives itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

import kubelet_hosts
from kubelet_hosts import HEAD, Host, Run
from nodeward.agent.scan import scan, select
from nodeward.facts.kubelet_embedded import K3sStart, as_given, without_copied
from nodeward.facts.supervisors import config_path
from nodeward.facts.units import Word
from nodeward.host import TreeHost
from nodeward.model import Finding, Status

FAIL, PASS, UNKNOWN = Status.FAIL, Status.PASS, Status.UNKNOWN
PORT, LEGACY = "kubelet.port.readonly", "kubelet.config.legacy-defaults"
ANONYMOUS, MODE = "kubelet.authn.anonymous", "kubelet.authz.mode"
KERNEL = "kubelet.protect-kernel-defaults"
FOLDER = "agent/etc/kubelet.conf.d"
HOME = "/var/lib/rancher/k3s"
CONFIG = "/etc/rancher/k3s/config.yaml"
UNIT = "/etc/systemd/system/k3s.service"
OWN = HEAD + (
    "authentication: {anonymous: {enabled: false}, webhook: {enabled: true}}\n"
    "authorization: {mode: Webhook}\n"
)


def unit(version: str, arguments: str = "", more: str = "") -> str:
    return f"[Service]\n{more}\nExecStart=/opt/k3s-{version}/bin/k3s server {arguments}\n"


def running(version: str) -> tuple[Run, ...]:
    return (Run(f"/opt/k3s-{version}/bin/k3s", ("/usr/local/bin/k3s server",)),)


def judge(
    files: Mapping[str, str], tmp_path: Path, runs: tuple[Run, ...] = ()
) -> Mapping[str, Finding]:
    root = kubelet_hosts.build(Host(files, runs), tmp_path / "host")
    checks = [PORT, LEGACY, ANONYMOUS, MODE, KERNEL]
    report = scan(TreeHost(root), select(checks), at=kubelet_hosts.BOOT + 3600)
    return {f.check: f for f in report.findings}


MOVED = {
    "by its unit": ({UNIT: unit("1.32.1", "--data-dir /data/k3s")}),
    "by its short name": ({UNIT: unit("1.32.1", "-d=/data/k3s/")}),
    "by its file": {UNIT: unit("1.32.1"), CONFIG: "data-dir: /data/k3s\n"},
    "by its environment": {UNIT: unit("1.32.1", more="Environment=K3S_DATA_DIR=/data/k3s")},
}


@pytest.mark.parametrize("runs", [(), running("1.32.1")], ids=["at rest", "running"])
@pytest.mark.parametrize("how", MOVED)
def test_the_drop_ins_of_another_data_directory_are_read(
    how: str, runs: tuple[Run, ...], tmp_path: Path
) -> None:
    files = {**MOVED[how], f"/data/k3s/{FOLDER}/00-k3s-defaults.conf": OWN}
    found = judge(files, tmp_path, runs)
    assert [found[c].status for c in (PORT, LEGACY, ANONYMOUS)] == [FAIL, FAIL, PASS]
    assert "/data/k3s/agent" in found[ANONYMOUS].because


def test_a_k3s_that_never_started_has_not_what_an_older_one_has(tmp_path: Path) -> None:
    found = judge({UNIT: unit("1.32.1")}, tmp_path)
    assert {found[c].status for c in (PORT, LEGACY, ANONYMOUS)} == {UNKNOWN}
    assert "first start" in found[PORT].because


def test_an_older_k3s_that_never_started_gives_flags(tmp_path: Path) -> None:
    found = judge({UNIT: unit("1.31.5")}, tmp_path)
    assert {found[c].status for c in (PORT, LEGACY, ANONYMOUS)} == {PASS}


def test_a_k3s_of_no_known_version_that_never_started_is_unknown(tmp_path: Path) -> None:
    start = "[Service]\nExecStart=/usr/local/bin/k3s server\n"
    given = "kubelet-arg: [config=/c.yaml, anonymous-auth=true]\n"
    found = judge({UNIT: start, CONFIG: given}, tmp_path)
    assert [found[c].status for c in (PORT, LEGACY, MODE)] == [UNKNOWN] * 3
    assert "older than 1.32" in found[MODE].because
    assert found[ANONYMOUS].status is FAIL


COPIED = {
    "config": ("/etc/rancher/k3s/kubelet.yaml", "10-cli-config.conf"),
    "config-dir": ("/my/1.conf", "20-cli-config-dir/1.conf"),
}


def copied(option: str, source: str, copy: str | None) -> dict[str, str]:
    place, name = COPIED[option]
    argument = place if option == "config" else "/my"
    files = {
        UNIT: unit("1.33.0"),
        CONFIG: f"kubelet-arg: [{option}={argument}]\n",
        f"{HOME}/{FOLDER}/00-k3s-defaults.conf": OWN,
        place: source,
    }
    return files if copy is None else {**files, f"{HOME}/{FOLDER}/{name}": copy}


@pytest.mark.parametrize("option", COPIED)
def test_a_kubelet_file_given_to_k3s_is_a_drop_in(option: str, tmp_path: Path) -> None:
    files = copied(option, HEAD + "maxPods: 50\n", HEAD + "maxPods: 50\n")
    files[UNIT] = unit("1.32.1")
    found = judge(files, tmp_path)
    assert [found[c].status for c in (PORT, LEGACY, ANONYMOUS, MODE)] == [FAIL, FAIL, PASS, PASS]
    assert "only --config-dir" in found[LEGACY].because


@pytest.mark.parametrize("option", COPIED)
@pytest.mark.parametrize("copy", [None, HEAD + "maxPods: 50\n"], ids=["none", "another"])
def test_a_file_that_the_next_start_copies_leaves_all_open(
    option: str, copy: str | None, tmp_path: Path
) -> None:
    opened = HEAD + "authentication: {anonymous: {enabled: true}}\n"
    found = judge(copied(option, opened, copy), tmp_path)
    assert found[ANONYMOUS].status is UNKNOWN
    assert "k3s copies" in found[ANONYMOUS].because


def test_of_a_running_k3s_the_copy_counts(tmp_path: Path) -> None:
    opened = HEAD + "authentication: {anonymous: {enabled: true}}\n"
    files = copied("config", HEAD + "maxPods: 50\n", opened)
    assert judge(files, tmp_path, running("1.33.0"))[ANONYMOUS].status is FAIL


NAMED = {
    "--config": {UNIT: unit("1.30.1", "--config /etc/my/k3s.yaml")},
    "-c": {UNIT: unit("1.30.1", "-c=/etc/my/k3s.yaml")},
    "the environment": {
        "/etc/systemd/system/k3s-server.service": unit(
            "1.30.1", "-c /no.yaml", "Environment=K3S_CONFIG_FILE=/etc/my/k3s.yaml"
        )
    },
}


@pytest.mark.parametrize("runs", [(), running("1.30.1")], ids=["at rest", "running"])
@pytest.mark.parametrize("how", NAMED)
def test_the_configuration_file_that_k3s_was_given_counts(
    how: str, runs: tuple[Run, ...], tmp_path: Path
) -> None:
    files = {
        **NAMED[how],
        "/etc/my/k3s.yaml": "kubelet-arg: [anonymous-auth=true]\n",
        "/etc/my/k3s.yaml.d/2.yaml": "kubelet-arg+: [read-only-port=10255]\n",
        CONFIG: "kubelet-arg: [anonymous-auth=false]\n",
    }
    found = judge(files, tmp_path, runs)
    assert [found[c].status for c in (ANONYMOUS, PORT)] == [FAIL, FAIL]


@pytest.mark.parametrize("config", ["/etc/none.yaml", "https://example.com/k3s.yaml"])
def test_a_configuration_file_that_is_not_to_be_had_is_unknown(config: str, tmp_path: Path) -> None:
    found = judge({UNIT: unit("1.30.1", f"--config {config}")}, tmp_path)
    assert {found[c].status for c in (ANONYMOUS, PORT, LEGACY)} == {UNKNOWN}
    assert config in found[PORT].because


def test_a_configuration_of_k3s_that_is_no_yaml_is_unknown(tmp_path: Path) -> None:
    found = judge({UNIT: unit("1.30.1"), CONFIG: "kubelet-arg: [\n"}, tmp_path)
    assert {found[c].status for c in (ANONYMOUS, PORT, LEGACY)} == {UNKNOWN}
    assert CONFIG in found[PORT].because


def test_a_process_tells_its_configuration_file(tmp_path: Path) -> None:
    runs = (
        Run(
            "/opt/k3s-1.30.1/bin/k3s",
            ("/usr/local/bin/k3s server",),
            ("K3S_CONFIG_FILE=/etc/my/k3s.yaml",),
        ),
    )
    files = {UNIT: unit("1.30.1"), "/etc/my/k3s.yaml": "kubelet-arg: [anonymous-auth=true]\n"}
    assert judge(files, tmp_path, runs)[ANONYMOUS].status is FAIL


@pytest.mark.parametrize("version", ["1.30.1", "1.33.0"])
def test_a_k3s_that_no_unit_starts_may_have_been_given_anything(
    version: str, tmp_path: Path
) -> None:
    files = {f"{HOME}/{FOLDER}/00-k3s-defaults.conf": OWN} if version == "1.33.0" else {CONFIG: ""}
    found = judge(files, tmp_path, running(version))
    assert {found[c].status for c in (ANONYMOUS, MODE, PORT)} == {UNKNOWN}
    assert "no unit starts this k3s" in found[PORT].because


@pytest.mark.parametrize("how", ["--protect-kernel-defaults", "the file", "not"])
def test_k3s_protects_kernel_defaults_by_an_option_of_its_own(how: str, tmp_path: Path) -> None:
    files = {UNIT: unit("1.30.1", how if how.startswith("--") else "")}
    if how == "the file":
        files[CONFIG] = "protect-kernel-defaults: true\n"
    assert judge(files, tmp_path)[KERNEL].status is (FAIL if how == "not" else PASS)


def test_a_remedy_names_what_k3s_has(tmp_path: Path) -> None:
    files = {UNIT: unit("1.32.1"), f"{HOME}/{FOLDER}/00-k3s-defaults.conf": OWN}
    found = judge(files, tmp_path)
    for check in (PORT, LEGACY, KERNEL):
        remedy = found[check].remedy
        assert remedy is not None
        assert "--config" not in remedy.text.replace("--config-dir", "")
        assert CONFIG in remedy.text or f"{HOME}/{FOLDER}/90-own.conf" in remedy.text


def test_a_remedy_changes_no_file_that_k3s_writes_anew(tmp_path: Path) -> None:
    opened = OWN + "protectKernelDefaults: false\n"
    remedy = judge(copied("config", opened, opened), tmp_path)[KERNEL].remedy
    assert remedy is not None
    assert "90-own.conf" in remedy.text


def test_an_argument_in_two_words_is_copied_too() -> None:
    words = tuple(Word(w, "f") for w in ("--v=2", "--config", "--/a.yaml", "--config-dir=/d"))
    kept, found = without_copied(words)
    assert ([w.text for w in kept], found) == (["--v=2"], {"config": "/a.yaml", "config-dir": "/d"})


def test_the_first_configuration_file_and_the_last_data_directory_count() -> None:
    words = ("server", "-c", "/1", "--config=/2", "-d", "/3", "--data-dir=/4")
    assert config_path(words, {}) == "/1"
    assert K3sStart("k3s.service", words).data == "/4"


GIVEN = {
    "added after": (["a+=x"], ["--a=1", "--a=x", "--b=2"]),
    "added before": (["a-=x"], ["--a=x", "--a=1", "--b=2"]),
    "in its place": (["a=x", "a=y"], ["--a=x", "--a=y", "--b=2"]),
    "sorted, whatever their order": (["b_c=1", "b-c=2"],
                                     ["--a=1", "--b=2", "--b-c=2", "--b_c=1"]),
    "a switch": (["c"], ["--a=1", "--b=2", "--c=true"]),
    "twice": (["a+=x", "a+=y"], ["--a=1", "--a=x", "--a=y", "--b=2"]),
}  # fmt: skip


@pytest.mark.parametrize("name", GIVEN)
def test_what_people_give_is_put_to_what_k3s_gives_itself(name: str) -> None:
    given, expected = GIVEN[name]
    own = [Word("--b=2", "k3s"), Word("--a=1", "k3s")]
    found = as_given(own, [Word(f"--{text}", "f") for text in given])
    assert [w.text for w in found] == expected


@pytest.mark.parametrize("version", ["1.30.1", "1.33.0"])
@pytest.mark.parametrize(
    "given", ["anonymous-auth+=true", "anonymous_auth=true, anonymous-auth=false"]
)
def test_an_argument_that_opens_counts_however_it_is_given(
    given: str, version: str, tmp_path: Path
) -> None:
    files = {UNIT: unit(version), CONFIG: f"kubelet-arg: [{given}]\n"}
    if version == "1.33.0":
        files[f"{HOME}/{FOLDER}/00-k3s-defaults.conf"] = OWN
    assert judge(files, tmp_path, running(version))[ANONYMOUS].status is FAIL


@pytest.mark.parametrize("runs", [(), running("1.30.1")], ids=["at rest", "running"])
@pytest.mark.parametrize("how", ["--disable-agent", "the file"])
def test_a_server_without_an_agent_runs_no_kubelet(
    how: str, runs: tuple[Run, ...], tmp_path: Path
) -> None:
    files = {UNIT: unit("1.30.1", how if how.startswith("--") else "")}
    if how == "the file":
        files[CONFIG] = "disable-agent: true\n"
    found = judge(files, tmp_path, runs)
    assert {f.status for f in found.values()} == {Status.NOT_APPLICABLE}


def test_a_server_with_its_agent_runs_one(tmp_path: Path) -> None:
    files = {UNIT: unit("1.30.1", "--disable-agent=false"), CONFIG: "disable-agent: true\n"}
    assert judge(files, tmp_path, running("1.30.1"))[ANONYMOUS].status is PASS
