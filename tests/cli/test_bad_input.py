"""Hostile and broken files: each is a finding of its own, nothing crashes, nothing else is lost."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import kubeadm_tree
from nodeward.checks import catalog
from program import nodeward

ANONYMOUS = "kubelet.authn.anonymous"
Harm = Callable[[Path], object]
CONFIG = "var/lib/kubelet/config.yaml"
APISERVER = "etc/kubernetes/pki/apiserver.crt"


def bomb(levels: int = 30) -> str:
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, levels))]
    return "\n".join(lines) + "\n"


def huge(file: Path) -> None:
    with file.open("ab") as out:
        out.truncate(100 << 20)


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def write(raw: bytes) -> Harm:
    return lambda file: file.write_bytes(raw)


def fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def loop(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.name)


YAML: dict[str, Harm] = {
    "cut off": lambda f: f.write_text(f.read_text()[:200] + "\n  webhook: {"),
    "no yaml": write(b"{[}"),
    "a list": write(b"- 1\n"),
    "empty": write(b""),
    "no utf-8": write(b"apiVersion: \xff\xfe\n"),
    "a bomb of aliases": lambda f: f.write_text(f.read_text() + bomb()),
    "nested deeply": lambda f: f.write_text(f.read_text() + "x: " + "[" * 20_000),
    "a hundred megabytes": huge,
    "a FIFO": fifo,
    "a link to itself": loop,
    "a folder": folder,
}


def findings(root: Path) -> dict[str, dict[str, str]]:
    said = nodeward("scan", "--root", root, "-o", "json", "--at", kubeadm_tree.NOW)
    assert (said.code, said.err) == (0, "")
    data = json.loads(said.out)
    assert data["summary"]["error"] == 0, [f for f in data["findings"] if f["status"] == "error"]
    assert len(data["findings"]) == len(catalog())
    return {f["check"]: f for f in data["findings"]}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What the node says before anything was broken."""
    return findings(kubeadm_tree.build(tmp_path_factory.mktemp("node") / "root"))


@pytest.mark.parametrize("name", YAML)
def test_a_bad_kubelet_configuration_is_unknown_and_costs_no_other(
    kubeadm_root: Path, sound: dict[str, dict[str, str]], name: str
) -> None:
    YAML[name](kubeadm_root / CONFIG)
    found = findings(kubeadm_root)
    # The kubelet itself would not start with such a file: what it would do cannot be told.
    assert found[ANONYMOUS]["status"] == "unknown", found[ANONYMOUS]
    for check in ("cert.expiry.apiserver", "cert.expiry.kubelet-client", "kernel.module.dccp"):
        assert found[check]["status"] == sound[check]["status"]


@pytest.mark.parametrize(
    "line", ["x: !!python/object/apply:os.system [touch /tmp/x]", "authentication: {}"]
)
def test_what_the_kubelet_decodes_leniently_is_judged(kubeadm_root: Path, line: str) -> None:
    """It warns and starts: a key that it does not know, or one that stands twice."""
    file = kubeadm_root / CONFIG
    file.write_text(file.read_text() + line + "\n")
    found = findings(kubeadm_root)
    assert found["kubelet.config.ignored-field"]["status"] == "fail"


CERTIFICATE: dict[str, Harm] = {
    "cut off": lambda f: f.write_bytes(f.read_bytes()[:400]),
    "empty": write(b""),
    "no certificate": write(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
    "binary": write(bytes(range(256))),
    "a hundred megabytes": huge,
    "a FIFO": fifo,
    "a link to itself": loop,
}


@pytest.mark.parametrize("name", CERTIFICATE)
def test_a_bad_certificate_is_never_a_pass_and_costs_no_other(
    kubeadm_root: Path, sound: dict[str, dict[str, str]], name: str
) -> None:
    CERTIFICATE[name](kubeadm_root / APISERVER)
    found = findings(kubeadm_root)
    assert found["cert.expiry.apiserver"]["status"] in ("unknown", "fail"), found
    for check in ("cert.expiry.etcd-server", ANONYMOUS, "kubelet.authz.mode"):
        assert found[check]["status"] == sound[check]["status"]


def test_a_bundle_with_one_bad_entry_keeps_the_good_ones(
    kubeadm_root: Path, sound: dict[str, dict[str, str]]
) -> None:
    ca = kubeadm_root / "etc/kubernetes/pki/ca.crt"
    ca.write_bytes(
        ca.read_bytes() + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    )
    found = findings(kubeadm_root)
    assert found["cert.expiry.apiserver"]["status"] == sound["cert.expiry.apiserver"]["status"]
    assert found["cert.ca-expiry"]["status"] == "unknown"
    assert "/etc/kubernetes/pki/ca.crt: block 2" in found["cert.ca-expiry"]["because"]


def test_arguments_that_are_no_utf8_are_told_as_they_are(
    kubeadm_root: Path, sound: dict[str, dict[str, str]]
) -> None:
    cmdline = kubeadm_root / "proc/1201/cmdline"
    cmdline.write_bytes(cmdline.read_bytes() + b"--hostname-override=caf\xe9\x1b[31m\0")
    found = findings(kubeadm_root)
    assert found[ANONYMOUS]["status"] == sound[ANONYMOUS]["status"]
    text = json.dumps(found)
    assert "\\udc" not in text
    assert "\\xe9" in text


def test_a_process_table_of_nonsense_costs_only_itself(kubeadm_root: Path) -> None:
    for pid in (1, 1201, 1202):
        (kubeadm_root / f"proc/{pid}/stat").write_bytes(b"\xff" * 99)
        (kubeadm_root / f"proc/{pid}/status").write_bytes(b"Uid:\tx\n")
    (kubeadm_root / "proc/stat").write_bytes(b"btime never\n")
    findings(kubeadm_root)
