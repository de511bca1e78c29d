"""What a process at some place in the network can get of the cloud's metadata endpoints."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import ClassVar, Literal

from nodeward.facts.cloud import Cloud
from nodeward.facts.endpoints import BY_NAME, CLOUDS, Ask, Endpoint, Kind, of_cloud
from nodeward.lazy import dataclass, pattern
from nodeward.model import Absent, Fact, Params, Unreadable, Verdict

LONGEST_S = 2.0
_ADDRESS = pattern(
    r"^(?:\[(?P<six>[0-9a-fA-F:.]+(?:%[\w*.-]+)?)\]|(?P<four>[0-9.]+)):(?P<port>\d+)$"
)


@dataclass(frozen=True, slots=True)
class Metadata(Params):
    """`enabled` off: nothing is ever sent. `cloud` names the cloud where no file tells; "generic"
    tries a TCP connection to 169.254.169.254 only. `endpoints` are lines "NAME=ADDRESS:PORT" that
    take the place of a shipped endpoint's addresses.

    The budget: `timeout_s` for all endpoints of one place together, at most `namespaces` pod
    networks a round, `at_once` of them at a time; rounds go on until `total_s` is used up.
    `system_namespaces` are those whose pods may use the host's network.
    """

    section: ClassVar[tuple[str, ...]] = ("metadata",)

    enabled: Literal["auto", "off"] = "auto"
    cloud: str = ""
    endpoints: tuple[str, ...] = ()
    timeout_s: float = 1.0
    namespaces: int = 64
    at_once: int = 32
    total_s: float = 15.0
    system_namespaces: tuple[str, ...] = ("kube-system",)

    def __post_init__(self) -> None:
        if self.cloud and self.cloud not in CLOUDS:
            raise ValueError(f"cloud: {self.cloud!r} is none of {', '.join(CLOUDS)}")
        _between("timeout_s", self.timeout_s, 0.1, LONGEST_S)
        _between("namespaces", self.namespaces, 1, 64)
        _between("at_once", self.at_once, 1, 32)
        _between("total_s", self.total_s, 3, 16)
        for line in self.endpoints:
            name, _, address = line.partition("=")
            if name not in BY_NAME:
                raise ValueError(f"endpoints: {name!r} is none of {', '.join(BY_NAME)}")
            parse_address(address)

    def addresses(self, endpoint: Endpoint) -> tuple[str, ...]:
        """Where an endpoint is, by the operator's word or as shipped."""
        own = [line.partition("=")[2] for line in self.endpoints]
        names = [line.partition("=")[0] for line in self.endpoints]
        found = tuple(a for n, a in zip(names, own, strict=True) if n == endpoint.name)
        return found or endpoint.addresses


def _between(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} must be from {low:g} to {high:g}")


def parse_address(text: str) -> tuple[str, int]:
    """ "1.2.3.4:80" or "[fd00::1%eth0]:80"; raises ValueError."""
    match = _ADDRESS.match(text)
    if match is None:
        raise ValueError(f"{text!r}: must be ADDRESS:PORT or [IPv6]:PORT")
    address, port = match["six"] or match["four"], int(match["port"])
    ipaddress.ip_address(address.partition("%")[0])
    if not 0 < port < 65536:
        raise ValueError(f"{text!r}: no such port")
    return address, port


class Outcome(StrEnum):
    """What one place got of one address of one endpoint."""

    OPEN = "open"
    TOKEN = "v2 token obtainable"  # noqa: S105
    TOKEN_WANTED = "answers, wants a token"  # noqa: S105
    CONCEALED = "answered by the platform's proxy for pods"
    HOP_LIMIT = "v2 token refused by hop limit"
    DENIED = "answers, denies"
    REFUSED = "refused"
    RESET = "reset"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timed out"
    SILENT = "connected, no answer"
    INTERCEPTED = "intercepted"
    LONGER = "a list longer than what is read of it"
    UNTESTED = "not tested"


REACHED = frozenset({Outcome.OPEN, Outcome.TOKEN, Outcome.TOKEN_WANTED})
UNCLEAR = frozenset({Outcome.SILENT, Outcome.INTERCEPTED, Outcome.LONGER, Outcome.UNTESTED})


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back of one request; see nodeward.host.exchange.Reply for `end`."""

    end: str
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    shape: bool = False
    html: bool = False
    words: tuple[str, ...] = ()
    error: str = ""
    cut: bool = False

    def header(self, name: str) -> str | None:
        return next((v for k, v in self.headers if k == name.lower()), None)


@dataclass(frozen=True, slots=True)
class Cell:
    """One address of one endpoint from one place. `words` are the known names seen in a list;
    `token_given` says that a session token could be had, whatever else is open."""

    endpoint: str
    address: str
    outcome: Outcome
    detail: str = ""
    words: tuple[str, ...] = ()
    token_given: bool = False
    plain_refused: bool = False
    """Whether a service with session tokens said that it answers no request without one."""
    token_unclear: bool = False
    """Whether the request for a token got an answer that is neither a token nor a refusal."""

    @property
    def kind(self) -> Kind:
        return BY_NAME[self.endpoint].kind

    @property
    def ipv6(self) -> bool:
        return self.address.startswith("[")

    def __str__(self) -> str:
        more = f" ({self.detail})" if self.detail else ""
        return f"{self.endpoint} {self.address}: {self.outcome}{more}"


@dataclass(frozen=True, slots=True)
class HostReach(Fact):
    """What a process of the host without any right gets, and why not where it could not try.

    No cells and no problem: nothing was to be asked, and nothing was sent.
    """

    cells: tuple[Cell, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A network of pods, and what is got from there; or the problem why nothing was asked."""

    pods: tuple[str, ...]
    inode: int
    cells: tuple[Cell, ...] = ()
    problem: str = ""

    def __str__(self) -> str:
        return ", ".join(self.pods)


@dataclass(frozen=True, slots=True)
class PodReach(Fact):
    """The matrix: a row a network of pods, by the pods' names. Empty: nothing was asked."""

    events: ClassVar[tuple[str, ...]] = ("pod",)

    places: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """One address to ask, with the requests that one cell is made from."""

    endpoint: Endpoint
    address: str

    @property
    def asks(self) -> tuple[Ask, ...]:
        token = self.endpoint.token
        return (self.endpoint.ask,) if token is None else (self.endpoint.ask, token)


def chosen_cloud(cloud: Cloud | Absent | Unreadable, p: Metadata) -> str | None:
    """The operator's word first. None: nobody named one."""
    if p.cloud:
        return p.cloud
    return cloud.name if isinstance(cloud, Cloud) else None


def targets(cloud: Cloud | Absent | Unreadable, p: Metadata) -> tuple[Target, ...]:
    """What is to be asked here. Empty where no cloud is known, or the operator said no."""
    name = chosen_cloud(cloud, p)
    if p.enabled == "off" or name is None:
        return ()
    return tuple(
        Target(endpoint, address)
        for endpoint in of_cloud(name)
        for address in p.addresses(endpoint)
    )


HOW_TO_ENABLE = "`metadata.cloud` in the configuration names it (or `generic`)"


def why_not(cloud: Cloud | Absent | Unreadable, p: Metadata) -> Verdict | None:
    """The verdict of every rule about endpoints where nothing is asked; None where it is."""
    if p.enabled == "off":
        return Verdict.not_applicable("metadata probes are switched off (`metadata.enabled: off`)")
    if chosen_cloud(cloud, p) is not None:
        return None
    if isinstance(cloud, Unreadable):
        return Verdict.unknown(
            f"could not look at {cloud.what}: {cloud.error}; nothing was sent; {HOW_TO_ENABLE}"
        )
    if isinstance(cloud, Absent) or not cloud.could_tell:
        return Verdict.unknown(
            f"no firmware table (DMI), provider id or cloud-init file here tells the cloud; "
            f"nothing was sent; {HOW_TO_ENABLE}"
        )
    return Verdict.not_applicable(
        f"firmware, provider id and cloud-init name no cloud; nothing was sent; {HOW_TO_ENABLE}"
    )


def cells(asked: Sequence[Target], replies: Sequence[Reply]) -> tuple[Cell, ...]:
    """The row of the matrix that these replies make; they come in the order of the requests."""
    rest = iter(replies)
    found = [_cell(target, [next(rest) for _ in target.asks]) for target in asked]
    other = next((c for c in found if c.outcome is Outcome.INTERCEPTED), None)
    return tuple(_doubted(cell, other) for cell in found) if other else tuple(found)


def _doubted(cell: Cell, other: Cell) -> Cell:
    """Where something else answers in a service's place (a sidecar that takes every connection),
    a connection alone proves nothing."""
    if cell.outcome is not Outcome.OPEN or BY_NAME[cell.endpoint].ask.method:
        return cell
    detail = f"a TCP connection, where something else answers for {other.endpoint}"
    return replace(cell, outcome=Outcome.INTERCEPTED, detail=detail)


def _cell(target: Target, replies: list[Reply]) -> Cell:
    endpoint = target.endpoint
    read = _meaning(endpoint.ask, replies[0])
    if endpoint.token is None:
        if read[0] is Outcome.OPEN and endpoint.ask.words and replies[0].cut:
            read = Outcome.LONGER, f"status {replies[0].status}"
        return Cell(endpoint.name, target.address, *read, replies[0].words)
    token = _meaning(endpoint.token, replies[1])
    outcome, detail = _with_token(read, token)
    given = token[0] is Outcome.OPEN
    if outcome is Outcome.OPEN:
        detail = "v1, without a token" + ("; a v2 token too" if given else "")
    refused = read[0] in (Outcome.TOKEN_WANTED, Outcome.DENIED)
    return Cell(
        endpoint.name,
        target.address,
        outcome,
        detail,
        token_given=given,
        plain_refused=refused,
        token_unclear=token[0] in UNCLEAR - {Outcome.SILENT},  # silence is the hop limit's word
    )


_Meaning = tuple[Outcome, str]


def _with_token(read: _Meaning, token: _Meaning) -> _Meaning:
    """A service with session tokens: what a plain GET said, and what the request for one said.

    Of two packets that the same hop limit governs only the token's answer is cut off: a service
    that answers GET and not PUT refuses by hop limit.
    """
    if read[0] is Outcome.OPEN:
        return read
    if token[0] is Outcome.OPEN:
        return Outcome.TOKEN, "" if read[0] is Outcome.TOKEN_WANTED else f"without one: {read[0]}"
    if read[0] is not Outcome.TOKEN_WANTED:
        return read
    if token[0] in (Outcome.TIMEOUT, Outcome.SILENT):
        return Outcome.HOP_LIMIT, ""
    if token[0] in (Outcome.DENIED, Outcome.REFUSED, Outcome.RESET):
        return Outcome.DENIED, f"the request for a token: {token[0]}"
    return token


_ENDS = {
    "refused": Outcome.REFUSED,
    "reset": Outcome.RESET,
    "unreachable": Outcome.UNREACHABLE,
    "timeout": Outcome.TIMEOUT,
    "silent": Outcome.SILENT,
    "closed": Outcome.RESET,
}
_BETWEEN = frozenset({407, 511})  # a proxy wants to be paid, a captive portal to be clicked


def _meaning(ask: Ask, reply: Reply) -> _Meaning:
    if reply.end == "connected":
        return Outcome.OPEN, "TCP connection"
    if reply.end == "not-http":
        return Outcome.INTERCEPTED, reply.error or "not HTTP"
    if reply.end != "answer":
        status = f"status {reply.status}, then nothing" if reply.status else ""
        return _ENDS.get(reply.end, Outcome.UNTESTED), status or reply.error
    return _of_status(ask, reply)


def _of_status(ask: Ask, reply: Reply) -> _Meaning:
    status = f"status {reply.status}"
    page = reply.html and reply.status == 200
    if page or 300 <= reply.status < 400 or reply.status in _BETWEEN:
        return Outcome.INTERCEPTED, status
    if reply.header("www-authenticate") or reply.header("proxy-authenticate"):
        return Outcome.INTERCEPTED, status
    if reply.status in ask.wants:
        return Outcome.TOKEN_WANTED, status
    if reply.status in ask.denied:
        return Outcome.DENIED, status
    if reply.status != 200:
        return Outcome.INTERCEPTED, status
    if not _genuine(ask, reply) or (ask.shape and not reply.shape):
        return Outcome.INTERCEPTED, "status 200 of another shape"
    if (reply.header("server") or "").startswith("GKE Metadata Server"):
        return Outcome.CONCEALED, "GKE Metadata Server"
    return Outcome.OPEN, ""


def _genuine(ask: Ask, reply: Reply) -> bool:
    if ask.genuine is None:
        return True
    name, wanted = ask.genuine
    value = reply.header(name)
    return value is not None and (not wanted or value == wanted)


def kept_headers(ask: Ask) -> tuple[str, ...]:
    """The response headers that a meaning depends on; no other leaves the child that asked."""
    own = (ask.genuine[0].lower(),) if ask.genuine else ()
    return ("server", "www-authenticate", "proxy-authenticate", *own)


def sent(asked: Iterable[Target]) -> Iterator[str]:
    """What was sent, as lines for people."""
    for target in asked:
        yield f"{target.address}: " + "; ".join(str(ask) for ask in target.asks)
