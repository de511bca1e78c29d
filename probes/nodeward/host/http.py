"""One GET to a port of this machine, without credentials, within bounds of time and bytes."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, ClassVar

from nodeward.host.query import Query
from nodeward.host.tls import unverified
from nodeward.host.wire import Budget, Outcome, connect, must_be_local, outcome_of, receive
from nodeward.lazy import dataclass

if TYPE_CHECKING:
    import socket

    from nodeward.host.tree import TreeHost

MOST_HEADERS = 1 << 14
KEEP = 512
"""Bytes of a refusal's body that are kept: it says who was refused what."""
SHOWN = frozenset({"server", "content-type", "content-length", "location", "www-authenticate"})


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """`headers` holds those of SHOWN, names in lower case. `body` is the start of a refusal's
    body; that of a success is not kept, for it may hold what pods keep secret: `digest` is the
    sha256 of the `size` bytes that were read of it."""

    outcome: Outcome
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    digest: str = ""
    size: int = 0
    alert: str = ""


@dataclass(frozen=True, slots=True)
class HttpGet(Query[HttpAnswer]):
    """GET `path`, plain or over TLS (not verified). There is no other verb here."""

    answer_type: ClassVar[object] = HttpAnswer

    address: str
    port: int
    path: str
    tls: bool = False
    seconds: float = 2.0

    def answer(self, host: TreeHost) -> HttpAnswer:
        must_be_local(host, self.address)
        return get(self.address, self.port, self.path, Budget(self.seconds), tls=self.tls)


def get(address: str, port: int, path: str, budget: Budget, *, tls: bool) -> HttpAnswer:
    """Never raises."""
    answer, body = get_body(address, port, path, budget, tls=tls, most=KEEP)
    return answer if answer.status is None or answer.status >= 300 else _without(answer, body)


def _without(answer: HttpAnswer, body: bytes) -> HttpAnswer:
    digest = hashlib.sha256(body).hexdigest()
    return HttpAnswer(answer.outcome, answer.status, answer.headers, b"", digest, len(body))


def get_body(
    address: str, port: int, path: str, budget: Budget, *, tls: bool, most: int
) -> tuple[HttpAnswer, bytes]:
    """The answer, and the first `most` bytes of its body. Never raises."""
    import ssl

    try:
        with connect(address, port, budget) as plain:
            if not tls:
                return ask(plain, address, path, budget, most)
            plain.settimeout(budget.left())
            with unverified().wrap_socket(plain, suppress_ragged_eofs=True) as secure:
                return ask(secure, address, path, budget, most)
    except ssl.SSLError as exc:
        reason = (exc.reason or "").lower().replace("_", " ")
        outcome = Outcome.TLS_ALERT if "alert" in reason else Outcome.GARBAGE
        return HttpAnswer(outcome, alert=reason), b""
    except OSError as exc:
        return HttpAnswer(outcome_of(exc)), b""


def ask(
    connection: socket.socket, address: str, path: str, budget: Budget, most: int, token: str = ""
) -> tuple[HttpAnswer, bytes]:
    """One GET over this connection, with a bearer token if there is one. Raises OSError."""
    host = f"[{address}]" if ":" in address else address
    bearer = f"Authorization: Bearer {token}\r\n" if token else ""
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: nodeward\r\n{bearer}"
        "Connection: close\r\n\r\n"
    )
    connection.sendall(request.encode("ascii"))
    raw = b""
    while b"\r\n\r\n" not in raw and len(raw) < MOST_HEADERS:
        chunk = receive(connection, budget)
        if not chunk:
            break
        raw += chunk
    head, end, rest = raw.partition(b"\r\n\r\n")
    status = re.match(rb"HTTP/1\.[01] (\d{3})\b", head)
    if not end or status is None:
        return HttpAnswer(Outcome.GARBAGE), b""
    headers = _headers(head)
    body = _body(connection, rest, headers, budget, most)
    shown = tuple(sorted((k, v) for k, v in headers.items() if k in SHOWN))
    return HttpAnswer(Outcome.ANSWERED, int(status[1]), shown, body[:KEEP], "", len(body)), body


def _headers(head: bytes) -> dict[str, str]:
    found = {}
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.decode("latin-1").partition(":")
        found[name.strip().lower()] = value.strip()[:200]
    return found


def _body(
    connection: socket.socket, raw: bytes, headers: dict[str, str], budget: Budget, most: int
) -> bytes:
    """What comes until the end, the promised length, or `most` bytes; a timeout ends it too."""
    chunked = headers.get("transfer-encoding", "").lower() == "chunked"
    length = headers.get("content-length", "")
    wanted = min(most, int(length)) if length.isdigit() and len(length) < 12 else most
    try:
        while len(raw) < wanted and not (chunked and raw.endswith(b"0\r\n\r\n")):
            chunk = receive(connection, budget)
            if not chunk:
                break
            raw += chunk
    except OSError:
        pass  # the status was the answer; the body is a courtesy
    return (_dechunk(raw) if chunked else raw)[:most]


def _dechunk(raw: bytes) -> bytes:
    """The data of as many whole or begun chunks as there are."""
    data = b""
    while True:
        size, found, raw = raw.partition(b"\r\n")
        try:
            count = int(size.split(b";")[0], 16)
        except ValueError:
            return data
        if not found or count <= 0:
            return data
        data, raw = data + raw[:count], raw[count + 2 :]
