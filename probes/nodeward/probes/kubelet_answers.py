"""Look at the kubelet's ports: who listens where, and what it says to a caller without name.

The budgets add up to less than 5 s, whatever answers: 1.9 s for the secure port, 1 s for the
read-only one, 0.3 s for each of four that only say that they are there, and 0.7 s for all that
nobody configured. They are shares and no common clock, so that a recording answers them too. With a
token for /configz the secure port's share is parted; several kubelets share them all evenly.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from nodeward.facts import kubelet_answers as facts
from nodeward.facts.der import DerError
from nodeward.facts.errors import ParseError
from nodeward.facts.kubelet import Kubelet
from nodeward.facts.kubelet_answers import KubeletAnswers, KubeletPorts, Port, Reply, Tls
from nodeward.facts.listeners import Listener, Listeners
from nodeward.facts.processes import Processes
from nodeward.facts.x509 import parse_certificate, parse_name
from nodeward.host import Host, HostError, OfflineError
from nodeward.host.http import HttpAnswer
from nodeward.host.kubelet_configz import KubeletConfigz
from nodeward.host.kubelet_inside import KubeletPortInside
from nodeward.host.kubelet_port import KubeletPort, PortRow
from nodeward.host.query import Query
from nodeward.host.tls import TlsAnswer
from nodeward.host.vantage import Network
from nodeward.host.wire import Outcome
from nodeward.model import Absent, Unreadable
from nodeward.probes.listeners import read_in_network
from nodeward.probes.local_addresses import addresses_of
from nodeward.probes.registry import probe

TOKEN_S = 0.7
SECURE_S, READ_ONLY_S, ALL_EXTRA_S, OTHER_S = 1.9, 1.0, 0.7, 0.3
MOST_EXTRA, MOST_TRIED, MOST_PLACES = 7, 3, 2
CERT_DIR = "/var/lib/kubelet/pki"
UNREAD = Listeners((), "another network, whose sockets could not be read")


@probe
def read_kubelet_answers(
    host: Host,
    kubelet: Kubelet,
    listeners: Listeners,
    processes: Processes | Absent | Unreadable,
    at: KubeletPorts,
) -> KubeletAnswers:
    count = 1 + len(kubelet.others)
    looks = [
        _look(host, one, listeners, processes, at.probe, 1 / count)
        for one in (kubelet, *kubelet.others)
    ]
    first, *others = looks
    return replace(_first(first, at), others=tuple(_own(look, at) for look in others))


def _look(
    host: Host,
    kubelet: Kubelet,
    listeners: Listeners,
    processes: Processes | Absent | Unreadable,
    probe: str,
    part: float,
) -> _Look:
    """At the sockets of the network that the kubelet lives in."""
    network, pid = kubelet.launch.network, kubelet.pid
    if not network or pid is None:
        return _Look(host, kubelet, listeners, part, probed=probe != "off")
    try:
        inside = read_in_network(host, processes, pid)
        addresses = addresses_of(host, pid)
    except (HostError, ParseError):
        return _Look(host, kubelet, UNREAD, part, probed=False)
    return _Look(host, kubelet, inside, part, addresses, probed=probe != "off")


def _first(look: _Look, at: KubeletPorts) -> KubeletAnswers:
    """The kubelet of this node, which may be asked with our token, and the ports beside its own."""
    token = at.configz_token_file
    found = _own(look, at, SECURE_S - TOKEN_S if token else SECURE_S)
    asks = token and look.probed and not look.kubelet.launch.network
    reply = look.ask_with(token, found.ports[facts.SECURE]) if asks else ""
    beside = {
        facts.CADVISOR: look.port(facts.CADVISOR_PORT, ("/containers/",)),
        facts.PROXY_METRICS: look.port(at.proxy_metrics, ("/healthz",), owner="kube-proxy"),
        facts.PROXY_HEALTHZ: look.port(at.proxy_healthz, ("/healthz",), owner="kube-proxy"),
    }
    ports = {**found.ports, **beside}
    return replace(found, ports=ports, configz=look.configz, configz_reply=reply)


def _own(look: _Look, at: KubeletPorts, secure_s: float = SECURE_S) -> KubeletAnswers:
    read_only = look.number("readOnlyPort", at.read_only) or at.read_only
    health = look.number("healthzPort", 10248)
    plain = {read_only, health, facts.CADVISOR_PORT, at.proxy_metrics, at.proxy_healthz}
    ports = {
        facts.SECURE: look.secure(plain, secure_s),
        facts.READ_ONLY: look.port(read_only, (facts.PODS,), READ_ONLY_S),
        facts.HEALTHZ: look.port(health, ("/healthz",)),
    }
    return KubeletAnswers(
        ports,
        look.unconfigured(look.others({*plain, ports[facts.SECURE].number})),
        look.configz,
        look.probed,
        whole=look.whole,
        pid=look.kubelet.pid,
        network=look.kubelet.launch.network or 0,
        addresses=look.addresses,
    )


def _number(kubelet: Kubelet, path: str, otherwise: int) -> int:
    value = kubelet.get(path).value
    usual = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 65536
    return value if usual else otherwise


class _Look:
    """One kubelet's listeners, and the questions put to them. `part` is this kubelet's of the time
    for all."""

    def __init__(
        self,
        host: Host,
        kubelet: Kubelet,
        listeners: Listeners,
        part: float,
        addresses: tuple[str, ...] | None = None,
        *,
        probed: bool,
    ) -> None:
        self.host, self.kubelet, self.listeners = host, kubelet, listeners
        self.part, self.addresses, self.probed = part, addresses, probed
        self.configz: Mapping[str, Any] | None = None

    @property
    def own(self) -> tuple[Listener, ...]:
        """Every socket that is known to be the kubelet's."""
        return self.listeners.of(self.kubelet.pid) if self.kubelet.pid is not None else ()

    @property
    def alone(self) -> bool:
        """k3s and kubelite hold many ports that are not a kubelet's."""
        return self.kubelet.launch.program not in ("k3s", "kubelite")

    @property
    def whole(self) -> bool:
        """Whether no port of the kubelet can be hidden from us: one of its sockets is known, so
        its descriptors were read, so all are; or every socket is known to be somebody's."""
        told = bool(self.own) or all(row.pid is not None for row in self.listeners.rows)
        told = told and self.listeners is not UNREAD and self.kubelet.launch.network is not None
        return self.alone and told and self.kubelet.pid is not None

    def others(self, known: Iterable[int]) -> list[int]:
        """Further ports that the kubelet itself holds open to others than loopback."""
        rows = self.own if self.alone else ()
        return sorted({r.port for r in rows if not r.loopback} - set(known))

    def number(self, path: str, usual: int) -> int:
        """The port in force: that of the configuration, unless the kubelet holds the usual one and
        not that (its file was changed after its start)."""
        wanted = _number(self.kubelet, path, usual)
        numbers = (wanted, usual)
        held = [n for n in numbers if any(row.port == n for row in self.own)]
        if not held and self.kubelet.get(path).later:
            held = [n for n in numbers if any(r.pid is None for r in self.listeners.on(n))]
        return held[0] if held else wanted

    def secure(self, plain: set[int], share: float) -> Port:
        """The secure port; where neither the configured nor the usual one is the kubelet's, the
        first of its others that speaks TLS."""
        number = self.number("port", 10250)
        rows, owned = self._held(number)
        others = self.others(plain)[:MOST_TRIED] if not rows or owned is False else []
        paths, numbers = (facts.PODS, facts.UNHANDLED), others or [number]
        found = [self.port(n, paths, share / len(numbers), tls=True) for n in numbers]
        return next((p for p in found if p.tls and p.tls.outcome == "answered"), found[0])

    def unconfigured(self, numbers: list[int]) -> tuple[Port, ...]:
        """The first MOST_EXTRA are asked; the others are known to be open."""
        share = ALL_EXTRA_S / max(1, min(len(numbers), MOST_EXTRA))
        asked = [self.port(n, (facts.PODS,), share) for n in numbers[:MOST_EXTRA]]
        error = f"not asked: more than {MOST_EXTRA} such ports"
        rest = numbers[MOST_EXTRA:]
        rows = {n: tuple(row for row in self.own if row.port == n) for n in rest}
        return (*asked, *(Port(n, rows[n], True, error=error) for n in rest))

    def port(
        self,
        number: int,
        paths: tuple[str, ...],
        seconds: float = OTHER_S,
        *,
        tls: bool = False,
        owner: str = "",
    ) -> Port:
        rows, owned = self._held(number, owner)
        if not rows:
            return Port(number)
        if not self.probed:
            return Port(number, rows, owned)
        places = self._places(number, rows)
        if not places:
            return Port(number, rows, owned, error="another program takes what comes for it")
        address = places[0]
        try:
            found = self._asked(address, number, paths, tls, seconds)
            if _refused(found) and len(places) > 1:
                # A socket of IPv6 may take IPv4 or not: that cannot be seen.
                address = places[1]
                found = self._asked(address, number, paths, tls, seconds)
        except OfflineError:
            self.probed = False
            return Port(number, rows, owned)
        except HostError as exc:
            return Port(number, rows, owned, address, error=exc.why)
        if found.configz is not None and owned is not False:
            self.configz = json.loads(found.configz)
        return _port(number, rows, owned, address, found)

    def _asked(
        self, address: str, number: int, paths: tuple[str, ...], tls: bool, seconds: float
    ) -> PortRow:
        query = KubeletPort(address, number, paths, tls, seconds * self.part, configz=tls)
        return self.host.ask(self._from_there(query))

    def _from_there(self, query: KubeletPort) -> Query[PortRow]:
        network, pid = self.kubelet.launch.network, self.kubelet.pid
        if not network or pid is None:
            return query
        return KubeletPortInside(Network(network, (pid,)), query)

    def ask_with(self, token_file: str, secure: Port) -> str:
        """Ask for /configz with our token, if every socket of the port is the kubelet's own; what
        came of it."""
        if self.configz is not None:
            return "not needed: anyone may read it"
        rows = self.listeners.on(secure.number)
        address = secure.address if secure.owned else ""
        if not address or rows != secure.listeners:
            return "not asked: the port is not known to be the kubelet's alone"
        query = KubeletConfigz(address, secure.number, token_file, _serving(self.kubelet), TOKEN_S)
        try:
            found = self.host.ask(query)
        except HostError as exc:
            return f"not asked: {exc.why}"
        if found.configz is not None:
            self.configz = json.loads(found.configz)
        if found.status is None:
            return f"not asked: {found.why}"
        return f"{found.status} as {found.user}" if found.user else str(found.status)

    def _held(self, number: int, owner: str = "") -> tuple[tuple[Listener, ...], bool | None]:
        """The sockets on a port that are the kubelet's, or the owner's, and True; else those whose
        owner could not be told, and None; else those of strangers, and False."""
        rows = self.listeners.on(number) if number else ()
        own = [r for r in rows if (r.program == owner if owner else r in self.own)]
        unseen = [row for row in rows if row.pid is None]
        owned = True if own else None if unseen or not rows else False
        return tuple(own or unseen or rows), owned

    def _places(self, number: int, rows: tuple[Listener, ...]) -> list[str]:
        """Where to ask these sockets: loopback wherever that reaches one. None where every
        connection would go to another program's."""
        taken = self.listeners.taking
        return [a for a in _addresses(rows) if set(taken(a, number)) <= set(rows)][:MOST_PLACES]


def _refused(found: PortRow) -> bool:
    answers = (found.tls, *found.replies.values())
    return all(one is None or one.outcome is Outcome.REFUSED for one in answers)


def _serving(kubelet: Kubelet) -> tuple[str, ...]:
    """Where a kubelet keeps the certificate that it presents."""
    given, folder = kubelet.get("tlsCertFile").value, kubelet.flag("cert-dir")
    if isinstance(given, str) and given:
        paths = [given]
    else:
        place = str(folder.value) if folder is not None else CERT_DIR
        paths = [f"{place}/kubelet-server-current.pem", f"{place}/kubelet.crt"]
    return tuple(kubelet.root + posixpath.join(kubelet.launch.cwd, path) for path in paths)


def _addresses(rows: tuple[Listener, ...]) -> Iterator[str]:
    """Where these sockets may be reached from here, the best first."""
    key = lambda row: (not row.wildcard, not row.loopback, ":" in row.address)  # noqa: E731
    for row in sorted(rows, key=key):
        if not row.wildcard:
            yield row.address
            continue
        yield "127.0.0.1"
        if ":" in row.address:
            yield "::1"


def _port(
    number: int, rows: tuple[Listener, ...], owned: bool | None, address: str, found: PortRow
) -> Port:
    return Port(
        number,
        rows,
        owned,
        address,
        {path: _reply(answer) for path, answer in found.replies.items()},
        _tls(found.tls),
        _tls(found.old),
        _tls(found.weak),
        versions=found.versions,
        weak_ciphers=found.weak_ciphers,
    )


def _reply(answer: HttpAnswer) -> Reply:
    return Reply(answer.outcome.value, answer.status, answer.body.decode("utf-8", "replace")[:300])


def _tls(answer: TlsAnswer | None) -> Tls | None:
    if answer is None:
        return None
    subject = issuer = ""
    self_made: bool | None = None
    if answer.chain:
        try:
            leaf = parse_certificate(answer.chain[0])
            subject, issuer = leaf.subject, leaf.issuer
            self_made = leaf.self_issued or _one_off(leaf.subject, leaf.issuer)
        except DerError:
            pass
    return Tls(
        answer.outcome.value,
        answer.version,
        answer.cipher,
        None if answer.client_cas is None else tuple(_name(raw) for raw in answer.client_cas),
        subject,
        issuer,
        self_made,
        answer.alert,
    )


def _one_off(subject: str, issuer: str) -> bool:
    """The kubelet's own certificate: "node@1795318021" by "node-ca@1795318021"."""
    name, at, moment = subject.rpartition("@")
    return bool(at) and issuer == f"{name}-ca@{moment}"


def _name(raw: bytes) -> str:
    try:
        return parse_name(raw)
    except DerError:
        return "unreadable name"
