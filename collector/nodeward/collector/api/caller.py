"""Whose call it is: an agent's key over the bytes as sent, or its session's MAC."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from nodeward.collector import wire
from nodeward.collector.center import Center
from nodeward.collector.problem import Problem
from nodeward.collector.signature import good, signed_text
from nodeward.collector.store.keys import Key
from nodeward.collector.store.sessions import mac_fits

Headers = Mapping[bytes, bytes]
Answer = tuple[int, bytes]


class Call(msgspec.Struct, frozen=True, gc=False):
    """A request whose body was read."""

    path: str
    headers: Headers
    body: bytes

    def text(self, name: bytes) -> str:
        return self.headers.get(name, b"").decode("latin-1")


class Caller(msgspec.Struct, frozen=True, gc=False):
    """Whose request it is. `verified`: its signature was; else its MAC, the signature later."""

    key: Key
    signature: bytes
    signed_at: int
    verified: bool
    at: int

    @property
    def skew_ms(self) -> int:
        return self.signed_at * 1000 - self.at


def unauthorized(code: str, message: str) -> Problem:
    return Problem(401, code, message)


async def caller_of(center: Center, call: Call, *, by_session: bool) -> Caller:
    """Who sent this: from its MAC if it may be a session's, else from its signature."""
    agent = claimed_agent(call)
    key = center.keys.held(agent) or await center.enrolled.get(agent)
    if key is None:
        raise unauthorized("unknown-agent", "this key is not enrolled")
    return admitted(center, call, key, by_session=by_session)


def claimed_agent(call: Call) -> str:
    agent = call.text(b"nodeward-agent")
    if not agent or not _is_time(call.text(b"nodeward-time")):
        raise unauthorized("unsigned", "the request carries no agent, time and signature")
    return agent


def _is_time(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 12


def admitted(center: Center, call: Call, key: Key, *, by_session: bool) -> Caller:
    """The same for a key that is at hand."""
    time_s = call.text(b"nodeward-time")
    text = signed_text("POST", call.path, time_s, hashlib.sha256(call.body).digest())
    signature = _signature(call)
    session = call.text(b"nodeward-session") if by_session else ""
    at = center.clock.now()
    if session:
        _check_mac(center, key.agent, session, call.text(b"nodeward-mac"), text, at)
    elif not good(key.public_key, signature, text):
        raise unauthorized("bad-signature", "the signature does not fit key, time and body")
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
        raise unauthorized("bad-signature", "Nodeward-Signature is not base64") from None


def _check_mac(center: Center, agent: str, session: str, mac: str, text: bytes, at: int) -> None:
    key = center.sessions.key(agent, session, at)
    if key is None:
        raise unauthorized("session", "the session is over: open another")
    if not mac_fits(key, mac, text):
        raise unauthorized("bad-mac", "the MAC does not fit session, time and body")


def _may_speak(key: Key, at: int) -> None:
    """After the signature was found good: only the key's holder learns its state."""
    if key.status != "active":
        raise Problem(403, key.status, f"this key is {key.status}")
    if key.expires_at <= at:
        raise Problem(403, "expired", "the enrolment has expired: enrol again")


def unpacked(call: Call) -> bytes:
    """The body as JSON; gzip where the sender says so."""
    return wire.gunzip(call.body) if call.text(b"content-encoding") == "gzip" else call.body
