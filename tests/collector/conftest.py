"""A real collector on loopback with TLS, and agents that speak to it as the wire says."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import requests
import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nodeward.collector import pki
from nodeward.collector.center import Center
from nodeward.collector.clock import now_ms
from nodeward.collector.serve import configure
from nodeward.collector.settings import Settings
from nodeward.collector.store.access import Role, make_access
from nodeward.collector.store.enrol import make_join_token
from nodeward.model.report import finding_from_json, posture_digest

Finding = Mapping[str, Any]
HOUR = 3_600_000


def finding(check: str, status: str, severity: str = "high", because: str = "seen") -> Finding:
    evidence = [{"what": "value", "value": because, "source": "/etc/x:1"}]
    return {
        "check": check,
        "status": status,
        "severity": severity,
        "because": because,
        "evidence": evidence,
        "remedy": None,
        "mappings": {},
    }


def digest(findings: Sequence[Finding]) -> str:
    return posture_digest(finding_from_json(f) for f in findings)


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


class Agent:
    """A node's agent: its key, and the last posture it told."""

    def __init__(self, url: str, ca: str, node: str, cluster: str = "east") -> None:
        self.key = Ed25519PrivateKey.generate()
        self.node = node
        self.cluster = cluster
        self.boot = hashlib.sha256(self.public).hexdigest()[:32]
        self.seq = 0
        self.findings: dict[str, Finding] = {}
        self.url = url
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.verify = ca

    @property
    def public(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    @property
    def id(self) -> str:
        return base64.b32encode(hashlib.sha256(self.public).digest()).decode().lower()[:26]

    def enrol(self, token: str, **over: Any) -> requests.Response:
        proof = self.key.sign(b"nodeward-enroll\n" + self.public + b"\n" + self.node.encode())
        body = {
            "public_key": b64(self.public),
            "node": self.node,
            "cluster": self.cluster,
            "attestation": {"kind": "join-token", "token": token},
            "proof": b64(proof),
        }
        return self.http.post(self.url + "/v1/enroll", json=body | over, timeout=30)

    def sign(self, path: str, body: bytes, at: int | None = None) -> dict[str, str]:
        when = str(int(time.time()) if at is None else at)
        text = f"nodeward-v1\nPOST\n{path}\n{when}\n{hashlib.sha256(body).hexdigest()}"
        return {
            "Nodeward-Agent": self.id,
            "Nodeward-Time": when,
            "Nodeward-Signature": b64(self.key.sign(text.encode())),
            "Content-Encoding": "gzip",
        }

    def send(self, path: str, body: bytes, **headers: str) -> requests.Response:
        signed = self.sign(path, body) | headers
        return self.http.post(self.url + path, data=body, headers=signed, timeout=30)

    def body(self, kind: str, findings: Sequence[Finding], /, **over: Any) -> dict[str, Any]:
        after = (self.findings if kind == "delta" else {}) | {f["check"]: f for f in findings}
        out = {
            "schema": "nodeward.report/v1",
            "node": self.node,
            "taken_at": "2026-11-22T04:10:11.123Z",
            "root": "/",
            "live": True,
            "agent": {"version": "0.1.0", "catalog": "sha256:00"},
            "inventory": {"os": {"id": "debian", "version": "12"}, "kernel": "6.1.0"},
            "boot": self.boot,
            "seq": self.seq + 1,
            "kind": kind,
            "digest": digest(list(after.values())),
            "findings": list(findings),
        }
        if kind == "delta":
            out["base"] = digest(list(self.findings.values()))
        return out | over

    def full(self, *findings: Finding, **over: Any) -> requests.Response:
        return self._report("full", findings, over)

    def delta(self, *findings: Finding, **over: Any) -> requests.Response:
        return self._report("delta", findings, over)

    def _report(
        self, kind: str, findings: Sequence[Finding], over: Mapping[str, Any]
    ) -> requests.Response:
        body = self.body(kind, findings, **over)
        answer = self.send("/v1/reports", gzip.compress(json.dumps(body).encode()))
        if answer.ok and not over:
            kept = self.findings if kind == "delta" else {}
            self.findings = kept | {f["check"]: f for f in findings}
            self.seq += 1
        return answer

    def beat(self, **over: Any) -> requests.Response:
        body = {
            "boot": self.boot,
            "seq": self.seq,
            "digest": digest(list(self.findings.values())),
            "spool": {"depth": 0, "dropped": 0},
        }
        return self.send("/v1/heartbeat", gzip.compress(json.dumps(body | over).encode()))


class Running:
    """A collector in a thread of this process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        config = configure(settings)
        self.center: Center = config.app.state.center  # type: ignore[union-attr]
        self.server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self.server.run, daemon=True)
        self._thread.start()
        while not self.server.started:
            assert self._thread.is_alive(), "the collector did not start"
            time.sleep(0.005)  # uvicorn has no event to wait for
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"https://127.0.0.1:{port}"
        self.ca = str(Path(settings.state) / "ca.crt")
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.verify = self.ca
        self.admin = self.access("admin", Role.ADMIN)

    def stop(self) -> None:
        self.http.close()
        self.server.should_exit = True
        self._thread.join(30)

    def access(self, name: str, role: Role = Role.VIEWER, **labels: str) -> str:
        return self.center.writer.act_now(
            lambda connection: make_access(
                connection, name=name, role=role, labels=labels, ttl_ms=HOUR, now=now_ms()
            )
        )

    def join_token(self, **how: Any) -> str:
        given: dict[str, Any] = {
            "cluster": "east",
            "node": "*",
            "uses": 1000,
            "ttl_ms": HOUR,
            "approve": False,
        }
        return self.center.writer.act_now(
            lambda connection: make_join_token(connection, by="test", now=now_ms(), **(given | how))
        )

    def agent(self, node: str, cluster: str = "east") -> Agent:
        """An enrolled agent."""
        agent = Agent(self.url, self.ca, node, cluster)
        answer = agent.enrol(self.join_token(cluster=cluster))
        assert answer.status_code == 200, answer.text
        return agent

    def get(self, path: str, token: str | None = None, **params: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token or self.admin}"}
        return self.http.get(self.url + path, params=params, headers=headers, timeout=30)

    def items(self, path: str, token: str | None = None, **params: Any) -> list[Any]:
        answer = self.get(path, token, **params)
        assert answer.status_code == 200, answer.text
        items: list[Any] = answer.json()["items"]
        return items


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    pki.write_ca(tmp_path)
    pki.write_server(tmp_path, ["127.0.0.1"])
    return Settings(listen="127.0.0.1:0", state=str(tmp_path))


@pytest.fixture
def collector(settings: Settings) -> Iterator[Running]:
    running = Running(settings)
    yield running
    running.stop()


@pytest.fixture
def start(settings: Settings) -> Iterator[Callable[[], Running]]:
    """Start further collectors on the same store."""
    started: list[Running] = []

    def begin() -> Running:
        started.append(Running(settings))
        return started[-1]

    yield begin
    for running in started:
        running.stop()
