"""Which of two values of a kubelet's setting is the weaker one, as data."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any

from nodeward.facts.kubelet_merge import Unknown


def _loopback(value: Any) -> int:  # noqa: ANN401  JSON of the host, here and below
    try:
        return int(ipaddress.ip_address(value).is_loopback)
    except ValueError:
        return 0


_TLS = ("VersionTLS10", "VersionTLS11", "VersionTLS12", "VersionTLS13")


def _tls(value: Any) -> int:  # noqa: ANN401
    return _TLS.index(value) if value in _TLS else 2


def _on(value: Any) -> int:  # noqa: ANN401
    return int(value is True)


def _off(value: Any) -> int:  # noqa: ANN401
    return int(value is False)


def _zero(value: Any) -> int:  # noqa: ANN401
    return int(value == 0)


def _set(value: Any) -> int:  # noqa: ANN401
    return int(bool(value))


def _unset(value: Any) -> int:  # noqa: ANN401
    return int(not value)


def _positive(value: Any) -> int:  # noqa: ANN401
    return int(isinstance(value, int) and value > 0)


STRONGER: Mapping[str, Callable[[Any], int]] = {
    "authentication.anonymous.enabled": _off,
    "authentication.webhook.enabled": _on,
    "authentication.x509.clientCAFile": _set,
    "authorization.mode": lambda v: int(v == "Webhook"),
    "readOnlyPort": _zero,
    "healthzBindAddress": _loopback,
    "tlsMinVersion": _tls,
    "protectKernelDefaults": _on,
    "rotateCertificates": _on,
    "serverTLSBootstrap": _on,
    "seccompDefault": _on,
    "makeIPTablesUtilChains": _on,
    "eventRecordQPS": _positive,
    "podPidsLimit": _positive,
    "enableDebuggingHandlers": _off,
    "enableProfilingHandler": _off,
    "enableDebugFlagsHandler": _off,
    "enableSystemLogHandler": _off,
    "enableSystemLogQuery": _off,
    "staticPodURL": _unset,
    "failSwapOn": _on,
}
"""Path -> rank of a value; more is stronger. Only fields of which one value is weaker."""


def weaker(path: str, new: Any, old: Any) -> bool:  # noqa: ANN401
    """Whether the new value is the weaker; False where one of them could not be told."""
    if isinstance(new, Unknown) or isinstance(old, Unknown):
        return False
    rank = STRONGER[path]
    return rank(new) < rank(old)
