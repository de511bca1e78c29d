"""A short-lived key that the collector gave us: with it a heartbeat costs no signature.

It lies beside our own key, so that the next worker has it too, and is used for as long as the
collector said, counted on the boot clock; a collector that refuses it is believed at once.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from nodeward.agent.spool import Moment

FILE = "session.json"
LONGEST_S = 3600.0
SPARE_S = 60.0
"""A session that ends within this time is not begun to be used: a request takes a while."""


@dataclass(frozen=True, slots=True)
class Session:
    """`key` is base64. Without an id: this collector gives none, ask again after `until_up`.
    `until_up` is seconds of the boot clock, in the kernel's boot `boot`."""

    agent: str
    id: str
    key: str
    boot: str
    until_up: float

    def headers(self, text: bytes) -> dict[str, str]:
        """What admits a request. `text` is what would be signed."""
        key = base64.b64decode(self.key)
        mac = base64.b64encode(hmac.digest(key, text, hashlib.sha256)).decode()
        return {"Nodeward-Session": self.id, "Nodeward-Mac": mac}


def opened(
    answer: Mapping[str, object], agent: str, expires_s: float | None, at: Moment
) -> Session:
    """The session in the collector's answer, `expires_s` since 1970. Raises ValueError.

    A clock that is wrong must not end a good session: it lives for some minutes at least.
    """
    name, key = answer.get("session"), answer.get("key")
    if not (isinstance(name, str) and name.isascii() and isinstance(key, str)):
        raise ValueError("no session in the answer")
    base64.b64decode(key, validate=True)
    life = min(max((expires_s or 0.0) - at.wall, 10 * SPARE_S), LONGEST_S)
    return Session(agent, name, key, at.boot, at.up + life - SPARE_S)


def none_given(agent: str, at: Moment) -> Session:
    """What is remembered of a collector that gives no sessions."""
    return Session(agent, "", "", at.boot, at.up + LONGEST_S)


def stored(folder: Path, agent: str, at: Moment) -> Session | None:
    """The session that an earlier worker left, while it lives."""
    try:
        found = Session(**json.loads((folder / FILE).read_bytes()))
        alive = found.agent == agent and found.boot == at.boot and at.up < found.until_up
    except (OSError, ValueError, TypeError):
        return None
    return found if alive else None


def as_json(session: Session) -> bytes:
    return json.dumps(asdict(session)).encode()
