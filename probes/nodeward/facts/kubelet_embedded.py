"""Kubelets inside another program: what k3s and MicroK8s give theirs. Both show other arguments.

k3s: pkg/daemons/agent/agent_linux.go and its configuration files (docs.k3s.io). MicroK8s: the
snap's args/kubelet, one argument a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from nodeward.facts.units import Word
from nodeward.lazy import dataclass

MICROK8S_ARGS = "/var/snap/microk8s/current/args/kubelet"
_SNAP = {
    "SNAP_DATA": "/var/snap/microk8s/current",
    "SNAP_COMMON": "/var/snap/microk8s/common",
    "SNAP": "/snap/microk8s/current",
}

K3S = "/var/lib/rancher/k3s"
K3S_DROPINS = f"{K3S}/agent/etc/kubelet.conf.d"
K3S_CONFIG = "/etc/rancher/k3s/config.yaml"

READ_ONLY_DOUBT = (
    "k3s gives its kubelet --read-only-port=0 only from 1.32.4 on, and its version is not known"
)
OLD_K3S_DOUBT = "what this k3s gives its kubelet cannot be seen"


def microk8s_words(raw: bytes, path: str = MICROK8S_ARGS) -> tuple[Word, ...]:
    """The lines of args/kubelet, or of another daemon's file, with the snap's variables filled
    in."""
    found = []
    for number, line in enumerate(raw.decode("utf-8", "surrogateescape").split("\n"), 1):
        text = line.strip()
        if text and not text.startswith("#"):
            filled = re.sub(r"\$\{?(SNAP_DATA|SNAP_COMMON|SNAP)\}?", lambda m: _SNAP[m[1]], text)
            found.append(Word(filled.strip("\"'"), f"{path}:{number}"))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class K3sConfig:
    """One file of k3s' configuration, already read."""

    path: str
    value: Mapping[str, Any]


def k3s_kubelet_args(
    files: Iterable[K3sConfig], arguments: Iterable[str], option: str = "kubelet-arg"
) -> tuple[Word, ...]:
    """The kubelet arguments that people gave k3s (or those of another daemon, by its `option`): a
    later file replaces a list unless its key ends in "+", and the command line is added."""
    found: list[Word] = []
    for file in files:
        for key in (option, f"{option}+"):
            given = file.value.get(key)
            if given is None:
                continue
            values = given if isinstance(given, list) else [given]
            words = [Word(f"--{str(v).lstrip('-')}", f"{file.path}: {key}") for v in values]
            found = [*found, *words] if key.endswith("+") else words
    return (*found, *_of_command(list(arguments), option))


def _of_command(words: list[str], option: str) -> Iterable[Word]:
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name not in (f"--{option}", f"-{option}"):
            continue
        text = value if equals else words[place + 1] if place + 1 < len(words) else ""
        if text:
            yield Word(f"--{text.lstrip('-')}", f"--{option} of k3s (argument {place})")


def k3s_words(
    given: tuple[Word, ...], version: str | None, *, dropins: bool
) -> tuple[tuple[Word, ...], Mapping[str, str]]:
    """All arguments of k3s' kubelet, and the fields that they leave in doubt.

    Before 1.32 k3s gave everything by flags that cannot be seen from outside: what it sets by
    itself is the hardened choice (anonymous off, Webhook, port 0, its own client CA).
    """
    own = [Word(f"--kubeconfig={K3S}/agent/kubelet.kubeconfig", "k3s itself")]
    doubts: dict[str, str] = {}
    if not dropins:
        hardened = (
            "--anonymous-auth=false",
            "--authorization-mode=Webhook",
            "--authentication-token-webhook=true",
            f"--client-ca-file={K3S}/agent/client-ca.crt",
            f"--tls-cert-file={K3S}/agent/serving-kubelet.crt",
            f"--tls-private-key-file={K3S}/agent/serving-kubelet.key",
            "--read-only-port=0",
            "--fail-swap-on=false",
            "--healthz-bind-address=127.0.0.1",
        )
        own += [Word(word, "k3s itself (before 1.32)") for word in hardened]
        return (*own, *given), doubts
    own.append(Word(f"--config-dir={K3S_DROPINS}", "k3s itself"))
    patch = _patch(version)
    if patch is None:
        doubts["readOnlyPort"] = READ_ONLY_DOUBT
    elif patch >= (32, 4):
        own.append(Word("--read-only-port=0", "k3s itself (from 1.32.4)"))
    return (*own, *given), doubts


def _patch(version: str | None) -> tuple[int, ...] | None:
    found = re.match(r"v?1\.(\d+)\.(\d+)", version or "")
    return (int(found[1]), int(found[2])) if found else None
