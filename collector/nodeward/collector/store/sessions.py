"""Short-lived keys for agents, so that not every heartbeat costs a signature's verification.

An agent opens a session with a signed request and is given a key for a MAC. The key follows from
one secret that all replicas share, so there is nothing to store or to look up; and since the
agent's enrolment is looked at with each request, revoking it ends its sessions as well.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Engine, select

from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import insert

LIFE_MS: Final = 3_600_000
MOST: Final = 300_000
SECRET: Final = "session"  # noqa: S105  the name of the row


@dataclass(frozen=True, slots=True)
class Session:
    """A session as the agent is told of it."""

    id: str
    key: bytes
    expires_at: int


class Sessions:
    """Makes and checks session keys. `secret` is read once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._secret = b""
        self._keys: dict[tuple[str, str], bytes] = {}

    def open(self, agent: str, now: int) -> Session:
        expires_at = now + LIFE_MS
        session = f"{expires_at:x}.{secrets.token_hex(6)}"
        return Session(session, self._derive(agent, session), expires_at)

    def key(self, agent: str, session: str, now: int) -> bytes | None:
        """The key of this agent's session; None when it is over or no session's name."""
        until, dot, _ = session.partition(".")
        try:
            expires_at = int(until, 16) if dot and len(session) <= 40 else 0
        except ValueError:
            return None
        if not now < expires_at <= now + LIFE_MS + 60_000:
            return None
        found = self._keys.get((agent, session))
        if found is None:
            if len(self._keys) >= MOST:
                self._keys.clear()
            found = self._keys[agent, session] = self._derive(agent, session)
        return found

    def _derive(self, agent: str, session: str) -> bytes:
        if not self._secret:
            with self._engine.execution_options(writes=True).begin() as connection:
                self._secret = shared_secret(connection, SECRET)
        return hmac.digest(self._secret, f"{agent}\n{session}".encode(), "sha256")


def shared_secret(connection: Connection, name: str) -> bytes:
    """32 random bytes under this name, the same for every replica."""
    row = {"id": name, "value": secrets.token_bytes(32), "created_at": 0}
    connection.execute(insert(connection, t.secret).on_conflict_do_nothing(), [row])
    query = select(t.secret.c.value).where(t.secret.c.id == name)
    return bytes(connection.execute(query).scalar_one())


def mac_fits(key: bytes, given: str, text: bytes) -> bool:
    """Whether `given` (base64) is the MAC of the text."""
    want = base64.b64encode(hmac.digest(key, text, "sha256"))
    return hmac.compare_digest(want, given.encode("latin-1", "replace"))
