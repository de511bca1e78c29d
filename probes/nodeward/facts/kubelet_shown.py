"""What a running kubelet shows of its own configuration (/configz), beside what it was given."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nodeward.facts.kubelet_defaults import DEFAULTS
from nodeward.facts.kubelet_fields import FIELDS, Field, Holds
from nodeward.facts.kubelet_merge import Layer, Setting, Unknown, dig

GATES = "featureGates"
SHOWS = "GET /configz"
FILLED = frozenset(
    ["tlsCertFile", "tlsPrivateKeyFile", "cgroupDriver", "resolvConf", "userNamespaces.idsPerPod"]
)
"""Fields that the kubelet fills in or leaves out when nobody sets them."""
COMPARED = {Holds.BOOL, Holds.NUMBER, Holds.TEXT, Holds.DURATION}
ZERO: Mapping[Holds, Any] = {
    Holds.BOOL: False,
    Holds.NUMBER: 0,
    Holds.TEXT: "",
    Holds.LIST: [],
    Holds.MAP: {},
    Holds.DURATION: "0s",
}
WHOLE = frozenset(
    ["tlsCipherSuites", "clusterDNS", "enforceNodeAllocatable", "allowedUnsafeSysctls", GATES]
)
"""Lists and maps of plain values; in the others quantities are spelled another way."""


def shown(
    path: str, given: Setting, configz: Mapping[str, Any], *, known: bool = True
) -> Setting | None:
    """What the kubelet says of a field, where that is another value than it was given; also where
    what it was given is not `known` to be in force. None where it is the same, or tells nothing.
    """
    if path.startswith(f"{GATES}."):
        gates = dig(configz, GATES)
        now = gates.get(path.removeprefix(f"{GATES}.")) if isinstance(gates, dict) else None
        return None if known and now == given.value else _beside(given, now)
    field = FIELDS.get(path)
    if field is None or not is_compared(field):
        return None
    now, unset = dig(configz, path), given.layer is Layer.DEFAULT
    if unset and path in FILLED:
        return None
    if known and not isinstance(given.value, Unknown) and _agrees(now, given, field):
        return None
    value = ZERO.get(field.holds, now) if now is None else now  # it leaves zero values out
    return _beside(given, value)


def _beside(given: Setting, now: Any) -> Setting:  # noqa: ANN401  JSON of the host
    """The value in force, with a source that names the other one too."""
    other = "the same" if now == given.value else text(given.value)
    return replace(given, value=now, source=f"{SHOWS}; {other} by {given.source}", later=False)


def text(value: Any) -> str:  # noqa: ANN401  JSON of the host
    """A value as YAML people write it."""
    match value:
        case Unknown(why):
            return why
        case True | False:
            return str(value).lower()
        case None | "":
            return "not set"
        case list():
            return ", ".join(text(v) for v in value) or "empty"
        case dict():
            return ", ".join(f"{k}={text(v)}" for k, v in value.items()) or "empty"
        case str():
            return _safe(value)
        case _:
            return str(value)


def _safe(value: str) -> str:
    """Without what may be a credential inside an address: user and password, and the query."""
    if "://" not in value:
        return value
    value = re.sub(r"://[^/@\s]+@", "://...@", value)
    return re.sub(r"\?.*", "?...", value)


def is_compared(field: Field) -> bool:
    """Whether its values are spelled there as in a file."""
    inside = "[]" in field.path or field.path.startswith(("logging.", "tracing."))
    return not inside and (field.holds in COMPARED or field.path in WHOLE)


def _agrees(now: Any, given: Setting, field: Field) -> bool:  # noqa: ANN401  JSON of the host
    unset = given.layer is Layer.DEFAULT
    if field.path not in DEFAULTS and (unset or is_zero(given.value)):
        return True  # filled with a default that we do not hold (kubeadm writes many 0s)
    return _same(now, given.value, field)


def is_zero(value: object) -> bool:
    """Whether JSON decoding makes the zero value of it; also of a duration like "0s"."""
    if isinstance(value, str):
        return re.fullmatch(r"(0+(h|m|s|ms|us|µs|ns)?)*", value) is not None
    return value in (0, None) and not isinstance(value, bool)


def _same(now: Any, ours: Any, field: Field) -> bool:  # noqa: ANN401
    if (now or 0) == (ours or 0):
        return True
    if field.holds is Holds.DURATION:
        return _seconds(now) == _seconds(ours)
    if isinstance(now, str) and isinstance(ours, str) and not ours.startswith("/"):
        return now.startswith("/") and now.endswith("/" + ours.removeprefix("./"))
    return False


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def _seconds(duration: object) -> float | None:
    """Of a Go duration ("4h0m0s"); 0 of one that is absent, None of what is none."""
    if duration in (None, "", "0"):
        return 0.0
    parts = re.findall(r"([0-9.]+)(ms|us|µs|ns|h|m|s)", str(duration))
    whole = "".join(n + unit for n, unit in parts) == str(duration)
    return sum(float(n) * _UNITS[unit] for n, unit in parts) if parts and whole else None
