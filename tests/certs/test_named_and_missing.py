"""What something names and is not there, or holds nothing, is told by its name and never passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from certificate_maker import write
from nodeward.model import Finding
from pki_node import CURRENT, PkiNode, kubeconfig

BOOTSTRAP = "etc/kubernetes/bootstrap-kubelet.conf"


@pytest.fixture
def node(tmp_path: Path) -> PkiNode:
    return PkiNode(tmp_path / "root").build()


def named(found: Finding, path: str) -> bool:
    return found.status == "unknown" and path in found.because


TRUSTS = {
    "etc/kubernetes/pki/front-proxy-ca.crt": ("front-proxy", "chain", "ca-expiry"),
    "etc/kubernetes/pki/etcd/ca.crt": ("etcd-ca-shared", "chain", "ca-expiry"),
    "etc/kubernetes/pki/ca.crt": ("etcd-ca-shared", "chain", "ca-expiry", "front-proxy"),
}


def gone(path: Path) -> None:
    path.unlink()


def emptied(path: Path) -> None:
    path.write_text("")


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("spoil", [gone, emptied, a_directory])
@pytest.mark.parametrize("path", TRUSTS)
def test_a_named_trust_file_that_tells_nothing_lets_nothing_pass(
    node: PkiNode, path: str, spoil: object
) -> None:
    assert callable(spoil)
    spoil(node.root / path)
    found = node.findings()
    wrong = {
        c: found[f"cert.{c}"].because for c in TRUSTS[path] if not named(found[f"cert.{c}"], path)
    }
    assert not wrong


def test_a_missing_trust_file_says_who_names_it(node: PkiNode) -> None:
    (node.pki / "front-proxy-ca.crt").unlink()
    because = node.findings()["cert.front-proxy"].because
    assert "requestheader-client-ca-file" in because


@pytest.mark.parametrize("spoil", [gone, emptied, a_directory])
def test_a_kubeconfigs_authority_that_tells_nothing_is_unknown(
    node: PkiNode, spoil: object
) -> None:
    write(node.pki / "own.crt", (node.pki / "ca.crt").read_text())
    cluster = {"certificate-authority": "pki/own.crt"}
    write(node.root / "etc/kubernetes/scheduler.conf", kubeconfig({}, cluster))
    assert node.findings()["cert.kubeconfig-insecure"].status == "pass"
    assert callable(spoil)
    spoil(node.pki / "own.crt")
    assert named(node.findings()["cert.kubeconfig-insecure"], "/etc/kubernetes/pki/own.crt")


def test_an_embedded_authority_that_is_broken_is_unknown(node: PkiNode) -> None:
    cluster = {"certificate-authority-data": "AAAA"}
    write(node.root / "etc/kubernetes/scheduler.conf", kubeconfig({}, cluster))
    assert named(node.findings()["cert.kubeconfig-insecure"], "/etc/kubernetes/scheduler.conf")


def test_a_copy_whose_authority_is_elsewhere_is_noted(node: PkiNode) -> None:
    cluster = {"certificate-authority": "/home/bob/.minikube/ca.crt"}
    write(node.root / "home/bob/.kube/config", kubeconfig({}, cluster))
    found = node.findings()["cert.kubeconfig-insecure"]
    assert found.status == "pass"
    assert any("/home/bob/.minikube/ca.crt" in e.value for e in found.evidence)


BROKEN = {
    "cut off": "apiVersion: v1\nkind: Config\nusers:\n- name: x\n  user:\n    token: [",
    "cut off early": "apiVersion: v1\nkind: Config\n",
    "text": "this was a file once\n",
    "binary": "\x00\x01\x02\x7f",
    "a list": "- users\n- clusters\n",
    "a token alone": "abcdef.0123456789abcdef\n",
    "tabs": "users:\n\t- name: x\n",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("path", [BOOTSTRAP, "var/lib/kubelet/bootstrap-kubeconfig"])
def test_a_broken_file_where_a_kubeconfig_belongs_is_unknown(
    node: PkiNode, path: str, text: str
) -> None:
    write(node.root / path, text)
    found = node.findings()
    for check in ("bootstrap-token", "static-tokens", "kubeconfig-insecure"):
        assert named(found[f"cert.{check}"], f"/{path}"), found[f"cert.{check}"].because


OTHERS = {
    "the kubelet's settings": "apiVersion: kubelet.config.k8s.io/v1\nkind: KubeletConfiguration\n",
    "the same as JSON": '{"apiVersion": "x/v1", "kind": "KubeletConfiguration"}',
    "a Pod": "kind: Pod\nmetadata: {name: x}\n",
    "nothing": "\n# nothing\n",
}


@pytest.mark.parametrize("text", OTHERS.values(), ids=OTHERS.keys())
def test_another_kind_of_file_at_a_kubeconfigs_place_is_none(node: PkiNode, text: str) -> None:
    write(node.root / "var/lib/kubelet/kubeconfig", text)
    found = node.findings()
    assert found["cert.bootstrap-token"].status == "pass"
    assert found["cert.static-tokens"].status == "pass"


def test_text_in_a_home_is_no_kubeconfig(node: PkiNode) -> None:
    for path in ("root/.kube/cache", "tmp/x.conf", "home/bob/.kube/config"):
        write(node.root / path, BROKEN["text"])
    assert node.findings()["cert.static-tokens"].status == "pass"


def test_a_certificate_that_is_named_and_missing_is_told_everywhere(node: PkiNode) -> None:
    (node.root / CURRENT).unlink()
    found = node.findings()
    for check in ("chain", "weak-crypto", "lifetime-policy", "shared-key"):
        assert named(found[f"cert.{check}"], f"/{CURRENT}"), check


def test_without_etcd_its_authority_is_no_question(node: PkiNode) -> None:
    node.stop(11, 12)
    for path in (node.pki / "etcd").iterdir():
        path.unlink()
    (node.pki / "ca.crt").unlink()
    assert node.findings()["cert.etcd-ca-shared"].status == "not-applicable"


def test_an_offence_is_told_beside_what_is_missing(node: PkiNode) -> None:
    (node.pki / "front-proxy-ca.crt").unlink()
    node.apiserver["requestheader-allowed-names"] = ""
    node.start()
    found = node.findings()["cert.front-proxy"]
    assert found.status == "fail"
    assert any("front-proxy-ca.crt" in e.value for e in found.evidence)


TOKEN = {"token": "abcdef.0123456789abcdef"}


@pytest.mark.parametrize("spoil", [gone, emptied])
def test_whether_a_node_has_joined_is_not_told_by_a_certificate_that_is_not_there(
    node: PkiNode, spoil: object
) -> None:
    write(node.root / BOOTSTRAP, kubeconfig(TOKEN, {}))
    assert node.findings()["cert.bootstrap-token"].status == "fail"
    assert callable(spoil)
    spoil(node.root / (node.root / CURRENT).readlink().relative_to("/"))
    assert named(node.findings()["cert.bootstrap-token"], f"/{CURRENT}")


@pytest.mark.parametrize("ending", [".bak", "-old", ".2026-01-01"])
def test_a_backup_beside_a_kubeconfig_is_looked_at(node: PkiNode, ending: str) -> None:
    write(node.root / f"{BOOTSTRAP}{ending}", kubeconfig(TOKEN, {}))
    assert named(node.findings()["cert.static-tokens"], f"/{BOOTSTRAP}{ending}")
