"""The names under which the kernel asks for modules when a process without rights wants something.

Each from the request_module() call that makes it: net/socket.c, net/ipv4/af_inet.c,
net/ipv6/af_inet6.c, net/core/sock.c, crypto/af_alg.c, fs/filesystems.c, net/core/rtnetlink.c.
"""

from __future__ import annotations

from dataclasses import dataclass

SOCKET_TYPES = range(11)  # SOCK_MAX is 11; the kernel asks before it knows what the type means
DIAG_GUARD = (4, 17)
"""From this kernel on sock_diag asks for a protocol's module only once the protocol is there."""


@dataclass(frozen=True, slots=True)
class Request:
    """One name the kernel asks for, and what a process does to make it ask."""

    name: str
    by: str
    diag: bool = False  # only on kernels before DIAG_GUARD
    userns: bool = False  # needs a capability that a new user namespace gives


@dataclass(frozen=True, slots=True)
class Component:
    """Something of the kernel that a module brings.

    `registers` are the modules any of which makes it usable; `parts` come along and are not
    enough. `home` is where upstream's kernel keeps them, to see a file the index forgot.
    """

    name: str
    title: str
    registers: tuple[str, ...]
    requests: tuple[Request, ...]
    parts: tuple[str, ...] = ()
    home: str = ""
    wants: str = ""  # another component's name that must be reachable first

    @property
    def modules(self) -> tuple[str, ...]:
        return self.registers + self.parts


FAMILIES = {2: "AF_INET", 10: "AF_INET6"}


def _inet(protocol: int, kinds: range | tuple[int, ...], title: str) -> tuple[Request, ...]:
    """socket(AF_INET or AF_INET6, type, protocol): first with the type, then without."""
    found = []
    for family, name in FAMILIES.items():
        for kind in kinds:
            by = f"socket({name}, type {kind}, {title})"
            found.append(Request(f"net-pf-{family}-proto-{protocol}-type-{kind}", by))
        found.append(Request(f"net-pf-{family}-proto-{protocol}", f"socket({name}, any, {title})"))
    return tuple(found)


def _diag(protocol: int) -> tuple[Request, ...]:
    return tuple(
        Request(f"net-pf-16-proto-4-type-{f}-{protocol}", f"sock_diag for {n}", diag=True)
        for f, n in FAMILIES.items()
    )


def family(name: str, number: int, *registers: str, title: str = "") -> Component:
    """A protocol family that one socket() call brings in."""
    by = f"socket({title or name.upper()})"
    return Component(name, title or name, registers, (Request(f"net-pf-{number}", by),))


DCCP = Component(
    "dccp",
    "DCCP",
    ("dccp_ipv4", "dccp_ipv6"),
    (*_inet(33, SOCKET_TYPES, "IPPROTO_DCCP"), *_inet(0, (6,), "0"), *_diag(33)),
    ("dccp", "dccp_diag"),
    "kernel/net/dccp",
)
SCTP = Component(
    "sctp",
    "SCTP",
    ("sctp",),
    (*_inet(132, SOCKET_TYPES, "IPPROTO_SCTP"), *_diag(132)),
    ("sctp_diag",),
    "kernel/net/sctp",
)
COMPONENTS = (DCCP, SCTP)
