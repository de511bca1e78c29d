"""Which option of the kernel's build brings a component, for kernels that tell it no other way.

A kernel without loadable modules has no modules.builtin, and /sys/module shows only what has a
parameter or a version. Names from the Kconfig files of net, fs, crypto and drivers.
"""

from __future__ import annotations

_PLAIN = (
    "RDS", "TIPC", "AX25", "IPX", "NETROM", "ATM", "X25", "ROSE", "DECNET", "LLC2", "CAN", "PHONET",
    "CAIF", "NFC", "QRTR", "SMC", "MCTP", "CRAMFS", "SQUASHFS", "CIFS", "USB_STORAGE", "NF_TABLES",
    "IP_SET", "VXLAN", "GENEVE", "IPVLAN", "MACVLAN", "BONDING", "GTP", "HSR", "BATMAN_ADV",
    "XFRM_USER",
)  # fmt: skip
BUILT_BY = {
    **{option.lower(): option for option in _PLAIN},
    **{f"algif_{kind}": f"CRYPTO_USER_API_{kind.upper()}"
       for kind in ("aead", "skcipher", "hash", "rng")},
    **{f"{table}_{kind}": f"NET_{table.upper()}_{kind.upper()}"
       for table, kinds in (
           ("sch", ("hfsc", "drr", "qfq", "ets", "cake", "choke", "red", "sfq", "plug", "netem")),
           ("cls", ("u32", "flower", "fw", "basic", "matchall")),
           ("act", ("pedit", "mirred", "ct", "connmark")),
       )
       for kind in kinds},
    "af_alg": "CRYPTO_USER_API",
    "af_key": "NET_KEY",
    "appletalk": "ATALK",
    "bluetooth": "BT",
    "cls_route": "NET_CLS_ROUTE4",
    "dccp": "IP_DCCP",
    "esp4": "INET_ESP",
    "esp6": "INET6_ESP",
    "freevxfs": "VXFS_FS",
    "hfs": "HFS_FS",
    "hfsplus": "HFSPLUS_FS",
    "ieee802154": "IEEE802154_SOCKET",
    "jffs2": "JFFS2_FS",
    "kcm": "AF_KCM",
    "mISDN": "MISDN",
    "nfs": "NFS_FS",
    "pppox": "PPPOE",
    "rxrpc": "AF_RXRPC",
    "sctp": "IP_SCTP",
    "team": "NET_TEAM",
    "udf": "UDF_FS",
    "vsock": "VSOCKETS",
}  # fmt: skip
"""By the component's name."""
