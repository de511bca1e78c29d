"""What agents call: enroll, reports, heartbeat."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nodeward.collector import wire
from nodeward.collector.api.answer import answer, body_of
from nodeward.collector.center import Center
from nodeward.collector.clock import now_ms, rfc3339
from nodeward.collector.problem import Problem, bad
from nodeward.collector.signature import agent_id, enroll_text, good, signed_text
from nodeward.collector.store.enrol import Binding, enrol_by_token, tell_both
from nodeward.collector.store.ingest import Incoming, problem
from nodeward.collector.store.keys import Key
from nodeward.collector.store.pulse import Beat


@dataclass(frozen=True)
class Signed:
    """A request whose signature is good, and whose key may speak."""

    key: Key
    body: bytes
    signature: bytes
    signed_at: int
    at: int

    @property
    def skew_ms(self) -> int:
        return self.signed_at * 1000 - self.at


def _unauthorized(code: str, message: str) -> Problem:
    return Problem(401, code, message)


async def authenticated(request: Request, center: Center) -> Signed:
    """Who sent this: from its signature alone."""
    headers = request.headers
    agent, time_s = headers.get("Nodeward-Agent", ""), headers.get("Nodeward-Time", "")
    if not agent or not (time_s.isascii() and time_s.isdigit() and len(time_s) <= 12):
        raise _unauthorized("unsigned", "the request carries no agent, time and signature")
    signature = _signature(headers.get("Nodeward-Signature", ""))
    key = center.keys.held(agent) or await asyncio.to_thread(center.keys.get, agent)
    if key is None:
        raise _unauthorized("unknown-agent", "this key is not enrolled")
    body = await body_of(request)
    text = signed_text(request.method, request.url.path, time_s, hashlib.sha256(body).digest())
    if not good(key.public_key, signature, text):
        raise _unauthorized("bad-signature", "the signature does not fit key, time and body")
    at = now_ms()
    _may_speak(key, at)
    return Signed(key, body, signature, int(time_s), at)


def _signature(text: str) -> bytes:
    try:
        return wire.unbase64(text, "Nodeward-Signature", 64)
    except Problem:
        raise _unauthorized("bad-signature", "Nodeward-Signature is not base64") from None


def _may_speak(key: Key, at: int) -> None:
    """After the signature was found good: only the key's holder learns its state."""
    if key.status != "active":
        raise Problem(403, key.status, f"this key is {key.status}")
    if key.expires_at <= at:
        raise Problem(403, "expired", "the enrolment has expired: enrol again")


async def enroll(request: Request) -> Response:
    center: Center = request.app.state.center
    body = await body_of(request)
    if request.headers.get("Content-Encoding") == "gzip":
        body = wire.gunzip(body)
    want = wire.decode(body, wire.EnrollIn)
    public_key = wire.unbase64(want.public_key, "public_key", 32)
    proof = wire.unbase64(want.proof, "proof", 64)
    if not good(public_key, proof, enroll_text(public_key, want.node)):
        raise bad("proof", "not this key's signature over the node's name")
    if want.attestation.kind != "join-token":
        raise bad("attestation.kind", "this collector takes join-token")
    bound = await center.writer.act(
        lambda connection: enrol_by_token(
            connection,
            agent=agent_id(public_key),
            public_key=public_key,
            node=want.node,
            cluster=want.cluster,
            token=want.attestation.token,
            now=now_ms(),
        )
    )
    if isinstance(bound, Problem):
        raise bound
    center.keys.forget(bound.agent)
    return _bound(bound)


def _bound(bound: Binding) -> Response:
    if bound.status == "pending":
        return answer({"status": "pending", "agent_id": bound.agent}, 202)
    return answer(
        {
            "agent_id": bound.agent,
            "node": bound.node_name,
            "cluster": bound.cluster,
            "expires_at": rfc3339(bound.expires_at),
        }
    )


async def reports(request: Request) -> Response:
    center: Center = request.app.state.center
    signed = await authenticated(request, center)
    text = wire.gunzip(signed.body)
    report = wire.decode(text, wire.ReportIn)
    await _own(center, signed, report.node)
    if report.kind == "delta" and report.base is None:
        raise bad("base", "a delta names the digest it starts from")
    if len({f.check for f in report.findings}) != len(report.findings):
        raise bad("findings", "two findings of one check")
    outcome = await center.writer.report(
        Incoming(
            node=signed.key.node,
            agent=signed.key.agent,
            report=report,
            sent=signed.body,
            sha=hashlib.sha256(text).digest(),
            signature=signed.signature,
            signed_at=signed.signed_at,
            verified=True,
            at=signed.at,
            skew_ms=signed.skew_ms,
        )
    )
    center.metrics.reports.labels(outcome).inc()
    refusal = problem(outcome)
    if refusal is not None:
        if outcome == "conflict":
            center.keys.forget(signed.key.agent)
        raise refusal
    if outcome == "stored":
        center.pulse.learn(signed.key.node, wire.digest_bytes(report.digest))
    return answer({"boot": report.boot, "seq": report.seq, "digest": report.digest})


async def _own(center: Center, signed: Signed, node: str) -> None:
    """A body that names another node than the key's is refused, and both nodes will know."""
    key = signed.key
    if node == key.node_name:
        return
    await center.writer.act(
        lambda connection: tell_both(
            connection, agent=key.agent, node=key.node, named=node, now=signed.at
        )
    )
    raise Problem(403, "other-node", "this key speaks for another node", field="node")


async def heartbeat(request: Request) -> Response:
    center: Center = request.app.state.center
    signed = await authenticated(request, center)
    body = signed.body
    if request.headers.get("Content-Encoding") == "gzip":
        body = wire.gunzip(body)
    beat = wire.decode(body, wire.HeartbeatIn)
    digest, node = wire.digest_bytes(beat.digest), signed.key.node
    pulse = center.pulse
    if not pulse.knows(node, digest) and not await asyncio.to_thread(pulse.holds, node, digest):
        raise Problem(409, "send-full", "the collector holds another posture: send a full report")
    pulse.beat(node, Beat(signed.at, signed.skew_ms, beat.spool.depth))
    return answer({"look": False})


ROUTES = [
    Route("/v1/enroll", enroll, methods=["POST"]),
    Route("/v1/reports", reports, methods=["POST"]),
    Route("/v1/heartbeat", heartbeat, methods=["POST"]),
]
