"""Answers: JSON, the one error shape, bounded bodies."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive

from nodeward.collector.problem import Problem, busy
from nodeward.collector.wire import MOST_SENT

HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"strict-transport-security", b"max-age=31536000"),
)
"""Of every answer."""
BODY_S = 30
"""Seconds in which a body must have come."""
MOST_COMING = 256 << 20
"""Bytes of bodies that may be in memory at once."""
_coming = 0


def answer(data: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        msgspec.json.encode(data), status, dict(headers or {}), media_type="application/json"
    )


def problem_answer(problem: Problem) -> Response:
    headers = {}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(problem.retry_after)
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return answer(problem.to_json(), problem.status, headers)


def tagged(request: Request, data: object) -> Response:
    """A 200 with an ETag, or 304 when the asker has it already."""
    body = msgspec.json.encode(data)
    tag = '"' + hashlib.sha256(body).hexdigest()[:32] + '"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if tag in request.headers.get("If-None-Match", ""):
        return Response(status_code=304, headers=headers)
    return Response(body, 200, headers, media_type="application/json")


async def body_of(request: Request) -> bytes:
    """The same for a request of the framework."""
    length = request.headers.get("Content-Length", "0").encode("latin-1")
    return await read_body(length, request.receive)


async def read_body(claimed: bytes, receive: Receive) -> bytes:
    """The body as sent. 413 when it is or claims to be too large, 408 when it dawdles."""
    size = claimed_size(claimed)
    if size > MOST_SENT:
        raise _too_large()
    if not coming(0, size):
        raise busy("too many bodies at once")
    taken, parts = 0, []
    try:
        async with asyncio.timeout(BODY_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Problem(400, "cut", "the sender went away")
                part: bytes = message.get("body", b"")
                taken += len(part)
                coming(len(part))
                if taken > MOST_SENT:
                    raise _too_large()
                parts.append(part)
                if not message.get("more_body", False):
                    return parts[0] if len(parts) == 1 else b"".join(parts)
    except TimeoutError:
        raise Problem(408, "slow", f"the body did not come within {BODY_S} s") from None
    finally:
        coming(-taken)


def claimed_size(claimed: bytes) -> int:
    """What Content-Length says; more than any body may have if it says nothing sensible."""
    return int(claimed) if claimed.isdigit() and len(claimed) < 12 else MOST_SENT + 1


def coming(more: int, expected: int = 0) -> bool:
    """Count bytes of bodies in memory; whether there is room for the expected ones too."""
    global _coming
    _coming += more
    return _coming + expected <= MOST_COMING


def _too_large() -> Problem:
    return Problem(413, "too-large", f"a body has at most {MOST_SENT} bytes")
