"""Each distribution's node is read in its own way, and its remedies are its own commands."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import datetime
from pathlib import Path

import pytest

from certificate_maker import DAY, NOW, Authority, Spec, key, key_pem, pem, write
from kubeadm_tree import add_process
from nodeward.agent.runner import Looker
from nodeward.agent.scan import scan, select
from nodeward.facts.daemons import Daemons
from nodeward.facts.listeners import Listener
from nodeward.facts.served import ports as asked
from nodeward.host import TreeHost
from nodeward.model import Finding, Seen


def findings(root: Path, *globs: str, at: datetime = NOW) -> dict[str, Finding]:
    report = scan(TreeHost(root), select(globs), at=at.timestamp())
    return {f.check: f for f in report.findings}


CA = Authority()


def put(root: Path, path: str, left: float = 20, **more: object) -> None:
    """A certificate of a year that has these days left."""
    spec = Spec(not_before=NOW - (365 - left) * DAY, not_after=NOW + left * DAY, **more)  # type: ignore[arg-type]
    issuer = Authority("node1-ca@1700000000") if path.endswith("kubelet/pki/kubelet.crt") else CA
    write(root / path.lstrip("/"), pem(issuer.issue(spec, key("P-256", 1))))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "proc/stat", f"btime {int((NOW - 300 * DAY).timestamp())}\n")
    return tmp_path


SERVER, AGENT = "/var/lib/rancher/k3s/server/tls", "/var/lib/rancher/k3s/agent"
SNAP = "/var/snap/microk8s/current"
REMEDIES = [
    ("/etc/kubernetes/pki/apiserver.crt", "apiserver", "kubeadm certs renew apiserver"),
    ("/etc/kubernetes/pki/etcd/server.crt", "etcd-server", "kubeadm certs renew etcd-server"),
    (
        "/etc/kubernetes/pki/etcd/healthcheck-client.crt",
        "etcd-healthcheck-client",
        "kubeadm certs renew etcd-healthcheck-client",
    ),
    (f"{SERVER}/serving-kube-apiserver.crt", "apiserver", "k3s certificate rotate"),
    (f"{SERVER}/client-supervisor.crt", "other", "k3s certificate rotate"),
    (f"{SERVER}/client-k3s-cloud-controller.crt", "other", "k3s certificate rotate"),
    (f"{AGENT}/client-k3s-controller.crt", "other", "k3s certificate rotate"),
    (
        "/var/lib/rancher/rke2/server/tls/client-scheduler.crt",
        "scheduler",
        "systemctl stop rke2-server",
    ),
    ("/var/lib/rancher/rke2/agent/client-rke2-controller.crt", "other", "rke2 certificate rotate"),
    ("/var/lib/k0s/pki/server.crt", "apiserver", "systemctl restart k0scontroller"),
    ("/var/lib/k0s/pki/k0s-api.crt", "other", "systemctl restart k0scontroller"),
    (f"{SNAP}/certs/server.crt", "apiserver", "microk8s refresh-certs --cert server.crt"),
    (
        f"{SNAP}/certs/front-proxy-client.crt",
        "front-proxy-client",
        "microk8s refresh-certs --cert front-proxy-client.crt",
    ),
    (f"{SNAP}/certs/client.crt", "admin", "microk8s refresh-certs --cert ca.crt"),
    (f"{SNAP}/certs/kubelet.crt", "kubelet-server", "microk8s refresh-certs --cert ca.crt"),
    (f"{SNAP}/var/kubernetes/backend/cluster.crt", "other", "microk8s stop"),
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
    (
        "/etc/kubernetes/certs/client.crt",
        "kubelet-client",
        "az aks rotate-certs -g RESOURCE-GROUP -n CLUSTER",
    ),
    (
        "/etc/srv/kubernetes/pki/kubelet.crt",
        "kubelet-client",
        "gcloud container clusters upgrade CLUSTER --node-pool POOL --location LOCATION",
    ),
]


def kubeadm(root: Path) -> None:
    """A control plane of kubeadm, as an image at rest: what lies there counts as in use."""
    write(root / "etc/kubernetes/manifests/kube-apiserver.yaml", "")
    write(root / "var/lib/kubelet/kubeadm-flags.env", "")
    for name in ("ca", "front-proxy-ca", "etcd/ca"):
        write(root / f"etc/kubernetes/pki/{name}.key", key_pem(key("P-256", 1)))


@pytest.mark.parametrize(("path", "component", "command"), REMEDIES)
def test_the_remedy_is_the_distributions_own_command(
    tmp_path: Path, path: str, component: str, command: str
) -> None:
    kubeadm(tmp_path)
    put(tmp_path, path)
    check = f"cert.expiry.{component}"
    found = findings(tmp_path, check)[check]
    assert found.status == "fail", found.because
    assert found.remedy
    assert command in found.remedy.steps
    assert found.remedy.breaks


def expired_client(root: Path, path: str) -> Finding:
    put(root, path, left=-3)
    found = findings(root, "cert.expiry.kubelet-client")["cert.expiry.kubelet-client"]
    assert found.severity == "critical"
    return found


def test_a_kubelet_whose_certificate_has_ended_must_join_again(tmp_path: Path) -> None:
    """It cannot ask for another with it: to approve a request helps no more."""
    kubeadm(tmp_path)
    found = expired_client(tmp_path, "/var/lib/kubelet/pki/kubelet-client-current.pem")
    assert found.remedy
    assert not any("certificate approve" in step for step in found.remedy.steps)
    assert any(
        step.startswith("kubeadm kubeconfig user --org system:nodes") for step in found.remedy.steps
    )


def test_a_worker_of_k0s_joins_again_with_a_token(root: Path) -> None:
    unit = "[Service]\nExecStart=/usr/local/bin/k0s worker --data-dir=/data/k0s\n"
    write(root / "etc/systemd/system/k0sworker.service", unit)
    add_process(root, 9, ["k0s", "worker", "--data-dir=/data/k0s"], exe="/usr/local/bin/k0s")
    found = expired_client(root, "/data/k0s/kubelet/pki/kubelet-client-current.pem")
    assert found.remedy
    assert "k0s token create --role=worker > worker.token" in found.remedy.steps
    assert "systemctl stop k0sworker" in found.remedy.steps
    assert "mv /data/k0s/kubelet.conf /data/k0s/kubelet/pki /root/" in found.remedy.steps
    assert not any("systemctl restart kubelet" in step for step in found.remedy.steps)


def test_the_commands_of_k3s_name_its_unit_and_its_directory(root: Path) -> None:
    unit = "[Service]\nExecStart=/usr/local/bin/k3s server --data-dir /data/k3s\n"
    write(root / "etc/systemd/system/k3s-blue.service", unit)
    write(root / "etc/rancher/k3s/k3s.yaml", "")
    add_process(root, 9, ["/usr/local/bin/k3s server"], exe="/usr/local/bin/k3s")
    put(root, "/data/k3s/server/tls/client-scheduler.crt")
    found = findings(root, "cert.expiry.scheduler")["cert.expiry.scheduler"]
    assert found.remedy
    assert found.remedy.steps == (
        "systemctl stop k3s-blue",
        "k3s certificate rotate --data-dir /data/k3s",
        "systemctl start k3s-blue",
    )


def test_a_worker_of_microk8s_joins_again(root: Path) -> None:
    """refresh-certs refuses to run there."""
    write(root / f"{SNAP[1:]}/args/kubelet", "")
    write(root / f"{SNAP[1:]}/var/lock/clustered.lock", "")
    add_process(root, 9, ["kubelite"], exe="/snap/microk8s/1/kubelite")
    put(root, f"{SNAP}/certs/kubelet.crt")
    found = findings(root, "cert.expiry.kubelet-server")["cert.expiry.kubelet-server"]
    assert found.remedy
    assert "microk8s join ADDRESS:25000/TOKEN --worker" in found.remedy.steps
    assert not any("refresh-certs" in step for step in found.remedy.steps)


def test_nothing_renews_dqlites_pair_but_a_hand(root: Path) -> None:
    write(root / f"{SNAP[1:]}/args/kubelet", "")
    put(root, f"{SNAP}/var/kubernetes/backend/cluster.crt")
    found = findings(root, "cert.expiry.other")["cert.expiry.other"]
    assert "renewed by hand only" in found.because


PODS = "/etc/kubernetes/static-pod-resources/kube-apiserver-pod-7/secrets"
NEW_KEYS = [
    (
        "/etc/kubernetes/pki/apiserver.crt",
        "/etc/kubernetes/pki/etcd/server.crt",
        "kubeadm certs renew etcd-server",
    ),
    (
        f"{SERVER}/serving-kube-apiserver.crt",
        f"{SERVER}/client-scheduler.crt",
        "k3s certificate rotate",
    ),
    (
        "/var/lib/k0s/pki/server.crt",
        "/var/lib/k0s/pki/etcd/server.crt",
        "systemctl restart k0scontroller",
    ),
    (
        f"{SNAP}/certs/server.crt",
        f"{SNAP}/certs/front-proxy-client.crt",
        f"openssl genrsa -out {SNAP}/certs/server.key 2048",
    ),
    (
        f"{SNAP}/certs/proxy.crt",
        f"{SNAP}/certs/scheduler.crt",
        f"mv {SNAP}/certs/scheduler.key /root/",
    ),
    (
        "/system/secrets/etcd/server.crt",
        "/system/secrets/etcd/peer.crt",
        "talosctl -n NODE reboot",
    ),
    (f"{PODS}/kubelet-client/tls.crt", f"{PODS}/etcd-client/tls.crt", "oc get clusteroperators"),
    (
        "/var/lib/kubelet/pki/kubelet-client-current.pem",
        "/var/lib/kubelet/pki/kubelet-server-current.pem",
        "mv /var/lib/kubelet/pki/kubelet-server-* /root/",
    ),
    (
        "/etc/kubernetes/certs/client.crt",
        "/etc/kubernetes/certs/kubeletserver.crt",
        "az aks rotate-certs -g RESOURCE-GROUP -n CLUSTER",
    ),
]


@pytest.mark.parametrize(("first", "second", "command"), NEW_KEYS)
def test_one_key_for_two_is_replaced_as_the_distribution_does(
    tmp_path: Path, first: str, second: str, command: str
) -> None:
    kubeadm(tmp_path)
    put(tmp_path, first, subject=(("CN", "first"),))
    put(tmp_path, second, subject=(("CN", "second"),))
    found = findings(tmp_path, "cert.shared-key")["cert.shared-key"]
    assert found.status == "fail", found.because
    assert found.remedy
    assert command in found.remedy.steps, found.remedy.steps


def test_a_new_authority_of_microk8s_has_a_new_key(tmp_path: Path) -> None:
    """refresh-certs keeps ca.key where it is there, and with it what the old one has issued."""
    write(tmp_path / f"{SNAP[1:]}/args/kubelet", "")
    for name in ("ca", "front-proxy-ca"):
        put(tmp_path, f"{SNAP}/certs/{name}.crt", subject=(("CN", name),))
    found = findings(tmp_path, "cert.shared-key")["cert.shared-key"]
    assert found.remedy
    *_, away, refresh = found.remedy.steps
    assert away == f"mv {SNAP}/certs/ca.key /root/"
    assert refresh == "microk8s refresh-certs --cert ca.crt"


AUTHORITIES = [
    ("/etc/kubernetes/pki/ca.crt", "var/lib/kubelet/kubeadm-flags.env", "manual-rotation-of-ca"),
    (f"{SERVER}/server-ca.crt", "etc/rancher/k3s/k3s.yaml", "k3s certificate rotate-ca --path"),
    (
        "/var/lib/rancher/rke2/server/tls/client-ca.crt",
        "etc/rancher/rke2/rke2.yaml",
        "rke2 certificate rotate-ca --path",
    ),
    ("/var/lib/k0s/pki/ca.crt", "etc/k0s/k0s.yaml", "into /var/lib/k0s/pki"),
    (f"{SNAP}/certs/ca.crt", f"{SNAP[1:]}/args/kubelet", "microk8s refresh-certs --cert ca.crt"),
    ("/etc/kubernetes/certs/ca.crt", "opt/azure/containers/x", "az aks rotate-certs"),
    ("/etc/srv/kubernetes/pki/ca.crt", "home/kubernetes/bin/x", "--start-credential-rotation"),
]


@pytest.mark.parametrize(("path", "mark", "command"), AUTHORITIES)
def test_an_authority_is_replaced_as_its_distribution_does(
    tmp_path: Path, path: str, mark: str, command: str
) -> None:
    write(tmp_path / "etc/kubernetes/manifests/kube-apiserver.yaml", "")
    write(tmp_path / mark, "")
    put(tmp_path, path, left=10, ca=True, key_usage=0x0600)
    found = findings(tmp_path, "cert.ca-expiry")["cert.ca-expiry"]
    assert found.status == "fail", found.because
    assert found.remedy
    assert any(command in step for step in found.remedy.steps)


def test_what_is_weak_is_made_anew_by_the_distributions_own_command(root: Path) -> None:
    k3s(root)
    put(root, f"{SERVER}/client-scheduler.crt", left=300, digest="SHA1")
    found = findings(root, "cert.weak-crypto")["cert.weak-crypto"]
    assert found.status == "fail"
    assert found.remedy
    assert "k3s certificate rotate" in found.remedy.steps


def test_k3s_accepts_bootstrap_tokens_of_its_own_accord(root: Path) -> None:
    """pkg/daemons/control/server.go turns them on, and has its controller manager remove them."""
    k3s(root)
    found = findings(root, "cert.bootstrap-api")["cert.bootstrap-api"]
    assert found.status == "unknown"
    assert found.because.startswith("bootstrap tokens are accepted")
    off = "kube-apiserver-arg:\n- enable-bootstrap-token-auth=false\n"
    write(root / "etc/rancher/k3s/config.yaml", off)
    assert findings(root, "cert.bootstrap-api")["cert.bootstrap-api"].status == "pass"


def test_a_short_key_of_the_signer_of_k3s_is_told(root: Path) -> None:
    """No public half lies beside it."""
    k3s(root)
    write(root / f"{SERVER[1:]}/service.key", key_pem(key("RSA-1024")))
    found = findings(root, "cert.weak-crypto")["cert.weak-crypto"]
    assert found.status == "fail"
    assert "1024 bits" in found.because


def test_the_certificate_that_k3s_serves_with_is_read_from_its_secret(root: Path) -> None:
    """dynamic-cert.json: what every client of the cluster sees, with its key beside it."""
    k3s(root)
    own = key("P-256", 9)
    spec = Spec((("CN", "k3s"),), not_before=NOW - 300 * DAY, not_after=NOW + 10 * DAY)
    data = {"tls.crt": pem(CA.issue(spec, own), CA.raw), "tls.key": key_pem(own)}
    encoded = {name: b64encode(text.encode()).decode() for name, text in data.items()}
    text = json.dumps({"kind": "Secret", "type": "kubernetes.io/tls", "data": encoded})
    path = write(root / SERVER[1:] / "dynamic-cert.json", text, 0o644)
    for folder in (root, *path.parents):
        if folder.is_relative_to(root):
            folder.chmod(0o755)
    found = findings(root, "cert.expiry.other", "cert.key-perms")
    other, perms = found["cert.expiry.other"], found["cert.key-perms"]
    assert (other.status, other.severity) == ("fail", "high")
    assert "supervisor-server ends on 2026-12-02" in other.because
    assert other.remedy
    assert "k3s certificate rotate" in other.remedy.steps
    assert (perms.status, perms.severity) == ("fail", "high")
    assert f"{SERVER}/dynamic-cert.json" in perms.because
    assert "PRIVATE" not in str(found)
    assert b64encode(key_pem(own).encode()).decode() not in str(found)


@pytest.mark.parametrize(("given", "ports"), [("", (6443, 6444)), ("7443", (7443, 7444))])
def test_k3s_serves_where_its_configuration_says(
    root: Path, given: str, ports: tuple[int, int]
) -> None:
    k3s(root)
    write(root / "etc/systemd/system/k3s.service", "[Service]\nExecStart=/bin/k3s server\n")
    write(root / "etc/rancher/k3s/config.yaml", f"https-listen-port: {given}\n" if given else "")
    looker = Looker(TreeHost(root), {})
    reading = looker.look(Daemons)
    assert isinstance(reading, Seen)
    assert isinstance(reading.fact, Daemons)
    rows = tuple(Listener("::", port, port, 0, 9, "k3s") for port in ports)
    assert [p.component for p in asked(rows, reading.fact)] == ["supervisor-server", "apiserver"]


def test_the_clouds_controller_and_konnectivity_are_daemons_too(root: Path) -> None:
    from pki_node import client, encoded, kubeconfig

    spec = client("ccm", not_before=NOW - 300 * DAY, not_after=NOW + 5 * DAY)
    text = kubeconfig(
        {"client-certificate-data": encoded(pem(CA.issue(spec, key("P-256", 8))))}, {}
    )
    write(root / "srv/ccm.conf", text)
    add_process(root, 9, ["kubelet"], exe="/usr/bin/kubelet")
    argv = ["cloud-controller-manager", "--kubeconfig=/srv/ccm.conf"]
    add_process(root, 10, argv, exe="/bin/cloud-controller-manager")
    put(root, "/srv/konnectivity.crt", left=-1)
    argv = ["konnectivity-server", "--cluster-cert=/srv/konnectivity.crt"]
    add_process(root, 11, argv, exe="/bin/konnectivity-server")
    found = findings(root, "cert.expiry.other")["cert.expiry.other"]
    assert (found.status, found.severity) == ("fail", "critical")
    assert [e.source for e in found.evidence] == ["/srv/konnectivity.crt", "/srv/ccm.conf (user u)"]


UNKNOWN_TO_KUBEADM = [
    ("/etc/kubernetes/pki/kubelet.crt", "kubelet-server", "tlsCertFile"),
    ("/etc/kubernetes/pki/kubelet-server.crt", "kubelet-server", "tlsCertFile"),
    ("/etc/kubernetes/pki/own.crt", "apiserver", "--tls-cert-file"),
]


@pytest.mark.parametrize(("path", "component", "setting"), UNKNOWN_TO_KUBEADM)
def test_kubeadm_is_not_told_to_renew_what_it_does_not_know(
    tmp_path: Path, path: str, component: str, setting: str
) -> None:
    kubeadm(tmp_path)
    put(tmp_path, path)
    if component == "apiserver":
        volume = {"name": "k8s", "hostPath": {"path": "/etc/kubernetes"}}
        mount = {"name": "k8s", "mountPath": "/etc/kubernetes"}
        argv = ["kube-apiserver", f"{setting}={path}"]
        container = {"name": "a", "image": "a", "command": argv, "volumeMounts": [mount]}
        pod = {"kind": "Pod", "spec": {"containers": [container], "volumes": [volume]}}
        write(tmp_path / "etc/kubernetes/manifests/kube-apiserver.yaml", json.dumps(pod))
    else:
        unit = "[Service]\nExecStart=/usr/bin/kubelet --config=/var/lib/kubelet/config.yaml\n"
        write(tmp_path / "etc/systemd/system/kubelet.service", unit)
        write(tmp_path / "var/lib/kubelet/config.yaml", f"kind: KubeletConfiguration\n"
              f"apiVersion: kubelet.config.k8s.io/v1beta1\n{setting}: {path}\n")  # fmt: skip
    found = findings(tmp_path, f"cert.expiry.{component}")[f"cert.expiry.{component}"]
    assert found.status == "fail", found.because
    assert path in found.because
    assert found.remedy
    assert not any("kubeadm certs renew" in step for step in found.remedy.steps)
    assert "whoever issued it" in found.remedy.text


def test_nor_where_the_authoritys_key_is_elsewhere(tmp_path: Path) -> None:
    """An external authority: kubeadm makes requests, and renews nothing."""
    kubeadm(tmp_path)
    (tmp_path / "etc/kubernetes/pki/ca.key").unlink()
    put(tmp_path, "/etc/kubernetes/pki/apiserver.crt")
    found = findings(tmp_path, "cert.expiry.apiserver")["cert.expiry.apiserver"]
    assert found.remedy
    assert "/etc/kubernetes/pki/ca.key" in found.remedy.text
    assert found.remedy.steps[0].startswith("kubeadm certs generate-csr")


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


@pytest.mark.parametrize(
    ("mark", "command"),
    [
        ("var/lib/rancher/k3s/server/tls/x", "k3s certificate rotate-ca --path /opt/k3s/server"),
        ("var/snap/microk8s/current/args/kubelet", "microk8s refresh-certs --cert ca.crt"),
        ("var/lib/k0s/pki/apiserver.crt", "k0s start"),
    ],
)
def test_what_a_distribution_makes_again_cannot_be_moved_away(
    root: Path, mark: str, command: str
) -> None:
    write(root / mark, "")
    put(root, "/root/boss.crt", left=300, subject=(("O", "system:masters"), ("CN", "boss")))
    found = findings(root, "cert.superadmin")["cert.superadmin"]
    assert found.status == "fail"
    assert found.remedy
    assert command in found.remedy.steps
    assert "super-admin.conf" not in str(found.remedy)


def test_kubeadms_can_be_moved_away(tmp_path: Path) -> None:
    kubeadm(tmp_path)
    put(tmp_path, "/root/boss.crt", left=300, subject=(("O", "system:masters"), ("CN", "boss")))
    found = findings(tmp_path, "cert.superadmin")["cert.superadmin"]
    assert "super-admin.conf" in str(found.remedy)


def test_a_certificate_that_does_not_verify_is_made_anew_by_its_distribution(root: Path) -> None:
    k3s(root)
    put(root, f"{SERVER}/serving-kube-apiserver.crt", left=300, usages=())
    found = findings(root, "cert.chain")["cert.chain"]
    assert found.status == "fail"
    assert found.remedy
    assert "k3s certificate rotate" in found.remedy.steps


def test_a_kubelet_of_k0s_has_the_unit_of_k0s(root: Path) -> None:
    write(root / "etc/systemd/system/k0sworker.service", "[Service]\nExecStart=/bin/k0s worker\n")
    write(root / "var/lib/k0s/kubelet.conf", "")
    put(root, "/srv/kubelet.crt", left=10)
    add_process(root, 9, ["kubelet", "--tls-cert-file=/srv/kubelet.crt"], exe="/bin/kubelet")
    found = findings(root, "cert.expiry.kubelet-server")["cert.expiry.kubelet-server"]
    assert found.remedy
    assert "systemctl restart k0sworker" in found.remedy.steps


def test_a_link_to_the_certificate_before_is_set_anew(tmp_path: Path) -> None:
    """The kubelet has its new one already: no request is to be approved, nothing to join."""
    kubeadm(tmp_path)
    folder = "/var/lib/kubelet/pki"
    put(tmp_path, f"{folder}/kubelet-client-2025-11-19-00-00-00.pem", left=-3)
    put(tmp_path, f"{folder}/kubelet-client-2026-11-01-00-00-00.pem", left=340)
    link = tmp_path / f"{folder[1:]}/kubelet-client-current.pem"
    link.symlink_to("kubelet-client-2025-11-19-00-00-00.pem")
    stalled = findings(tmp_path, "cert.rotation-stalled")["cert.rotation-stalled"]
    ended = findings(tmp_path, "cert.expiry.kubelet-client")["cert.expiry.kubelet-client"]
    assert "should lead" in stalled.because
    assert "the link does not lead to it" in ended.because
    assert "newer than the one in use" in " ".join(e.value for e in ended.evidence)
    for found in (stalled, ended):
        assert found.status == "fail"
        assert found.remedy
        assert found.remedy.steps == (
            f"ln -sfn {folder}/kubelet-client-2026-11-01-00-00-00.pem"
            f" {folder}/kubelet-client-current.pem",
            "systemctl restart kubelet",
        )
