"""What agents call to be known: enroll, session, rotate; and the door to all their calls.

Plain ASGI without a framework's objects.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from nodeward.collector import wire
from nodeward.collector.api import reporting
from nodeward.collector.api.answer import read_body
from nodeward.collector.api.caller import (
    Answer,
    Call,
    Caller,
    caller_of,
    unauthorized,
    unpacked,
)
from nodeward.collector.api.reporting import encode
from nodeward.collector.attest import Attested, attest
from nodeward.collector.authority import authorities
from nodeward.collector.center import Center
from nodeward.collector.clock import rfc3339
from nodeward.collector.problem import AWAY, Problem, bad, store_away
from nodeward.collector.signature import agent_id, enroll_text, good, rotate_text
from nodeward.collector.store.asked import SKEWED_MS
from nodeward.collector.store.enrol import (
    Binding,
    enrol_attested,
    enrol_by_token,
    note_refused,
    rotate_key,
)
from nodeward.collector.store.sessions import Session


async def enroll(center: Center, call: Call) -> Answer:
    want = wire.decode(unpacked(call), wire.EnrollIn)
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
            now=center.clock.now(),
        )
    )
    return _bound(center, bound)


async def _by_cluster(
    center: Center, want: wire.EnrollIn, agent: str, public_key: bytes
) -> Binding | Problem:
    """By a token that the cluster issued to a pod of the node."""
    try:
        attested = await _attested(center, want)
    except Problem as exc:
        refusal = exc
        if refusal.status == 403:
            now = center.clock.now()
            await center.writer.act(lambda c: note_refused(c, refusal, agent, want.node, now))
        raise
    return await center.writer.act(
        lambda connection: enrol_attested(
            connection,
            center.writer.names,
            agent=agent,
            public_key=public_key,
            node=attested.node,
            uid=attested.uid,
            cluster=want.cluster,
            now=center.clock.now(),
        )
    )


async def _attested(center: Center, want: wire.EnrollIn) -> Attested:
    trust = center.settings.clusters.get(want.cluster)
    if trust is None:
        raise Problem(403, "cluster", "this collector knows no such cluster", field="cluster")
    now_s = center.clock.now() / 1000
    attested = await asyncio.to_thread(attest, trust, want.attestation.token, now_s)
    if attested.node != want.node:
        raise Problem(403, "other-node", "the token was issued on another node", field="node")
    return attested


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
    if abs(caller.skew_ms) > SKEWED_MS:
        # Else a request that was once seen by somebody would open sessions for them for ever.
        raise unauthorized("clock", "this node's clock is minutes off: sign each request instead")
    opened, own = await asyncio.to_thread(_opened, center, caller)
    answer = {"session": opened.id, "key": opened.key, "expires_at": rfc3339(opened.expires_at)}
    return 200, encode(answer | ({"authorities": own} if own else {}))


def _opened(center: Center, caller: Caller) -> tuple[Session, str]:
    """A session, and who signs the certificates of this collector from now on: an agent that trusts
    the old authority hears of the new one while both are good."""
    session = center.sessions.open(caller.key.agent, caller.at)
    settings = center.settings
    ours = settings.tls and not settings.tls_cert
    return session, authorities(Path(settings.state)) if ours else ""


async def rotate(center: Center, call: Call) -> Answer:
    """The old key signs the request, the new one its proof."""
    caller = await caller_of(center, call, by_session=False)
    want = wire.decode(unpacked(call), wire.RotateIn)
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


CALLS: Final[Mapping[str, Callable[[Center, Call], Awaitable[Answer]]]] = {
    "/v1/enroll": enroll,
    "/v1/session": session,
    "/v1/rotate": rotate,
    **reporting.CALLS,
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
                more.append((b"allow", b"POST"))
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
