"""No secret leaves the host layer: not into facts, findings, or a recording."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as s

from certificate_maker import NOW, Key, key, key_pem, spki, traditional_pem, write
from nodeward.agent.runner import Looker
from nodeward.agent.scan import scan, select
from nodeward.facts.kubeconfig import Kubeconfigs
from nodeward.facts.manifests import Manifests
from nodeward.facts.pki import Pki
from nodeward.facts.strays import Strays
from nodeward.facts.tokens import StoredTokens
from nodeward.host import Recorder, Replay, TreeHost
from nodeward.host.record import dump
from nodeward.model import Fact, Seen
from nodeward.model.report import report_to_json
from pki_node import PkiNode, encoded, kubeconfig, public_pem

BEARER = "canary-bearer-0123456789-abcdefghij"
BOOTSTRAP = "canary.abcdef0123456789"
PASSWORD = "canary-password-4711"
ENVIRONMENT = "canary-environment-4711"
ARGUMENT = "canary-exec-argument-4711"
POD = f"""
apiVersion: v1
kind: Pod
metadata:
  name: web
  annotations: {{kubectl.kubernetes.io/last-applied-configuration: {ENVIRONMENT}}}
spec:
  containers:
  - {{name: web, image: x, command: [web], env: [{{name: MODE, value: {ENVIRONMENT}}}]}}
"""


@cache
def with_password(of: Key) -> str:
    """Made once a run: the salt differs each time."""
    return key_pem(of, PASSWORD)


def forms(of: Key) -> Iterator[str]:
    """A private key as text: each line of its armour, in base64 once more, and its number."""
    for text in (key_pem(of), traditional_pem(of), with_password(of)):
        body = [line for line in text.splitlines() if not line.startswith("-")]
        # A private key's file holds the public key too, which is no secret.
        yield from (line for line in body if len(line) == 64 and _secret(line, of))
        yield base64.b64encode(text.encode()).decode()[60:120]
    numbers = of.private_numbers()  # type: ignore[union-attr]  # only such keys are given
    secret = getattr(numbers, "private_value", None) or getattr(numbers, "d", 0)
    yield str(secret)
    yield f"{secret:x}"


def _secret(line: str, of: Key) -> bool:
    return base64.b64decode(line)[3:45] not in spki(of)


@pytest.fixture
def node(tmp_path: Path) -> PkiNode:
    node = PkiNode(tmp_path / "root").build()
    own = key("RSA-2048", 51)
    write(node.pki / "apiserver.key", key_pem(own))
    write(node.pki / "etcd/server.key", traditional_pem(own))
    current = node.root / "var/lib/kubelet/pki/kubelet-client-current.pem"
    assert "PRIVATE KEY" in (node.root / current.readlink().relative_to("/")).read_text()
    write(node.root / "etc/kubernetes/manifests/web.yaml", POD)
    users: dict[str, dict[str, object]] = {
        "root/.kube/config": {"token": BEARER},
        "etc/kubernetes/bootstrap-kubelet.conf": {"token": BOOTSTRAP},
        "home/bob/.kube/config": {"username": "bob", "password": PASSWORD},
        "tmp/admin.conf": {"client-key-data": encoded(key_pem(own))},
        "etc/cni/net.d/kubeconfig": {
            "exec": {"command": "helper", "args": [ARGUMENT], "env": [{"value": ENVIRONMENT}]}
        },
    }
    for path, user in users.items():
        write(node.root / path, kubeconfig(user, {}))
    lying_about(node)
    return node


def lying_about(node: PkiNode) -> None:
    """The keys of known certificates and of nobody's, in each form in which keys lie about."""
    for number, own in enumerate((key("RSA-2048", 51), key("P-256", 30), key("P-256", 70))):
        raw = own.private_bytes(s.Encoding.DER, s.PrivateFormat.PKCS8, s.NoEncryption())
        locked = with_password(own)
        texts: dict[str, str | bytes] = {
            "a.key": key_pem(own),
            "der.key": raw,
            "locked.key": locked,
            "secret.yaml": f"kind: Secret\ndata:\n  tls.key: {encoded(traditional_pem(own))}\n",
            "state.json": json.dumps({"key": traditional_pem(own), "cert": public_pem(own)}),
            "false.crt": key_pem(own).replace("PRIVATE KEY", "CERTIFICATE"),
            "false-locked.pem": locked.replace("ENCRYPTED PRIVATE KEY", "CERTIFICATE"),
            "cut.pem": traditional_pem(own)[:-40],
            "in-base64.conf": encoded(encoded(key_pem(own))),
            "config": kubeconfig(
                {"client-certificate": "x.crt", "client-key-data": encoded(locked)}, {}
            ),
            "half.kubeconfig": kubeconfig({"client-key-data": encoded(key_pem(own))}, {})[:-40],
        }
        for name, text in texts.items():
            for folder in (f"opt/{number}", f"root/{number}", f"home/bob/.kube/{number}"):
                write(node.root / folder / name, text)
            write(node.root / f"tmp/{number}-{name}", text)
    write(node.root / "etc/cni/net.d/x-kubeconfig", kubeconfig({"tokenFile": "tok"}, {}), 0o644)
    write(node.root / "etc/cni/net.d/tok", BEARER, 0o644)


def canaries() -> list[str]:
    keys = [key("RSA-2048", 50), key("RSA-2048", 51)]
    keys += [key("P-256", number) for number in (1, 20, 22, 30, 70)]
    found = [form for one in keys for form in forms(one)]
    return [*found, BEARER, BOOTSTRAP, PASSWORD, ENVIRONMENT, ARGUMENT]


def test_facts_hold_none(node: PkiNode) -> None:
    looker = Looker(TreeHost(node.root))
    wanted: tuple[type[Fact], ...] = (Pki, Kubeconfigs, Manifests, Strays, StoredTokens)
    readings = [looker.look(fact) for fact in wanted]
    assert all(isinstance(r, Seen) for r in readings)
    text = "".join(map(repr, readings))
    assert not [c for c in canaries() if c in text]


def test_neither_findings_nor_recordings_hold_any(node: PkiNode) -> None:
    recorder = Recorder(TreeHost(node.root))
    report = scan(recorder, select(["cert.*"]), at=NOW.timestamp())
    text = json.dumps(report_to_json(report)) + json.dumps(recorder.log)  # before any redaction
    assert not [c for c in canaries() if c in text]


def test_a_recording_answers_as_the_node_did(node: PkiNode) -> None:
    recorder = Recorder(TreeHost(node.root))
    live = scan(recorder, select(["cert.*"]), at=NOW.timestamp())
    recording = json.loads(dump(recorder, node="n", taken_at="2026-11-22T04:00:00Z"))
    replay = Replay(recording["log"], live=False)
    again = scan(replay, select(["cert.*"]), at=NOW.timestamp())
    assert [(f.check, f.status, f.because) for f in again.findings] == [
        (f.check, f.status, f.because) for f in live.findings
    ]
