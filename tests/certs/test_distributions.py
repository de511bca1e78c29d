"""Each distribution's node is read in its own way, and its remedies are its own commands."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from certificate_maker import DAY, NOW, Authority, Spec, key, pem, write
from kubeadm_tree import add_process
from nodeward.agent.scan import scan, select
from nodeward.host import TreeHost
from nodeward.model import Finding


def findings(root: Path, *globs: str, at: datetime = NOW) -> dict[str, Finding]:
    report = scan(TreeHost(root), select(globs), at=at.timestamp())
    return {f.check: f for f in report.findings}


def put(root: Path, path: str, left: float = 20, **more: object) -> None:
    """A certificate of a year that has these days left."""
    spec = Spec(not_before=NOW - (365 - left) * DAY, not_after=NOW + left * DAY, **more)  # type: ignore[arg-type]
    write(root / path.lstrip("/"), pem(Authority().issue(spec, key("P-256", 1))))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "proc/stat", f"btime {int((NOW - 300 * DAY).timestamp())}\n")
    return tmp_path


REMEDIES = [
    ("/etc/kubernetes/pki/apiserver.crt", "apiserver", "kubeadm certs renew apiserver"),
    ("/etc/kubernetes/pki/etcd/server.crt", "etcd-server", "kubeadm certs renew etcd-server"),
    (
        "/var/lib/rancher/k3s/server/tls/serving-kube-apiserver.crt",
        "apiserver",
        "k3s certificate rotate",
    ),
    (
        "/var/lib/rancher/rke2/server/tls/client-scheduler.crt",
        "scheduler",
        "systemctl stop rke2-server",
    ),
    ("/var/lib/k0s/pki/server.crt", "apiserver", "systemctl restart k0scontroller"),
    (
        "/var/snap/microk8s/current/certs/server.crt",
        "apiserver",
        "microk8s refresh-certs --cert server.crt",
    ),
    (
        "/var/snap/microk8s/current/certs/front-proxy-client.crt",
        "front-proxy-client",
        "microk8s refresh-certs --cert front-proxy-client.crt",
    ),
    ("/system/secrets/etcd/server.crt", "etcd-server", "talosctl -n NODE reboot"),
    (
        "/etc/kubernetes/static-pod-resources/kube-apiserver-pod-7/secrets/kubelet-client/tls.crt",
        "apiserver-kubelet-client",
        "oc get clusteroperators",
    ),
    (
        "/var/lib/kubelet/pki/kubelet-server-current.pem",
        "kubelet-server",
        "kubectl certificate approve NAME-OF-THE-REQUEST",
    ),
    (
        "/var/lib/kubelet/pki/kubelet.crt",
        "kubelet-server",
        "mv /var/lib/kubelet/pki/kubelet.crt /var/lib/kubelet/pki/kubelet.key /root/",
    ),
]


@pytest.mark.parametrize(("path", "component", "command"), REMEDIES)
def test_the_remedy_is_the_distributions_own_command(
    tmp_path: Path, path: str, component: str, command: str
) -> None:
    """As an image at rest, so that what lies there counts as in use."""
    write(tmp_path / "etc/kubernetes/manifests/kube-apiserver.yaml", "")
    write(tmp_path / "var/lib/kubelet/kubeadm-flags.env", "")
    put(tmp_path, path)
    check = f"cert.expiry.{component}"
    found = findings(tmp_path, check)[check]
    assert found.status == "fail", found.because
    assert found.remedy
    assert command in found.remedy.steps
    assert found.remedy.breaks


def k3s(root: Path) -> None:
    folder = root / "var/lib/rancher/k3s/server/tls"
    for number, name in enumerate(("client-ca", "server-ca", "request-header-ca")):
        write(folder / f"{name}.crt", pem(Authority(f"k3s-{name}", 70 + number).raw), 0o644)
    add_process(root, 9, ["/usr/local/bin/k3s server"], exe="/usr/local/bin/k3s", started=NOW)


def test_k3s_is_asked_for_the_arguments_that_it_hides(root: Path) -> None:
    k3s(root)
    config = "token: canary\nkube-apiserver-arg:\n- token-auth-file=/etc/tokens.csv\n"
    write(root / "etc/rancher/k3s/config.yaml", config)
    found = findings(root, "cert.static-tokens", "cert.front-proxy")
    assert found["cert.static-tokens"].status == "fail"
    assert "/etc/tokens.csv" in found["cert.static-tokens"].because
    assert "canary" not in str(found)
    assert found["cert.front-proxy"].status == "pass"
    assert "system:auth-proxy" in found["cert.front-proxy"].because


def test_k3s_with_one_authority_for_headers_and_clients_fails(root: Path) -> None:
    k3s(root)
    folder = root / "var/lib/rancher/k3s/server/tls"
    write(folder / "request-header-ca.crt", (folder / "client-ca.crt").read_text())
    assert findings(root, "cert.front-proxy")["cert.front-proxy"].status == "fail"


def test_a_kubeconfig_of_k3s_for_everyone_fails(root: Path) -> None:
    from pki_node import client, encoded, kubeconfig

    k3s(root)
    raw = Authority().issue(client("system:admin", "system:masters"), key("P-256", 3))
    text = kubeconfig({"client-certificate-data": encoded(pem(raw))}, {})
    write(root / "etc/rancher/k3s/k3s.yaml", text, 0o644)
    for folder in (root, root / "etc", root / "etc/rancher", root / "etc/rancher/k3s"):
        folder.chmod(0o755)
    found = findings(root, "cert.admin-kubeconfig-spread")["cert.admin-kubeconfig-spread"]
    assert found.status == "fail"
    assert "/etc/rancher/k3s/k3s.yaml" in found.because


def test_microk8s_is_asked_for_the_arguments_of_the_daemons_inside(root: Path) -> None:
    add_process(root, 9, ["kubelite"], exe="/snap/microk8s/1/kubelite")
    write(root / "var/snap/microk8s/current/args/kubelet", "")
    arguments = "--token-auth-file=${SNAP_DATA}/credentials/known_tokens.csv\n"
    write(root / "var/snap/microk8s/current/args/kube-apiserver", arguments)
    found = findings(root, "cert.static-tokens")["cert.static-tokens"]
    assert found.status == "fail"
    assert "/var/snap/microk8s/current/credentials/known_tokens.csv" in found.because


def test_of_openshifts_revisions_the_newest_is_in_use(tmp_path: Path) -> None:
    write(tmp_path / "etc/kubernetes/manifests/kube-apiserver.yaml", "")
    base = "/etc/kubernetes/static-pod-resources/kube-apiserver-pod"
    secret = "secrets/aggregator-client/tls.crt"
    put(tmp_path, f"{base}-9/{secret}", left=-5)
    put(tmp_path, f"{base}-10/{secret}", left=300)
    check = "cert.expiry.front-proxy-client"
    found = findings(tmp_path, check)[check]
    assert found.status == "pass"
    assert "pod-10" in found.because


def test_etcd_of_openshift_has_a_file_a_node(tmp_path: Path) -> None:
    write(tmp_path / "etc/kubernetes/manifests/kube-apiserver.yaml", "")
    folder = "/etc/kubernetes/static-pod-resources/etcd-certs/secrets/etcd-all-certs"
    for name in ("etcd-serving-node1", "etcd-serving-metrics-node1", "etcd-peer-node1"):
        put(tmp_path, f"{folder}/{name}.crt", left=300)
    found = findings(tmp_path, "cert.expiry.etcd-*")
    assert "etcd-serving-node1.crt" in found["cert.expiry.etcd-server"].because
    assert "etcd-peer-node1.crt" in found["cert.expiry.etcd-peer"].because


def test_eks_has_a_serving_certificate_and_no_client_certificate(tmp_path: Path) -> None:
    from pki_node import kubeconfig

    write(tmp_path / "etc/systemd/system/kubelet.service", "[Service]\nExecStart=/bin/kubelet\n")
    put(tmp_path, "/var/lib/kubelet/pki/kubelet-server-current.pem", left=300)
    aws = {"exec": {"command": "aws-iam-authenticator", "args": ["token"]}}
    write(tmp_path / "var/lib/kubelet/kubeconfig", kubeconfig(aws, {}))
    found = findings(tmp_path, "cert.expiry.kubelet-*")
    assert found["cert.expiry.kubelet-server"].status == "pass"
    assert found["cert.expiry.kubelet-client"].status == "not-applicable"


@pytest.mark.root
def test_in_a_tree_that_nobody_of_root_owns_owners_are_not_judged(tmp_path: Path) -> None:
    import os

    from pki_node import PkiNode

    node = PkiNode(tmp_path / "root").build()
    for path in (node.root, *node.root.rglob("*")):
        os.chown(path, 1000, 1000, follow_symlinks=False)
    found = node.findings()
    assert found["cert.key-perms"].status == "pass", found["cert.key-perms"].because
    (node.pki / "apiserver.key").chmod(0o644)
    assert node.findings(glob="cert.key-perms")["cert.key-perms"].status == "fail"


def test_a_host_that_is_no_node_is_not_judged(tmp_path: Path) -> None:
    put(tmp_path, "/etc/kubernetes/pki/apiserver.crt", left=-5)
    add_process(tmp_path, 1, ["init"], exe="/sbin/init")
    statuses = {str(f.status) for c, f in findings(tmp_path, "cert.*").items() if "secret" not in c}
    assert statuses == {"not-applicable"}
