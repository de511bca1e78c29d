"""How k3s and MicroK8s start the kubelet that is inside them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from nodeward.facts.kubelet import Launch
from nodeward.facts.kubelet_embedded import (
    K3S_CONFIG,
    K3S_DROPINS,
    MICROK8S_ARGS,
    K3sConfig,
    k3s_kubelet_args,
    k3s_words,
    microk8s_words,
)
from nodeward.facts.kubeyaml import parse_document
from nodeward.facts.units import Word
from nodeward.host import Host, HostError, MissingError
from nodeward.probes.unit_files import read_service


def there(host: Host, path: str) -> bool:
    try:
        host.stat(path)
    except MissingError:
        return False
    return True


def _microk8s(host: Host, launch: Launch) -> Launch:
    """kubelite's own arguments are others; its kubelet's stand in a file of the snap."""
    words = microk8s_words(host.read(MICROK8S_ARGS))
    version = launch.version or _snap_version(host)
    unit = "snap.microk8s.daemon-kubelite"
    return _embedded(replace(launch, version=version, unit=unit), "kubelite", words)


def _snap_version(host: Host) -> str | None:
    try:
        found = re.search(
            rb"\bversion: *'?v?(1\.\d+\.\d+)", host.read("/snap/microk8s/current/meta/snap.yaml")
        )
    except HostError:
        return None
    return f"v{found[1].decode()}" if found else None


def _k3s(host: Host, launch: Launch) -> Launch:
    unit, words = k3s_unit(host)
    given = k3s_kubelet_args(k3s_files(host), words)
    dropins = there(host, K3S_DROPINS)
    all_words, doubts = k3s_words(given, launch.version, dropins=dropins)
    launch = replace(launch, unit=unit, started_at=_k3s_kubelet_start(host, launch))
    return replace(_embedded(launch, "k3s", all_words), doubts=doubts)


def _k3s_kubelet_start(host: Host, launch: Launch) -> float | None:
    """k3s writes its own drop-in at each start, and starts the kubelet within itself after that."""
    try:
        written = host.stat(f"{K3S_DROPINS}/00-k3s-defaults.conf").mtime
    except HostError:
        return launch.started_at
    return max(written, launch.started_at) if launch.started_at is not None else None


def k3s_unit(host: Host) -> tuple[str, list[str]]:
    """The unit, and the arguments that it gives: k3s writes another title over its own."""
    for unit in ("k3s.service", "k3s-agent.service"):
        try:
            return unit, [w.text for w in read_service(host, unit).words]
        except HostError:
            continue
    return "k3s.service", []


def k3s_files(host: Host) -> Iterator[K3sConfig]:
    folder = f"{K3S_CONFIG}.d"
    try:
        names = [f"{folder}/{n}" for n in host.names(folder) if n.endswith((".yaml", ".yml"))]
    except MissingError:
        names = []
    for path in (K3S_CONFIG, *names):
        try:
            document = parse_document(host.read(path), path)
        except MissingError:
            continue
        if isinstance(document.value, dict):
            yield K3sConfig(path, document.value)


def _embedded(launch: Launch, program: str, words: tuple[Word, ...]) -> Launch:
    return replace(
        launch,
        argv=(program, *(w.text for w in words)),
        exe=launch.exe or program,
        words={i: w.source for i, w in enumerate(words, 1)},
    )


EMBEDDED: dict[str, Callable[[Host, Launch], Launch]] = {"kubelite": _microk8s, "k3s": _k3s}
EMBEDDED_UNITS = (
    ("k3s", "k3s.service"),
    ("k3s", "k3s-agent.service"),
    ("kubelite", "snap.microk8s.daemon-kubelite.service"),
)
