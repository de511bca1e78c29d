"""Tokens in pods' volumes and other files: those that never end are found, and none is kept."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certificate_maker import NOW, write
from nodeward.agent.runner import Looker
from nodeward.agent.scan import scan, select
from nodeward.facts.tokens import StoredTokens
from nodeward.host import Recorder, TreeHost, token_volumes
from nodeward.model import Finding, Seen
from nodeward.model.report import report_to_json
from pki_node import PkiNode, kubeconfig

POD = "var/lib/kubelet/pods/1b4e28ba-2fa1-11d2-883f-0016d3cca427/volumes"
SIGNATURE = base64.urlsafe_b64encode(b"canary-signature-of-a-token").decode().rstrip("=")
ISSUED = int(NOW.timestamp()) - 60
LEGACY = {
    "iss": "kubernetes/serviceaccount",
    "sub": "system:serviceaccount:default:builder",
    "kubernetes.io/serviceaccount/secret.name": "builder-token-x",
}


def jwt(**claims: object) -> str:
    parts = ({"alg": "RS256", "kid": "k"}, claims)
    head, body = (base64.urlsafe_b64encode(json.dumps(p).encode()).decode() for p in parts)
    return f"{head.rstrip('=')}.{body.rstrip('=')}.{SIGNATURE}"


BOUND = jwt(sub="system:serviceaccount:default:web", iat=ISSUED, exp=ISSUED + 3607)


@pytest.fixture
def node(tmp_path: Path) -> PkiNode:
    return PkiNode(tmp_path / "root").build()


def mounted(node: PkiNode, volume: str, token: str, pods: str = POD) -> None:
    """As the kubelet writes a volume: the file is a link into a folder of its time."""
    folder = node.root / pods / volume
    write(folder / "..2026_11_22/token", token)
    (folder / "..data").symlink_to("..2026_11_22")
    (folder / "token").symlink_to("..data/token")


def judged(node: PkiNode, check: str = "cert.static-tokens") -> Finding:
    return node.findings(glob=check)[check]


def stored(root: Path, *, live: bool = False) -> StoredTokens:
    reading = Looker(TreeHost(root, live=live)).look(StoredTokens)
    assert isinstance(reading, Seen), reading
    assert isinstance(reading.fact, StoredTokens)
    return reading.fact


def test_a_secrets_token_in_a_pods_volume_never_ends(node: PkiNode) -> None:
    mounted(node, "kubernetes.io~secret/builder-token-x", jwt(**LEGACY))
    found = judged(node)
    assert found.status == "fail"
    (evidence,) = found.evidence
    assert evidence.value == ("JSON web token of system:serviceaccount:default:builder never ends")
    assert evidence.source == f"/{POD}/kubernetes.io~secret/builder-token-x/token"


def test_a_bound_token_passes_and_is_counted_once(node: PkiNode) -> None:
    mounted(node, "kubernetes.io~projected/kube-api-access-x", BOUND)
    found = judged(node)
    assert found.status == "pass"
    assert "; 1 in pods' volumes and files end" in found.because


@pytest.mark.parametrize(
    "place",
    ["etc/kubernetes/ci-token", "root/token", "home/bob/deploy.jwt", "etc/cni/net.d/cni-token"],
)
def test_copies_at_other_places_are_found(node: PkiNode, place: str) -> None:
    write(node.root / place, jwt(**LEGACY))
    found = judged(node)
    assert (found.status, found.evidence[0].source) == ("fail", f"/{place}")


@pytest.mark.parametrize("form", ["JSON", "YAML"])
def test_a_kubeconfig_far_away_with_a_token_is_found(node: PkiNode, form: str) -> None:
    """A pipeline's, say: its name is no usual one, and no certificate is in it."""
    token = jwt(sub="system:serviceaccount:ci:deployer")
    text = kubeconfig({"token": token}, {"certificate-authority": "/etc/kubernetes/pki/ca.crt"})
    if form == "YAML":
        text = (
            f"apiVersion: v1\nkind: Config\nclusters: []\ncontexts: []\nusers:\n- name: u\n"
            f"  user:\n    token: {token}\n"
        )
    write(node.root / "opt/pipeline/cluster.yaml", text, 0o644)
    found = judged(node)
    assert found.status == "fail"
    assert "system:serviceaccount:ci:deployer" in found.because
    assert "/opt/pipeline/cluster.yaml" in found.because
    assert judged(node, "cert.key-perms").severity == "high"


def test_a_kubelet_with_another_root_directory(node: PkiNode) -> None:
    node.stop(10)
    node.process(10, "kubelet", {"root-dir": "/data/kubelet", "kubeconfig": "/etc/k.conf"})
    mounted(node, "kubernetes.io~secret/x", jwt(**LEGACY), POD.replace("var/lib", "data"))
    assert judged(node).evidence[0].source.startswith("/data/kubelet/pods/")


def test_other_secrets_are_not_opened(node: PkiNode) -> None:
    write(node.root / POD / "kubernetes.io~secret/db/password", jwt(**LEGACY))
    write(node.root / POD / "kubernetes.io~secret/chat/token", "opaque-word-of-a-chat-service")
    assert stored(node.root).rows == ()


def test_a_token_that_lives_for_decades_without_saying_since_when(node: PkiNode) -> None:
    token = jwt(sub="x", exp=ISSUED + 30 * 365 * 86400)
    write(node.root / "root/.kube/config", kubeconfig({"token": token}, {}))
    found = judged(node)
    assert found.status == "fail"
    assert "ends only on 2056-" in found.evidence[0].value


@pytest.mark.parametrize("check", ["cert.static-tokens", "cert.cni-kubeconfig"])
def test_a_token_file_that_cannot_be_read_never_passes(node: PkiNode, check: str) -> None:
    (node.root / "etc/odd").mkdir()
    cni = check == "cert.cni-kubeconfig"
    place = "etc/cni/net.d/calico-kubeconfig" if cni else "root/.kube/config"
    write(node.root / place, kubeconfig({"tokenFile": "/etc/odd"}, {}))
    found = judged(node, check)
    assert (found.status, found.because) == ("unknown", "could not read /etc/odd: a directory")


def test_a_configuration_of_webhooks_that_cannot_be_read_is_not_no_webhook(node: PkiNode) -> None:
    (node.root / "etc/kubernetes/authz.yaml").mkdir()
    node.apiserver["authorization-config"] = "/etc/kubernetes/authz.yaml"
    node.start()
    found = judged(node, "cert.webhook")
    assert found.status == "unknown"
    assert "/etc/kubernetes/authz.yaml" in found.because


def test_volumes_whose_content_is_not_shown_to_us_are_told(node: PkiNode) -> None:
    """In a container without the mounts of the host, each is an empty folder."""
    (node.root / POD / "kubernetes.io~projected/kube-api-access-x").mkdir(parents=True)
    assert stored(node.root).unseen == ()
    (told,) = stored(node.root, live=True).unseen
    assert told.startswith(f"/{POD}/kubernetes.io~projected/kube-api-access-x: nothing")


def test_what_is_left_out_is_told(node: PkiNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_volumes, "MOST_FILES", 3)
    for number in range(5):
        mounted(node, f"kubernetes.io~projected/v{number}", BOUND)
    found = stored(node.root)
    assert len(found.rows) == 3
    (told,) = found.unseen
    assert "more folders or files than are looked at" in told
    assert judged(node).status == "unknown"


def test_no_signature_and_nothing_made_of_it_is_kept(node: PkiNode) -> None:
    mounted(node, "kubernetes.io~secret/builder-token-x", jwt(**LEGACY))
    mounted(node, "kubernetes.io~projected/kube-api-access-x", BOUND)
    write(node.root / "root/.kube/config", kubeconfig({"token": BOUND}, {}))
    recorder = Recorder(TreeHost(node.root))
    report = scan(recorder, select(["cert.*"]), at=NOW.timestamp())
    text = json.dumps(report_to_json(report)) + json.dumps(recorder.log)
    text += repr(stored(node.root))
    assert "system:serviceaccount:default:builder" in text
    whole = [hashlib.sha256(t.encode()).hexdigest() for t in (BOUND, jwt(**LEGACY))]
    assert not [c for c in (SIGNATURE, "canary-signature", *whole) if c in text]


@pytest.mark.parametrize("check", ["cert.static-tokens", "cert.cni-kubeconfig"])
def test_by_a_clock_before_2000_no_end_is_judged(node: PkiNode, check: str) -> None:
    cni = check == "cert.cni-kubeconfig"
    place = "etc/cni/net.d/calico-kubeconfig" if cni else "root/.kube/config"
    early = datetime(1970, 1, 2, tzinfo=UTC)

    def told(**claims: object) -> Finding:
        write(node.root / place, kubeconfig({"token": jwt(sub="x", **claims)}, {}))
        return node.findings(at=early, glob=check)[check]

    ends = told(exp=ISSUED + 3600)
    assert ends.status == "unknown"
    assert "the clock says 1970-01-02" in ends.because
    assert "never ends" in told().because
    assert "lives 3650 days" in told(iat=ISSUED, exp=ISSUED + 3650 * 86400).because
