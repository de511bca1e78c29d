"""A fleet that is made up: findings of usual size, enrolled nodes, the requests that they send."""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import json
import random
import time
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nodeward.collector.clock import now_ms
from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import open_engine
from nodeward.collector.settings import Settings
from nodeward.collector.signature import agent_id, signed_text
from nodeward.collector.store.sessions import Sessions
from nodeward.model.report import finding_from_json, posture_digest

CHECKS = 150
BEATS = 60
"""Of each sender: more than a core answers in the seconds that are measured."""
STATUSES = ("pass", "fail", "not-applicable", "unknown")


def finding(number: int, status: str, node: str) -> dict[str, Any]:
    """Of usual size: two pieces of evidence, a remedy, mappings. One in eight names its node, as
    certificates and addresses do; what other checks see is the same on nodes alike."""
    seen = f"{node}-{number}" if number % 8 == 0 else f"as found by check {number}"
    return {
        "check": f"area{number % 9}.subject.check-{number:03}",
        "status": status,
        "severity": ("high", "medium", "low")[number % 3],
        "because": f"the value seen by check {number} is {status}, want something else",
        "evidence": [
            {"what": "value", "value": seen, "source": f"/etc/some/file-{number}:12"},
            {"what": "rule", "value": "option = value", "source": f"/etc/some/dir/{number}.conf:3"},
        ],
        "remedy": {"text": "Set the option.", "steps": [f"sysctl -w some.option={number}"]},
        "mappings": {"sac": ["kernel-modules"], "cis-kubernetes-1.12": [f"4.2.{number}"]},
    }


def posture(seed: int, node: str) -> list[dict[str, Any]]:
    """One of a few profiles; a tenth of the nodes drift from theirs by some checks."""
    chance = random.Random(seed % 8)
    statuses = [chance.choices(STATUSES, (70, 15, 12, 3))[0] for _ in range(CHECKS)]
    if seed % 10 == 0:
        own = random.Random(seed)
        for _ in range(3):
            statuses[own.randrange(CHECKS)] = own.choice(STATUSES)
    return [finding(number, status, node) for number, status in enumerate(statuses)]


@dataclass
class Sender:
    """An enrolled agent with an open session."""

    name: str
    key: Ed25519PrivateKey
    agent: str
    session: str
    mac: bytes


def enrol(settings: Settings, count: int) -> list[Sender]:
    """Enrolled nodes, as the store has them; the calls themselves are not measured."""
    engine = open_engine(settings.database_url)
    sessions = Sessions(engine)
    now = now_ms()
    out, agents, nodes, postures = [], [], [], []
    for number in range(1, count + 1):
        key = Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes_raw()
        agent, name = agent_id(public), f"node-{number:06}"
        opened = sessions.open(agent, now)
        out.append(Sender(name, key, agent, opened.id, opened.key))
        nodes.append({"id": number, "cluster": 1 + number % 20, "name": name, "created_at": now})
        digest = (number - 1).to_bytes(32, "big")
        at = {"node": number, "cluster": 1 + number % 20}
        postures.append({**at, "boot": "b", "digest": digest})
        agents.append(
            {
                "id": agent, "node": number, "public_key": public, "method": "join-token",
                "status": "active", "created_at": now, "expires_at": now + 10**9,
                "changed_at": now - 10**6,
            }
        )  # fmt: skip
    clusters = [{"id": i, "name": f"cluster-{i}", "created_at": now} for i in range(1, 21)]
    with engine.execution_options(writes=True).begin() as connection:
        for table, rows in ((t.cluster, clusters), (t.node, nodes), (t.posture, postures),
                            (t.agent, agents)):  # fmt: skip
            connection.execute(table.insert(), rows)
    engine.dispose()
    return out


def request(sender: Sender, path: str, body: bytes, *, sign: bool, later_s: int = 0) -> bytes:
    when = str(int(time.time()) + later_s)
    told = signed_text("POST", path, when, hashlib.sha256(body).digest())
    lines = [
        f"POST {path} HTTP/1.1",
        "host: collector",
        f"content-length: {len(body)}",
        "content-encoding: gzip",
        f"nodeward-agent: {sender.agent}",
        f"nodeward-time: {when}",
        f"nodeward-session: {sender.session}",
        f"nodeward-mac: {base64.b64encode(hmac.digest(sender.mac, told, 'sha256')).decode()}",
    ]
    if sign:
        lines.append(f"nodeward-signature: {base64.b64encode(sender.key.sign(told)).decode()}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def report(sender: Sender, seq: int, kind: str, findings: Any, digest: str, base: Any) -> bytes:
    data = {
        "schema": "nodeward.report/v1", "node": sender.name, "boot": "b", "seq": seq,
        "taken_at": "2026-11-22T04:10:11.123Z", "kind": kind, "digest": digest,
        "inventory": {"os": {"id": "debian", "version": "12"}, "kernel": "6.1.0-56-amd64"},
        "agent": {"version": "0.1.0", "catalog": "sha256:0"}, "findings": findings,
    }  # fmt: skip
    if base:
        data["base"] = base
    return gzip.compress(json.dumps(data).encode(), 6)


def prepared(senders: list[Sender], each: int) -> dict[str, list[list[bytes]]]:
    """Requests by kind, a list for each agent, in order: fulls, then deltas, then heartbeats."""
    out: dict[str, list[list[bytes]]] = {"full": [], "delta": [], "heartbeat": []}
    for number, sender in enumerate(senders):
        base = posture(number, sender.name)
        digest = posture_digest(finding_from_json(f) for f in base)
        body = report(sender, 1, "full", base, digest, None)
        again = report(sender, 2, "full", base, digest, None)
        both = [request(sender, "/v1/reports", b, sign=True) for b in (body, again)]
        out["full"].append(both)
        deltas, before = [], digest
        for step in range(each):
            changed = [finding(n, STATUSES[(step + n) % 2], f"s{step}") for n in (1, 2, 3)]
            after = "sha256:" + hashlib.sha256(f"{number}/{step}".encode()).hexdigest()
            body = report(sender, 3 + step, "delta", changed, after, before)
            deltas.append(request(sender, "/v1/reports", body, sign=True))
            before = after
        out["delta"].append(deltas)
        out["heartbeat"].append(beats(sender, before))
    return out


def beat(sender: Sender, digest: str) -> bytes:
    return beats(sender, digest, 1)[0]


def beats(sender: Sender, digest: str, count: int = BEATS) -> list[bytes]:
    """A minute apart by the node's clock, so that each counts."""
    body = gzip.compress(json.dumps({"boot": "b", "seq": 2, "digest": digest}).encode())
    return [
        request(sender, "/v1/heartbeat", body, sign=False, later_s=60 * n)
        for n in range(1, count + 1)
    ]


def full(sender: Sender, number: int) -> bytes:
    body = report(sender, 1, "full", posture(number, sender.name), f"sha256:{number:064x}", None)
    return request(sender, "/v1/reports", body, sign=True)
