"""What a bearer token says of itself. The token never leaves this module."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import TYPE_CHECKING, ClassVar

from nodeward.host.query import Query
from nodeward.lazy import dataclass, pattern

if TYPE_CHECKING:
    from nodeward.host.tree import TreeHost

TOKEN_LIMIT = 64 << 10
_BOOTSTRAP = pattern(r"([a-z0-9]{6})\.[a-z0-9]{16}")
_LEGACY = "kubernetes.io/serviceaccount/"


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token from outside. `kind` is "jwt", "bootstrap" or "opaque". Of a JWT the claims that
    tell scope and life, unverified: times in seconds since 1970; None where a claim is missing.
    `public_id` is a bootstrap token's id, which is no secret. `legacy`: the claims are those of a
    token that a Secret holds and that never ends."""

    kind: str
    length: int
    sha256: str
    issuer: str = ""
    subject: str = ""
    audience: tuple[str, ...] = ()
    issued_at: int | None = None
    expires_at: int | None = None
    legacy: bool = False
    bound: str = ""
    public_id: str = ""


@dataclass(frozen=True, slots=True)
class TokenFile(Query[TokenRow]):
    """The token that a file holds."""

    answer_type: ClassVar[object] = TokenRow
    at_rest: ClassVar[bool] = True

    path: str

    def answer(self, host: TreeHost) -> TokenRow:
        return describe(host.read(self.path, limit=TOKEN_LIMIT).decode("utf-8", "replace"))


def describe(token: str) -> TokenRow:
    token = token.strip()
    digest = hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
    if found := _BOOTSTRAP.fullmatch(token):
        return TokenRow("bootstrap", len(token), digest, public_id=found[1])
    claims = _claims(token)
    if claims is None:
        return TokenRow("opaque", len(token), digest)
    # Header and claims alone: nothing that is made from the signature goes anywhere.
    digest = hashlib.sha256(token.rpartition(".")[0].encode("utf-8", "replace")).hexdigest()
    return TokenRow(
        "jwt",
        len(token),
        digest,
        issuer=_text(claims.get("iss")),
        subject=_text(claims.get("sub")),
        audience=_texts(claims.get("aud")),
        issued_at=_seconds(claims.get("iat")),
        expires_at=_seconds(claims.get("exp")),
        legacy=any(name.startswith(_LEGACY) for name in claims),
        bound=_bound(claims.get("kubernetes.io")),
    )


def _claims(token: str) -> dict[str, object] | None:
    """The middle part of a JWT, RFC 7519; None when this is none."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        found = [json.loads(base64.urlsafe_b64decode(p + "=" * (-len(p) % 4))) for p in parts[:2]]
    except (ValueError, binascii.Error, RecursionError):
        return None
    return found[1] if all(isinstance(f, dict) for f in found) else None


def _text(value: object) -> str:
    return value[:256] if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(_text(v) for v in values[:16] if isinstance(v, str))


def _seconds(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if abs(value) < 1 << 62 else None


def _bound(value: object) -> str:
    """The object to whose life the token is bound: "pod", "node", "secret"."""
    found = [
        kind for kind in ("pod", "node", "secret") if isinstance(value, dict) and kind in value
    ]
    return ", ".join(found)
