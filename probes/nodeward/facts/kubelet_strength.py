"""Which of two values of a kubelet's setting is the weaker one, as data."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any

from nodeward.facts.kubelet_merge import Unknown
from nodeward.facts.kubelet_releases import NEWEST, OLDEST, gate_fault

GATES = "featureGates."
SWAPS = {"UnlimitedSwap": 0, "LimitedSwap": 1, "NoSwap": 3}


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


def _bound(value: Any) -> int:  # noqa: ANN401
    """Everywhere, on one address, on loopback."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return 0
    return 2 if address.is_loopback else int(not address.is_unspecified)


def _fewest(value: Any) -> int:  # noqa: ANN401
    return -len(value) if isinstance(value, list) else 0


def is_weak_cipher(name: str) -> bool:
    """Without forward secrecy, or with CBC, RC4 or 3DES."""
    return name.startswith("TLS_RSA_") or any(part in name for part in ("_CBC_", "_RC4_", "3DES"))


def _ciphers(value: Any) -> int:  # noqa: ANN401
    """None named means Go's own, which hold weak ones."""
    named = value if isinstance(value, list) else []
    return int(bool(named) and not any(is_weak_cipher(str(name)) for name in named))


def _removes(value: Any) -> int:  # noqa: ANN401
    return int(isinstance(value, int) and value < 100)


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
    "address": _bound,
    "tlsCipherSuites": _ciphers,
    "allowedUnsafeSysctls": _fewest,
    "enableControllerAttachDetach": _on,
    "imageGCHighThresholdPercent": _removes,
    "staticPodPath": _unset,
    "memorySwap.swapBehavior": lambda v: SWAPS.get(v, 2) if isinstance(v, str) else 2,
    "imagePullCredentialsVerificationPolicy": lambda v: int(v != "NeverVerify"),
}
"""Path -> rank of a value; more is stronger. Only fields of which one value is weaker."""


def counting(*gates: Any) -> list[str]:  # noqa: ANN401
    """Every path that counts for security: of the gates those that any of these maps sets."""
    names = {name for one in gates if isinstance(one, dict) for name in one}
    return [*STRONGER, *(f"{GATES}{name}" for name in sorted(names))]


def weaker(path: str, new: Any, old: Any, minor: int | None) -> bool:  # noqa: ANN401
    """Whether the new value is the weaker; False where one of them could not be told. Of a gate:
    whether it is wrong, and the old one was not, in every version that this may be."""
    if isinstance(new, Unknown) or isinstance(old, Unknown):
        return False
    if path.startswith(GATES):
        name = path.removeprefix(GATES)
        minors = range(OLDEST, NEWEST + 1) if minor is None else (minor,)
        return all(gate_fault(name, new, n) and not gate_fault(name, old, n) for n in minors)
    rank = STRONGER[path]
    return rank(new) < rank(old)
