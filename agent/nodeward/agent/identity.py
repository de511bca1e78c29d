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
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodeward.agent.session import FILE as SESSION_FILE
from nodeward.agent.session import Session, as_json, stored

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from nodeward.agent.spool import Moment

KEY_FILE = "key"
NEXT = "next"
"""The folder of the key that takes our place once the collector knows it."""
ENROLMENT_FILE = "enrolment.json"
ALWAYS_SIGNED = ("/v1/reports",)
"""A report is evidence: the collector keeps its signature."""
WORDS = b"nodeward-enroll\n"
ROTATE_WORDS = b"nodeward-rotate\n"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """The collector's answer: as whom it knows us. `expires_at` as it said it, RFC 3339; `since`
    when that was, seconds since 1970."""

    agent_id: str
    node: str
    cluster: str
    expires_at: str | None = None
    since: float | None = None


class Identity:
    """The key in `folder`, made when there is none. `machine` is this machine's id; "" where it has
    none, or it cannot be read just now: then a key stays bound to what it was bound to. Raises
    OSError where a key may be, but cannot be read."""

    def __init__(self, folder: Path, machine: str, bound: str = "") -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._name = machine
        # What a key that is made now is bound to.
        self._machine = bound or hashlib.sha256(b"nodeward-key:" + machine.encode()).hexdigest()
        self.cloned = False
        """Whether a key of another machine was found and thrown away."""
        self._load()

    def _load(self) -> None:
        kept = self._stored()
        if kept is None:  # who had these is not us
            self.forget_enrolment()
            self.forget_session()
        self._seed, public = kept or (os.urandom(32), None)
        self.public = public or self._keep()
        self.agent_id = agent_id(self.public)

    @cached_property
    def _key(self) -> Ed25519PrivateKey:
        # Slow to import, and a look that changes nothing signs nothing.
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self._seed)

    def sign(self, text: bytes) -> str:
        return base64.b64encode(self._key.sign(text)).decode()

    def headers(
        self, method: str, path: str, body: bytes, now: float, session: Session | None = None
    ) -> dict[str, str]:
        """The headers that make a request ours. `body` as it is sent, compressed. Within a session
        its MAC does, but a report carries its signature there too."""
        at = str(int(now))
        digest = hashlib.sha256(body).hexdigest()
        text = "\n".join(("nodeward-v1", method, path, at, digest)).encode()
        known = {"Nodeward-Agent": self.agent_id, "Nodeward-Time": at}
        if session is not None:
            known |= session.headers(text)
        if session is None or path in ALWAYS_SIGNED:
            known["Nodeward-Signature"] = self.sign(text)
        return known

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

    # -- the key after this one ------------------------------------------------------------

    @property
    def made_at(self) -> float:
        """When this key was made, seconds since 1970."""
        return (self._folder / KEY_FILE).stat().st_mtime

    def successor(self) -> Identity:
        """The next key, made when there is none; the same one until it has taken our place."""
        return Identity(self._folder / NEXT, self._name, self._machine)

    def handing_over(self, successor: Identity) -> dict[str, str]:
        """The body of POST /v1/rotate."""
        text = ROTATE_WORDS + self.agent_id.encode() + b"\n" + successor.public
        public_key = base64.b64encode(successor.public).decode()
        return {"public_key": public_key, "proof": successor.sign(text)}

    def succeed(self) -> bool:
        """The next key is ours from now on; whether there was one."""
        try:
            (self._folder / NEXT / KEY_FILE).replace(self._folder / KEY_FILE)
        except FileNotFoundError:
            return False
        sync_folder(self._folder)
        self.forget_session()
        self.__dict__.pop("_key", None)
        self._load()
        return True

    # -- the session -----------------------------------------------------------------------

    def session(self, at: Moment) -> Session | None:
        """The session that lives; one without an id says that this collector gives none."""
        return stored(self._folder, self.agent_id, at)

    def keep_session(self, session: Session) -> None:
        write_whole(self._folder / SESSION_FILE, as_json(session), durable=False)

    def forget_session(self) -> None:
        (self._folder / SESSION_FILE).unlink(missing_ok=True)

    # -- the key ---------------------------------------------------------------------------

    def _stored(self) -> tuple[bytes, bytes | None] | None:
        """The seed, and the public half where that is kept beside it."""
        try:
            raw = json.loads((self._folder / KEY_FILE).read_bytes())
            seed, machine = base64.b64decode(raw["seed"], validate=True), raw["machine"]
            public = base64.b64decode(raw.get("public", ""), validate=True)
        except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
            return None
        if len(seed) != 32 or not isinstance(machine, str):
            return None
        if not self._name:  # nobody knows which machine this is, and so no other one
            self._machine = machine
        elif machine != self._machine:
            self.cloned = True
            return None
        return seed, public if len(public) == 32 else None

    def _keep(self) -> bytes:
        """Write the key down, with its public half: deriving that is what costs."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        kept = {
            "seed": base64.b64encode(self._seed).decode(),
            "public": base64.b64encode(public).decode(),
            "machine": self._machine,
        }
        write_whole(self._folder / KEY_FILE, json.dumps(kept).encode())
        return public


def agent_id(public: bytes) -> str:
    """The name that follows from a raw public key."""
    digest = base64.b32encode(hashlib.sha256(public).digest()).decode()
    return digest.lower().rstrip("=")[:26]


def write_whole(path: Path, content: bytes, mode: int = 0o600, *, durable: bool = True) -> None:
    """Replace a file: readers see the old or the new content. `durable`: after a crash too."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with open(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(fd, mode)
            if durable:
                os.fsync(fd)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if not durable:
        return
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """What was renamed in it stays so after a crash."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
