"""Where what the kubelet itself says differs from what its files and flags give."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from nodeward.checks.kubelet_support import Answers, port_of, text
from nodeward.facts.kubelet import Kubelet, Setting, Unknown, is_zero
from nodeward.facts.kubelet_answers import PODS, READ_ONLY, SECURE, UNHANDLED, KubeletAnswers
from nodeward.facts.kubelet_defaults import DEFAULTS
from nodeward.facts.kubelet_fields import FIELDS, Field, Holds
from nodeward.facts.kubelet_merge import Layer, dig
from nodeward.facts.kubelet_strength import STRONGER
from nodeward.model import Evidence

FILLED = frozenset(
    ["tlsCertFile", "tlsPrivateKeyFile", "cgroupDriver", "resolvConf", "userNamespaces.idsPerPod"]
)
"""Fields that the kubelet fills in or leaves out when nobody sets them."""
COMPARED = {Holds.BOOL, Holds.NUMBER, Holds.TEXT, Holds.DURATION}
ZERO: Mapping[Holds, Any] = {Holds.BOOL: False, Holds.NUMBER: 0, Holds.TEXT: "", Holds.LIST: []}
WHOLE = frozenset(
    ["tlsCipherSuites", "clusterDNS", "enforceNodeAllocatable", "allowedUnsafeSysctls",
     "featureGates"]
)  # fmt: skip
"""Lists and maps of plain values; in the others quantities are spelled another way."""


def differences(kubelet: Kubelet, answers: Answers) -> Iterator[Evidence]:
    """By /configz where it could be read, else by how the ports answer."""
    if not isinstance(answers, KubeletAnswers):
        return
    if answers.configz is not None:
        yield from _by_configz(kubelet, answers.configz)
        return
    for path, now, source in _by_ports(answers):
        setting = kubelet.get(path)
        if not isinstance(setting.value, Unknown) and setting.value != now:
            yield _both(path, now, setting, source)


def in_force(answers: Answers) -> Mapping[str, Any]:
    """The values that the kubelet itself shows, by path: all that count for security where its
    configuration was read, else what its ports tell."""
    if not isinstance(answers, KubeletAnswers):
        return {}
    if answers.configz is None:
        return {path: now for path, now, _ in _by_ports(answers)}
    return {path: _shown(dig(answers.configz, path), FIELDS[path]) for path in STRONGER}


def _shown(now: Any, field: Field) -> Any:  # noqa: ANN401  JSON of the host
    """It leaves zero values out."""
    return ZERO.get(field.holds, now) if now is None else now


def _both(path: str, now: object, setting: Setting, source: str) -> Evidence:
    value = f"{text(now)} in force, {text(setting.value)} by {setting.source}"
    return Evidence(path, value, source)


def _by_configz(kubelet: Kubelet, configz: Mapping[str, Any]) -> Iterator[Evidence]:
    """It leaves zero values out: a field that is absent there is zero."""
    for path, field in FIELDS.items():
        inside = "[]" in path or path.startswith(("logging.", "tracing."))
        if inside or (field.holds not in COMPARED and path not in WHOLE):
            continue
        now, setting = dig(configz, path), kubelet.get(path)
        unset = setting.layer is Layer.DEFAULT
        if isinstance(setting.value, Unknown):
            continue
        if path not in DEFAULTS and (unset or is_zero(setting.value)):
            continue  # filled with a default that we do not hold (kubeadm writes many 0s)
        if not (unset and path in FILLED) and not _same(now, setting.value, field):
            yield _both(path, _shown(now, field), setting, "GET /configz")


def _by_ports(answers: KubeletAnswers) -> Iterator[tuple[str, object, str]]:
    port = port_of(answers, SECURE)
    pods, unhandled = (port.reply(p) if port else None for p in (PODS, UNHANDLED))
    if pods is not None and pods.anonymous_is_someone is not None:
        yield "authentication.anonymous.enabled", pods.anonymous_is_someone, f"GET {PODS}"
    if unhandled is not None and unhandled.unhandled:
        yield "authorization.mode", "AlwaysAllow", f"GET {UNHANDLED}"
    elif unhandled is not None and unhandled.status != 200 and unhandled.anonymous_is_someone:
        yield "authorization.mode", "Webhook", f"GET {UNHANDLED}"
    port = port_of(answers, READ_ONLY)
    shows = port.reply(PODS) if port is not None and port.owned else None
    if port is not None and shows is not None and shows.status == 200:
        yield "readOnlyPort", port.number, f"GET {PODS} on port {port.number}"


def _same(now: Any, ours: Any, field: Field) -> bool:  # noqa: ANN401
    if (now or 0) == (ours or 0):
        return True
    if field.holds is Holds.DURATION:
        return _seconds(now) == _seconds(ours)
    if isinstance(now, str) and isinstance(ours, str) and not ours.startswith("/"):
        return now.startswith("/") and now.endswith("/" + ours.removeprefix("./"))
    return False


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "\u00b5s": 1e-6, "ns": 1e-9}


def _seconds(duration: object) -> float | None:
    """Of a Go duration ("4h0m0s"); 0 of one that is absent, None of what is none."""
    if duration in (None, "", "0"):
        return 0.0
    parts = re.findall(r"([0-9.]+)(ms|us|\u00b5s|ns|h|m|s)", str(duration))
    whole = "".join(n + unit for n, unit in parts) == str(duration)
    return sum(float(n) * _UNITS[unit] for n, unit in parts) if parts and whole else None
