"""A join token, shown once, in the commands that bring agents in: as a package, and by Helm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509
from markupsafe import escape
from sqlalchemy import Connection, select
from starlette.requests import Request
from starlette.responses import Response

from nodeward.collector.authority import authorities
from nodeward.collector.clock import span_ms
from nodeward.collector.db import tables as t
from nodeward.collector.page.render import html
from nodeward.collector.page.visit import Visit, action
from nodeward.collector.problem import bad, gone
from nodeward.collector.settings import Settings
from nodeward.collector.store.access import Role
from nodeward.collector.store.enrol import make_join_token

TTL: Final = "24h"
MOST_NODES: Final = 100_000


def enrol(visit: Visit, connection: Connection, form: Mapping[str, str], now: int) -> Response:
    """The token, shown here for the only time."""
    cluster, node = form.get("on", ""), form.get("node") or None
    if not 0 < len(cluster) <= 253 or not cluster.isprintable():
        raise bad("cluster", "must be given")
    uses = form.get("uses") or "1"
    if not uses.isascii() or not uses.isdigit() or not 0 < int(uses[:9]) <= MOST_NODES:
        raise bad("uses", f"must be a number of nodes, 1 to {MOST_NODES}")
    found = connection.execute(
        select(t.cluster.c.id).where(t.cluster.c.name == cluster)
    ).scalar_one_or_none()
    if visit.asker.scope.clusters is not None and found not in visit.asker.scope.clusters:
        raise gone("cluster")
    token = make_join_token(
        connection,
        cluster=cluster,
        node=node,
        uses=int(uses),
        ttl_ms=span_ms(TTL),
        approve=node is None,
        by=visit.asker.name,
        now=now,
    )
    settings = visit.center.settings
    return html(
        "enrol.html",
        visit=visit,
        title="Enrol nodes",
        token=token,
        cluster=cluster,
        node=node,
        uses=int(uses),
        ttl=TTL,
        reached=reached(visit.request, settings),
        ca=escape("" if settings.tls_cert else authorities(Path(settings.state))),  # whole, not cut
        attested=cluster in settings.clusters,
        release=release(),
    )


@dataclass(frozen=True)
class Reached:
    """The collector's address for nodes, and what speaks against it."""

    url: str
    doubt: str = ""


def reached(request: Request, settings: Settings) -> Reached:
    """Where the visitor found us, if nodes find us there too: agents demand that the certificate
    names the host. One who came by this machine's own address is given a name of it."""
    scheme = request.scope["scheme"]
    came = f"{scheme}://{request.headers.get('Host', '')}"
    host, port = _parts(came)
    names = certified(settings.cert_path) if scheme == "https" else []
    others = [name for name in names if not _is_own(name)]
    if _is_own(host) and others:
        other = f"[{others[0]}]" if ":" in others[0] else others[0]
        doubt = (
            f"You came by {host}. The commands have {others[0]}, which our certificate names:"
            " see that nodes reach it, and by this port."
        )
        return Reached(f"https://{other}{port}", doubt)
    if _is_own(host):
        doubt = (
            f"Other machines do not reach {came}: put the collector's own address in its place"
            " wherever it stands below."
        )
    elif names and not any(_names(name, host) for name in names):
        doubt = (
            f"Our certificate names {', '.join(names)}, and not {host}: agents refuse to talk to"
            " it, unless something stands before us that has its own."
        )
    else:
        doubt = ""
    return Reached(came, doubt)


def _parts(url: str) -> tuple[str, str]:
    """Host, and its port with a colon; empty where the text is no address."""
    try:
        found = urlsplit(url)
        return found.hostname or "", f":{found.port}" if found.port else ""
    except ValueError:
        return "", ""


def _is_own(host: str) -> bool:
    """Whether the host is this machine for whoever asks."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _names(name: str, host: str) -> bool:
    """As RFC 9525 has it: a star is one label, the first."""
    first, _, rest = name.lower().partition(".")
    return name.lower() == host or (first == "*" and rest == host.partition(".")[2])


def certified(path: Path) -> Sequence[str]:
    """The hosts that the server's certificate names."""
    try:
        leaf = x509.load_pem_x509_certificate(path.read_bytes())
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return []
    return [str(name.value) for name in names if isinstance(name, x509.DNSName | x509.IPAddress)]


@cache
def release() -> str:
    """Our version, which is the tag of our image too."""
    try:
        return version("nodeward")
    except PackageNotFoundError:
        return "VERSION"


ROUTES: Final = [action("/agents/enrol", Role.OPERATOR, "token.create", enrol, "/agents")]
