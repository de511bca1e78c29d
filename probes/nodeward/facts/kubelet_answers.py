"""What the kubelet's ports answer to a caller without credentials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, ClassVar, Literal

from nodeward.facts.listeners import Listener
from nodeward.lazy import dataclass
from nodeward.model import Evidence, Fact, Params, Row, Table

PODS, UNHANDLED = "/pods", "/debug/pprof/"
"""A path that tells who may read, and one without a handler below a registered root: it passes
authentication and authorization, and then says "404: Page Not Found". (A path below no registered
root says "404 page not found" to everybody, which proves nothing.)"""

SECURE, READ_ONLY, HEALTHZ, CADVISOR = "secure", "read-only", "healthz", "cadvisor"
CADVISOR_PORT = 4194
PROXY_METRICS, PROXY_HEALTHZ = "kube-proxy metrics", "kube-proxy healthz"

_ANONYMOUS = "system:anonymous"


@dataclass(frozen=True, slots=True)
class KubeletPorts(Params):
    """`probe` off: no port is asked, only listeners are read. The numbers are where to look for
    what no configuration of the kubelet names. `configz_token_file`: a token with the right to get
    nodes/configz, by which the kubelet is asked for its configuration."""

    section: ClassVar[tuple[str, ...]] = ("kubelet",)

    probe: Literal["auto", "off"] = "auto"
    read_only: int = 10255
    proxy_metrics: int = 10249
    proxy_healthz: int = 10256
    configz_token_file: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `outcome` is that of nodeward.host.wire; `text` the start of a refusal's body."""

    outcome: str
    status: int | None = None
    text: str = ""

    @property
    def anonymous_is_someone(self) -> bool | None:
        """Whether the server let the caller in as system:anonymous, whatever it then decided;
        False: it refused to know us (401). None: it did not say."""
        if self.status == 401:
            return False
        if self.status == 200:
            return True
        return True if self.status in (403, 500) and _ANONYMOUS in self.text else None

    @property
    def unhandled(self) -> bool:
        """The kubelet's own 404, which only an authorized caller gets to see; 405 where the
        handlers below this root are switched off; 200, should one be there after all."""
        own = self.text.startswith("404: Page Not Found")
        return self.status in (200, 405) or (self.status == 404 and own)

    def __str__(self) -> str:
        return str(self.status) if self.status is not None else self.outcome


@dataclass(frozen=True, slots=True)
class Tls:
    """One hello. `names` are the client CAs that the server would take, None: it asks for no
    client certificate; `issuer` and `subject` are those of its own certificate, `alert` the number
    of RFC 8446."""

    outcome: str
    version: int | None = None
    cipher: int | None = None
    names: tuple[str, ...] | None = None
    subject: str = ""
    issuer: str = ""
    self_made: bool | None = None
    alert: int | None = None


@dataclass(frozen=True, slots=True)
class Port:
    """One port. `listeners` are the kubelet's sockets on it, or those of whoever else holds it
    (empty: nothing listens), `owned` whether they are the kubelet's: None when that could not be
    told. `address` is where it was asked, `error`
    why it was not. `versions` are those of TLS that it takes, `weak_ciphers` the weak ones."""

    number: int
    listeners: tuple[Listener, ...] = ()
    owned: bool | None = None
    address: str = ""
    replies: Mapping[str, Reply] = field(default_factory=dict)
    tls: Tls | None = None
    old: Tls | None = None
    weak: Tls | None = None
    error: str = ""
    versions: tuple[int, ...] = ()
    weak_ciphers: tuple[int, ...] = ()

    @property
    def asked(self) -> bool:
        """Whether what it said counts as the kubelet's word."""
        return bool(self.listeners) and self.owned is not False

    @property
    def barred(self) -> bool:
        """Whether it is the kubelet's, and no address leads to it but to another program's."""
        return bool(self.owned and self.error) and not self.address

    def reply(self, path: str) -> Reply | None:
        return self.replies.get(path) if self.asked else None

    @property
    def timed_out(self) -> bool:
        return any(r.outcome == "timeout" for r in self.replies.values())

    def evidence(self, path: str, reply: Reply, what: str = "") -> Evidence:
        """What it answered to one request, with a row for the map of listeners."""
        row = Row(Table.ANSWER, str(self.number), ((f"GET {path}", str(reply)),))
        what = what or f"GET {path} on port {self.number}"
        return Evidence(what, str(reply), str(self), row)

    def __str__(self) -> str:
        owners = {row.program or "an unknown program" for row in self.listeners}
        where = ", ".join(str(row) for row in self.listeners)
        return f"{where} ({', '.join(sorted(owners))})" if where else f"port {self.number}: closed"


@dataclass(frozen=True, slots=True)
class KubeletAnswers(Fact):
    """By role: SECURE, READ_ONLY, HEALTHZ, CADVISOR, PROXY_METRICS, PROXY_HEALTHZ; `extra` are
    further ports of the kubelet's own that are open beyond loopback. `configz` is its own
    configuration, where anyone or our token may read it; `configz_reply` is what came of asking
    with that ("" where it was not asked for). `probed`: False when only the listeners could be read
    (a tree at rest). `whole`: False when the kubelet may hold ports that are not here, for its
    sockets could not be seen, or are not to be told from those of what it is a part of.

    `pid` is whose answers these are, `others` those of further kubelets on this host. `network` is
    the inode of the network namespace of one that lives in another than the host's, and `addresses`
    are those of that network; 0 and None for one in the host's."""

    events: ClassVar[tuple[str, ...]] = ("process", "listener")

    ports: Mapping[str, Port] = field(default_factory=dict)
    extra: tuple[Port, ...] = ()
    configz: Mapping[str, Any] | None = None
    probed: bool = True
    configz_reply: str = ""
    whole: bool = True
    pid: int | None = None
    network: int = 0
    addresses: tuple[str, ...] | None = None
    others: tuple[KubeletAnswers, ...] = ()

    def of(self, pid: int | None) -> KubeletAnswers:
        """What the kubelet with this pid answered; nothing where it was not asked."""
        if not self.others or self.pid == pid:
            return self
        return next((one for one in self.others if one.pid == pid), KubeletAnswers(probed=False))

    def port(self, role: str) -> Port | None:
        return self.ports.get(role)

    @property
    def secure(self) -> Port | None:
        return self.ports.get(SECURE)
