"""Kubeconfigs, without what is secret in them. Only fields named here are taken over."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from nodeward.host.pem import TAKEN_OUT, KeyRow, PemContents, contents
from nodeward.host.query import Query
from nodeward.host.redact import REDACTED
from nodeward.host.token import TokenRow, describe
from nodeward.lazy import dataclass, pattern

if TYPE_CHECKING:
    from nodeward.host.tree import TreeHost

KUBECONFIG_LIMIT = 2 << 20
MOST = 1000
MOST_VALUES = 200_000
FOREIGN, DAMAGED = "no kubeconfig", "holds neither a kubeconfig nor another kind of configuration"
_KIND = pattern(rb"(?m)(?:^kind|\"kind\")\s*:\s*[\"']?(\w+)")


@dataclass(frozen=True, slots=True)
class ClusterRow:
    """A cluster: where its API is, and by what it is known. `anchors` is the embedded bundle."""

    name: str
    server: str
    insecure: bool
    authority: str
    anchors: str
    proxy: str = ""


@dataclass(frozen=True, slots=True)
class UserRow:
    """A user: file names as they stand, certificates as PEM text, secrets by their outside."""

    name: str
    certificate_file: str = ""
    key_file: str = ""
    certificate: str = ""
    key: KeyRow | None = None
    bearer: TokenRow | None = None
    bearer_file: str = ""
    basic: bool = False
    command: str = ""
    provider: str = ""


@dataclass(frozen=True, slots=True)
class ContextRow:
    """Which user speaks to which cluster."""

    name: str
    cluster: str
    user: str


@dataclass(frozen=True, slots=True)
class KubeconfigContents:
    """A kubeconfig. `error` says why the file is none."""

    clusters: tuple[ClusterRow, ...] = ()
    users: tuple[UserRow, ...] = ()
    contexts: tuple[ContextRow, ...] = ()
    current: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class KubeconfigFile(Query[KubeconfigContents]):
    """What a kubeconfig says, secrets described and not shown."""

    answer_type: ClassVar[object] = KubeconfigContents
    at_rest: ClassVar[bool] = True

    path: str

    def answer(self, host: TreeHost) -> KubeconfigContents:
        raw = host.read(self.path, limit=KUBECONFIG_LIMIT)
        if not any(word in raw for word in (b"clusters", b"users", b"contexts")):
            return KubeconfigContents(error=_without_its_words(raw))
        try:
            value = load(raw)
        except ValueError as exc:
            return KubeconfigContents(error=str(exc))
        if not isinstance(value, dict):
            return KubeconfigContents(error=DAMAGED)
        if not {"clusters", "users", "contexts"} & set(value):
            return KubeconfigContents(error=_without_its_words(raw))
        return KubeconfigContents(
            clusters=tuple(_cluster(name, body) for name, body in _rows(value, "cluster")),
            users=tuple(_user(name, body) for name, body in _rows(value, "user")),
            contexts=tuple(
                ContextRow(name, _text(body, "cluster"), _text(body, "user"))
                for name, body in _rows(value, "context")
            ),
            current=_text(value, "current-context"),
        )


def _without_its_words(raw: bytes) -> str:
    """Which of two things a file is that speaks of no cluster, user or context: empty, or another
    kind of configuration by its own words; else it may be what is left of a kubeconfig."""
    lines = [line for line in raw.splitlines() if line.strip() and not line.startswith(b"#")]
    kind = _KIND.search(raw)
    foreign = kind is not None and kind[1] != b"Config"
    return FOREIGN if foreign or not lines else DAMAGED


def load(raw: bytes) -> Any:  # noqa: ANN401  YAML of the host
    """The first YAML document. ValueError in a few words, without what the file holds."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        value = next(yaml.load_all(raw, Loader=loader), None)
    except yaml.MarkedYAMLError as exc:
        line = exc.problem_mark.line + 1 if exc.problem_mark else 0
        raise ValueError(f"not YAML, line {line}") from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, TypeError):
        raise ValueError("not YAML") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _bounded(value)
    return value


def _bounded(value: object) -> None:
    """Aliases make a small file stand for more values than memory holds: count as one walks."""
    todo, count = [value], 0
    while todo:
        one = todo.pop()
        count += 1
        if count > MOST_VALUES:
            raise ValueError(f"more than {MOST_VALUES} values")
        if isinstance(one, dict):
            todo += one.values()
        elif isinstance(one, list):
            todo += one


def _rows(value: dict[str, Any], kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each named entry of `clusters`, `users` or `contexts`."""
    rows = value.get(f"{kind}s")
    for row in rows[:MOST] if isinstance(rows, list) else ():
        if isinstance(row, dict) and isinstance(row.get(kind), dict):
            yield _text(row, "name"), row[kind]


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    return value if isinstance(value, str) else ""


def _cluster(name: str, body: dict[str, Any]) -> ClusterRow:
    return ClusterRow(
        name=name,
        server=_without_userinfo(_text(body, "server")),
        insecure=body.get("insecure-skip-tls-verify") is True,
        authority=_text(body, "certificate-authority"),
        anchors=_public(_text(body, "certificate-authority-data")).public,
        proxy=_without_userinfo(_text(body, "proxy-url")),
    )


def _without_userinfo(url: str) -> str:
    scheme, found, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{found}{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"


def _user(name: str, body: dict[str, Any]) -> UserRow:
    given, command = body.get("exec"), ""
    if isinstance(given, dict):
        command = _text(given, "command") or "?"
    provider = body.get("auth-provider")
    return UserRow(
        name=name,
        certificate_file=_text(body, "client-certificate"),
        key_file=_text(body, "client-key"),
        certificate=_public(_text(body, "client-certificate-data")).public,
        key=_key(body.get("client-key-data")),
        bearer=describe(_text(body, "token")) if _text(body, "token") else None,
        bearer_file=_text(body, "tokenFile"),
        basic=bool(body.get("password")),
        command=command,
        provider=_text(provider, "name") if isinstance(provider, dict) else "",
    )


def _key(data: object) -> KeyRow | None:
    """An embedded key from outside."""
    if not data:
        return None
    if data == REDACTED:
        return KeyRow(error=TAKEN_OUT)
    keys = _public(data).keys if isinstance(data, str) else ()
    return keys[0] if keys else KeyRow(error="not readable")


_UNREAD = PemContents("-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----", (), "")


def _public(data: str) -> PemContents:
    """An embedded file. What is no base64, or neither certificate nor key, is shown as a block
    that cannot be read."""
    if not data:
        return PemContents("", (), "")
    try:
        found = contents(base64.b64decode(data, validate=False))
    except (binascii.Error, ValueError):
        return _UNREAD
    return found if found.public or found.keys else _UNREAD
