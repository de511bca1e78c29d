"""Which sockets the default seccomp profiles of the container runtimes keep out. Pure.

From the release notes and sources of containerd (contrib/seccomp) and Docker (profiles/seccomp).
No default profile keeps DCCP, SCTP, RDS, TIPC or the old families out. A pod has the default one
only where it asks for RuntimeDefault or the kubelet sets it; a filter of its own may let all pass.
"""

from __future__ import annotations

from nodeward.facts.runtime import Runtime
from nodeward.lazy import pattern

Release = tuple[int, int, int]
# By component: from which release on, in each of the series that had it added.
KEPT_OUT: dict[str, dict[str, tuple[Release, ...]]] = {
    "af_alg": {
        "containerd": ((1, 7, 32), (2, 0, 9), (2, 2, 4), (2, 3, 1)),
        "docker": ((29, 4, 3),),
    },
    "vsock": {"containerd": ((1, 7, 0),)},
}
# CVE-2026-31431: "crypto: algif_aead - Revert to operating out-of-place" came with Linux 7.0 and
# with these stable releases.
COPY_FAIL_FIXED: tuple[Release, ...] = (
    (5, 10, 254), (5, 15, 204), (6, 1, 170), (6, 6, 137), (6, 12, 85), (6, 18, 22), (6, 19, 12),
    (7, 0, 0),
)  # fmt: skip
_DEBIAN = pattern(r"\bDebian (\d+)\.(\d+)\.(\d+)-\d")
_PLAIN = pattern(r"(\d+)\.(\d+)\.(\d+)(?=[-+._]|$)")


def since(release: Release, first: tuple[Release, ...]) -> bool:
    """Whether a release has what came with `first`: its own series' release or a later one; a
    series that is not named has it when it is newer than all of them."""
    for one in first:
        if one[:2] == release[:2]:
            return release >= one
    return release > max(first)


def parse_release(text: str) -> Release | None:
    """The first three numbers of "1.7.33"; None where there are no three."""
    found = _PLAIN.match(text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def keeps_out(runtime: Runtime, component: str) -> str:
    """Whose default profile refuses this socket, "" where none does that we know of."""
    first = KEPT_OUT.get(component, {}).get(runtime.name)
    release = parse_release(runtime.version or "")
    if first is None or release is None or not since(release, first):
        return ""
    return f"{runtime.name} {runtime.version}"


def copy_fail_fixed(release: str, banner: str) -> str:
    """The upstream release that this kernel is made of, if it has the fix; "" when it has not or
    cannot tell: many distributions count their own way (5.14.0-611, 6.8.0-117) and put fixes into
    old releases. Debian names upstream's release in /proc/version, the `banner`."""
    found = _DEBIAN.search(banner)
    text = ".".join(found.groups()) if found else release
    number = parse_release(text)
    if number is None or "-rc" in text or (number[2] == 0 and number < (7, 0, 0)):
        return ""
    return "{}.{}.{}".format(*number) if since(number, COPY_FAIL_FIXED) else ""
