"""What kind of system a host is: names and versions, for the inventory of a report."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping

from nodeward.lazy import dataclass
from nodeward.model import Fact


@dataclass(frozen=True, slots=True)
class System(Fact):
    """`kernel` is the release in use, None where no kernel runs here. `machine_id` is hashed:
    machine-id(5) asks that the id itself never leaves the machine."""

    os_id: str
    os_version: str
    os_name: str
    kernel: str | None
    machine_id: str | None
    hostname: str | None


def parse_os_release(raw: bytes) -> Mapping[str, str]:
    """os-release(5): shell-like assignments. A line that no shell could read is left out."""
    found: dict[str, str] = {}
    for line in raw.decode("utf-8", "replace").split("\n"):
        name, equals, value = line.strip().partition("=")
        if not equals or name.startswith("#"):
            continue
        try:
            words = shlex.split(value)
        except ValueError:
            continue
        found[name] = words[0] if words else ""
    return found


def hash_machine_id(raw: bytes) -> str | None:
    """sha256 of the id with our name before it; None for an image's empty or `uninitialized` id."""
    text = raw.strip()
    if len(text) != 32:
        return None
    return "sha256:" + hashlib.sha256(b"nodeward:" + text).hexdigest()
