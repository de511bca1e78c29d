"""Which programs of a node serve webhooks, and where they are asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from certificate_maker import DAY, NOW, key, pem, write
from nodeward.facts.daemons import Daemon
from nodeward.facts.listeners import Listener
from nodeward.facts.manifests import Manifests, parse_manifest
from nodeward.facts.pflags import parse_arguments
from nodeward.facts.processes import Process
from nodeward.facts.webhooks import certificate_files, find, serves_webhooks
from pki_node import PkiNode, server


def process(pid: int, *argv: str) -> Process:
    return Process(pid, 1, argv[0][:15], f"/usr/bin/{argv[0]}", argv, 1.0, 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("webhook --secure-port=10250", "webhook"),
        ("pod-identity-webhook", "pod-identity-webhook"),
        ("nginx-ingress-controller --validating-webhook=:8443", "--validating-webhook"),
        ("manager --webhook-port=9443", "--webhook-port"),
        ("manager -webhook-cert-dir /certs", "--webhook-cert-dir"),
        ("manager --enable-webhooks=true", "--enable-webhooks"),
    ],
)
def test_a_server_is_told_by_its_name_or_arguments(words: str, said: str) -> None:
    program, *rest = words.split()
    assert serves_webhooks(program, (program, *rest)) == said


@pytest.mark.parametrize(
    "words",
    [
        "kube-apiserver --authorization-webhook-config-file=/x --audit-webhook-config-file=/y",
        "kubelet --authentication-token-webhook=true",
        "configmap-reload --webhook-url=http://127.0.0.1:9090/-/reload --webhook-retries=3",
        "metrics-server --authentication-token-webhook-cache-ttl=10s",
        "manager --webhook-port=0",
        "manager --enable-webhooks=false",
        "sshd -D",
    ],
)
def test_who_only_calls_webhooks_serves_none(words: str) -> None:
    program, *rest = words.split()
    assert serves_webhooks(program, (program, *rest)) == ""


@pytest.mark.parametrize(
    ("argument", "path"),
    [
        ("--tls-cert-file=/c/tls.crt", "/c/tls.crt"),
        ("--validating-webhook-certificate=/c/cert", "/c/cert"),
        ("--webhook-cert-dir=/c/", "/c/tls.crt"),
        ("--client-cert-file=/c/client.crt", None),
        ("--etcd-ca-cert-file=/c/ca.crt", None),
        ("--tls-cert-file=relative", None),
    ],
)
def test_the_file_that_a_server_should_serve(argument: str, path: str | None) -> None:
    daemon = Daemon("hook", parse_arguments(["hook", argument], {}), "pid 7")
    assert [p for _, p in certificate_files(daemon)] == ([path] if path else [])


def test_a_port_that_a_static_pod_calls_so() -> None:
    port = {"name": "webhook-server", "containerPort": 9443}
    spec = {"hostNetwork": True, "containers": [{"name": "m", "image": "m", "ports": [port]}]}
    text = json.dumps({"kind": "Pod", "metadata": {"name": "m"}, "spec": spec})
    pods = Manifests("/m", (parse_manifest(text, "/m/m.yaml"),))
    rows = (Listener("::", 9443, 1, 0, 7, "x"), Listener("::", 8080, 2, 0, 7, "x"))
    (one, *_) = find((process(7, "x"),), rows, None, pods, ())
    assert (one.addresses, one.sure) == ((("127.0.0.1", 9443),), True)
    assert one.named_by == "/m/m.yaml port webhook-server"


def test_a_port_in_a_pods_own_network_is_not_taken_for_the_machines() -> None:
    (one,) = find((process(7, "webhook"),), (), None, None, ())
    assert one.addresses == ()


def test_one_that_shows_nothing_is_unknown_and_never_absent(tmp_path: Path) -> None:
    node = PkiNode(tmp_path / "root").build()
    assert node.findings()["cert.webhook"].status == "not-applicable"
    node.process(20, "cert-manager-webhook", {"secure-port": "10250"})
    found = node.findings()["cert.webhook"]
    assert found.status == "unknown"
    assert "cert-manager-webhook (pid 20)" in found.because
    assert "where nobody is asked" in found.because


def test_the_file_that_it_names_is_judged_in_a_tree_at_rest(tmp_path: Path) -> None:
    node = PkiNode(tmp_path / "root").build()
    old = server("hook", not_after=NOW - DAY)
    write(node.root / "certs/tls.crt", pem(node.cluster.issue(old, key("P-256", 41))))
    node.process(20, "manager", {"webhook-cert-dir": "/certs"})
    found = node.findings()["cert.webhook"]
    assert found.status == "fail"
    assert found.evidence[0].source == "/certs/tls.crt"
