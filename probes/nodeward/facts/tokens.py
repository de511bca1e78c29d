"""Bearer tokens from outside: what they say of themselves, never the token."""

from __future__ import annotations

from nodeward.lazy import dataclass
from nodeward.model import Fact

DAY = 86400


@dataclass(frozen=True, slots=True)
class Token:
    """See nodeward.host.token.TokenRow. Claims are unverified."""

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

    @property
    def endless(self) -> bool:
        """A JWT without `exp`: a service account's Secret, valid until that is deleted."""
        return self.kind == "jwt" and self.expires_at is None

    @property
    def lifetime_s(self) -> int | None:
        if self.expires_at is None or self.issued_at is None:
            return None
        return self.expires_at - self.issued_at

    def __str__(self) -> str:
        """Safe to show to anyone."""
        if self.kind == "bootstrap":
            return f"bootstrap token with id {self.public_id}"
        if self.kind == "opaque":
            return f"opaque token (sha256:{self.sha256[:16]}, {self.length} characters)"
        whose = f" of {self.subject}" if self.subject else ""
        return f"JSON web token{whose}"


@dataclass(frozen=True, slots=True)
class StoredToken:
    """A JSON web token in a file of its own; `token` is None where it could not be read."""

    path: str
    token: Token | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class StoredTokens(Fact):
    """Those in the volumes of this node's pods and at known places. `unseen` are folders that
    could not be searched, with the reason."""

    rows: tuple[StoredToken, ...]
    unseen: tuple[str, ...] = ()
