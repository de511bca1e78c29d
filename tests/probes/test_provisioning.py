"""Provisioning data on disk: modes and counts come out, contents do not."""

import base64
import gzip
import json
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from nodeward.checks import catalog
from nodeward.facts.processes import Process, Processes
from nodeward.facts.provisioning import CloudConfigs, KeptFile, ProvisioningFiles
from nodeward.host import HostError, MissingError, Recorder, TreeHost
from nodeward.host.patterns import unpacked
from nodeward.host.record import dump
from nodeward.model import Absent, CheckId, Seen, Status, decide
from nodeward.probes.provisioning import read_cloud_configs, read_provisioning_files

HERE = "var/lib/cloud/instances/i-0abc/user-data.txt"


def word() -> str:
    """A credential of this run only."""
    return secrets.token_hex(8)


def write(root: Path, path: str, text: str | bytes, mode: int = 0o600) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    file.chmod(mode)


def provisioning(root: Path) -> tuple[KeptFile, ...]:
    found = read_provisioning_files.read(TreeHost(root))
    assert isinstance(found, ProvisioningFiles)
    return found.files


def configs(root: Path, processes: Processes | None = None) -> CloudConfigs:
    found = read_cloud_configs.read(TreeHost(root), processes or Absent("/proc"))
    assert isinstance(found, CloudConfigs)
    return found


SCRIPTS: dict[str, Callable[[], str]] = {
    "bootstrap token": lambda: f"kubeadm join 10.0.0.1:6443 --discovery abcdef.{word()}\n",
    "private key": lambda: "-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----",
    "token argument": lambda: f"join --token {word()}\n",
    "token": lambda: f"#cloud-config\nwrite_files:\n- content: x\n  token: {word()}\n",
    "password": lambda: f"#cloud-config\npassword: {word()}\n",
    "AWS secret key": lambda: f"export AWS_SECRET_ACCESS_KEY={word()}{word()}\n",
    "client secret": lambda: f'{{"clientSecret": "{word()}"}}',
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_looks_like_a_credential_is_counted(tmp_path: Path, name: str) -> None:
    write(tmp_path, HERE, SCRIPTS[name]())
    (file,) = provisioning(tmp_path)
    assert dict(file.found)[name] == 1


@pytest.mark.parametrize(
    "text",
    [
        "#cloud-config\nlock_passwd: true\nssh_pwauth: false\npassword: RANDOM\n",
        "#!/bin/sh\nkubeadm join --token $TOKEN --discovery-token-ca-cert-hash sha256:00\n",
        "token: ${TOKEN}\npassword: <set by hand>\n",
        '{"aadClientSecret": "msi"}',
        "chpasswd:\n  expire: false\n",
    ],
)
def test_a_variable_or_a_switch_is_no_credential(tmp_path: Path, text: str) -> None:
    write(tmp_path, HERE, text)
    (file,) = provisioning(tmp_path)
    assert file.found == ()


@pytest.mark.parametrize(
    "pack",
    [
        gzip.compress,
        base64.encodebytes,
        lambda raw: base64.b64encode(gzip.compress(raw)),
    ],
    ids=["gzip", "base64", "both"],
)
def test_packed_user_data_is_unpacked(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    script = f"kubeadm join --token abcdef.{word()} # {'x' * 80}\n"
    write(tmp_path, HERE, pack(script.encode()))
    (file,) = provisioning(tmp_path)
    assert dict(file.found)["bootstrap token"] == 1


def test_a_bomb_unpacks_to_a_bounded_size() -> None:
    assert len(unpacked(gzip.compress(b"0" * (64 << 20)))) <= 4 << 20


def test_content_is_in_no_recording(tmp_path: Path) -> None:
    secret = f"abcdef.{word()}"
    write(tmp_path, HERE, f"kubeadm join --token {secret}\nplain words of the operator\n")
    recorder = Recorder(TreeHost(tmp_path))
    read_provisioning_files.read(recorder)
    text = dump(recorder, node="n", taken_at="2026-01-01T00:00:00Z")
    assert secret not in text
    assert "plain words" not in text
    assert json.loads(text)["log"]


def test_modes_are_those_of_the_files(tmp_path: Path) -> None:
    write(tmp_path, HERE, "#!/bin/sh\n", 0o644)
    write(tmp_path, "var/lib/waagent/ovf-env.xml", "<x/>", 0o600)
    write(tmp_path, "etc/eks/bootstrap.sh", "#!/bin/sh\n", 0o755)
    found = {f.path: (f.mode, f.private) for f in provisioning(tmp_path)}
    assert found == {
        f"/{HERE}": (0o644, True),
        "/var/lib/waagent/ovf-env.xml": (0o600, True),
        "/etc/eks/bootstrap.sh": (0o755, False),
    }


def test_a_node_without_provisioning_data_has_none(tmp_path: Path) -> None:
    with pytest.raises(MissingError):
        provisioning(tmp_path)


def test_the_link_to_the_current_instance_is_not_a_second_file(tmp_path: Path) -> None:
    write(tmp_path, HERE, "x")
    (tmp_path / "var/lib/cloud/instance").symlink_to("instances/i-0abc")
    assert len(provisioning(tmp_path)) == 1


def test_a_file_too_large_to_look_into_is_not_passed(tmp_path: Path) -> None:
    write(tmp_path, HERE, b"x" * ((1 << 20) + 1))
    rule = catalog()[CheckId("meta.provisioning-files")]
    files = ProvisioningFiles(provisioning(tmp_path))
    verdict = decide(rule, {ProvisioningFiles: Seen(files)})
    assert verdict.status is Status.UNKNOWN


def test_azure_json_with_a_managed_identity_holds_no_secret(tmp_path: Path) -> None:
    body = {"aadClientId": "msi", "aadClientSecret": "msi", "useManagedIdentityExtension": True}
    write(tmp_path, "etc/kubernetes/azure.json", json.dumps(body, indent=4))
    found = configs(tmp_path)
    assert found.files[0].found == ()
    assert found.managed == ("/etc/kubernetes/azure.json",)


@pytest.mark.parametrize(
    ("path", "text", "name"),
    [
        ("azure.json", '{"aadClientSecret": "%s"}', "aadClientSecret"),
        ("cloud.conf", "[Global]\nusername=u\npassword=%s\n", "password"),
        (
            "openstack.conf",
            "[Global]\napplication-credential-secret=%s\n",
            "application-credential-secret",
        ),
    ],
)
def test_a_secret_in_a_cloud_configuration_is_told_by_its_name(
    tmp_path: Path, path: str, text: str, name: str
) -> None:
    write(tmp_path, f"etc/kubernetes/{path}", text % word())
    assert dict(configs(tmp_path).files[0].found) == {name: 1}


def test_the_file_that_a_kubelet_names_is_looked_at(tmp_path: Path) -> None:
    write(tmp_path, "opt/cloud.ini", "[Global]\n", 0o640)
    argv = ("kubelet", "--cloud-config=/opt/cloud.ini")
    kubelet = Process(7, 1, "kubelet", "/usr/bin/kubelet", argv, None, 0)
    assert [f.path for f in configs(tmp_path, Processes((kubelet,))).files] == ["/opt/cloud.ini"]


def test_a_fifo_in_the_place_of_a_file_is_passed_by(tmp_path: Path) -> None:
    import os

    (tmp_path / "etc/kubernetes").mkdir(parents=True)
    os.mkfifo(tmp_path / "etc/kubernetes/azure.json")
    with pytest.raises(HostError):
        configs(tmp_path)
