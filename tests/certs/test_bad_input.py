"""What is odd or broken is judged where it can be, and is named where it cannot."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from certificate_maker import (
    NOW,
    Spec,
    armour,
    certificate,
    key,
    key_pem,
    pem,
    traditional_pem,
    write,
)
from child import as_nobody, open_to_all
from nodeward.agent.runner import Looker, examine
from nodeward.agent.scan import scan, select
from nodeward.facts.clock import Now
from nodeward.host import DeniedError, TreeHost
from nodeward.host.pem import KeyRow, PemContents, PemFile
from nodeward.model import Finding
from pki_node import LEAFS, PkiNode

EXPIRY = "cert.expiry.apiserver"
API = "etc/kubernetes/pki/apiserver.crt"


@pytest.fixture
def node(tmp_path: Path) -> PkiNode:
    return PkiNode(tmp_path / "root").build()


def issued(node: PkiNode) -> bytes:
    return node.cluster.issue(LEAFS["apiserver"][1], key("P-256", 1))


def expiry(node: PkiNode, content: str | bytes) -> Finding:
    write(node.root / API, content)
    return node.findings(glob=EXPIRY)[EXPIRY]


def test_junk_between_blocks_is_skipped(node: PkiNode) -> None:
    text = f"Bag Attributes\n    friendlyName: x\n{pem(issued(node))}\0\xff junk\n"
    assert expiry(node, text).status == "pass"


def test_windows_line_ends_are_read(node: PkiNode) -> None:
    assert expiry(node, pem(issued(node)).replace("\n", "\r\n")).status == "pass"


def test_der_where_pem_is_expected_is_read(node: PkiNode) -> None:
    assert expiry(node, issued(node)).status == "pass"


def test_a_trusted_certificate_of_openssl_is_read(node: PkiNode) -> None:
    text = armour("TRUSTED CERTIFICATE", issued(node) + b"\x30\x00")
    assert expiry(node, text).status == "pass"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "holds no certificate"),
        ("not a certificate", "holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\nMIIB", "without its END"),
        ("-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", "not base64"),
        (armour("CERTIFICATE", b"\x30\x82\xff\xff"), "promised"),
        (armour("CERTIFICATE", b"text"), "holds no certificate"),
        (armour("CERTIFICATE", certificate(Spec())[:-9]), "promised"),
        (armour("CERTIFICATE", certificate(Spec()) + b"x"), "after the end"),
        (armour("PUBLIC KEY", b"\x30\x00"), "public key has 0 fields"),
    ],
)
def test_what_holds_no_certificate_is_unknown_by_name(
    node: PkiNode, content: str, why: str
) -> None:
    found = expiry(node, content)
    assert found.status == "unknown"
    assert why in found.because
    assert f"/{API}" in found.because


def test_a_bundle_of_ten_megabytes_is_unknown(node: PkiNode) -> None:
    found = expiry(node, pem(issued(node)) * 16000)
    assert found.status == "unknown"
    assert "more than" in found.because


def test_a_bundle_of_a_megabyte_is_judged(node: PkiNode) -> None:
    assert expiry(node, pem(issued(node)) * 1500).status == "pass"


def test_a_directory_in_place_of_a_file_is_unknown(node: PkiNode) -> None:
    (node.root / API).unlink()
    (node.root / API).mkdir()
    found = node.findings(glob=EXPIRY)[EXPIRY]
    assert found.status == "unknown"
    assert "a directory" in found.because


def test_a_fifo_in_place_of_a_file_is_unknown_at_once(node: PkiNode) -> None:
    (node.root / API).unlink()
    os.mkfifo(node.root / API)
    found = node.findings(glob=EXPIRY)[EXPIRY]
    assert found.status == "unknown"
    assert "a FIFO" in found.because


def test_a_file_that_an_argument_names_and_is_not_there_is_unknown(node: PkiNode) -> None:
    (node.root / API).unlink()
    found = node.findings(glob=EXPIRY)[EXPIRY]
    assert found.status == "unknown"
    assert f"/{API}" in found.because


def test_a_dangling_link_has_stalled(node: PkiNode) -> None:
    link = node.root / "var/lib/kubelet/pki/kubelet-client-current.pem"
    link.unlink()
    link.symlink_to("/var/lib/kubelet/pki/gone.pem")
    found = node.findings(glob="cert.rotation-stalled")["cert.rotation-stalled"]
    assert found.status == "fail"
    assert "not there" in found.because


def test_an_unreadable_key_is_judged_by_its_mode(node: PkiNode) -> None:
    class Closed(TreeHost):
        """Root reads everything: what an agent without that right meets."""

        def read(self, path: str, *, limit: int = 1 << 20) -> bytes:
            if path.endswith(".key"):
                raise DeniedError(path, "EACCES")
            return super().read(path, limit=limit)

    (node.root / "etc/kubernetes/pki/apiserver.key").chmod(0o644)
    rules = select(["cert.key-perms", "cert.shared-key"])
    report = scan(Closed(node.root), rules, at=NOW.timestamp())
    found = {str(f.check): f for f in report.findings}
    assert found["cert.key-perms"].status == "fail"
    assert "apiserver.key" in found["cert.key-perms"].because
    assert found["cert.shared-key"].status == "pass"  # certificates alone tell


@pytest.mark.root
def test_who_may_read_little_is_told_what_it_missed(node: PkiNode) -> None:
    """As nobody: certificates are open, what is 0600 is not. Nothing passes that was not read."""

    def claim() -> None:
        found = node.findings()
        status = {c.removeprefix("cert."): str(f.status) for c, f in found.items()}
        assert status["expiry.apiserver"] == "pass"
        assert status["key-perms"] == "pass"  # modes are open to everyone
        dark = ["expiry.kubelet-client", "expiry.admin", "shared-key", "chain", "superadmin",
                "static-tokens", "kubeconfig-insecure", "rotation-stalled", "weak-crypto",
                "lifetime-policy"]  # fmt: skip
        wrong = {name: found[f"cert.{name}"].because for name in dark if status[name] != "unknown"}
        assert not wrong

    open_to_all(node.root)
    as_nobody(claim)


def test_a_directory_that_may_not_be_searched_leaves_it_open(node: PkiNode) -> None:
    class Closed(TreeHost):
        def names(self, path: str) -> tuple[str, ...]:
            if path == "/var/lib/kubelet/pki":
                raise DeniedError(path, "EACCES")
            return super().names(path)

    rules = select(["cert.key-perms", "cert.rotation-stalled", "cert.ca-expiry", "cert.chain"])
    report = scan(Closed(node.root), rules, at=NOW.timestamp())
    status = {str(f.check): f.status for f in report.findings}
    assert status["cert.key-perms"] == "unknown"
    assert status["cert.ca-expiry"] == "unknown"


@pytest.mark.parametrize(
    ("text", "row"),
    [
        (key_pem(key(), "hunter2"), KeyRow(error="encrypted")),
        ("-----BEGIN EC PRIVATE KEY-----\nAAAA\n", KeyRow(error="cut off")),
        (armour("EC PRIVATE KEY", b"\x30\x00"), KeyRow(error="not a private key we can read")),
        (armour("OPENSSH PRIVATE KEY", b"openssh"), KeyRow("OpenSSH")),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: x\n\nAAAA\n"
            "-----END RSA PRIVATE KEY-----\n",
            KeyRow(error="encrypted"),
        ),
    ],
)
def test_odd_keys_are_described(tmp_path: Path, text: str, row: KeyRow) -> None:
    write(tmp_path / "x.key", text)
    assert TreeHost(tmp_path).ask(PemFile("/x.key")).keys == (row,)


@pytest.mark.parametrize("kind", ["P-256", "P-384", "P-521", "RSA-2048", "Ed25519", "Ed448"])
def test_a_key_and_its_certificate_are_told_to_belong_together(tmp_path: Path, kind: str) -> None:
    own = key(kind)
    write(tmp_path / "both.pem", pem(certificate(Spec(), own)) + key_pem(own))
    from nodeward.facts.pki import parse_public

    found = TreeHost(tmp_path).ask(PemFile("/both.pem"))
    (leaf,) = parse_public(found.public.encode()).certificates
    (row,) = found.keys
    assert row.spki_sha256 == leaf.key.spki_sha256
    assert row.bits == leaf.key.bits or kind.startswith("Ed")


@pytest.mark.parametrize("label", ["CERTIFICATE", "PUBLIC KEY", "TRUSTED CERTIFICATE"])
@pytest.mark.parametrize("kind", ["P-256", "RSA-2048", "Ed25519"])
def test_a_key_under_a_false_label_is_not_shown(tmp_path: Path, label: str, kind: str) -> None:
    own = key(kind)
    for name, text in (("a", key_pem(own)), ("b", key_pem(own).replace("\n", "\r\n"))):
        write(tmp_path / name, text.replace("PRIVATE KEY", label))
        found = TreeHost(tmp_path).ask(PemFile(f"/{name}"))
        assert not any(line in found.public for line in text.split()[4:-4])
        assert "?" in found.public


def test_text_that_starts_with_the_byte_of_a_sequence_is_no_key(tmp_path: Path) -> None:
    write(tmp_path / "x", "0123 is 0x30 too")
    assert TreeHost(tmp_path).ask(PemFile("/x")) == PemContents("", (), "")


def test_a_der_key_is_a_key_and_not_shown(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as s

    raw = key().private_bytes(s.Encoding.DER, s.PrivateFormat.PKCS8, s.NoEncryption())
    write(tmp_path / "x.key", raw)
    found = TreeHost(tmp_path).ask(PemFile("/x.key"))
    assert found.public == ""
    assert found.keys[0].kind == "EC"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "clusters: 5",
        "a: &a [*a]",
        "x: [" * 5000,
        "\0",
        "a: b: c",
        "users: [{name: u, user: {token: [1], client-certificate-data: '%%%'}}]",
        "clusters: [{name: c, cluster: {server: 5, certificate-authority-data: AAAA}}]",
    ],
)
def test_no_kubeconfig_breaks_the_look(node: PkiNode, text: str) -> None:
    write(node.root / "etc/kubernetes/scheduler.conf", text)
    found = node.findings()
    assert "error" not in {str(f.status) for f in found.values()}, [
        f.because for f in found.values() if f.status == "error"
    ]
    assert found["cert.expiry.apiserver"].status == "pass"


def test_a_kubeconfig_that_cannot_be_read_is_named(node: PkiNode) -> None:
    write(node.root / "etc/kubernetes/scheduler.conf", "clusters: b: c")
    found = node.findings(glob="cert.kubeconfig-insecure")["cert.kubeconfig-insecure"]
    assert found.status == "unknown"
    assert "/etc/kubernetes/scheduler.conf: not YAML, line 1" in found.because


def test_aliases_that_multiply_are_refused(node: PkiNode) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    write(node.root / "etc/kubernetes/manifests/bomb.yaml", "\n".join(lines))
    write(node.root / "etc/kubernetes/scheduler.conf", "\n".join(["users: []", *lines]))
    found = node.findings(glob="cert.kubeconfig-insecure")["cert.kubeconfig-insecure"]
    assert found.status == "unknown"
    assert "more than" in found.because


def test_control_characters_of_a_name_are_escaped(node: PkiNode) -> None:
    spec = replace(LEAFS["apiserver"][1], subject=(("CN", "a\x1b[31mred"),))
    write(node.root / API, pem(node.cluster.issue(spec, key("P-256", 1))))
    found = node.findings(glob=EXPIRY)[EXPIRY]
    assert "\x1b" not in "".join(e.value for e in found.evidence)


def test_traditional_and_pkcs8_keys_are_the_same_key(tmp_path: Path) -> None:
    for name, text in (("a", traditional_pem(key())), ("b", key_pem(key()))):
        write(tmp_path / name, text)
    host = TreeHost(tmp_path)
    assert host.ask(PemFile("/a")).keys == host.ask(PemFile("/b")).keys


def test_many_files_below_tmp_cost_little_and_are_told(node: PkiNode) -> None:
    for number in range(20):
        filler = "x" * (255 << 10)
        write(node.root / f"tmp/{number}.conf", f"clusters: []\nfiller: {filler}\n")
    found = node.findings(glob="cert.superadmin")["cert.superadmin"]
    assert found.status == "unknown"
    assert "too many files" in found.because
    assert node.findings()["cert.expiry.apiserver"].status == "pass"


def test_components_of_kubeconfigs_are_not_absent_when_those_cannot_be_read(node: PkiNode) -> None:
    from nodeward.facts.kubeconfig import ComponentKubeconfigs
    from nodeward.facts.pki import Pki
    from nodeward.model import Seen, Unreadable

    looker = Looker(TreeHost(node.root))
    looker.readings[ComponentKubeconfigs] = Unreadable("Kubeconfigs", "took longer than 20 s")
    reading = looker.look(Pki)
    assert isinstance(reading, Seen)
    looker.readings[Now] = Seen(Now(NOW.timestamp()))
    (found,) = examine(looker, select(["cert.expiry.scheduler"]))
    assert found.status == "unknown"
    assert "took longer" in found.because


@pytest.mark.parametrize("text", ["", "junk\n", "no certificate: see the wiki\n"])
def test_a_named_file_without_any_certificate_lets_nothing_pass(node: PkiNode, text: str) -> None:
    (node.pki / "apiserver.crt").write_text(text)
    found = node.findings()
    for check in ("chain", "weak-crypto", "lifetime-policy", "shared-key", "expiry.apiserver"):
        assert found[f"cert.{check}"].status == "unknown", check
        assert "/etc/kubernetes/pki/apiserver.crt" in found[f"cert.{check}"].because
