"""Read what kind of system a host is."""

from __future__ import annotations

from nodeward.facts.system import System, hash_machine_id, parse_os_release
from nodeward.host import Host, HostError
from nodeward.probes.registry import probe


@probe
def read_system(host: Host) -> System:
    release = parse_os_release(_first(host, "/etc/os-release", "/usr/lib/os-release") or b"")
    machine_id = _first(host, "/etc/machine-id")
    return System(
        os_id=release.get("ID", "linux"),
        os_version=release.get("VERSION_ID", ""),
        os_name=release.get("PRETTY_NAME", ""),
        kernel=_text(_first(host, "/proc/sys/kernel/osrelease")),
        machine_id=None if machine_id is None else hash_machine_id(machine_id),
        hostname=_text(_first(host, "/proc/sys/kernel/hostname", "/etc/hostname")),
    )


def _first(host: Host, *paths: str) -> bytes | None:
    for path in paths:
        try:
            return host.read(path)
        except HostError:
            continue
    return None


def _text(raw: bytes | None) -> str | None:
    return raw.decode("utf-8", "replace").strip() or None if raw is not None else None
