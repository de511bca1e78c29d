"""The kubelet's own configuration, asked with the agent's token, and only of the kubelet itself.

A token that is shown to another server is lost to it. So it is sent only after the server has
proved, by the handshake, that it holds the key of the certificate which lies on this node as the
kubelet's own, in directories that only root may change. What the token may do is the cluster's
matter: `get nodes/configz` is enough, and nothing else is ever asked with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from nodeward.host.base import HostError
from nodeward.host.http import ask
from nodeward.host.kubelet_port import CONFIGZ, MOST_CONFIGZ, configuration
from nodeward.host.query import Query
from nodeward.host.tls import unverified
from nodeward.host.wire import Budget, connect, must_be_local, outcome_of
from nodeward.lazy import dataclass, pattern

if TYPE_CHECKING:
    from nodeward.host.tree import TreeHost

MOST_TOKEN = 1 << 16
_USER = pattern(rb"user=([a-zA-Z0-9:._-]{1,200}),")
_TOKEN = pattern(r"[A-Za-z0-9._~+/=-]+")
_BLOCK = pattern(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


@dataclass(frozen=True, slots=True)
class ConfigzRow:
    """`status` None: not asked, or no answer; `why` says it. `configz` is the JSON of a 200,
    without its header secrets. `user` is whom a refusal named."""

    status: int | None = None
    configz: str | None = None
    why: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True)
class KubeletConfigz(Query[ConfigzRow]):
    """GET /configz. `token_file` is the agent's own, in its own file system; `certificates` are
    paths of the host at which the kubelet keeps the certificate that it presents."""

    answer_type: ClassVar[object] = ConfigzRow

    address: str
    port: int
    token_file: str
    certificates: tuple[str, ...]
    seconds: float

    def answer(self, host: TreeHost) -> ConfigzRow:
        import ssl

        must_be_local(host, self.address)
        known = [der for path in self.certificates for der in _own_certificate(host, path)]
        if not known:
            return ConfigzRow(why="the kubelet's own certificate is not where only root may put it")
        budget = Budget(self.seconds)
        try:
            token = read_token(self.token_file)
            with connect(self.address, self.port, budget) as plain:
                plain.settimeout(budget.left())
                with unverified().wrap_socket(plain) as secure:
                    if secure.getpeercert(binary_form=True) not in known:
                        return ConfigzRow(why="the port presents another certificate than its file")
                    answer, body = ask(
                        secure, self.address, CONFIGZ, budget, MOST_CONFIGZ, token=token
                    )
        except ssl.SSLError as exc:
            return ConfigzRow(why=(exc.reason or "TLS").lower().replace("_", " "))
        except ValueError:
            return ConfigzRow(why=f"{self.token_file} holds no token")
        except OSError as exc:
            return ConfigzRow(why=_why(exc, self.token_file))
        user = _USER.search(body) if answer.status != 200 else None
        return ConfigzRow(
            answer.status,
            configuration(answer.status, body),
            str(answer.outcome),
            user[1].decode("ascii") if user else "",
        )


def read_token(path: str) -> str:
    """ValueError for what could not stand in a header."""
    with Path(path).open("rb") as file:
        token = file.read(MOST_TOKEN).decode("ascii").strip()
    if not _TOKEN.fullmatch(token):
        raise ValueError("no token")
    return token


def _why(exc: OSError, token_file: str) -> str:
    if exc.filename is not None:
        return f"{token_file}: {exc.strerror}"
    return str(outcome_of(exc))


def _own_certificate(host: TreeHost, path: str) -> Iterator[bytes]:
    """The first one of a file that nobody but root can have put there."""
    import ssl

    try:
        if not all(_of_root(host, place) for place in _way(host.real(path))):
            return
        found = _BLOCK.search(host.read(path))
        if found is not None:
            yield ssl.PEM_cert_to_DER_cert(found[0].decode("ascii"))
    except (HostError, ValueError):
        return


def _way(path: str) -> Iterator[str]:
    """The file and every directory above it."""
    yield path
    while path != "/":
        path = path.rpartition("/")[0] or "/"
        yield path


def _of_root(host: TreeHost, path: str) -> bool:
    stat = host.stat(path)
    return stat.uid == 0 and not stat.mode & 0o022
