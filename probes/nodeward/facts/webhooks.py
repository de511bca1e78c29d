"""Servers of webhooks on this node, as far as something on the node says that they are.

Which admission webhooks there are only the API tells. A node tells: the addresses in kubeconfigs of
its API server's own webhooks; ports of static pods by that name; and programs that are named, or
given arguments, as a server of webhooks is (cert-manager, ingress-nginx, controller-runtime).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import ClassVar

from nodeward.facts.daemons import PROGRAMS, SUPERVISORS, Daemon
from nodeward.facts.kubeconfig import Kubeconfigs
from nodeward.facts.listeners import Listener
from nodeward.facts.manifests import Container, Manifests
from nodeward.facts.pflags import parse_arguments
from nodeward.facts.processes import Process
from nodeward.facts.urls import split_url
from nodeward.lazy import dataclass, pattern
from nodeward.model import Fact

COMPONENT = "webhook-server"
_SERVES = pattern(
    r"webhook-(?:.*-)?(?:port|cert|certificate|tls|addr|bind|listen|key)(?:-|$)"
    r"|(?:validating|mutating|admission|conversion)-webhook$|enable-webhooks?$"
)
_CERTIFICATE = pattern(r"(?:^|-)cert(?:ificate)?(?:-file|-path|-dir)?$")
_NOT_ITS_OWN = pattern(r"(?:^|-)(?:client|ca|etcd|kubelet|proxy|peer)-")


@dataclass(frozen=True, slots=True)
class Webhook:
    """One server. `addresses` are where it listens in the machine's own network; none: in a network
    of its own, or nowhere. `named_by` is what says that it serves webhooks; `sure`: the very port.
    `daemon` is None where the process behind an address could not be told."""

    named_by: str
    addresses: tuple[tuple[str, int], ...] = ()
    daemon: Daemon | None = None
    sure: bool = False

    @property
    def certificates(self) -> tuple[tuple[str, str], ...]:
        """Files on the host that its arguments name, each with the argument."""
        if self.daemon is None:
            return ()
        return tuple(
            (self.daemon.outside(path), self.daemon.where(name))
            for name, path in certificate_files(self.daemon)
        )

    def __str__(self) -> str:
        return f"{self.daemon.program} ({self.daemon.origin})" if self.daemon else self.named_by


@dataclass(frozen=True, slots=True)
class Webhooks(Fact):
    """All of them. `unseen` says what could not be looked at."""

    events: ClassVar[tuple[str, ...]] = ("process", "listener")

    rows: tuple[Webhook, ...]
    unseen: tuple[str, ...] = ()


def certificate_files(daemon: Daemon) -> Iterator[tuple[str, str]]:
    """The arguments of a server that name its certificate, with the path: --tls-cert-file,
    --validating-webhook-certificate, or a folder, in which it is tls.crt."""
    for flag in daemon.arguments.flags:
        if not _CERTIFICATE.search(flag.name) or _NOT_ITS_OWN.search(flag.name):
            continue
        if flag.value.startswith("/"):
            folder = flag.name.endswith("-dir")
            yield flag.name, f"{flag.value.rstrip('/')}/tls.crt" if folder else flag.value


def serves_webhooks(program: str, argv: tuple[str, ...]) -> str:
    """The program's name or argument that says so; "" when nothing does."""
    if program in PROGRAMS or program in SUPERVISORS:
        return ""  # their arguments name webhooks that they call
    if "webhook" in program.lower():
        return program
    for flag in parse_arguments(_two_dashes(argv), {}).flags:
        if _SERVES.search(flag.name) and flag.value not in ("", "0", "false"):
            return f"--{flag.name}"
    return ""


def _two_dashes(words: tuple[str, ...]) -> list[str]:
    """Go's own flag package takes one dash as well."""
    return [f"-{w}" if re.match(r"-[A-Za-z]{2}", w) else w for w in words]


def find(
    processes: tuple[Process, ...],
    listeners: tuple[Listener, ...],
    kubeconfigs: Kubeconfigs | None,
    manifests: Manifests | None,
    local: tuple[str, ...],
) -> Iterator[Webhook]:
    """Those that an address or a port's name tells first."""
    by_pid = {p.pid: p for p in processes}
    pods = dict(_ports_of_pods(manifests)) if manifests else {}
    told = set()
    for address, port, named_by in _local_urls(kubeconfigs, local) if kubeconfigs else ():
        owner = next((r for r in listeners if r.port == port and _answers(r, address)), None)
        process = by_pid.get(owner.pid or 0) if owner else None
        daemon = _of_process(process, manifests) if process else None
        yield Webhook(named_by, ((address, port),), daemon, sure=True)
        if process:
            told.add(process.pid)
    for process in processes:
        own = [r for r in listeners if r.pid == process.pid]
        named = [r for r in own if r.port in pods]
        said = serves_webhooks(process.program, process.argv or ())
        if process.pid in told or not (said or named):
            continue
        where = pods[named[0].port] if named else f"{said} (pid {process.pid})"
        ports = dict.fromkeys((_asked_at(r), r.port) for r in named or own)
        daemon = _of_process(process, manifests)
        yield Webhook(where, tuple(ports), daemon, sure=bool(named))
    yield from _of_manifests(manifests, {p.program for p in processes}) if manifests else ()


def _local_urls(found: Kubeconfigs, local: tuple[str, ...]) -> Iterator[tuple[str, int, str]]:
    """A name is not looked up: that would ask another machine."""
    for one in found.of("webhook"):
        for cluster in one.clusters if one.in_use else ():
            scheme, host, port = split_url(cluster.server)
            host = "127.0.0.1" if host == "localhost" else host
            try:
                here = ipaddress.ip_address(host).is_loopback or host in local
            except ValueError:
                continue
            if here and scheme == "https":
                yield host, port or 443, one.path


def _ports_of_pods(manifests: Manifests) -> Iterator[tuple[int, str]]:
    for pod, container in manifests.containers():
        for port, name in _named_ports(container.raw) if pod.host_network else ():
            yield port, f"{pod.path} port {name}"


def _named_ports(container: Mapping[str, object]) -> Iterator[tuple[int, str]]:
    ports = container.get("ports")
    for one in ports if isinstance(ports, list) else ():
        name = one.get("name") if isinstance(one, dict) else None
        if isinstance(name, str) and "webhook" in name:
            number = one.get("hostPort") or one.get("containerPort")
            if isinstance(number, int):
                yield number, name


def _of_process(process: Process, manifests: Manifests | None) -> Daemon:
    argv = process.argv or ()
    found = [c for _, c in manifests.containers(process.program)] if manifests else []
    return Daemon(
        process.program,
        parse_arguments(_two_dashes(argv), {}),
        f"pid {process.pid}",
        process.pid,
        process.started_at,
        container=next((c for c in found if c.argv[1:] == argv[1:]), None),
    )


def _of_manifests(manifests: Manifests, running: set[str]) -> Iterator[Webhook]:
    """What static pods would start, where it does not run."""
    for pod, container in manifests.containers():
        said = serves_webhooks(container.program, container.argv)
        name = next((f"port {n}" for _, n in _named_ports(container.raw)), said)
        if name and container.program not in running:
            yield Webhook(f"{pod.path} {name}", (), _of_container(container, pod.path))


def _of_container(container: Container, path: str) -> Daemon:
    arguments = parse_arguments(_two_dashes(container.argv), {})
    return Daemon(container.program or container.name, arguments, path, container=container)


def _answers(row: Listener, address: str) -> bool:
    return row.address == address or row.wildcard


def _asked_at(row: Listener) -> str:
    return "127.0.0.1" if row.wildcard else row.address
