"""The kubelet's client CA against what a worker knows of its cluster, with real signatures."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

import kubelet_hosts
import tls_keys
from kubelet_hosts import HEAD, Host, Run
from nodeward.agent.scan import scan, select
from nodeward.host import TreeHost
from nodeward.model import Finding, Severity, Status
from tls_keys import Pair

CONFIG, KUBECONFIG = "/var/lib/kubelet/config.yaml", "/etc/kubernetes/kubelet.conf"
OWN, CA = "/var/lib/kubelet/pki/kubelet-client-current.pem", "/etc/kubernetes/pki/ca.crt"


def worker(folder: Path, taken: Pair, root: Pair, own: Pair | None) -> Finding:
    """A kubelet that takes certificates of `taken`, trusts `root`, and shows `own`."""
    data = base64.b64encode(root.pem).decode()
    user = f"{{client-certificate: {OWN}, client-key: {OWN}}}" if own else "{token: x}"
    files = {
        CONFIG: HEAD + f"authentication: {{x509: {{clientCAFile: {CA}}}}}\n",
        CA: taken.pem.decode(),
        KUBECONFIG: "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
        "contexts: [{name: c, context: {cluster: k, user: u}}]\n"
        f"clusters: [{{name: k, cluster: {{server: 'https://10.0.0.1:6443',"
        f" certificate-authority-data: {data}}}}}]\n"
        f"users: [{{name: u, user: {user}}}]\n",
        **({OWN: own.pem.decode()} if own else {}),
    }
    words = ("kubelet", f"--config={CONFIG}", f"--kubeconfig={KUBECONFIG}")
    host = Host(files, (Run("/opt/v1.36.2/kubelet", words),))
    root_ = kubelet_hosts.build(host, folder / "host")
    report = scan(TreeHost(root_), select(["kubelet.authn.x509"]), at=kubelet_hosts.BOOT + 3600)
    return report.findings[0]


@pytest.fixture(scope="module")
def cluster() -> Pair:
    return tls_keys.make("kubernetes", ca=True)


@pytest.fixture(scope="module")
def clients() -> Pair:
    return tls_keys.make("clients", ca=True)


def test_the_ca_of_the_kubeconfig_is_the_clusters(cluster: Pair, tmp_path: Path) -> None:
    found = worker(tmp_path, cluster, cluster, None)
    assert found.status is Status.PASS
    assert "its kubeconfig trusts it too" in found.because


def test_so_is_the_one_that_signed_the_kubelets_own_certificate(
    cluster: Pair, clients: Pair, tmp_path: Path
) -> None:
    """k3s and RKE2 have one for servers and one for clients."""
    own = tls_keys.make("system:node:n1", clients)
    found = worker(tmp_path, clients, cluster, own)
    assert found.status is Status.PASS
    assert "the kubelet's own certificate is of it" in found.because


def test_another_one_is_not(cluster: Pair, clients: Pair, tmp_path: Path) -> None:
    own = tls_keys.make("system:node:n1", cluster)
    found = worker(tmp_path, clients, cluster, own)
    assert (found.status, found.severity) == (Status.FAIL, Severity.MEDIUM)
    assert "knows its cluster by CN=kubernetes" in found.because


def test_nor_one_of_the_same_name_with_another_key(cluster: Pair, tmp_path: Path) -> None:
    impostor = tls_keys.make("kubernetes", ca=True)
    own = tls_keys.make("system:node:n1", cluster)
    assert worker(tmp_path, impostor, cluster, own).status is Status.FAIL


NAMED = HEAD + f"authentication: {{x509: {{clientCAFile: {CA}}}}}\n"
UNIT = f"[Service]\nExecStart=/opt/v1.36.2/kubelet --config={CONFIG}\n"


def named(folder: Path, content: str | None, *, runs: bool = True) -> Finding:
    """A kubelet, running or only installed, that is given a client CA file with this content."""
    files = {CONFIG: NAMED, "/etc/systemd/system/kubelet.service": UNIT}
    files |= {CA: content} if content is not None else {}
    run = Run("/opt/v1.36.2/kubelet", ("kubelet", f"--config={CONFIG}"))
    root = kubelet_hosts.build(Host(files, (run,) if runs else ()), folder / "host")
    report = scan(TreeHost(root), select(["kubelet.authn.x509"]), at=kubelet_hosts.BOOT + 3600)
    return report.findings[0]


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "is not there"), ("", "holds no certificate"), ("nothing\n", "holds no certificate")],
)
def test_a_named_file_without_a_certificate_is_no_ca(
    content: str | None, why: str, tmp_path: Path
) -> None:
    found = named(tmp_path, content)
    assert found.status is Status.FAIL
    assert f"{CA} ({CONFIG}:3), which {why}: no kubelet starts with that" in found.because


def test_an_image_that_gets_its_ca_when_it_joins_is_unknown(tmp_path: Path) -> None:
    found = named(tmp_path, None, runs=False)
    assert found.status is Status.UNKNOWN
    assert f"{CA} is not there: no kubelet starts until it is" in found.because
    assert named(tmp_path / "empty", "", runs=False).status is Status.FAIL


def test_what_a_file_holds_that_cannot_be_read_is_unknown(tmp_path: Path) -> None:
    broken = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    assert named(tmp_path, broken).status is Status.UNKNOWN
    folder = tmp_path / "folder"
    assert named(folder, None).status is Status.FAIL
    (folder / "host" / CA.lstrip("/")).mkdir(parents=True)
    report = scan(TreeHost(folder / "host"), select(["kubelet.authn.x509"]), at=1.8e9)
    assert report.findings[0].status is Status.UNKNOWN


PKI, KUBELET_CA = "/etc/kubernetes/pki", "/etc/kubernetes/kubelet-ca.crt"
SERVER = (
    "kube-apiserver",
    f"--client-ca-file={CA}",
    f"--kubelet-client-certificate={PKI}/apiserver-kubelet-client.crt",
    f"--kubelet-client-key={PKI}/apiserver-kubelet-client.key",
)


def control_plane(folder: Path, root: Pair, shows: Pair, *taken: Pair) -> Finding:
    """A kubelet that takes certificates of `taken` beside an API server that trusts `root`, and
    shows one to kubelets."""
    files = {
        CONFIG: HEAD + f"authentication: {{x509: {{clientCAFile: {KUBELET_CA}}}}}\n",
        CA: root.pem.decode(),
        f"{PKI}/apiserver-kubelet-client.crt": shows.pem.decode(),
        KUBELET_CA: "".join(one.pem.decode() for one in taken),
    }
    kubelet = Run("/opt/v1.36.2/kubelet", ("kubelet", f"--config={CONFIG}"))
    host = Host(files, (kubelet, Run("/usr/local/bin/kube-apiserver", SERVER, pid=950)))
    root_ = kubelet_hosts.build(host, folder / "host")
    report = scan(TreeHost(root_), select(["kubelet.authn.x509"]), at=kubelet_hosts.BOOT + 3600)
    return report.findings[0]


def test_the_api_servers_certificate_is_of_the_key_not_of_the_name_alone(
    cluster: Pair, tmp_path: Path
) -> None:
    """Every cluster of kubeadm has a CA that is named kubernetes."""
    shows = tls_keys.make("kube-apiserver-kubelet-client", cluster)
    assert control_plane(tmp_path / "own", cluster, shows, cluster).status is Status.PASS
    impostor = tls_keys.make("kubernetes", ca=True)
    found = control_plane(tmp_path / "other", cluster, shows, impostor)
    assert (found.status, found.severity) == (Status.FAIL, Severity.HIGH)
    assert "the API server's certificate for kubelets is of CN=kubernetes" in found.because


def test_a_ca_that_the_api_server_trusts_and_is_not_its_own_shuts_it_out(
    cluster: Pair, clients: Pair, tmp_path: Path
) -> None:
    shows = tls_keys.make("kube-apiserver-kubelet-client", clients)
    found = control_plane(tmp_path, cluster, shows, cluster)
    assert (found.status, found.severity) == (Status.FAIL, Severity.HIGH)
    assert control_plane(tmp_path / "both", cluster, shows, cluster, clients).status is Status.PASS


@pytest.mark.parametrize("name", ["evil", "kubernetes"])
def test_every_ca_of_a_bundle_is_told_apart(cluster: Pair, name: str, tmp_path: Path) -> None:
    foreign = tls_keys.make(name, ca=True)
    shows = tls_keys.make("kube-apiserver-kubelet-client", cluster)
    found = control_plane(tmp_path / "server", cluster, shows, cluster, foreign)
    assert (found.status, found.severity) == (Status.FAIL, Severity.MEDIUM)
    assert f"of CN={name}, which it takes too, nothing here says that" in found.because
    both = tls_keys.Pair(cluster.certificate, cluster.key, cluster.pem + foreign.pem)
    worker_ = worker(tmp_path / "worker", both, cluster, None)
    assert worker_.status is Status.UNKNOWN
    assert f"of CN={name}, which it takes too" in worker_.because


def test_the_old_and_the_new_ca_of_a_cluster_are_both_its_own(
    cluster: Pair, tmp_path: Path
) -> None:
    """As kubeadm's documents say to replace one: both in every bundle for a while."""
    new = tls_keys.make("kubernetes", ca=True)
    both = tls_keys.Pair(new.certificate, new.key, new.pem + cluster.pem)
    shows = tls_keys.make("kube-apiserver-kubelet-client", new)
    assert control_plane(tmp_path / "server", both, shows, both).status is Status.PASS
    own = tls_keys.make("system:node:n1", cluster)
    assert worker(tmp_path / "worker", both, both, own).status is Status.PASS


def test_an_authority_between_is_the_clusters_too(cluster: Pair, tmp_path: Path) -> None:
    between = tls_keys.make("between", cluster, ca=True)
    shows = tls_keys.make("kube-apiserver-kubelet-client", between)
    for number, taken in enumerate([(between,), (between, cluster), (cluster, between)]):
        found = control_plane(tmp_path / str(number), cluster, shows, *taken)
        assert found.status is Status.PASS, taken
