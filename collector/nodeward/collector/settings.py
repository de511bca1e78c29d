"""What an operator may set: a file, a folder of more files, and NODEWARD_* over them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

import yaml
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from nodeward.collector.attest import Trust
from nodeward.collector.clock import span_ms
from nodeward.collector.oidc import Oidc, oidc_of

FILE: Final = Path("/etc/nodeward/collector.yaml")
ENVIRONMENT: Final = "NODEWARD_"
FIXED: Final = ("listen", "state", "database", "tls", "tls_cert", "tls_key", "connections")
"""What a reload does not change; of certificate and key what the files hold is read anew."""


class SettingsError(ValueError):
    """A setting that cannot be. The text names file and key."""


@dataclass(frozen=True)
class Settings:
    """Defaults are what is shipped. Spans are texts such as 15m."""

    listen: str = "127.0.0.1:8443"
    state: str = "/var/lib/nodeward"
    database: str = ""  # empty: SQLite in the state folder
    query_database: str = ""  # PostgreSQL: URL of the login for /v1/query
    tls_cert: str = ""  # empty: tls.crt in the state folder
    tls_key: str = ""
    tls: bool = True
    stale_after: str = "15m"
    keep_receipts: str = "30d"
    keep_events: str = "400d"  # what agents did that they should not
    retire_after: str = ""  # empty: silent nodes stay until somebody retires them
    keep_changes: str = ""  # empty: for ever
    alerts_ca: str = (
        ""  # a file: whom alert targets' certificates are signed by; empty: the system's
    )
    archive: str = ""  # a folder for the changes of closed days; empty: none
    metrics_open: bool = False  # /metrics without a token
    connections: int = 20_000
    clusters: dict[str, Trust] = field(default_factory=dict)  # whose pods' tokens enrol agents
    asks_per_s: int = 50  # by one token or address, on average; ten times as many at once
    refusals_per_s: int = 10  # of one address, the same
    oidc: Oidc | None = None  # where people log in; without it by token only

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{Path(self.state).absolute() / 'collector.db'}"

    @property
    def cert_path(self) -> Path:
        return Path(self.tls_cert or Path(self.state) / "tls.crt")

    @property
    def key_path(self) -> Path:
        return Path(self.tls_key or Path(self.state) / "tls.key")

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def stale_ms(self) -> int:
        return span_ms(self.stale_after)

    @property
    def keep_changes_ms(self) -> int | None:
        return span_ms(self.keep_changes) if self.keep_changes else None

    @property
    def keep_events_ms(self) -> int:
        return span_ms(self.keep_events)

    @property
    def keep_receipts_ms(self) -> int:
        return span_ms(self.keep_receipts)


def load(path: Path | None, environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings in force. A named file must be there; the usual one may be missing."""
    main = path or FILE
    merged: dict[str, Any] = {}
    if path is not None or main.exists():
        merged |= _read(main)
    for more in sorted(main.with_suffix(".d").glob("*.yaml")):
        merged |= _read(more)
    for known in fields(Settings):
        value = environment.get(ENVIRONMENT + "COLLECTOR_" + known.name.upper())
        if value is not None:
            merged[known.name] = yaml.safe_load(value) if known.type != "str" else value
    return check(merged, str(main))


def _read(path: Path) -> Mapping[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise SettingsError(f"{path}: {exc}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise SettingsError(f"{path}: must be a mapping of settings")
    return data


def check(values: Mapping[str, Any], where: str) -> Settings:
    """Values as settings. Raises SettingsError with a suggestion for an unknown name."""
    known = {f.name: f for f in fields(Settings)}
    values = dict(values)
    if "clusters" in values:
        values["clusters"] = _clusters(values["clusters"], where)
    oidc = values.pop("oidc", {})
    for name, value in values.items():
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SettingsError(f"{where}: there is no setting {name}{hint}")
        wanted = dict if name == "clusters" else type(known[name].default)
        if type(value) is not wanted:
            raise SettingsError(f"{where}: {name} must be {wanted.__name__}, not {value!r}")
    settings = replace(Settings(), **values)
    try:
        settings = replace(settings, oidc=oidc_of(oidc))
        for name in ("connections", "asks_per_s", "refusals_per_s"):
            if getattr(settings, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        _sensible(settings)
    except ValueError as exc:
        raise SettingsError(f"{where}: {exc}") from None
    return settings


SPANS: Final = ("stale_after", "keep_receipts", "keep_events", "retire_after", "keep_changes")
OPTIONAL: Final = ("retire_after", "keep_changes")


def _sensible(settings: Settings) -> None:
    """Raises ValueError for what no collector could run with."""
    host, port = settings.address
    if not host or port > 65_535:
        raise ValueError(f"listen must be ADDRESS:PORT, not {settings.listen}")
    for name in SPANS:
        text = getattr(settings, name)
        if (text or name not in OPTIONAL) and span_ms(text) <= 0:
            raise ValueError(f"{name} must be more than nothing")
    _store("database", settings.database, ("sqlite", "postgresql"))
    _store("query_database", settings.query_database, ("postgresql",))


def _store(name: str, url: str, kinds: tuple[str, ...]) -> None:
    if not url:
        return
    forms = " or ".join(f"{kind}://..." for kind in kinds)
    try:
        kind = make_url(url).get_backend_name()
    except ArgumentError:
        kind = ""
    if kind not in kinds:  # the URL may hold a password
        raise ValueError(f"{name} must be {forms}")


def missing_files(settings: Settings) -> list[str]:
    """What the settings name and is not there, in words."""
    named = [("archive's folder", str(Path(settings.archive).parent))] if settings.archive else []
    named += [("alerts_ca", settings.alerts_ca)] if settings.alerts_ca else []
    if settings.tls and (settings.tls_cert or settings.tls_key):
        named += [("tls_cert", str(settings.cert_path)), ("tls_key", str(settings.key_path))]
    for cluster, trust in settings.clusters.items():
        files = ("jwks",) if trust.auth == "jwks" else ("ca", "token_file")
        named += [(f"clusters.{cluster}.{name}", getattr(trust, name)) for name in files]
    return [f"{name}: there is no {path}" for name, path in named if not Path(path).exists()]


def _clusters(given: Any, where: str) -> dict[str, Trust]:  # noqa: ANN401  what a file held
    if not isinstance(given, dict):
        raise SettingsError(f"{where}: clusters must be a mapping of names")
    out = {}
    names = {f.name for f in fields(Trust)}
    for cluster, values in given.items():
        if not isinstance(values, dict) or not all(isinstance(v, str) for v in values.values()):
            raise SettingsError(f"{where}: clusters.{cluster} must be a mapping of texts")
        for name in values.keys() - names:
            near = difflib.get_close_matches(str(name), names, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SettingsError(f"{where}: there is no setting clusters.{cluster}.{name}{hint}")
        trust = Trust(**values)
        missing = trust.missing()
        if missing is not None:
            raise SettingsError(f"{where}: clusters.{cluster} needs {missing}")
        out[str(cluster)] = trust
    return out
