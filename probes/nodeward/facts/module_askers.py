"""Who can make the kernel ask for a module by a given name.

Each row is a request_module() call of the kernel's source, with the check that stands before it
there. A name of none of these shapes is asked for by root, or by udev for a device.
"""

from __future__ import annotations

import re
from functools import lru_cache

from nodeward.facts.module_index import normal
from nodeward.facts.module_requests import COMPONENTS, DIAG_GUARD, TC_ALIASES, Request
from nodeward.lazy import dataclass, pattern


@dataclass(frozen=True, slots=True)
class Asker:
    """`by` is what a process does for it, `after` the component that must be there before: its own
    code makes the request. Behind `prefix` stands a number, or anything; versions are the
    kernel's, as in Request."""

    prefix: str
    by: str
    number: bool = False
    userns: bool = False
    after: str = ""
    since: tuple[int, int] = (0, 0)
    until: tuple[int, int] = (999, 0)

    def request(self, name: str) -> Request:
        """A name of this shape, as the kernel spells it."""
        rest = name[len(self.prefix) :]
        dashed = rest.replace("_", "-") if self.prefix.endswith("-") else rest
        text = f"{self.by}, with CAP_NET_ADMIN in a user namespace" if self.userns else self.by
        return Request(self.prefix + dashed, text, self.userns, self.since, self.until)


_MOUNT = "mount(), with CAP_SYS_ADMIN in a user namespace,"
_XTABLES = "an iptables rule or table"
_NFT = "an nftables rule"
ASKERS = (
    # net/socket.c, and each family's create(): any process
    Asker("net-pf-24-proto-", "socket(AF_PPPOX)", after="pppox"),
    Asker("net-pf-35-proto-", "socket(AF_PHONET)", after="phonet"),
    Asker("net-pf-", "a socket"),
    Asker("can-proto-", "socket(AF_CAN)", number=True, after="can"),
    Asker("bt-proto-", "socket(AF_BLUETOOTH)", number=True, after="bluetooth"),
    Asker("net-dccp-ccid-", "an option of a DCCP socket", after="dccp"),
    Asker("rds_tcp", "an option of an RDS socket", after="rds"),
    Asker("rds_rdma", "an option of an RDS socket", after="rds"),
    Asker("bridge", "ioctl(SIOCGIFBR) of a socket"),
    Asker("8021q", "ioctl(SIOCGIFVLAN) of a socket"),
    Asker("dlci", "ioctl(SIOCADDDLCI) of a socket"),
    # crypto/af_alg.c, crypto/api.c; the latter also for IPsec
    Asker("algif-", "bind() of an AF_ALG socket", after="af_alg"),
    Asker("crypto-", "a cipher that is named to an AF_ALG socket or to IPsec"),
    # drivers/tty/tty_ldisc.c, unless dev.tty.ldisc_autoload is 0; fs/exec.c
    Asker("tty-ldisc-", "ioctl(TIOCSETD) of a terminal", number=True),
    Asker("binfmt-", "execve() of a file of that format"),
    # fs/char_dev.c: the nodes that anybody may open (udev's rules make /dev/kvm such a one)
    Asker("char-major-10-200", "open() of /dev/net/tun"),
    Asker("char-major-10-229", "open() of /dev/fuse"),
    Asker("char-major-10-232", "open() of /dev/kvm"),
    # what takes a capability that a user namespace gives
    Asker("fs-", _MOUNT),
    Asker("rtnl-link-", "a network interface", userns=True),
    Asker("rtnl-lwt-", "a route with a tunnel", userns=True),
    Asker("net-sch-", "a queueing discipline", userns=True, since=TC_ALIASES),
    Asker("net-cls-", "a traffic classifier", userns=True, since=TC_ALIASES),
    Asker("net-act-", "a traffic action", userns=True, since=TC_ALIASES),
    Asker("sch_", "a queueing discipline", userns=True, until=TC_ALIASES),
    Asker("cls_", "a traffic classifier", userns=True, until=TC_ALIASES),
    Asker("act_", "a traffic action", userns=True, until=TC_ALIASES),
    Asker("ematch-kind-", "a traffic classifier", number=True, userns=True),
    Asker("ife-meta-", "a traffic action", userns=True),
    Asker("nfnetlink-subsys-", "a message to netfilter", number=True, userns=True),
    *(Asker(f"nft-{kind}-", _NFT, userns=True, after="nf_tables")
      for kind in ("expr", "chain", "obj", "set")),
    Asker("nf-flowtable-", _NFT, userns=True, after="nf_tables"),
    Asker("nf-logger-", "a rule that logs", userns=True),
    Asker("nfct-helper-", "a rule that tracks connections", userns=True),
    Asker("ip_set_", "an IP set", userns=True, after="ip_set"),
    *(Asker(f"{table}_", _XTABLES, userns=True)
      for table in ("xt", "ipt", "ip6t", "arpt", "ebt", "iptable", "ip6table", "arptable",
                    "ebtable")),
    Asker("bpfilter", _XTABLES, userns=True),
    Asker("ip_vs_", "a virtual server", userns=True),
    *(Asker(f"xfrm-{kind}-", "a state of IPsec", userns=True)
      for kind in ("type", "mode", "offload")),
    Asker("net-l2tp-type-", "an L2TP session", number=True, userns=True),
    Asker("vport-type-", "a port of Open vSwitch", number=True, userns=True),
    Asker("team-mode-", "a team interface", userns=True, after="team"),
    Asker("ppp-compress-", "a PPP channel", number=True, userns=True),
)  # fmt: skip
_WHOLE = frozenset(
    {"rds_tcp", "rds_rdma", "bridge", "8021q", "dlci", "bpfilter", "char_major_10_200",
     "char_major_10_229", "char_major_10_232"}
)  # fmt: skip
_NORMAL = tuple((normal(a.prefix) or "", a) for a in ASKERS)
_BY_FAMILY = {
    r.name.removeprefix("net-pf-"): c.name for c in COMPONENTS for r in c.requests
    if re.fullmatch(r"net-pf-\d+", r.name)
}  # fmt: skip
_FAMILY = pattern(r"net_pf_\d+(_proto_.+)?")
_DIAG = pattern(r"net_pf_16_proto_4_type_(\d+)(?:_(\d+))?")
_FAMILIES_THERE = frozenset({"1", "2", "10", "16", "17", "44"})  # unix, inet, netlink, packet, xdp
_BY_PROTOCOL = {  # ICMP, IGMP, TCP, UDP, UDP-Lite, raw and MPTCP are in every kernel
    **dict.fromkeys(("1", "2", "6", "17", "136", "255", "262"), ""),
    "33": "dccp",
    "132": "sctp",
}


@lru_cache(maxsize=4096)
def asker(name: str, kernel: tuple[int, int]) -> Asker | None:
    """Who asks a kernel of this version for a name (with "_" for "-"); None: nobody without rights
    in the first user namespace."""
    diag = _DIAG.fullmatch(name)
    if diag and kernel >= DIAG_GUARD:
        return _by_sock_diag(diag[1], diag[2])
    if name.startswith("net_pf_") and not _FAMILY.fullmatch(name):
        return None
    if name.startswith("binfmt_") and not re.fullmatch(r"binfmt_[0-9a-f]{4}", name):
        return None
    for prefix, found in _NORMAL:
        rest = name.removeprefix(prefix) if name.startswith(prefix) else None
        if rest is not None and (not rest if prefix in _WHOLE else rest):
            if found.number and not rest.isdecimal():
                return None
            dated = found.since <= kernel < found.until or kernel == (0, 0)
            return found if dated else None
    return None


def _by_sock_diag(family: str, protocol: str | None) -> Asker | None:
    """net/core/sock.c, sock_load_diag_module(): only for a family or protocol that is there, and
    for protocols only as AF_INET's (net/ipv4/inet_diag.c)."""
    if protocol is None:
        after = "" if family in _FAMILIES_THERE else _BY_FAMILY.get(family)
    else:
        after = _BY_PROTOCOL.get(protocol) if family == "2" else None
    return None if after is None else Asker("net-pf-", "a look-up by sock_diag", after=after)


def instances(text: str) -> tuple[str, ...]:
    """Names that the kernel may ask for and that a pattern of modprobe.d could match: the pattern
    with its wildcards filled in, and each shape that begins as it does with the rest behind."""
    head = _WILD.split(text, maxsplit=1)[0]
    rest = _filled(_WILD.sub("", text[len(head) :], count=1))
    found = [_filled(text)]
    found += [prefix + more for prefix, _ in _NORMAL if prefix.startswith(head)
              for more in (rest, f"1{rest}")]  # fmt: skip
    return tuple(dict.fromkeys(found))


_WILD = pattern(r"\[[!^]?(.)[^\]]*\]|[*?\\]")


def _filled(text: str) -> str:
    return _WILD.sub(lambda found: found[1] or "1", text)
