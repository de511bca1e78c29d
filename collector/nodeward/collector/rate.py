"""How often somebody may ask. Reports and heartbeats are not counted here: for them there is
backpressure, and their signatures say whose they are."""

from __future__ import annotations

import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nodeward.collector.api.agents import CALLS
from nodeward.collector.api.answer import problem_answer
from nodeward.collector.center import Center
from nodeward.collector.problem import Problem, gone

MOST_KEYS: Final = 20_000
BURST_S: Final = 10
"""A bucket holds what comes in this many seconds."""
FREE: Final = frozenset(("/livez", "/readyz"))


class Buckets:
    """A token bucket a key, https://en.wikipedia.org/wiki/Token_bucket. The one that was not used
    for longest is forgotten when there are too many, which fills it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def wait(self, key: bytes, per_s: float) -> float:
        """Seconds until there is a token; 0: now."""
        return max(0.0, (1.0 - self._now(key, per_s)) / per_s)

    def take(self, key: bytes, per_s: float) -> float:
        """The same, and a token is taken if there is one."""
        left = self._now(key, per_s)
        if left < 1.0:
            return (1.0 - left) / per_s
        self._left[key] = (left - 1.0, self._clock())
        self._left.move_to_end(key)
        if len(self._left) > MOST_KEYS:
            self._left.popitem(last=False)
        return 0.0

    def _now(self, key: bytes, per_s: float) -> float:
        full = per_s * BURST_S
        if key not in self._left:
            return full
        left, at = self._left[key]
        return min(full, left + (self._clock() - at) * per_s)


class Guard:
    """429 for a token that asks too often, and for an address that was refused too often.

    Refusals are counted by address, since who is refused is nobody; whoever shares it with
    somebody who guesses waits with them, for a second at most.
    """

    def __init__(self, app: ASGIApp, center: Center) -> None:
        self._app = app
        self._center = center
        self._asked = Buckets()
        self._refused = Buckets()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        counted = path == "/v1/enroll" or (path not in CALLS and path not in FREE)
        if scope["type"] != "http" or not counted:
            await self._app(scope, receive, send)
            return
        settings = self._center.settings
        address = str((scope.get("client") or ("",))[0]).encode()
        wait = self._refused.wait(address, settings.refusals_per_s)
        if not wait and path != "/v1/enroll":
            wait = self._asked.take(_who(scope) or address, settings.asks_per_s)
        if wait:
            await _too_often(wait)(scope, receive, send)
            return
        if any(character < " " for character in path):  # no name of ours; PostgreSQL takes no NUL
            await problem_answer(gone("address"))(scope, receive, send)
            return

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start" and _refusal(path, message["status"]):
                self._refused.take(address, settings.refusals_per_s)
            await send(message)

        await self._app(scope, receive, watched)


def _refusal(path: str, status: int) -> bool:
    return status == 401 or (status == 403 and path.startswith(("/v1/enroll", "/login")))


def _who(scope: Scope) -> bytes | None:
    """A name for the credential that was sent, whether it is good or not."""
    for name, value in scope["headers"]:
        if name == b"authorization" or (name == b"cookie" and b"nodeward=" in value):
            return hashlib.sha256(value).digest()
    return None


def _too_often(wait: float) -> ASGIApp:
    seconds = max(1, math.ceil(wait))
    return problem_answer(Problem(429, "too-often", "ask less often", retry_after=seconds))
