"""Where what the kubelet itself says differs from what its files and flags give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nodeward.checks.kubelet_support import Answers, port_of
from nodeward.facts.kubelet import Kubelet, Setting, Unknown
from nodeward.facts.kubelet_answers import PODS, READ_ONLY, SECURE, UNHANDLED, KubeletAnswers
from nodeward.facts.kubelet_fields import FIELDS, Field
from nodeward.facts.kubelet_merge import dig
from nodeward.facts.kubelet_shown import SHOWS, ZERO, shown, text
from nodeward.facts.kubelet_strength import GATES, STRONGER
from nodeward.model import Evidence


def differences(kubelet: Kubelet, answers: Answers) -> Iterator[Evidence]:
    """By /configz where it could be read, else by how the ports answer."""
    if not isinstance(answers, KubeletAnswers):
        return
    if answers.configz is not None:
        yield from _by_configz(kubelet, answers.configz)
        return
    for path, now, source in _by_ports(answers):
        setting = kubelet.get(path)
        if path == "authorization.mode" and now == "AlwaysAllow":
            continue  # or a role lets system:anonymous do everything
        if not isinstance(setting.value, Unknown) and setting.value != now:
            yield _both(path, now, setting, source)


def in_force(answers: Answers) -> Mapping[str, Any]:
    """The values that the kubelet itself shows, by path: all that count for security where its
    configuration was read, else what its ports tell."""
    if not isinstance(answers, KubeletAnswers):
        return {}
    if answers.configz is None:
        return {path: now for path, now, _ in _by_ports(answers)}
    gates = answers.configz.get("featureGates")
    found = {path: _value(dig(answers.configz, path), FIELDS[path]) for path in STRONGER}
    set_ = gates.items() if isinstance(gates, dict) else ()
    return found | {f"{GATES}{name}": value for name, value in set_}


def _value(now: Any, field: Field) -> Any:  # noqa: ANN401  JSON of the host
    """It leaves zero values out."""
    return ZERO.get(field.holds, now) if now is None else now


def _both(path: str, now: object, setting: Setting, source: str) -> Evidence:
    value = f"{text(now)} in force, {text(setting.value)} by {setting.source}"
    return Evidence(path, value, source)


def _by_configz(kubelet: Kubelet, configz: Mapping[str, Any]) -> Iterator[Evidence]:
    for path in FIELDS:
        setting = kubelet.get(path)
        now = None if isinstance(setting.value, Unknown) else shown(path, setting, configz)
        if now is not None:
            yield _both(path, now.value, setting, SHOWS)


def _by_ports(answers: KubeletAnswers) -> Iterator[tuple[str, object, str]]:
    port = port_of(answers, SECURE)
    pods, unhandled = (port.reply(p) if port else None for p in (PODS, UNHANDLED))
    if pods is not None and pods.anonymous_is_someone is not None:
        yield "authentication.anonymous.enabled", pods.anonymous_is_someone, f"GET {PODS}"
    if unhandled is not None and unhandled.unhandled:
        yield "authorization.mode", "AlwaysAllow", f"GET {UNHANDLED}"
    elif unhandled is not None and unhandled.anonymous_is_someone:
        yield "authorization.mode", "Webhook", f"GET {UNHANDLED}"
    port = port_of(answers, READ_ONLY)
    shows = port.reply(PODS) if port is not None and port.owned else None
    if port is not None and shows is not None and shows.status == 200:
        yield "readOnlyPort", port.number, f"GET {PODS} on port {port.number}"
