"""The names under which the kernel asks for modules when a process without rights wants something.

Each from the request_module() call that makes it: net/socket.c, net/ipv4/af_inet.c,
net/ipv6/af_inet6.c, net/core/sock.c, crypto/af_alg.c, fs/filesystems.c, net/core/rtnetlink.c.
"""

from __future__ import annotations

from nodeward.lazy import dataclass

KINDS = {1: "SOCK_STREAM", 2: "SOCK_DGRAM", 3: "SOCK_RAW", 4: "SOCK_RDM", 5: "SOCK_SEQPACKET",
         6: "SOCK_DCCP", 10: "SOCK_PACKET"}  # fmt: skip
SOCKET_TYPES = range(11)  # SOCK_MAX is 11; the kernel asks before it knows what the type means
DIAG_GUARD = (4, 17)
"""From this kernel on sock_diag asks for a protocol's module only once the protocol is there."""
TC_ALIASES = (6, 9)
"""From this kernel on traffic control asks for net-sch-X; before for sch_X, the module's name."""


@dataclass(frozen=True, slots=True)
class Request:
    """One name the kernel asks for, and what a process does to make it ask."""

    name: str
    by: str
    userns: bool = False  # needs a capability that a new user namespace gives
    since: tuple[int, int] = (0, 0)
    until: tuple[int, int] = (999, 0)

    @property
    def dated(self) -> bool:
        """Whether some kernels do not make it."""
        return self.since > (0, 0) or self.until < (999, 0)

    def made_by(self, version: tuple[int, int]) -> bool:
        """Whether a kernel of this version asks so; (0, 0) is one that we cannot tell."""
        return version == (0, 0) or self.since <= version < self.until


@dataclass(frozen=True, slots=True)
class Component:
    """Something of the kernel that a module brings.

    `registers` are the modules any of which makes it usable; `parts` come along and are not
    enough. `homes` are where upstream's kernel keeps them, to see a file the index forgot.
    `by_udev`: it is udev that asks, for a device, and not the kernel through kernel.modprobe.
    `rarer` requests bring it in with another module: they count where its own are kept out.
    """

    name: str
    title: str
    registers: tuple[str, ...]
    requests: tuple[Request, ...]
    parts: tuple[str, ...] = ()
    homes: tuple[str, ...] = ()
    wants: str = ""  # another component's name that must be reachable first
    by_udev: bool = False
    rarer: tuple[Request, ...] = ()

    @property
    def modules(self) -> tuple[str, ...]:
        return self.registers + self.parts


FAMILIES = {2: "AF_INET", 10: "AF_INET6"}


def _inet(protocol: int, kinds: range | tuple[int, ...], title: str) -> tuple[Request, ...]:
    """socket(AF_INET or AF_INET6, type, protocol): first with the type, then without."""
    found = []
    for family, name in FAMILIES.items():
        for kind in kinds:
            by = f"socket({name}, {KINDS.get(kind, kind)}, {title})"
            found.append(Request(f"net-pf-{family}-proto-{protocol}-type-{kind}", by))
        found.append(Request(f"net-pf-{family}-proto-{protocol}", f"socket({name}, any, {title})"))
    return tuple(found)


def _diag(protocol: int) -> tuple[Request, ...]:
    return tuple(
        Request(f"net-pf-16-proto-4-type-{f}-{protocol}", f"sock_diag for {n}", until=DIAG_GUARD)
        for f, n in FAMILIES.items()
    )


def family(name: str, number: int, *registers: str, title: str = "", home: str = "") -> Component:
    """A protocol family that one socket() call brings in. Its `home` is kernel/net/NAME if no
    other is named."""
    by = f"socket({title or name.upper()})"
    request = Request(f"net-pf-{number}", by)
    return Component(
        name, title or name, registers, (request,), homes=(home or f"kernel/net/{name}",)
    )


DCCP = Component(
    "dccp",
    "DCCP",
    ("dccp_ipv4", "dccp_ipv6"),
    (*_inet(33, SOCKET_TYPES, "IPPROTO_DCCP"), *_inet(0, (6,), "0"), *_diag(33)),
    ("dccp", "dccp_diag"),
    ("kernel/net/dccp",),
)
SCTP = Component(
    "sctp",
    "SCTP",
    ("sctp",),
    (*_inet(132, SOCKET_TYPES, "IPPROTO_SCTP"), *_diag(132)),
    ("sctp_diag",),
    ("kernel/net/sctp",),
)
RDS = family("rds", 21, "rds", title="AF_RDS")
TIPC = Component(
    "tipc",
    "TIPC",
    ("tipc",),
    (
        Request("net-pf-30", "socket(AF_TIPC)"),
        Request("net-pf-16-proto-16-family-TIPC", "a generic netlink look-up of TIPC"),
        Request("net-pf-16-proto-16-family-TIPCv2", "a generic netlink look-up of TIPCv2"),
    ),
    ("diag",),
    ("kernel/net/tipc",),
)
AF_ALG = family("af_alg", 38, "af_alg", title="AF_ALG", home="kernel/crypto")


def _algif(kind: str) -> Component:
    """bind() of an AF_ALG socket. Where no alias says so, "-" as "_" is the module's own name."""
    request = Request(f"algif-{kind}", f"bind() of an AF_ALG socket to {kind}")
    return Component(
        f"algif_{kind}",
        f"algif_{kind}",
        (f"algif_{kind}",),
        (request,),
        homes=("kernel/crypto",),
        wants="af_alg",
    )


ALGIF = tuple(_algif(kind) for kind in ("aead", "skcipher", "hash", "rng"))


def _xfrm(name: str, family: int, protocol: int, home: str) -> Component:
    by = f"a state of {name}, with CAP_NET_ADMIN in a user namespace"
    request = Request(f"xfrm-type-{family}-{protocol}", by, userns=True)
    return Component(name, name, (name,), (request,), homes=(home,))


IPSEC = (
    _xfrm("esp4", 2, 50, "kernel/net/ipv4"),
    _xfrm("esp6", 10, 50, "kernel/net/ipv6"),
    family("rxrpc", 33, "rxrpc", title="AF_RXRPC"),
    family("af_key", 15, "af_key", title="AF_KEY", home="kernel/net/key"),
    Component(
        "xfrm_user",
        "xfrm_user",
        ("xfrm_user",),
        (Request("net-pf-16-proto-6", "socket(AF_NETLINK, NETLINK_XFRM)"),),
        homes=("kernel/net/xfrm",),
    ),
)
LEGACY = (
    family("ax25", 3, "ax25"),
    family("ipx", 4, "ipx"),
    family("appletalk", 5, "appletalk"),
    family("netrom", 6, "netrom"),
    Component(
        "atm",
        "atm",
        ("atm",),
        (Request("net-pf-8", "socket(AF_ATMPVC)"), Request("net-pf-20", "socket(AF_ATMSVC)")),
        homes=("kernel/net/atm",),
    ),
    family("x25", 9, "x25"),
    family("rose", 11, "rose"),
    family("decnet", 12, "decnet"),
    family("pppox", 24, "pppox", home="kernel/drivers/net/ppp"),
    family("llc2", 26, "llc2", home="kernel/net/llc"),
    family("can", 29, "can"),
    family("bluetooth", 31, "bluetooth"),
    family("mISDN", 34, "mISDN_core", home="kernel/drivers/isdn/mISDN"),
    family("phonet", 35, "phonet"),
    family("ieee802154", 36, "ieee802154_socket"),
    family("caif", 37, "caif_socket"),
    family("nfc", 39, "nfc"),
    family("kcm", 41, "kcm"),
    family("qrtr", 42, "qrtr"),
    family("smc", 43, "smc"),
    family("mctp", 45, "mctp"),
)
VSOCK = family("vsock", 40, "vsock", title="AF_VSOCK", home="kernel/net/vmw_vsock")


def _filesystem(module: str, *names: str, homes: tuple[str, ...] = ()) -> Component:
    """`names` are what mount() calls it, the module's own if none is given."""
    found = tuple(
        Request(f"fs-{n}", f"mount() of {n}, with CAP_SYS_ADMIN in a user namespace", userns=True)
        for n in names or (module,)
    )
    homes = homes or (f"kernel/fs/{module}",)
    return Component(module, module, (module,), found, homes=homes)


FILESYSTEMS = (
    *map(_filesystem, ("cramfs", "hfs", "hfsplus", "jffs2", "squashfs", "udf")),
    _filesystem("freevxfs", "vxfs"),
    _filesystem("cifs", "cifs", "smb3", homes=("kernel/fs/cifs", "kernel/fs/smb/client")),
    _filesystem("nfs", "nfs", "nfs4"),
)


def _stick(device: str, protocol: str, title: str) -> Request:
    """Mass storage that speaks SCSI commands."""
    name = f"usb:v{device}dc00dsc00dp00ic08isc06ip{protocol}in00"
    return Request(name, f"a USB stick that is plugged in ({title})")


USB_STORAGE = Component(
    "usb_storage",
    "usb-storage",
    ("usb_storage",),
    # Bulk-only transport, and the newer attached SCSI.
    (_stick("0781p5581d0100", "50", "bulk-only"), _stick("0781p5581d0100", "62", "UAS")),
    homes=("kernel/drivers/usb/storage",),
    by_udev=True,
    # With drivers of their own (drivers/usb/storage/unusual_*.h), which need usb-storage.
    rarer=tuple(
        _stick(device, "50", f"one for ums-{driver}") for device, driver in (
            ("07B4p010Ad0102", "alauda"), ("14CDp6116d0150", "cypress"),
            ("0C0BpA109d0100", "datafab"), ("0CF2p6250d0100", "eneub6250"),
            ("07ABpFC01d0100", "freecom"), ("0BF6pA001d0100", "isd200"),
            ("05DCp0001d0001", "jumpshot"), ("045Ap5210d0101", "karma"),
            ("0D49p7010d0100", "onetouch"), ("0BDAp0184d0100", "realtek"),
            ("07AFp0006d0100", "sddr09"), ("55AApA103d0100", "sddr55"),
            ("0781p0005d0005", "usbat"),
        )
    ),
)  # fmt: skip


def _userns(name: str, request: str, by: str, *homes: str) -> Component:
    found = Request(request, f"{by}, with CAP_NET_ADMIN in a user namespace", userns=True)
    return Component(name, name, (name,), (found,), homes=homes)


def _link(module: str, kind: str = "", home: str = "") -> Component:
    """`kind` is what `ip link add ... type` calls it, the module's own name if not given."""
    kind = kind or module
    homes = (home,) if home else (f"kernel/drivers/net/{module}", "kernel/drivers/net")
    return _userns(module, f"rtnl-link-{kind}", f"a {kind} interface", *homes)


def _traffic(table: str, kind: str, what: str) -> Component:
    by = f"{what} {kind}, with CAP_NET_ADMIN in a user namespace"
    name = f"{table}_{kind}"
    found = (
        Request(f"net-{table}-{kind}", by, userns=True, since=TC_ALIASES),
        Request(name, by, userns=True, until=TC_ALIASES),
    )
    return Component(name, name, (name,), found, homes=("kernel/net/sched",))


USERNS = (
    _userns("nf_tables", "nfnetlink-subsys-10", "an nftables table", "kernel/net/netfilter"),
    _userns("ip_set", "nfnetlink-subsys-6", "an IP set", "kernel/net/netfilter/ipset"),
    *(_traffic("sch", k, "the queueing discipline")
      for k in ("hfsc", "drr", "qfq", "ets", "cake", "choke", "red", "sfq", "plug", "netem")),
    *(_traffic("cls", k, "the traffic classifier")
      for k in ("u32", "flower", "route", "fw", "basic", "matchall")),
    *(_traffic("act", k, "the traffic action") for k in ("pedit", "mirred", "ct", "connmark")),
    *map(_link, ("vxlan", "geneve", "ipvlan", "macvlan", "team", "gtp")),
    _link("bonding", "bond"), _link("hsr", home="kernel/net/hsr"),
    _link("batman_adv", "batadv", home="kernel/net/batman-adv"),
)  # fmt: skip

NEEDS = {
    "dccp_ipv4": ("dccp",),
    "dccp_ipv6": ("dccp", "dccp_ipv4"),
    "dccp_diag": ("dccp",),
    "sctp_diag": ("sctp",),
}
"""Whose symbols a module takes, whatever modules.dep says: depmod leaves out what it does not
find, and the kernel then refuses the module."""

COMPONENTS = (DCCP, SCTP, RDS, TIPC, AF_ALG, *ALGIF, *IPSEC, *LEGACY, VSOCK, *FILESYSTEMS,
              USB_STORAGE, *USERNS)  # fmt: skip
"""Every component that some check judges."""

BY_NAME = {component.name: component for component in COMPONENTS}
UNDATED = frozenset(c.name for c in COMPONENTS if not any(r.dated for r in c.requests))
"""Those of which every kernel makes all requests."""
UNWANTED = (DCCP, SCTP, RDS, TIPC, *LEGACY)
"""What no ordinary node has loaded."""
