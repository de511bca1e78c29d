"""Everything that one kubelet port says to a caller without credentials, within one budget."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, ClassVar

from nodeward.host.http import HttpAnswer, get, get_body
from nodeward.host.query import Query
from nodeward.host.tls import TLS10, TLS11, TLS12, TLS13, TlsAnswer, handshake, offer, unverified
from nodeward.host.wire import Budget, Outcome, connect, must_be_local
from nodeward.lazy import dataclass

if TYPE_CHECKING:
    from nodeward.host.tree import TreeHost

CONFIGZ = "/configz"
MOST_CONFIGZ = 1 << 18
MOST_HELLOS = 8
"""For further weak ciphers. Go takes six at most with one certificate."""

WEAK = (
    *(0xC013, 0xC014, 0xC009, 0xC00A, 0xC023, 0xC027),  # ECDHE with CBC
    *(0x009C, 0x009D, 0x002F, 0x0035, 0x003C),  # the server's own RSA key: no forward secrecy
    *(0x000A, 0xC012, 0x0005, 0xC011, 0xC007),  # 3DES, RC4
)


@dataclass(frozen=True, slots=True)
class PortRow:
    """`tls` is a normal hello, `old` one of at most TLS 1.1, `weak` one with weak ciphers only;
    all None for a plain port. `replies` by path. `configz` is the JSON of the kubelet's own
    configuration, where anyone may read it; without its header secrets. `versions` are those of
    TLS that were taken, `weak_ciphers` the weak ones, as far as MOST_HELLOS and the time went."""

    tls: TlsAnswer | None
    old: TlsAnswer | None
    weak: TlsAnswer | None
    replies: dict[str, HttpAnswer]
    configz: str | None = None
    versions: tuple[int, ...] = ()
    weak_ciphers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class KubeletPort(Query[PortRow]):
    """GETs of `paths` in their order, until one gets no answer in time.

    With `configz`, the kubelet's own configuration is asked for too if the first path was
    answered with 200: then it is open to anyone anyway. Never nodes/proxy, never another verb.
    """

    answer_type: ClassVar[object] = PortRow

    address: str
    port: int
    paths: tuple[str, ...]
    tls: bool
    seconds: float
    configz: bool = False

    def answer(self, host: TreeHost) -> PortRow:
        must_be_local(host, self.address)
        return self.ask()

    def ask(self) -> PortRow:
        """From the network namespace that we are in."""
        budget = Budget(self.seconds)
        at = (self.address, self.port)
        tls = handshake(*at, None, budget) if self.tls else None
        old = weak = None
        if tls is not None and tls.outcome is Outcome.ANSWERED:
            old = offer(*at, TLS11, WEAK, budget)
            weak = offer(*at, TLS12, WEAK, budget)
        replies: dict[str, HttpAnswer] = {}
        if tls is None or tls.outcome is not Outcome.REFUSED:
            for path in self.paths:
                replies[path] = get(*at, path, budget, tls=self.tls)
                if replies[path].outcome is not Outcome.ANSWERED:
                    break
        first = replies.get(self.paths[0])
        opened = self.configz and first is not None and first.status == 200
        configz = self._configz(budget) if opened else None
        versions = self._versions(tls, old, budget)
        return PortRow(tls, old, weak, replies, configz, versions, self._weak(weak, budget))

    def _versions(
        self, tls: TlsAnswer | None, old: TlsAnswer | None, budget: Budget
    ) -> tuple[int, ...]:
        found = {a.version for a in (tls, old) if a is not None and a.version is not None}
        if not found:
            return ()
        if TLS11 in found:
            lowest = offer(self.address, self.port, TLS10, WEAK, budget)
            found |= {lowest.version} if lowest.version is not None else set()
        if TLS13 not in found and self._takes_13(budget):
            found.add(TLS13)
        return tuple(sorted(found))

    def _takes_13(self, budget: Budget) -> bool:
        import ssl

        context = unverified()
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        try:
            with connect(self.address, self.port, budget) as plain:
                plain.settimeout(budget.left())
                with context.wrap_socket(plain):
                    return True
        except OSError:
            return False

    def _weak(self, first: TlsAnswer | None, budget: Budget) -> tuple[int, ...]:
        """A server names one cipher at each hello: ask again without those that it named."""
        taken: list[int] = []
        found = first
        while found is not None and found.outcome is Outcome.ANSWERED and found.cipher is not None:
            left = tuple(c for c in WEAK if c not in (*taken, found.cipher))
            if found.cipher in taken or len(taken) + len(left) >= len(WEAK):
                break  # one that was not offered
            taken.append(found.cipher)
            if len(taken) > MOST_HELLOS or not left:
                break
            found = offer(self.address, self.port, TLS12, left, budget)
        return tuple(taken)

    def _configz(self, budget: Budget) -> str | None:
        answer, body = get_body(
            self.address, self.port, CONFIGZ, budget, tls=self.tls, most=MOST_CONFIGZ
        )
        return configuration(answer.status, body)


def configuration(status: int | None, body: bytes) -> str | None:
    """The JSON of a kubelet's configuration as /configz gave it; None for any other answer."""
    try:
        config = json.loads(body)["kubeletconfig"] if status == 200 else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(config, dict):
        return None
    config.pop("staticPodURLHeader", None)  # the one field that may hold a credential
    return json.dumps(config)
