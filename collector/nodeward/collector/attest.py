"""Projected service-account tokens of Kubernetes: which node a pod was bound to.

The API server signs the node's name and uid into the token when it issues it, from the pod's
immutable spec.nodeName (KEP-4193, stable in 1.32), and a kubelet can only have tokens made for pods
of its own node. So root on one node cannot make a token that names another.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import requests
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from nodeward.collector.problem import Problem, busy

log = logging.getLogger(__name__)

ALGORITHMS: Final = ["RS256", "ES256", "ES384", "RS384", "RS512", "ES512", "PS256"]
LEEWAY_S: Final = 30
TIMEOUT_S: Final = (3, 10)
_EXTRA: Final = "authentication.kubernetes.io/"


@dataclass(frozen=True)
class Trust:
    """How one cluster's tokens are checked: offline by `jwks`, or by asking `api`."""

    auth: str = "jwks"  # or tokenreview
    issuer: str = ""
    jwks: str = ""  # file: the answer of /openid/v1/jwks
    api: str = ""  # https://...:6443
    ca: str = ""
    token_file: str = ""  # of a service account bound to system:auth-delegator
    audience: str = "nodeward"
    service_account: str = "nodeward:nodeward-agent"

    def missing(self) -> str | None:
        """The setting without which it cannot work."""
        if self.auth not in ("jwks", "tokenreview"):
            return "auth (jwks or tokenreview)"
        needed = ("issuer", "jwks") if self.auth == "jwks" else ("api", "ca", "token_file")
        return next((name for name in needed if not getattr(self, name)), None)

    @property
    def username(self) -> str:
        return f"system:serviceaccount:{self.service_account}"


@dataclass(frozen=True)
class Attested:
    """The node that a token was issued on."""

    node: str
    uid: str


def _refused() -> Problem:
    """One answer for every reason: no guessing."""
    message = "the service-account token is not this cluster's, has expired, or names no node"
    return Problem(403, "psat", message, field="attestation.token")


def attest(trust: Trust, token: str, now_s: float) -> Attested:
    """Which node this token speaks for. Raises Problem. Blocks: it reads a file or asks an API."""
    if trust.auth == "jwks":
        return _offline(trust, token, now_s)
    return _review(trust, token)


def _offline(trust: Trust, token: str, now_s: float) -> Attested:
    keys = _keys(Path(trust.jwks))
    try:
        claims: Mapping[str, Any] = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
    except (JoseError, ValueError, KeyError):
        raise _refused() from None
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    until, begin = claims.get("exp"), claims.get("nbf", 0)
    if (
        claims.get("iss") != trust.issuer
        or trust.audience not in audiences
        or claims.get("sub") != trust.username
        or not isinstance(until, int | float)
        or not isinstance(begin, int | float)
        or not begin - LEEWAY_S <= now_s < until + LEEWAY_S
    ):
        raise _refused()
    return _node(claims)


def _keys(path: Path) -> KeySet:
    """The cluster's keys. Without them nobody can enrol, who may come again."""
    try:
        return KeySet.import_key_set(json.loads(path.read_bytes()))
    except (OSError, JoseError, ValueError, KeyError, TypeError, AttributeError) as exc:
        log.error("%s is no key set: %s", path, exc)
        raise busy("the cluster's keys cannot be read", 30) from None


def _node(claims: Mapping[str, Any]) -> Attested:
    kubernetes = claims.get("kubernetes.io")
    node = kubernetes.get("node") if isinstance(kubernetes, Mapping) else None
    if not isinstance(node, Mapping):
        raise _refused()
    return _attested(node.get("name"), node.get("uid"))


def _attested(name: object, uid: object) -> Attested:
    if not (isinstance(name, str) and name and isinstance(uid, str) and uid):
        raise _refused()
    return Attested(name, uid)


def _review(trust: Trust, token: str) -> Attested:
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": [trust.audience]},
    }
    try:
        ours = Path(trust.token_file).read_text(encoding="ascii").strip()
        with requests.Session() as http:
            http.trust_env = False
            http.verify = trust.ca
            answer = http.post(
                f"{trust.api.rstrip('/')}/apis/authentication.k8s.io/v1/tokenreviews",
                json=body,
                headers={"Authorization": f"Bearer {ours}"},
                timeout=TIMEOUT_S,
                allow_redirects=False,
            )
            answer.raise_for_status()
            status = answer.json()["status"]
    except (requests.RequestException, ValueError, KeyError, OSError):
        raise busy("the cluster's API server does not answer", 30) from None
    return _reviewed(trust, status)


def _reviewed(trust: Trust, status: Any) -> Attested:  # noqa: ANN401  what an API server said
    if not isinstance(status, Mapping) or status.get("authenticated") is not True:
        raise _refused()
    user = status.get("user")
    extra = user.get("extra") if isinstance(user, Mapping) else None
    if (
        not isinstance(user, Mapping)
        or not isinstance(extra, Mapping)
        or user.get("username") != trust.username
        or trust.audience not in (status.get("audiences") or ())
    ):
        raise _refused()
    name, uid = (extra.get(f"{_EXTRA}node-{part}") for part in ("name", "uid"))
    return _attested(*(v[0] if isinstance(v, list) and v else None for v in (name, uid)))
