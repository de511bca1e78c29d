"""The certificates that this node's own TLS servers present, read from a handshake."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from nodeward.facts.daemons import APISERVER, ETCD, KUBELET, MANAGER, SCHEDULER, Daemons
from nodeward.facts.listeners import Listener
from nodeward.facts.supervisors import K3S
from nodeward.facts.urls import split_url
from nodeward.facts.webhooks import COMPONENT, Webhooks
from nodeward.facts.x509 import Certificate
from nodeward.lazy import dataclass
from nodeward.model import Fact

MOST_PORTS = 32
"""Sixteen at a time for two seconds each, and again where "::" is not 127.0.0.1: eight seconds of
the time that a probe has."""
NO_CERTIFICATE = (80, 112)
"""What Go's server answers when it finds no certificate for a caller (getCertificate and its
callers in crypto/tls): internal_error for an error of GetCertificate, as the kubelet's is while its
request waits ("no serving certificate available for the kubelet"), unrecognized_name where none is
configured. Any other alert is about the hello: no common version, cipher or name."""
ALERTS = {
    10: "unexpected_message",
    40: "handshake_failure",
    42: "bad_certificate",
    47: "illegal_parameter",
    50: "decode_error",
    70: "protocol_version",
    71: "insufficient_security",
    80: "internal_error",
    112: "unrecognized_name",
    116: "certificate_required",
    120: "no_application_protocol",
}
_USUAL: dict[str, dict[int, str]] = {
    KUBELET: {10250: "kubelet-server"},
    APISERVER: {6443: "apiserver", 443: "apiserver", 8443: "apiserver"},
    ETCD: {2379: "etcd-server", 2380: "etcd-peer"},
    MANAGER: {10257: "controller-manager-server"},
    SCHEDULER: {10259: "scheduler-server"},
    "kubelite": {
        16443: "apiserver",
        10250: "kubelet-server",
        10257: "controller-manager-server",
        10259: "scheduler-server",
    },
    "k8s-dqlite": {19001: "dqlite"},
    "k3s": {10250: "kubelet-server"},
    "k3s server": {
        6443: "supervisor-server",
        6444: "apiserver",
        2379: "etcd-server",
        2380: "etcd-peer",
        10257: "controller-manager-server",
        10259: "scheduler-server",
    },
    "rke2": {9345: "supervisor-server"},
    "k0s": {9443: "supervisor-server"},
}
"""By program. On an agent of k3s the ports of a server lead to another machine's: those count where
a control plane is."""
_HOLDERS = (K3S, "kubelite")
"""Programs with the daemons inside, whose arguments are known apart."""
_PORT_FLAGS = {
    APISERVER: ("secure-port", "apiserver"),
    MANAGER: ("secure-port", "controller-manager-server"),
    SCHEDULER: ("secure-port", "scheduler-server"),
    KUBELET: ("port", "kubelet-server"),
}


@dataclass(frozen=True, slots=True)
class Port:
    """A listening port of a component, and the address of this machine to ask it at; `other` is
    one to try when nothing listens there. `pid` is the process behind a server of webhooks, and
    `sure` whether this very port is known to be one of TLS."""

    component: str
    address: str
    port: int
    program: str
    other: str = ""
    pid: int | None = None
    sure: bool = True


@dataclass(frozen=True, slots=True)
class Presented:
    """What one port presented. `outcome` is that of nodeward.host.wire.Outcome; `broken` says why
    the certificate could not be read. `alert`: the number of RFC 8446 section 6 with which the
    server ended the handshake."""

    port: Port
    outcome: str
    certificates: tuple[Certificate, ...] = ()
    broken: str = ""
    alert: int | None = None

    @property
    def has_none(self) -> bool:
        """The server has no certificate to show: see NO_CERTIFICATE."""
        return self.outcome == "tls-alert" and self.alert in NO_CERTIFICATE

    @property
    def why(self) -> str:
        """Why no certificate was seen."""
        if self.outcome != "tls-alert":
            return self.broken or self.outcome
        name = ALERTS.get(self.alert or 0, "")
        named = f" {self.alert} ({name})" if name else f" {self.alert}" if self.alert else ""
        return f"it ends the handshake with the TLS alert{named}"

    @property
    def no_tls(self) -> bool:
        """Another port of a program that serves webhooks: its metrics, in plain HTTP."""
        return not self.port.sure and self.outcome in ("garbage", "closed")

    @property
    def where(self) -> str:
        address = self.port.address
        host = f"[{address}]" if ":" in address else address
        return f"{host}:{self.port.port}"


@dataclass(frozen=True, slots=True)
class Served(Fact):
    """All ports of the cluster's components on this node. Empty: no such port is open."""

    events: ClassVar[tuple[str, ...]] = ("listener",)

    rows: tuple[Presented, ...]


def ports(listeners: tuple[Listener, ...], daemons: Daemons) -> tuple[Port, ...]:
    """Which listeners to ask, each component's port once: at loopback where it listens there."""
    found: dict[tuple[str, int], Port] = {}
    for one in sorted(listeners, key=lambda r: not (r.wildcard or r.loopback)):
        program = one.program or _likely(one.port, daemons)
        component = dict(_known(program, daemons)).get(one.port)
        if component:
            # "::" takes both families, unless the system is set to keep them apart.
            address = "127.0.0.1" if one.wildcard else one.address
            other = "::1" if one.address == "::" else ""
            port = Port(component, address, one.port, program, other)
            found.setdefault((component, one.port), port)
    return tuple(found.values())


def _likely(number: int, daemons: Daemons) -> str:
    """Whose a port is when its owner may not be read: the running daemon's that uses it."""
    running = dict.fromkeys([*(d.program for d in daemons.rows if d.pid), *daemons.supervisors])
    return next((p for p in running if number in dict(_known(p, daemons))), "")


def webhook_ports(webhooks: Webhooks) -> tuple[Port, ...]:
    """Where servers of webhooks listen in the machine's own network, each port once."""
    found: dict[int, Port] = {}
    for one in webhooks.rows:
        program, pid = (one.daemon.program, one.daemon.pid) if one.daemon else ("", None)
        for address, number in one.addresses:
            port = Port(COMPONENT, address, number, program, pid=pid, sure=one.sure)
            found.setdefault(number, port)
    return tuple(found.values())


def _known(program: str, daemons: Daemons) -> Iterator[tuple[int, str]]:
    """The ports of a program with the component that serves there; settings after the usual.
    etcd's own default is plain HTTP: where its arguments are known, they alone tell."""
    if program != ETCD or daemons.one(ETCD) is None:
        yield from _USUAL.get(program, {}).items()
    if program == K3S and (server := daemons.one(APISERVER)) is not None:
        yield from _USUAL["k3s server"].items()
        if (text := server.flag("advertise-port") or "").isdecimal():
            yield int(text), "supervisor-server"
    for each in _PORT_FLAGS if program in _HOLDERS else (program,):
        flag, component = _PORT_FLAGS.get(each, ("", ""))
        for daemon in daemons.running(each) if flag else ():
            if (text := daemon.flag(flag) or "").isdecimal():
                yield int(text), component
    if program == ETCD:
        for daemon in daemons.running(ETCD):
            for flag, component in (
                ("listen-client-urls", "etcd-server"),
                ("listen-peer-urls", "etcd-peer"),
            ):
                for url in (daemon.flag(flag) or "").split(","):
                    scheme, _, port = split_url(url)
                    if scheme == "https" and port is not None:
                        yield port, component
