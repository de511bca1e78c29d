"""What agents call: enroll, session, rotate, reports, heartbeat.

Plain ASGI without a framework's objects, because nearly all requests of a fleet are heartbeats.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from nodeward.collector import wire
from nodeward.collector.api.answer import read_body
from nodeward.collector.attest import attest
from nodeward.collector.center import Center
from nodeward.collector.clock import now_ms, rfc3339
from nodeward.collector.problem import AWAY, Problem, bad, store_away
from nodeward.collector.signature import agent_id, enroll_text, good, rotate_text, signed_text
from nodeward.collector.store.enrol import (
    Binding,
    enrol_attested,
    enrol_by_token,
    rotate_key,
    tell_both,
)
from nodeward.collector.store.ingest import Incoming, problem
from nodeward.collector.store.keys import Key
from nodeward.collector.store.pulse import Beat
from nodeward.collector.store.sessions import mac_fits

Headers = Mapping[bytes, bytes]
Answer = tuple[int, bytes]
encode: Final = msgspec.json.Encoder().encode
_OK_BEAT: Final = encode({"look": False})
_LOOK: Final = encode({"look": True})


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose body was read."""

    path: str
    headers: Headers
    body: bytes

    def text(self, name: bytes) -> str:
        return self.headers.get(name, b"").decode("latin-1")


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose request it is. `verified`: its signature was; else its MAC, the signature later."""

    key: Key
    signature: bytes
    signed_at: int
    verified: bool
    at: int

    @property
    def skew_ms(self) -> int:
        return self.signed_at * 1000 - self.at


def _unauthorized(code: str, message: str) -> Problem:
    return Problem(401, code, message)


async def caller_of(center: Center, call: Call, *, by_session: bool) -> Caller:
    """Who sent this: from its MAC if it may be a session's, else from its signature."""
    agent, time_s = call.text(b"nodeward-agent"), call.text(b"nodeward-time")
    if not agent or not (time_s.isascii() and time_s.isdigit() and len(time_s) <= 12):
        raise _unauthorized("unsigned", "the request carries no agent, time and signature")
    key = center.keys.held(agent) or await asyncio.to_thread(center.keys.get, agent)
    if key is None:
        raise _unauthorized("unknown-agent", "this key is not enrolled")
    text = signed_text("POST", call.path, time_s, hashlib.sha256(call.body).digest())
    signature = _signature(call)
    session = call.text(b"nodeward-session") if by_session else ""
    at = now_ms()
    if session:
        _check_mac(center, agent, session, call.text(b"nodeward-mac"), text, at)
    elif not good(key.public_key, signature, text):
        raise _unauthorized("bad-signature", "the signature does not fit key, time and body")
    _may_speak(key, at)
    return Caller(key, signature, int(time_s), not session, at)


def _signature(call: Call) -> bytes:
    """The signature that came; empty if none did (a heartbeat within a session needs none)."""
    given = call.text(b"nodeward-signature")
    if not given:
        return b""
    try:
        return wire.unbase64(given, "Nodeward-Signature", 64)
    except Problem:
        raise _unauthorized("bad-signature", "Nodeward-Signature is not base64") from None


def _check_mac(center: Center, agent: str, session: str, mac: str, text: bytes, at: int) -> None:
    key = center.sessions.key(agent, session, at)
    if key is None:
        raise _unauthorized("session", "the session is over: open another")
    if not mac_fits(key, mac, text):
        raise _unauthorized("bad-mac", "the MAC does not fit session, time and body")


def _may_speak(key: Key, at: int) -> None:
    """After the signature was found good: only the key's holder learns its state."""
    if key.status != "active":
        raise Problem(403, key.status, f"this key is {key.status}")
    if key.expires_at <= at:
        raise Problem(403, "expired", "the enrolment has expired: enrol again")


def _unpacked(call: Call) -> bytes:
    """The body as JSON; gzip where the sender says so."""
    return wire.gunzip(call.body) if call.text(b"content-encoding") == "gzip" else call.body


async def enroll(center: Center, call: Call) -> Answer:
    want = wire.decode(_unpacked(call), wire.EnrollIn)
    public_key = wire.unbase64(want.public_key, "public_key", 32)
    proof = wire.unbase64(want.proof, "proof", 64)
    if not good(public_key, proof, enroll_text(public_key, want.node)):
        raise bad("proof", "not this key's signature over the node's name")
    agent = agent_id(public_key)
    if want.attestation.kind == "k8s-psat":
        return _bound(center, await _by_cluster(center, want, agent, public_key))
    if want.attestation.kind != "join-token":
        raise bad("attestation.kind", "this collector takes join-token and k8s-psat")
    bound = await center.writer.act(
        lambda connection: enrol_by_token(
            connection,
            agent=agent,
            public_key=public_key,
            node=want.node,
            cluster=want.cluster,
            token=want.attestation.token,
            now=now_ms(),
        )
    )
    return _bound(center, bound)


async def _by_cluster(
    center: Center, want: wire.EnrollIn, agent: str, public_key: bytes
) -> Binding | Problem:
    """By a token that the cluster issued to a pod of the node."""
    trust = center.settings.clusters.get(want.cluster)
    if trust is None:
        raise Problem(403, "cluster", "this collector knows no such cluster", field="cluster")
    attested = await asyncio.to_thread(attest, trust, want.attestation.token, time.time())
    if attested.node != want.node:
        raise Problem(403, "other-node", "the token was issued on another node", field="node")
    return await center.writer.act(
        lambda connection: enrol_attested(
            connection,
            center.writer.names,
            agent=agent,
            public_key=public_key,
            node=attested.node,
            uid=attested.uid,
            cluster=want.cluster,
            now=now_ms(),
        )
    )


def _bound(center: Center, bound: Binding | Problem) -> Answer:
    if isinstance(bound, Problem):
        raise bound
    center.keys.forget(bound.agent)
    if bound.status == "pending":
        return 202, encode({"status": "pending", "agent_id": bound.agent})
    return 200, encode(
        {
            "agent_id": bound.agent,
            "node": bound.node_name,
            "cluster": bound.cluster,
            "expires_at": rfc3339(bound.expires_at),
        }
    )


async def session(center: Center, call: Call) -> Answer:
    caller = await caller_of(center, call, by_session=False)
    opened = await asyncio.to_thread(center.sessions.open, caller.key.agent, caller.at)
    return 200, encode(
        {"session": opened.id, "key": opened.key, "expires_at": rfc3339(opened.expires_at)}
    )


async def rotate(center: Center, call: Call) -> Answer:
    """The old key signs the request, the new one its proof."""
    caller = await caller_of(center, call, by_session=False)
    want = wire.decode(_unpacked(call), wire.RotateIn)
    public_key = wire.unbase64(want.public_key, "public_key", 32)
    proof = wire.unbase64(want.proof, "proof", 64)
    if not good(public_key, proof, rotate_text(caller.key.agent, public_key)):
        raise bad("proof", "not the new key's signature over the old one's name")
    bound = await center.writer.act(
        lambda connection: rotate_key(
            connection,
            old=caller.key.agent,
            new=agent_id(public_key),
            public_key=public_key,
            now=caller.at,
        )
    )
    center.keys.forget(caller.key.agent)
    return _bound(center, bound)


async def reports(center: Center, call: Call) -> Answer:
    caller = await caller_of(center, call, by_session=True)
    if len(caller.signature) != 64:
        raise _unauthorized("unsigned", "a report carries its signature, within a session too")
    text = wire.gunzip(call.body)
    report = wire.decode(text, wire.ReportIn)
    await _own(center, caller, report.node)
    if report.kind == "delta" and report.base is None:
        raise bad("base", "a delta names the digest it starts from")
    wire.check_names(report, center.writer.names.rules)
    if len({f.check for f in report.findings}) != len(report.findings):
        raise bad("findings", "two findings of one check")
    outcome = await center.writer.report(
        Incoming(
            node=caller.key.node,
            agent=caller.key.agent,
            report=report,
            sent=call.body,
            sha=hashlib.sha256(text).digest(),
            signature=caller.signature,
            signed_at=caller.signed_at,
            verified=caller.verified,
            at=caller.at,
            skew_ms=caller.skew_ms,
        )
    )
    center.metrics.report(outcome)
    refusal = problem(outcome)
    if refusal is not None:
        if outcome == "conflict":
            center.keys.forget(caller.key.agent)
        raise refusal
    if outcome == "stored":
        center.pulse.learn(caller.key.node, wire.digest_bytes(report.digest))
    return 200, encode({"boot": report.boot, "seq": report.seq, "digest": report.digest})


async def _own(center: Center, caller: Caller, node: str) -> None:
    """A body that names another node than the key's is refused, and both nodes will know."""
    key = caller.key
    if node == key.node_name:
        return
    await center.writer.act(
        lambda connection: tell_both(
            connection, agent=key.agent, node=key.node, named=node, now=caller.at
        )
    )
    raise Problem(403, "other-node", "this key speaks for another node", field="node")


async def heartbeat(center: Center, call: Call) -> Answer:
    caller = await caller_of(center, call, by_session=True)
    beat = wire.decode(_unpacked(call), wire.HeartbeatIn)
    digest, node, pulse = wire.digest_bytes(beat.digest), caller.key.node, center.pulse
    if not pulse.knows(node, digest) and not await asyncio.to_thread(pulse.holds, node, digest):
        raise Problem(409, "send-full", "the collector holds another posture: send a full report")
    pulse.beat(node, Beat(caller.at, caller.skew_ms, beat.spool.depth))
    return 200, _LOOK if pulse.look(node) else _OK_BEAT


CALLS: Final[Mapping[str, Callable[[Center, Call], Awaitable[Answer]]]] = {
    "/v1/enroll": enroll,
    "/v1/session": session,
    "/v1/rotate": rotate,
    "/v1/reports": reports,
    "/v1/heartbeat": heartbeat,
}


class Front:
    """Answers the agents' calls; hands everything else on."""

    def __init__(self, app: ASGIApp, center: Center) -> None:
        self._app = app
        self._center = center

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        act = CALLS.get(scope.get("path", "")) if scope["type"] == "http" else None
        if act is None:
            await self._app(scope, receive, send)
            return
        scope["nodeward.route"] = path = scope["path"]
        more: list[tuple[bytes, bytes]] = []
        try:
            if scope["method"] != "POST":
                raise Problem(405, "method", "Method Not Allowed")
            headers: dict[bytes, bytes] = dict(scope["headers"])
            body = await read_body(headers.get(b"content-length", b"0"), receive)
            status, content = await act(self._center, Call(path, headers, body))
        except (Problem, *AWAY) as exc:
            told = exc if isinstance(exc, Problem) else store_away(exc)
            status, content = int(told.status), encode(told.to_json())
            if told.retry_after is not None:
                more.append((b"retry-after", str(told.retry_after).encode()))
        start: dict[str, Any] = {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(content)).encode()),
                *more,
            ],
        }
        await send(start)
        await send({"type": "http.response.body", "body": content})
