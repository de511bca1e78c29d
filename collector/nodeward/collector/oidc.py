"""People log in where their organisation keeps them: OpenID Connect Core 1.0, section 3.1.

The authorization code flow with PKCE (RFC 7636), state and nonce. What the provider says is only
who somebody is and of which groups; what a group may do here is a setting of ours.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import get_well_known_url
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from nodeward.collector.clock import span_ms
from nodeward.collector.problem import Problem, busy
from nodeward.collector.store.access import Role

ALGORITHMS: Final = ["RS256", "ES256", "PS256", "EdDSA", "Ed25519", "RS384", "RS512", "ES384",
                     "ES512", "PS384", "PS512"]  # fmt: skip
"""Never `none`, and none with a shared secret."""
LEEWAY_S: Final = 60
TIMEOUT_S: Final = 10
TOLD_S: Final = 3_600.0
"""How long the provider's description and keys are good for."""
AGAIN_S: Final = 30.0
"""Keys that do not fit are fetched anew, but not more often."""
PENDING_S: Final = 600
BACK: Final = "/login/oidc/back"
_TEXTS: Final = ("issuer", "client_id", "url", "secret_file", "ca", "name", "scope", "user_claim",
                 "groups_claim", "session")  # fmt: skip


@dataclass(frozen=True)
class Grant:
    """What the people of a group may do, and in which clusters (no labels: in all)."""

    group: str
    role: Role
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Oidc:
    """A provider, and what it is trusted with. `url` is where people's browsers reach us."""

    issuer: str
    client_id: str
    url: str
    grants: tuple[Grant, ...]
    secret_file: str = ""
    ca: str = ""  # empty: the system's
    name: str = "single sign-on"
    scope: str = "openid profile email"
    user_claim: str = "email"
    groups_claim: str = "groups"
    session: str = "8h"

    @property
    def session_ms(self) -> int:
        return span_ms(self.session)

    @property
    def redirect_uri(self) -> str:
        return self.url.rstrip("/") + BACK


def oidc_of(given: object) -> Oidc | None:
    """The setting `oidc`; an empty mapping is none. Raises ValueError naming the member."""
    if not isinstance(given, dict):
        raise ValueError("oidc must be a mapping")
    if not given:
        return None
    values = dict(given)
    grants = tuple(_grant(one) for one in _list(values.pop("grants", None)))
    for name, value in values.items():
        if name not in _TEXTS:
            raise ValueError(f"there is no setting oidc.{name}")
        if not isinstance(value, str):
            raise ValueError(f"oidc.{name} must be a text")
    for name in ("issuer", "client_id", "url"):
        if not values.get(name):
            raise ValueError(f"oidc.{name} is missing")
    made = Oidc(grants=grants, **values)
    for name in ("issuer", "url"):
        _https(f"oidc.{name}", values[name])
    if "openid" not in made.scope.split():
        raise ValueError("oidc.scope must hold openid")
    _ = made.session_ms
    for name in ("secret_file", "ca"):
        if values.get(name) and not Path(values[name]).is_file():
            raise ValueError(f"oidc.{name}: there is no file {values[name]}")
    return made


def _list(given: object) -> list[object]:
    if not isinstance(given, list) or not given:
        raise ValueError("oidc.grants must be a list of {group, role, labels}")
    return given


def _grant(given: object) -> Grant:
    if not isinstance(given, dict) or not given.keys() <= {"group", "role", "labels"}:
        raise ValueError("oidc.grants: each has group, role and perhaps labels")
    group, role, labels = given.get("group"), given.get("role"), given.get("labels", {})
    if not isinstance(group, str) or not group:
        raise ValueError("oidc.grants: group must be a text")
    if role not in ("viewer", "operator", "admin"):
        raise ValueError(f"oidc.grants: the role of {group} must be viewer, operator or admin")
    texts = isinstance(labels, dict) and all(
        isinstance(k, str) and isinstance(v, str) for k, v in labels.items()
    )
    if not texts:
        raise ValueError(f"oidc.grants: the labels of {group} must be a mapping of texts")
    return Grant(group, Role.named(role), dict(labels))


def _https(what: str, url: str) -> None:
    if urlsplit(url).scheme != "https" or not urlsplit(url).netloc:
        raise ValueError(f"{what} must be an https:// address")


@dataclass(frozen=True)
class Pending:
    """A login that was begun; it travels in a sealed cookie."""

    state: str
    nonce: str
    verifier: str
    target: str
    until: int


@dataclass(frozen=True)
class Person:
    """Who logged in. `subject` is unique and never another's; `name` is for people."""

    subject: str
    name: str
    grant: Grant


def _refused(why: str) -> Problem:
    return Problem(403, "login", f"the login did not succeed: {why}")


class Provider:
    """One OpenID provider. All that it does blocks: call it in a thread."""

    def __init__(self, settings: Oidc) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._metadata: Mapping[str, Any] = {}
        self._metadata_at = -TOLD_S
        self._keys: KeySet | None = None
        self._keys_at = -TOLD_S

    def begin(self, target: str, now_s: float) -> tuple[str, Pending]:
        """Where to send the browser, and what to remember of it."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        endpoint = self._endpoint("authorization_endpoint")
        with self._session() as session:
            url, _ = session.create_authorization_url(
                endpoint, state=state, nonce=nonce, code_verifier=verifier
            )
        return url, Pending(state, nonce, verifier, target, int(now_s) + PENDING_S)

    def finish(self, pending: Pending, told: Mapping[str, str], now_s: float) -> Person:
        """Who comes back with this answer (the query of the redirect). Raises Problem."""
        if not hmac.compare_digest(told.get("state", "").encode(), pending.state.encode()):
            raise _refused("the answer belongs to another login")
        if pending.until < now_s:
            raise _refused("it took too long")
        if told.get("iss", self.settings.issuer) != self.settings.issuer:  # RFC 9207
            raise _refused("the answer is another provider's")
        if "error" in told or not told.get("code"):
            raise _refused("the provider refused")
        tokens = self._redeem(told["code"], pending.verifier)
        return self._person(self._identity(tokens, pending.nonce, now_s), tokens)

    # -- the provider's side

    def _redeem(self, code: str, verifier: str) -> Mapping[str, Any]:
        endpoint = self._endpoint("token_endpoint")
        try:
            with self._session() as session:
                tokens: Mapping[str, Any] = session.fetch_token(
                    endpoint,
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=verifier,
                    timeout=TIMEOUT_S,
                )
        except AuthlibBaseError:
            raise _refused("the provider did not take its own code") from None
        except (requests.RequestException, ValueError):
            raise _away() from None
        return tokens

    def _identity(self, tokens: Mapping[str, Any], nonce: str, now_s: float) -> CodeIDToken:
        """The claims of the ID token, after all that section 3.1.3.7 asks for."""
        if not isinstance(tokens.get("id_token"), str):
            raise _refused("the provider gave no ID token")
        decoded = self._decoded(tokens["id_token"])
        ours = self.settings
        claims = CodeIDToken(
            decoded.claims,
            decoded.header,
            options={"iss": {"value": ours.issuer}, "aud": {"value": ours.client_id}},
            params={
                "nonce": nonce,
                "client_id": ours.client_id,
                "access_token": tokens.get("access_token"),
            },
        )
        try:
            claims.validate(now=int(now_s), leeway=LEEWAY_S)
        except (AuthlibBaseError, JoseError, ValueError, TypeError):
            raise _refused("the ID token is not for this login") from None
        return claims

    def _decoded(self, token: str) -> jwt.Token:
        for fresh in (False, True):
            try:
                return jwt.decode(token, self._key_set(fresh=fresh), algorithms=ALGORITHMS)
            except (JoseError, ValueError, KeyError):
                continue  # perhaps by a key that is newer than what we hold
        raise _refused("the ID token is not signed by the provider")

    def _person(self, claims: Mapping[str, Any], tokens: Mapping[str, Any]) -> Person:
        ours = self.settings
        subject = claims["sub"]
        if not isinstance(subject, str) or not subject:
            raise _refused("the ID token names nobody")
        if ours.groups_claim not in claims or ours.user_claim not in claims:
            claims = {**self._userinfo(subject, tokens), **claims}
        groups = claims.get(ours.groups_claim)
        known = {groups} if isinstance(groups, str) else _texts(groups)
        name = claims.get(ours.user_claim)
        if not isinstance(name, str) or not name or claims.get("email_verified") is False:
            name = subject
        for grant in ours.grants:
            if grant.group in known:
                return Person(f"{ours.issuer} {subject}", name[:253], grant)
        raise Problem(403, "no-role", f"{name} is in no group that has a role here")

    def _userinfo(self, subject: str, tokens: Mapping[str, Any]) -> Mapping[str, Any]:
        """More about the same person, where the ID token is short."""
        url, token = self._metadata.get("userinfo_endpoint"), tokens.get("access_token")
        if not isinstance(url, str) or not isinstance(token, str):
            return {}
        told = self._get(url, Authorization=f"Bearer {token}")
        return told if told.get("sub") == subject else {}

    def _endpoint(self, name: str) -> str:
        """An address from the provider's description, fetched when it is an hour old."""
        with self._lock:
            if time.monotonic() - self._metadata_at >= TOLD_S:
                told = self._get(get_well_known_url(self.settings.issuer, external=True))
                if told.get("issuer") != self.settings.issuer:
                    raise _refused("the provider calls itself otherwise than oidc.issuer")
                self._metadata, self._metadata_at = told, time.monotonic()
        url = self._metadata.get(name)
        if not isinstance(url, str) or urlsplit(url).scheme != "https":
            raise _refused(f"the provider has no {name}")
        return url

    def _key_set(self, *, fresh: bool) -> KeySet:
        url = self._endpoint("jwks_uri")
        with self._lock:
            age = time.monotonic() - self._keys_at
            if self._keys is None or age >= TOLD_S or (fresh and age >= AGAIN_S):
                self._keys = KeySet.import_key_set(dict(self._get(url)))  # type: ignore[arg-type]
                self._keys_at = time.monotonic()
            return self._keys

    def _get(self, url: str, **headers: str) -> Mapping[str, Any]:
        try:
            with requests.Session() as http:
                http.trust_env = False
                http.verify = self.settings.ca or True
                answer = http.get(url, headers=headers, timeout=TIMEOUT_S, allow_redirects=False)
                answer.raise_for_status()
                told = answer.json()
        except (requests.RequestException, ValueError):
            raise _away() from None
        if not isinstance(told, dict):
            raise _away()
        return told

    def _session(self) -> OAuth2Session:
        ours = self.settings
        secret = Path(ours.secret_file).read_text("utf-8").strip() if ours.secret_file else None
        methods = self._metadata.get("token_endpoint_auth_methods_supported")
        basic = methods is None or "client_secret_basic" in methods
        session = OAuth2Session(
            client_id=ours.client_id,
            client_secret=secret,
            token_endpoint_auth_method=(
                "none" if secret is None else f"client_secret_{'basic' if basic else 'post'}"
            ),
            scope=ours.scope,
            redirect_uri=ours.redirect_uri,
            code_challenge_method="S256",
        )
        session.trust_env = False
        session.verify = ours.ca or True
        return session


def _away() -> Problem:
    return busy("the login provider does not answer", 10)


def _texts(given: object) -> set[str]:
    return {one for one in given if isinstance(one, str)} if isinstance(given, list) else set()
