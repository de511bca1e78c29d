"""Who this agent is: an Ed25519 key made on the node, and what the collector said of it.

The key never leaves its file. It is bound to the machine id, so that a node made from an image
into which a key was captured makes its own instead of passing for the first.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

KEY_FILE = "key"
ENROLMENT_FILE = "enrolment.json"
WORDS = b"nodeward-enroll\n"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """The collector's answer: as whom it knows us. `expires_at` as it said it, RFC 3339."""

    agent_id: str
    node: str
    cluster: str
    expires_at: str | None = None


class Identity:
    """The key in `folder`, made when there is none. `machine` is this machine's id."""

    def __init__(self, folder: Path, machine: str) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._machine = hashlib.sha256(b"nodeward-key:" + machine.encode()).hexdigest()
        self.cloned = False
        """Whether a key of another machine was found and thrown away."""
        seed = self._stored() or self._make()
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.agent_id = agent_id(self.public)

    def sign(self, text: bytes) -> str:
        return base64.b64encode(self._key.sign(text)).decode()

    def headers(self, method: str, path: str, body: bytes, now: float) -> dict[str, str]:
        """The headers that make a request ours. `body` as it is sent, compressed."""
        at = str(int(now))
        digest = hashlib.sha256(body).hexdigest()
        text = "\n".join(("nodeward-v1", method, path, at, digest))
        return {
            "Nodeward-Agent": self.agent_id,
            "Nodeward-Time": at,
            "Nodeward-Signature": self.sign(text.encode()),
        }

    def request(self, node: str, cluster: str, attestation: Mapping[str, str]) -> dict[str, Any]:
        """The body of POST /v1/enroll."""
        return {
            "public_key": base64.b64encode(self.public).decode(),
            "node": node,
            "cluster": cluster,
            "attestation": dict(attestation),
            "proof": self.sign(WORDS + self.public + b"\n" + node.encode()),
        }

    @property
    def enrolment(self) -> Enrolment | None:
        """As whom we are enrolled with this key; None before that."""
        try:
            raw = json.loads((self._folder / ENROLMENT_FILE).read_bytes())
            found = Enrolment(**raw)
        except (OSError, ValueError, TypeError):
            return None
        return found if found.agent_id == self.agent_id else None

    def enrolled(self, enrolment: Enrolment) -> None:
        text = json.dumps(asdict(enrolment)).encode()
        write_whole(self._folder / ENROLMENT_FILE, text)

    def forget_enrolment(self) -> None:
        (self._folder / ENROLMENT_FILE).unlink(missing_ok=True)

    def _stored(self) -> bytes | None:
        try:
            raw = json.loads((self._folder / KEY_FILE).read_bytes())
            seed, machine = base64.b64decode(raw["seed"], validate=True), raw["machine"]
        except (OSError, ValueError, TypeError, KeyError):
            return None
        if machine != self._machine:
            self.cloned = True
            return None
        return seed if len(seed) == 32 else None

    def _make(self) -> bytes:
        seed = os.urandom(32)
        kept = {"seed": base64.b64encode(seed).decode(), "machine": self._machine}
        write_whole(self._folder / KEY_FILE, json.dumps(kept).encode())
        self.forget_enrolment()
        return seed


def agent_id(public: bytes) -> str:
    """The name that follows from a raw public key."""
    digest = base64.b32encode(hashlib.sha256(public).digest()).decode()
    return digest.lower().rstrip("=")[:26]


def write_whole(path: Path, content: bytes, mode: int = 0o600, *, durable: bool = True) -> None:
    """Replace a file: readers see the old or the new content. `durable`: after a crash too."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with open(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(fd, mode)
        if durable:
            os.fsync(fd)
    temporary.replace(path)
    if not durable:
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
