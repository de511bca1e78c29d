"""Look at the kubelet's ports: who listens where, and what it says to a caller without name.

The budgets add up to less than 5 s, whatever answers: 1.9 s for the secure port, 1 s for the
read-only one, 0.3 s for each of four that only say that they are there, and 0.7 s for all that
nobody configured. They are shares and no common clock, so that a recording answers them too. With a
token for /configz the secure port's share is parted.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Mapping
from typing import Any

from nodeward.facts import kubelet_answers as facts
from nodeward.facts.der import DerError
from nodeward.facts.kubelet import Kubelet
from nodeward.facts.kubelet_answers import KubeletAnswers, KubeletPorts, Port, Reply, Tls
from nodeward.facts.listeners import Listener, Listeners
from nodeward.facts.x509 import parse_certificate, parse_name
from nodeward.host import Host, HostError, OfflineError
from nodeward.host.http import HttpAnswer
from nodeward.host.kubelet_configz import KubeletConfigz
from nodeward.host.kubelet_port import KubeletPort, PortRow
from nodeward.host.tls import TlsAnswer
from nodeward.probes.registry import probe

TOKEN_S = 0.7
SECURE_S, READ_ONLY_S, ALL_EXTRA_S, OTHER_S = 1.9, 1.0, 0.7, 0.3
MOST_EXTRA = 7
CERT_DIR = "/var/lib/kubelet/pki"


@probe
def read_kubelet_answers(
    host: Host, kubelet: Kubelet, listeners: Listeners, at: KubeletPorts
) -> KubeletAnswers:
    look = _Look(host, kubelet, listeners, probed=at.probe != "off")
    number, token = _number(kubelet, "port", 10250), at.configz_token_file
    share = SECURE_S - TOKEN_S if token else SECURE_S
    secure = look.port(number, (facts.PODS, facts.UNHANDLED), share, tls=True)
    configz_reply = look.ask_with(token, secure) if token and look.probed else ""
    read_only = _number(kubelet, "readOnlyPort", at.read_only) or at.read_only
    health = _number(kubelet, "healthzPort", 10248)
    ports = {
        facts.SECURE: secure,
        facts.READ_ONLY: look.port(read_only, (facts.PODS,), READ_ONLY_S),
        facts.HEALTHZ: look.port(health, ("/healthz",)),
        facts.CADVISOR: look.port(facts.CADVISOR_PORT, ("/containers/",)),
        facts.PROXY_METRICS: look.port(at.proxy_metrics, ("/healthz",), owner="kube-proxy"),
        facts.PROXY_HEALTHZ: look.port(at.proxy_healthz, ("/healthz",), owner="kube-proxy"),
    }
    known = {p.number for p in ports.values()}
    extra = look.unconfigured(look.others(known))
    return KubeletAnswers(ports, extra, look.configz, look.probed, configz_reply)


def _number(kubelet: Kubelet, path: str, otherwise: int) -> int:
    value = kubelet.get(path).value
    usual = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 65536
    return value if usual else otherwise


class _Look:
    """One kubelet's listeners, and the questions put to them."""

    def __init__(self, host: Host, kubelet: Kubelet, listeners: Listeners, *, probed: bool) -> None:
        self.host, self.kubelet, self.listeners = host, kubelet, listeners
        self.probed = probed
        self.configz: Mapping[str, Any] | None = None

    def others(self, known: Iterable[int]) -> list[int]:
        """Further ports that the kubelet itself holds open to others than loopback."""
        rows = self.listeners.of(self.kubelet.pid) if self.kubelet.pid is not None else ()
        # k3s and kubelite hold many that are not a kubelet's.
        alone = self.kubelet.launch.program not in ("k3s", "kubelite")
        return sorted({r.port for r in rows if not r.loopback} - set(known)) if alone else []

    def unconfigured(self, numbers: list[int]) -> tuple[Port, ...]:
        """The first MOST_EXTRA are asked; the others are known to be open."""
        share = ALL_EXTRA_S / max(1, min(len(numbers), MOST_EXTRA))
        asked = [self.port(n, (facts.PODS,), share) for n in numbers[:MOST_EXTRA]]
        error = f"not asked: more than {MOST_EXTRA} such ports"
        rest = numbers[MOST_EXTRA:]
        return (*asked, *(Port(n, self.listeners.on(n), True, error=error) for n in rest))

    def port(
        self,
        number: int,
        paths: tuple[str, ...],
        seconds: float = OTHER_S,
        *,
        tls: bool = False,
        owner: str = "",
    ) -> Port:
        rows = self.listeners.on(number) if number else ()
        owned = self._owned(rows, owner)
        if not rows:
            return Port(number)
        if not self.probed:
            return Port(number, rows, owned)
        address = _address(rows)
        query = KubeletPort(address, number, paths, tls, seconds, configz=tls)
        try:
            found = self.host.ask(query)
        except OfflineError:
            self.probed = False
            return Port(number, rows, owned)
        except HostError as exc:
            return Port(number, rows, owned, address, error=exc.why)
        if found.configz is not None and owned is not False:
            self.configz = json.loads(found.configz)
        return _port(number, rows, owned, address, found)

    def ask_with(self, token_file: str, secure: Port) -> str:
        """Ask for /configz with our token, if every socket of the port is the kubelet's own; what
        came of it."""
        if self.configz is not None:
            return "not needed: anyone may read it"
        pid = self.kubelet.pid
        if not secure.listeners or any(
            row.pid is None or row.pid != pid for row in secure.listeners
        ):
            return "not asked: the port is not known to be the kubelet's alone"
        query = KubeletConfigz(
            _address(secure.listeners), secure.number, token_file, _serving(self.kubelet), TOKEN_S
        )
        try:
            found = self.host.ask(query)
        except HostError as exc:
            return f"not asked: {exc.why}"
        if found.configz is not None:
            self.configz = json.loads(found.configz)
        if found.status is None:
            return f"not asked: {found.why}"
        return f"{found.status} as {found.user}" if found.user else str(found.status)

    def _owned(self, rows: tuple[Listener, ...], owner: str) -> bool | None:
        if not rows or any(row.pid is None for row in rows):
            return None
        if owner:
            return all(row.program == owner for row in rows)
        return any(row.pid == self.kubelet.pid for row in rows)


def _serving(kubelet: Kubelet) -> tuple[str, ...]:
    """Where a kubelet keeps the certificate that it presents."""
    given, folder = kubelet.get("tlsCertFile").value, kubelet.flag("cert-dir")
    if isinstance(given, str) and given:
        paths = [given]
    else:
        place = str(folder.value) if folder is not None else CERT_DIR
        paths = [f"{place}/kubelet-server-current.pem", f"{place}/kubelet.crt"]
    return tuple(kubelet.root + posixpath.join(kubelet.launch.cwd, path) for path in paths)


def _address(rows: tuple[Listener, ...]) -> str:
    """Where to ask: loopback wherever that reaches the socket."""
    best = min(rows, key=lambda row: (not row.wildcard, not row.loopback, ":" in row.address))
    return "127.0.0.1" if best.wildcard else best.address


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
