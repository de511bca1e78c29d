"""How the running machine would send to an address: the kernel's answer, nothing is sent."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, ClassVar

from nodeward.host.base import HostError, OfflineError
from nodeward.host.live import LiveHost
from nodeward.host.query import Query
from nodeward.lazy import dataclass

if TYPE_CHECKING:
    from nodeward.host.tree import TreeHost

KINDS = {1: "unicast", 2: "local", 3: "broadcast", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
# What the kernel answers where a route of these kinds is the best match, ip-route(8).
ERRORS = {errno.EINVAL: "blackhole", errno.EHOSTUNREACH: "unreachable", errno.EACCES: "prohibit"}


@dataclass(frozen=True, slots=True)
class RouteRow:
    """The route to one address; `kind` is the name of an errno where there is none."""

    address: str
    kind: str
    device: str = ""
    gateway: str = ""


@dataclass(frozen=True, slots=True)
class RoutesTo(Query[tuple[RouteRow, ...]]):
    """rtnetlink(7): one RTM_GETROUTE an address, in their order."""

    answer_type: ClassVar[object] = tuple[RouteRow, ...]

    addresses: tuple[str, ...]

    def answer(self, host: TreeHost) -> tuple[RouteRow, ...]:
        if not isinstance(host, LiveHost) or host.same_namespace("net") is False:
            raise OfflineError("routes", "another network namespace than the host's")
        from pyroute2 import IPRoute

        try:
            with IPRoute() as netlink:
                return tuple(_route(netlink, address) for address in self.addresses)
        except OSError as exc:
            raise HostError("routes", errno.errorcode.get(exc.errno or 0, "EIO")) from exc


def _route(netlink: Any, address: str) -> RouteRow:  # noqa: ANN401  an untyped library
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        found = next(iter(netlink.route("get", dst=address.partition("%")[0])))
    except NetlinkError as exc:
        name = ERRORS.get(exc.code) or errno.errorcode.get(exc.code, "EIO")
        return RouteRow(address, name)
    device = found.get_attr("RTA_OIF")
    names = [m.get_attr("IFLA_IFNAME") for m in netlink.get_links(device)] if device else []
    kind = KINDS.get(found["type"], str(found["type"]))
    return RouteRow(address, kind, next(iter(names), ""), found.get_attr("RTA_GATEWAY") or "")
