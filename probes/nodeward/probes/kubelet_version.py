"""Tell a kubelet's version without running it."""

from __future__ import annotations

import re

from nodeward.facts.kubelet import changed_after
from nodeward.host import Host, HostError
from nodeward.host.go_version import GoVersion
from nodeward.lazy import pattern

_VERSION = pattern(r"(?<![\d.])v?(1\.\d{1,3}\.\d{1,3})(?![\d.])")


def version_of(host: Host, exe: str | None, root: str, started_at: float | None) -> str | None:
    """The kubelet's version without running it: from its path, from the file itself, or from the
    package that owns it. A file that was replaced since the process started tells nothing."""
    if exe is None:
        return None
    if found := _VERSION.search(exe):
        return f"v{found[1]}"
    try:
        if changed_after(host.stat(root + exe).mtime, started_at):
            return None
        linked = host.ask(GoVersion(root + exe))
    except HostError:
        return None
    return linked or (_debian_version(host, root) if exe == "/usr/bin/kubelet" else None)


def _debian_version(host: Host, root: str) -> str | None:
    try:
        status = host.read(f"{root}/var/lib/dpkg/status", limit=64 << 20)
    except HostError:
        return None
    found = re.search(
        rb"(?:\A|\n)Package: kubelet\n(?:[^\n]+\n)*?Version: (?:\d+:)?([\d.]+)", status
    )
    return f"v{found[1].decode()}" if found else None
