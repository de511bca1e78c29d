"""The container runtime of a host: its name and version, for the inventory of a report."""

from __future__ import annotations

import re
from typing import ClassVar

from nodeward.lazy import dataclass, pattern
from nodeward.model import Fact

# Program, the name people know it by, the Debian packages that bring it, where they put it.
RUNTIMES: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("crio", "cri-o", ("cri-o",), ("/usr/bin/crio", "/usr/local/bin/crio")),
    (
        "containerd",
        "containerd",
        ("containerd.io", "containerd", "moby-containerd"),
        ("/usr/bin/containerd", "/usr/local/bin/containerd"),
    ),
    (
        "dockerd",
        "docker",
        ("docker-ce", "docker.io", "moby-engine"),
        ("/usr/bin/dockerd", "/usr/local/bin/dockerd"),
    ),
)
_RELEASE = pattern(r"^(?:\d+:)?(\d+(?:\.\d+){1,2})")


@dataclass(frozen=True, slots=True)
class Runtime(Fact):
    """`version` is None where neither file nor package tells; `exe` is the program's file."""

    events: ClassVar[tuple[str, ...]] = ("process",)

    name: str
    version: str | None
    exe: str
    running: bool


def release(version: str) -> str | None:
    """ "1.6.20" of "v1.6.20", "1.6.20~ds1-1+deb12u3", "5:27.3.1-1"; None of what is no version."""
    found = _RELEASE.match(version.removeprefix("v"))
    return found[1] if found else None


def package_version(status: bytes, package: str) -> str | None:
    """The version of an installed package in dpkg's status file, deb822(5)."""
    name = re.escape(package.encode())
    for stanza in re.finditer(rb"(?:\A|\n)Package: " + name + rb"\n((?:[^\n]+\n)*)", status):
        fields = dict(
            line.split(b": ", 1) for line in stanza[1].split(b"\n") if b": " in line
        )  # a line that goes on begins with a blank, so its name is no field's
        if fields.get(b"Status", b"").endswith(b" installed") and b"Version" in fields:
            return fields[b"Version"].decode("utf-8", "replace").strip()
    return None
