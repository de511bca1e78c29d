"""Tell a kubelet's version without running it."""

from __future__ import annotations

import re

from nodeward.facts.kubelet import changed_after
from nodeward.host import Host, HostError
from nodeward.host.go_version import GoVersion
from nodeward.lazy import pattern

_VERSION = pattern(r"/(?:(?:k8s|kubernetes|kubelet|k3s|rke2)[-_])?v?(1\.\d{2,3}\.\d{1,3})(?![\d.])")
"""A part of the path that begins with it: /opt/containerd-1.28.4 names another program's."""

_PACKAGE = pattern(rb"(?:\A|\n)Package: kubelet\n(?:[^\n]+\n)*")
DEBIAN = "/usr/bin/kubelet"


def version_of(host: Host, exe: str | None, root: str, started_at: float | None) -> str | None:
    """The kubelet's version without running it: from the file itself, from its path, or from the
    package that owns it. A file that was replaced since the process started tells nothing."""
    if exe is None:
        return None
    if linked := _linked(host, root + exe, started_at):
        return linked
    if found := _VERSION.search(exe):
        return f"v{found[1]}"
    return _debian_version(host, root, started_at) if exe == DEBIAN else None


def _linked(host: Host, exe: str, started_at: float | None) -> str | None:
    try:
        replaced = changed_after(host.stat(exe).mtime, started_at)
        return None if replaced else host.ask(GoVersion(exe))
    except HostError:
        return None


def _debian_version(host: Host, root: str, started_at: float | None) -> str | None:
    try:
        if changed_after(host.stat(root + DEBIAN).mtime, started_at):
            return None
        status = host.read(f"{root}/var/lib/dpkg/status", limit=64 << 20)
    except HostError:
        return None
    if (package := _PACKAGE.search(status)) is None or b" ok installed\n" not in package[0]:
        return None  # removed, and only its settings are left
    found = re.search(rb"\nVersion: (?:\d+:)?([\d.]+)", package[0])
    return f"v{found[1].decode()}" if found else None
