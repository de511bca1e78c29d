"""Certificates are found by what names them, wherever that is."""

import json
from pathlib import Path

import pytest

from certificate_maker import (
    DAY,
    NOW,
    Authority,
    Spec,
    key,
    key_pem,
    pem,
    traditional_pem,
    write,
)
from kubeadm_tree import add_process
from nodeward.agent.runner import Looker
from nodeward.facts.daemons import sample
from nodeward.facts.kubeconfig import Kubeconfigs
from nodeward.facts.manifests import Manifests
from nodeward.facts.pki import Kind, Pki
from nodeward.facts.pki_places import own_pair_of
from nodeward.host import TreeHost
from nodeward.model import Fact, Seen
from pki_node import PkiNode, client, kubeconfig


def look(root: Path, wanted: type[Fact]) -> Fact:
    reading = Looker(TreeHost(root)).look(wanted)
    assert isinstance(reading, Seen), reading
    return reading.fact


def pki_of(root: Path) -> Pki:
    found = look(root, Pki)
    assert isinstance(found, Pki)
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A node with a process table and nothing in it."""
    write(tmp_path / "proc/stat", "btime 1000000000\n")
    write(tmp_path / "etc/os-release", "ID=debian\n")
    return tmp_path


def test_every_certificate_of_a_kubeadm_node_is_found(kubeadm_root: Path) -> None:
    on_disk = {
        f"/{p.relative_to(kubeadm_root)}"
        for p in kubeadm_root.rglob("*")
        if p.suffix in (".crt", ".pem") and not p.is_symlink()
    }
    found = {p.real for p in pki_of(kubeadm_root).pems if p.certificates and not p.part}
    assert on_disk == found


def test_a_link_is_kept_beside_what_it_leads_to(kubeadm_root: Path) -> None:
    held = pki_of(kubeadm_root).held("kubelet-client")
    assert [h.pem.real.rpartition("/")[2] for h in held] == [
        "kubelet-client-2026-11-22-03-52-20.pem",
        "kubelet-client-2026-11-22-03-52-05.pem",
    ]
    assert held[0].use.path.endswith("kubelet-client-current.pem")
    assert held[1].use.superseded


def test_embedded_certificates_are_found(kubeadm_root: Path) -> None:
    facts = pki_of(kubeadm_root)
    for component in ("admin", "super-admin", "controller-manager", "scheduler"):
        (held,) = facts.held(component)
        assert held.leaf is not None
        assert held.pem.part.startswith("user ")


def test_an_argument_outweighs_the_usual_place(root: Path) -> None:
    ca = Authority()
    write(root / "etc/kubernetes/pki/apiserver.crt", pem(ca.issue(Spec())))
    write(root / "srv/tls/api.crt", pem(ca.issue(Spec())))
    argv = ["kube-apiserver", "--tls-cert-file=/srv/tls/api.crt"]
    add_process(root, 7, argv, exe="/usr/local/bin/kube-apiserver")
    found = pki_of(root).held("apiserver")
    assert [(h.use.path, h.use.in_use) for h in found] == [
        ("/srv/tls/api.crt", True),
        ("/etc/kubernetes/pki/apiserver.crt", False),
    ]


def test_a_static_pods_paths_are_those_of_its_container(root: Path) -> None:
    write(root / "srv/pki/inside.crt", pem(Authority().issue(Spec())))
    kind = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
    write(root / "var/lib/kubelet/config.yaml", f"{kind}staticPodPath: /srv/manifests\n")
    argv = ["kubelet", "--config=/var/lib/kubelet/config.yaml"]
    add_process(root, 6, argv, exe="/usr/bin/kubelet")
    write(root / "srv/manifests/etcd.yaml", ETCD_POD)
    (held,) = pki_of(root).held("etcd-server")
    assert held.use.path == "/srv/pki/inside.crt"
    assert held.leaf is not None


ETCD_POD = """
apiVersion: v1
kind: Pod
metadata: {name: etcd, namespace: kube-system}
spec:
  hostNetwork: true
  containers:
  - name: etcd
    command: [etcd]
    args: [--cert-file=/certs/inside.crt]
    env:
    - {name: PASSWORD, value: hunter2}
    volumeMounts:
    - {name: certs, mountPath: /certs}
  volumes:
  - {name: certs, hostPath: {path: /srv/pki}}
"""


def test_no_value_of_an_environment_variable_is_taken_over(root: Path) -> None:
    write(root / "etc/kubernetes/manifests/etcd.yaml", ETCD_POD)
    add_process(root, 6, ["kubelet"], exe="/usr/bin/kubelet")
    found = look(root, Manifests)
    assert isinstance(found, Manifests)
    assert "hunter2" not in repr(found)


def test_etcds_configuration_file_outweighs_its_arguments(root: Path) -> None:
    raw = pem(Authority("etcd-ca").issue(Spec()))
    write(root / "srv/one.crt", raw)
    write(root / "srv/two.crt", raw)
    config = "client-transport-security: {cert-file: /srv/two.crt}\n"
    write(root / "etc/etcd.yaml", config)
    argv = ["etcd", "--cert-file=/srv/one.crt", "--config-file=/etc/etcd.yaml"]
    add_process(root, 7, argv, exe="/usr/bin/etcd")
    add_process(root, 8, ["kubelet"], exe="/usr/bin/kubelet")
    assert [h.use.path for h in pki_of(root).held("etcd-server")] == ["/srv/two.crt"]


def test_etcds_environment_names_certificates(root: Path) -> None:
    write(root / "srv/one.crt", pem(Authority("etcd-ca").issue(Spec())))
    folder = add_process(root, 7, ["etcd"], exe="/usr/bin/etcd")
    environ = b"ETCD_CERT_FILE=/srv/one.crt\0ETCD_PASSWORD=hunter2\0"
    write(folder / "environ", environ)
    add_process(root, 8, ["kubelet"], exe="/usr/bin/kubelet")
    assert [h.use.path for h in pki_of(root).held("etcd-server")] == ["/srv/one.crt"]


DISTRIBUTIONS = {
    "k3s": {
        "var/lib/rancher/k3s/server/tls/serving-kube-apiserver.crt": "apiserver",
        "var/lib/rancher/k3s/server/tls/client-admin.crt": "admin",
        "var/lib/rancher/k3s/server/tls/client-auth-proxy.crt": "front-proxy-client",
        "var/lib/rancher/k3s/server/tls/etcd/server-client.crt": "etcd-server",
        "var/lib/rancher/k3s/agent/client-kubelet.crt": "kubelet-client",
        "var/lib/rancher/k3s/agent/serving-kubelet.crt": "kubelet-server",
    },
    "rke2": {"var/lib/rancher/rke2/server/tls/client-controller.crt": "controller-manager"},
    "k0s": {
        "var/lib/k0s/pki/server.crt": "apiserver",
        "var/lib/k0s/pki/etcd/peer.crt": "etcd-peer",
        "var/lib/k0s/kubelet/pki/kubelet-client-current.pem": "kubelet-client",
    },
    "microk8s": {
        "var/snap/microk8s/current/certs/server.crt": "apiserver",
        "var/snap/microk8s/current/certs/kubelet.crt": "kubelet-server",
    },
    "eks": {"var/lib/kubelet/pki/kubelet-server-current.pem": "kubelet-server"},
    "aks": {
        "etc/kubernetes/certs/client.crt": "kubelet-client",
        "etc/kubernetes/certs/kubeletserver.crt": "kubelet-server",
    },
    "gke": {"etc/srv/kubernetes/pki/apiserver.crt": "apiserver"},
    "talos": {
        "system/secrets/etcd/server.crt": "etcd-server",
        "system/secrets/kubernetes/kube-apiserver/apiserver.crt": "apiserver",
    },
}


@pytest.mark.parametrize(
    ("path", "component"),
    [
        pytest.param(path, component, id=f"{name}-{component}")
        for name, table in DISTRIBUTIONS.items()
        for path, component in table.items()
    ],
)
def test_the_distributions_places_are_known(tmp_path: Path, path: str, component: str) -> None:
    """In an image nothing runs: what lies there counts as in use."""
    unit, start = "kubelet", "/bin/kubelet --rotate-server-certificates"
    if path.startswith("var/lib/k0s"):
        unit, start = "k0sworker", "/usr/local/bin/k0s worker"
    write(tmp_path / f"etc/systemd/system/{unit}.service", f"[Service]\nExecStart={start}\n")
    write(tmp_path / path, pem(Authority().issue(Spec())) + key_pem(key("P-256", 1)))
    (held,) = pki_of(tmp_path).held(component)
    assert held.use.in_use
    assert held.use.path == f"/{path}"


def test_keys_are_described_and_stay_in_the_file(root: Path) -> None:
    add_process(root, 8, ["kubelet"], exe="/usr/bin/kubelet")
    secret = key_pem(key("P-384"))
    write(root / "etc/kubernetes/pki/ca.key", secret)
    facts = pki_of(root)
    (held,) = facts.held("cluster-ca", kind=Kind.KEY)
    (found,) = held.pem.keys
    assert (found.kind, found.bits) == ("EC", 384)
    assert secret.splitlines()[1] not in repr(facts)


def test_copies_of_kubeconfigs_are_found_in_homes(kubeadm_root: Path) -> None:
    text = (kubeadm_root / "etc/kubernetes/super-admin.conf").read_text()
    write(kubeadm_root / "home/alice/.kube/config", text)
    write(kubeadm_root / "tmp/admin.conf.bak", text)
    write(kubeadm_root / "tmp/other.conf", "[section]\nkey = 1\n")
    found = look(kubeadm_root, Kubeconfigs)
    assert isinstance(found, Kubeconfigs)
    assert [k.path for k in found.of("copy")] == ["/tmp/admin.conf.bak", "/home/alice/.kube/config"]


def test_a_file_where_homes_would_be_holds_no_copies(kubeadm_root: Path) -> None:
    (kubeadm_root / "home").write_text("not a folder")
    found = look(kubeadm_root, Kubeconfigs)
    assert isinstance(found, Kubeconfigs)
    assert not found.unseen


AUTHORIZATION = """
apiVersion: apiserver.config.k8s.io/v1
kind: AuthorizationConfiguration
authorizers:
- type: Webhook
  name: hook
  webhook: {connectionInfo: {type: KubeConfigFile, kubeConfigFile: /etc/kubernetes/a.conf}}
- {type: Node, name: node}
"""
ADMISSION = """
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- {name: ImagePolicyWebhook, path: /etc/kubernetes/images.yaml}
- name: ValidatingAdmissionWebhook
  configuration: {kubeConfigFile: /etc/kubernetes/c.conf}
"""


def test_webhooks_are_found_in_the_files_of_the_api_server(root: Path) -> None:
    argv = [
        "kube-apiserver",
        "--authorization-config=/etc/kubernetes/authorization.yaml",
        "--admission-control-config-file=/etc/kubernetes/admission.yaml",
    ]
    add_process(root, 7, argv, exe="/usr/local/bin/kube-apiserver")
    write(root / "etc/kubernetes/authorization.yaml", AUTHORIZATION)
    write(root / "etc/kubernetes/admission.yaml", ADMISSION)
    write(
        root / "etc/kubernetes/images.yaml", "imagePolicy: {kubeConfigFile: /etc/kubernetes/b.conf}"
    )
    found = look(root, Kubeconfigs)
    assert isinstance(found, Kubeconfigs)
    assert [k.path[-6] for k in found.of("webhook")] == ["a", "c", "b"]


def test_kube_proxys_kubeconfig_is_found_in_its_configuration(root: Path) -> None:
    argv = ["kube-proxy", "--config=/srv/proxy.yaml"]
    add_process(root, 7, argv, exe="/usr/local/bin/kube-proxy")
    add_process(root, 8, ["kubelet"], exe="/usr/bin/kubelet")
    write(root / "srv/proxy.yaml", "clientConnection: {kubeconfig: /srv/proxy.conf}\n")
    found = look(root, Kubeconfigs)
    assert isinstance(found, Kubeconfigs)
    assert [k.path for k in found.of("kube-proxy")] == ["/srv/proxy.conf"]


def sound(tmp_path: Path) -> PkiNode:
    return PkiNode(tmp_path / "root").build()


def expired(node: PkiNode, name: str, path: str = "k/c.crt") -> None:
    spec = client(name, not_after=NOW - DAY)
    write(node.root / path, pem(node.etcd.issue(spec, key("P-256", 60))))


def test_the_client_certificate_of_etcd_is_judged_as_one(tmp_path: Path) -> None:
    node = sound(tmp_path)
    node.etcd_flags |= {"peer-client-cert-file": "/k/c.crt", "peer-client-key-file": "/k/c.key"}
    expired(node, "peer")
    write(node.root / "k/c.key", traditional_pem(key("P-256", 60)), 0o644)
    node.open_folders()
    node.start()
    found = node.findings()
    assert found["cert.expiry.etcd-peer"].because.startswith(
        "the certificate of etcd-peer-client expired on 2026-11-21"
    )
    assert found["cert.key-perms"].evidence[0].source == "/k/c.key"
    assert found["cert.chain"].status == "pass"


def test_a_daemons_serving_certificate_ends_with_it(tmp_path: Path) -> None:
    node = sound(tmp_path)
    expired(node, "scheduler")
    node.stop(14)
    flags = {"kubeconfig": "/etc/kubernetes/scheduler.conf", "tls-cert-file": "/k/c.crt"}
    node.process(14, "kube-scheduler", flags)
    found = node.findings()["cert.expiry.scheduler"]
    assert (found.status, found.severity) == ("fail", "critical")


@pytest.mark.parametrize("folder", ["", "/srv/own/"])
def test_the_pair_that_an_api_server_made_for_itself(tmp_path: Path, folder: str) -> None:
    node = sound(tmp_path)
    for flag in ("tls-cert-file", "tls-private-key-file"):
        del node.apiserver[flag]
    if folder:
        node.apiserver["cert-dir"] = folder
    node.start()
    place = (folder or "/var/run/kubernetes").strip("/")
    expired(node, "apiserver", f"{place}/apiserver.crt")
    found = node.findings()
    assert f"/{place}/apiserver.crt" in found["cert.expiry.apiserver"].because
    assert found["cert.expiry.apiserver"].severity == "critical"


def test_a_named_pair_leaves_the_folder_of_its_own_alone(tmp_path: Path) -> None:
    node = sound(tmp_path)
    expired(node, "apiserver", "var/run/kubernetes/apiserver.crt")
    assert node.findings()["cert.expiry.apiserver"].status == "pass"


@pytest.mark.parametrize("program", ["kube-controller-manager", "kube-scheduler"])
def test_other_servers_keep_theirs_in_memory_unless_they_have_a_folder(program: str) -> None:
    assert list(own_pair_of(sample(program, "--leader-elect"))) == []
    pair = own_pair_of(sample(program, "--cert-dir=/var/x"))
    assert [use.path for use in pair] == [f"/var/x/{program}.crt", f"/var/x/{program}.key"]


EGRESS = """
kind: EgressSelectorConfiguration
egressSelections:
- name: cluster
  connection:
    transport: {tcp: {url: "https://x", tlsConfig: {clientCert: /k/c.crt, clientKey: /k/c.key}}}
"""


def test_the_proxies_of_an_egress_selector(tmp_path: Path) -> None:
    node = sound(tmp_path)
    node.apiserver["egress-selector-config-file"] = "/etc/kubernetes/egress.yaml"
    node.start()
    write(node.root / "etc/kubernetes/egress.yaml", EGRESS)
    expired(node, "konnectivity")
    finding = node.findings()["cert.expiry.apiserver-kubelet-client"]
    assert "egress-client expired on 2026-11-21" in finding.because
    (node.root / "etc/kubernetes/egress.yaml").write_text("{")
    assert any("egress.yaml" in one for one in pki_of(node.root).unseen)


@pytest.mark.parametrize("place", ["tmp/a.crt", "root/boss.pem", "home/bob/.kube/me.cer"])
def test_an_administrators_certificate_that_lies_about(tmp_path: Path, place: str) -> None:
    node = sound(tmp_path)
    boss = client("boss", "system:masters")
    write(node.root / place, pem(node.cluster.issue(boss, key("P-256", 61))))
    found = node.findings()["cert.superadmin"]
    assert (found.status, found.evidence[0].source) == ("fail", f"/{place}")
    assert not [u for u in pki_of(node.root).uses if u.path == f"/{place}" and u.in_use]


def test_a_kubeconfig_that_hides_the_kubelets_certificate_stops_no_rotation_check(
    tmp_path: Path,
) -> None:
    node = sound(tmp_path)
    (node.root / "etc/kubernetes/kubelet.conf").write_text("{{{")
    found = node.findings()["cert.rotation-stalled"]
    assert found.status == "unknown"
    assert "/etc/kubernetes/kubelet.conf" in found.because


def test_what_kubeadm_does_not_know_it_is_not_asked_to_renew(tmp_path: Path) -> None:
    node = sound(tmp_path)
    node.etcd_flags["client-cert-file"] = "/etc/kubernetes/pki/etcd/own.crt"
    node.start()
    expired(node, "own", "etc/kubernetes/pki/etcd/own.crt")
    found = node.findings()["cert.expiry.etcd-server"]
    assert found.status == "fail"
    assert found.remedy
    assert not any("kubeadm certs renew" in step for step in found.remedy.steps)


@pytest.mark.parametrize("name", ["10-calico.conflist", "00-multus.conf"])
def test_a_kubeconfig_that_a_network_plugins_configuration_names(tmp_path: Path, name: str) -> None:
    node = PkiNode(tmp_path / "root").build()
    place = {"kubeconfig": "/opt/net/credential"}
    plugins = {"plugins": [{"type": "calico", "kubernetes": place}]}
    write(node.root / f"etc/cni/net.d/{name}", json.dumps(plugins if "list" in name else place))
    write(node.root / "opt/net/credential", kubeconfig({"token": "a.b.c"}, {}), 0o644)
    node.open_folders()
    found = node.findings(glob="cert.cni-kubeconfig")["cert.cni-kubeconfig"]
    assert (found.status, found.severity) == ("fail", "medium")
    assert "/opt/net/credential" in found.because


def test_a_network_plugins_configuration_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    node = PkiNode(tmp_path / "root").build()
    write(node.root / "etc/cni/net.d/10-x.conf", '{"kubeconfig": [')
    found = node.findings(glob="cert.cni-kubeconfig")["cert.cni-kubeconfig"]
    assert found.status == "unknown"
    assert "/etc/cni/net.d/10-x.conf" in found.because
