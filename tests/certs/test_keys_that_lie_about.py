"""Private keys that nothing names are told by their public half, wherever they lie."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from certificate_maker import DAY, NOW, Authority, Key, key, key_pem, pem, traditional_pem, write
from nodeward.facts.named_keys import NamedKey, read_key
from nodeward.facts.pki_roles import authority_named
from nodeward.model import Finding
from pki_node import PkiNode, client, encoded, kubeconfig, public_pem

CA_KEY, SUPER, SHARED = "cert.ca-key-on-node", "cert.superadmin", "cert.shared-key"


@pytest.fixture
def node(tmp_path: Path) -> PkiNode:
    """A control plane."""
    return PkiNode(tmp_path / "root").build()


@pytest.fixture
def worker(tmp_path: Path) -> PkiNode:
    """A node that joined: of /etc/kubernetes/pki it has ca.crt alone."""
    made = PkiNode(tmp_path / "worker").build()
    made.stop(11, 12, 13, 14)
    for path in made.pki.rglob("*"):
        if path.is_file() and path != made.pki / "ca.crt":
            path.unlink()
    for name in ("admin", "controller-manager", "scheduler"):
        (made.root / f"etc/kubernetes/{name}.conf").unlink()
    return made


def judged(node: PkiNode, check: str = CA_KEY) -> Finding:
    return node.findings(glob=check)[check]


def der(of: Key) -> bytes:
    return base64.b64decode("".join(key_pem(of).splitlines()[1:-1]))


FORMS: dict[str, Callable[[Key], str | bytes]] = {
    "SEC 1": traditional_pem,
    "PKCS 8": key_pem,
    "DER": der,
    "behind a certificate": lambda of: public_pem(of) + key_pem(of),
    "a Secret": lambda of: f"kind: Secret\ndata:\n  tls.key: {encoded(key_pem(of))}\n",
    "JSON": lambda of: json.dumps({"ca": {"key": key_pem(of)}}),
    "windows": lambda of: key_pem(of).replace("\n", "\r\n"),
    "with junk": lambda of: f"Bag Attributes\n  x: y\n{key_pem(of)}\0 junk",
}
PLACES = (
    "root/ca.key",
    "home/bob/backup/pki/old.pem",
    "etc/kubernetes/pki/mine.key",
    "opt/x/state.json",
    "tmp/k.conf",
    "srv/pki/ca-key.pem",
    "etc/kubernetes/tmp/kubeadm-backup/pki/ca.key.bak",
)


def test_a_worker_without_any_is_sound(worker: PkiNode) -> None:
    assert judged(worker).status == "pass"


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_an_authoritys_key_is_known_in_each_form(
    worker: PkiNode, form: Callable[[Key], str | bytes]
) -> None:
    write(worker.root / "opt/left/x.pem", form(worker.cluster.key))
    found = judged(worker)
    assert (found.status, found.severity) == ("fail", "critical")
    assert "CN=kubernetes" in found.because
    assert "/opt/left/x.pem" in found.because


@pytest.mark.parametrize("place", PLACES)
def test_an_authoritys_key_is_found_at_any_place(worker: PkiNode, place: str) -> None:
    write(worker.root / place, traditional_pem(worker.cluster.key))
    found = judged(worker)
    assert (found.status, found.severity) == ("fail", "critical")
    assert f"/{place}" in found.because


def test_keys_of_others_are_their_own_business(worker: PkiNode) -> None:
    for number, place in enumerate(PLACES):
        write(worker.root / place, traditional_pem(key("P-256", 300 + number)))
    for check in (CA_KEY, "cert.key-perms"):
        assert judged(worker, check).status == "pass"


def test_the_signers_key_is_known_by_its_public_half(worker: PkiNode) -> None:
    signer = key("P-256", 90)
    write(worker.root / "root/signer.pem", traditional_pem(signer))
    assert judged(worker).status == "pass"
    write(worker.pki / "sa.pub", public_pem(signer))
    found = judged(worker)
    assert (found.status, found.severity) == ("fail", "critical")
    assert "the service account signer" in found.because


def test_the_signers_key_is_known_by_its_name_as_well(worker: PkiNode) -> None:
    write(worker.root / "root/backup/pki/sa.key", traditional_pem(key("P-256", 90)))
    found = judged(worker)
    assert (found.status, found.severity) == ("fail", "high")
    assert "by its name" in found.because


def test_an_authority_that_only_lies_there_counts_by_its_name(worker: PkiNode) -> None:
    write(worker.root / "root/x.crt", pem(worker.front.raw), 0o644)
    write(worker.root / "root/x.key", traditional_pem(worker.front.key))
    assert "CN=front-proxy-ca" in judged(worker).because


@pytest.mark.parametrize(
    ("key_name", "certificate"),
    [("ca.key", "ca.crt"), ("ca-key.pem", "ca.pem"), ("both.pem", "both.pem")],
)
def test_an_authority_of_a_copied_folder_is_known_by_its_name(
    worker: PkiNode, key_name: str, certificate: str
) -> None:
    """Nothing on a worker knows etcd's authority."""
    folder = worker.root / "home/bob/pki/etcd"
    write(folder / certificate, pem(worker.etcd.raw))
    text = traditional_pem(worker.etcd.key)
    if certificate == key_name:
        text += pem(worker.etcd.raw)
    write(folder / key_name, text)
    found = judged(worker)
    assert (found.status, found.severity) == ("fail", "critical")
    assert f"/home/bob/pki/etcd/{key_name}" in found.because


def test_a_company_authority_is_no_clusters(worker: PkiNode) -> None:
    other = Authority("ACME root", 240)
    write(worker.root / "opt/acme/ca.crt", pem(other.raw))
    write(worker.root / "opt/acme/ca.key", traditional_pem(other.key))
    assert judged(worker).status == "pass"


@pytest.mark.parametrize(
    ("name", "whose"),
    [
        ("kubernetes", "cluster-ca"),
        ("k3s-client-ca@1700000000", "cluster-ca"),
        ("rke2-request-header-ca@1700000000", "front-proxy-ca"),
        ("etcd-peer-ca@1700000000", "etcd-peer-ca"),
        ("client-ca", ""),
        ("ACME root", ""),
        ("", ""),
    ],
)
def test_authorities_by_their_names(name: str, whose: str) -> None:
    assert authority_named(name) == whose


def test_what_was_not_searched_is_told_beside_a_pass(worker: PkiNode) -> None:
    write(worker.root / "mnt/backup/ca.key", traditional_pem(worker.cluster.key))
    found = judged(worker)
    assert found.status == "pass"
    assert [e.value for e in found.evidence if e.what == "not searched"] == ["/mnt"]


def test_a_key_inside_a_kubeconfig_counts(worker: PkiNode) -> None:
    raw = worker.cluster.issue(client("boss"), worker.cluster.key)
    own = {"client-certificate-data": encoded(pem(raw)),
           "client-key-data": encoded(key_pem(worker.cluster.key))}  # fmt: skip
    write(worker.root / "home/bob/.kube/config", kubeconfig(own, {}))
    assert "/home/bob/.kube/config" in judged(worker).because


def test_a_key_with_a_password_is_told_and_no_more(worker: PkiNode) -> None:
    write(worker.root / "root/ca.key", key_pem(worker.cluster.key, "hunter2"))
    found = judged(worker)
    assert found.status == "pass"
    assert any("/root/ca.key" in e.value for e in found.evidence)


@pytest.mark.root
def test_a_found_key_is_judged_by_its_mode_too(worker: PkiNode) -> None:
    path = write(worker.root / "opt/k/k.pem", traditional_pem(key("P-256", 30)), 0o644)
    worker.open_folders()
    found = judged(worker, "cert.key-perms")
    assert (found.status, found.severity) == ("fail", "high")
    assert "/opt/k/k.pem" in found.because
    path.chmod(0o600)
    assert judged(worker, "cert.key-perms").status == "pass"


def test_a_search_that_ends_early_leaves_it_open(
    worker: PkiNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodeward.probes.stray_keys.MOST_KEYS", 2)
    for number in range(4):
        write(worker.root / f"opt/{number}.key", traditional_pem(key("P-256", 310 + number)))
    found = judged(worker)
    assert found.status == "unknown"
    assert "too many private keys" in found.because


def boss(node: PkiNode, own: Key) -> str:
    return pem(node.cluster.issue(client("boss", "system:masters"), own))


def test_a_certificate_of_masters_without_its_key_is_low(worker: PkiNode) -> None:
    write(worker.root / "opt/boss.crt", boss(worker, key("P-256", 70)))
    found = judged(worker, SUPER)
    assert (found.status, found.severity) == ("fail", "low")
    assert "without its key" in found.because


@pytest.mark.parametrize("place", ["opt/boss.key", "home/bob/a/b.pem", "root/keys/x.json"])
def test_with_its_key_anywhere_it_is_critical(worker: PkiNode, place: str) -> None:
    own = key("P-256", 70)
    write(worker.root / "opt/boss.crt", boss(worker, own))
    write(worker.root / place, traditional_pem(own))
    found = judged(worker, SUPER)
    assert (found.status, found.severity) == ("fail", "critical")
    assert f"with its key (/{place})" in found.because


def test_with_its_key_in_the_same_file_or_secret(worker: PkiNode) -> None:
    own = key("P-256", 70)
    text = boss(worker, own) + traditional_pem(own)
    for place in ("opt/both.pem", "opt/secret.yaml"):
        secret = (
            f"data:\n  tls.crt: {encoded(boss(worker, own))}\n  tls.key: {encoded(key_pem(own))}\n"
        )
        path = write(worker.root / place, secret if place.endswith("yaml") else text)
        found = judged(worker, SUPER)
        assert found.severity == "critical", found.because
        assert f"/{place}" in found.because
        path.unlink()


def masters(node: PkiNode, place: str) -> Path:
    return node.user("", client("boss", "system:masters"), key("P-256", 70), place)


def test_on_a_worker_any_kubeconfig_of_masters_is_critical(worker: PkiNode) -> None:
    masters(worker, "root/.kube/config")
    found = judged(worker, SUPER)
    assert found.severity == "critical"
    assert "no control plane" in found.because


@pytest.mark.root
def test_on_a_control_plane_it_is_critical_for_whom_it_serves(node: PkiNode) -> None:
    path = masters(node, "etc/kubernetes/super-admin.conf")
    assert judged(node, SUPER).severity == "medium"
    os.chown(path, 0, 1000)
    path.chmod(0o640)
    node.open_folders()
    found = judged(node, SUPER)
    assert found.severity == "critical"
    assert "which group 1000 can read" in found.because


def test_a_finding_tells_where_was_searched(worker: PkiNode) -> None:
    write(worker.root / "data/x/boss.crt", "not looked at")
    for spoil in (lambda: None, lambda: masters(worker, "root/.kube/config")):
        spoil()
        said = judged(worker, SUPER).evidence
        searched = {e.value for e in said if e.what == "searched"}
        assert {"/etc/kubernetes", "/root", "/home", "/opt"} <= searched
        assert [e.value for e in said if e.what == "not searched"] == ["/data"]


def keys_of(node: PkiNode) -> list[NamedKey]:
    found = judged(node, SHARED)
    pieces = ({"what": e.what, "value": e.value, "source": e.source} for e in found.evidence)
    return [k for k in map(read_key, pieces) if k]


@pytest.mark.parametrize("group", ["system:masters", "kubeadm:cluster-admins"])
@pytest.mark.parametrize("place", ["root/.kube/config", "tmp/admin.conf", "opt/a/b/my.kubeconfig"])
def test_an_administrators_copy_is_named_for_the_fleet(
    worker: PkiNode, place: str, group: str
) -> None:
    worker.user("", client("boss", group), key("P-256", 70), place)
    (found,) = (k for k in keys_of(worker) if k.component == "admin")
    assert found.private
    assert found.place.startswith(f"/{place}")


def test_keys_inside_kubeconfigs_are_private_halves(node: PkiNode) -> None:
    private = {k.component for k in keys_of(node) if k.private}
    assert {"admin", "scheduler", "controller-manager", "kubelet-client"} <= private


def test_a_key_inside_whose_certificate_is_a_file_is_private(node: PkiNode) -> None:
    own = key("P-256", 22)
    write(node.pki / "s.crt", pem(node.cluster.issue(client("system:kube-scheduler"), own)), 0o644)
    user = {"client-certificate": "pki/s.crt", "client-key-data": encoded(key_pem(own))}
    write(node.root / "etc/kubernetes/scheduler.conf", kubeconfig(user, {}))
    assert "scheduler" in {k.component for k in keys_of(node) if k.private}


def age(node: PkiNode, path: str, days: float) -> None:
    at = (NOW - days * DAY).timestamp()
    os.utime(node.root / path, (at, at))


def test_the_age_is_that_of_the_key_in_use(node: PkiNode) -> None:
    own = key("RSA-2048", 50)
    write(node.root / "srv/signer.key", key_pem(own))
    node.apiserver["service-account-signing-key-file"] = "/srv/signer.key"
    node.start()
    age(node, "srv/signer.key", 800)
    age(node, "etc/kubernetes/pki/sa.key", 1)
    found = judged(node, "cert.sa-key-age")
    assert found.status == "fail"
    assert "/srv/signer.key" in found.evidence[0].source


def test_a_signing_key_that_nothing_uses_has_no_age(worker: PkiNode) -> None:
    write(worker.pki / "sa.key", traditional_pem(key("P-256", 90)))
    age(worker, "etc/kubernetes/pki/sa.key", 800)
    assert judged(worker, "cert.sa-key-age").status == "not-applicable"
    assert judged(worker).severity == "critical"


def test_a_key_beside_the_one_in_use_has_no_age(node: PkiNode) -> None:
    write(node.root / "srv/signer.key", key_pem(key("RSA-2048", 50)))
    node.apiserver["service-account-signing-key-file"] = "/srv/signer.key"
    node.start()
    age(node, "etc/kubernetes/pki/sa.key", 800)
    assert judged(node, "cert.sa-key-age").status == "pass"


def test_one_key_in_two_files_is_no_rotation(node: PkiNode) -> None:
    age(node, "etc/kubernetes/pki/sa.key", 800)
    write(node.pki / "sa-again.pub", (node.pki / "sa.pub").read_text())
    argv = "--service-account-key-file=/etc/kubernetes/pki/sa-again.pub"
    path = node.root / "proc/11/cmdline"
    path.write_bytes(path.read_bytes() + argv.encode() + b"\0")
    assert judged(node, "cert.sa-key-age").status == "fail"
    write(node.pki / "sa-again.pub", public_pem(key("P-256", 91)))
    assert judged(node, "cert.sa-key-age").status == "pass"


def test_one_file_with_two_keys_is_one(node: PkiNode) -> None:
    age(node, "etc/kubernetes/pki/sa.key", 800)
    two = public_pem(key("RSA-2048", 50)) + public_pem(key("P-256", 91))
    write(node.pki / "sa.pub", two)
    found = judged(node, "cert.sa-key-age")
    assert found.status == "pass"
    assert "2 keys verify" in found.because


def test_without_any_known_authority_no_key_can_be_told(worker: PkiNode) -> None:
    (worker.pki / "ca.crt").write_text("junk")
    write(worker.root / "etc/kubernetes/kubelet.conf", kubeconfig({}, {}))
    write(worker.root / "root/x.key", traditional_pem(key("P-256", 90)))
    found = judged(worker)
    assert found.status == "unknown"
    assert "/etc/kubernetes/pki/ca.crt" in found.because


def test_a_directory_in_place_of_the_signing_key_has_no_age(node: PkiNode) -> None:
    (node.pki / "sa.key").unlink()
    (node.pki / "sa.key").mkdir()
    found = judged(node, "cert.sa-key-age")
    assert found.status == "unknown"
    assert "/etc/kubernetes/pki/sa.key" in found.because


def test_an_expired_certificate_of_masters_is_low(worker: PkiNode) -> None:
    spec = client("boss", "system:masters", not_before=NOW - 400 * DAY, not_after=NOW - DAY)
    worker.user("", spec, key("P-256", 70), "root/.kube/config")
    found = judged(worker, SUPER)
    assert (found.status, found.severity) == ("fail", "low")
    assert "expired on" in found.because


def test_files_too_large_to_be_opened_are_named(worker: PkiNode) -> None:
    write(worker.root / "root/all-secrets.yaml", "a: b\n" * 60_000)
    found = judged(worker, SUPER)
    assert found.status == "pass"
    assert any("/root/all-secrets.yaml: larger than" in e.value for e in found.evidence)


def test_a_kubeconfig_too_large_for_a_copy_is_unknown(worker: PkiNode) -> None:
    write(worker.root / "home/bob/.kube/config", "users: []\n" * 30_000)
    found = judged(worker, "cert.static-tokens")
    assert found.status == "unknown"
    assert "/home/bob/.kube/config" in found.because
