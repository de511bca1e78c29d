"""A module that is kept from its own requests comes in by another's: each way is found, and who can
take it is said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from module_hosts import put
from module_tries import Modules
from nodeward.agent.runner import Looker, examine
from nodeward.agent.scan import select
from nodeward.facts.module_askers import ASKERS, asker, instances
from nodeward.facts.module_requests import COMPONENTS, DIAG_GUARD
from nodeward.host import TreeHost
from nodeward.model import Finding, Status

PATHS = {
    "sctp": "net/sctp/sctp.ko", "sctp_diag": "net/sctp/sctp_diag.ko", "can": "net/can/can.ko",
    "can_raw": "net/can/can-raw.ko", "udf": "fs/udf/udf.ko", "e1000e": "drivers/net/e1000e.ko",
    "slip": "drivers/net/slip.ko", "mkiss": "drivers/net/hamradio/mkiss.ko",
    "ax25": "net/ax25/ax25.ko", "af_alg": "crypto/af_alg.ko", "tun": "drivers/net/tun.ko",
    "algif_hash": "crypto/algif_hash.ko", "gcm": "crypto/gcm.ko", "ppp": "drivers/net/ppp.ko",
    "libx": "lib/libx.ko", "last": "zz/last.ko", "tipc": "net/tipc/tipc.ko",
    "loop": "drivers/block/loop.ko", "nf_tables": "net/netfilter/nf_tables.ko",
    "nft_ct": "net/netfilter/nft_ct.ko",
}  # fmt: skip
NEEDS = {"can_raw": ("can",), "sctp_diag": ("sctp",), "mkiss": ("ax25",), "algif_hash": ("af_alg",),
         "slip": ("libx",), "nft_ct": ("nf_tables",)}  # fmt: skip
ALIASES = (
    ("net-pf-2-proto-132", "sctp"), ("net-pf-10-proto-132", "sctp"), ("net-pf-29", "can"),
    ("net-pf-16-proto-4-type-2-132", "sctp_diag"), ("can-proto-1", "can_raw"), ("fs-udf", "udf"),
    ("pci:v00008086d0000*", "e1000e"), ("tty-ldisc-1", "slip"), ("tty-ldisc-5", "mkiss"),
    ("net-pf-38", "af_alg"), ("char-major-10-200", "tun"), ("crypto-gcm", "gcm"),
    ("char-major-108-0", "ppp"), ("net-pf-30", "tipc"), ("block-major-7-*", "loop"),
    ("nfnetlink-subsys-10", "nf_tables"), ("nft-expr-ct", "nft_ct"), ("fs-last", "last"),
)  # fmt: skip
BLOCKED = "blacklist sctp\n"


@pytest.fixture(params=[True, False], ids=["tries", "texts"])
def root(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    full = {name: f"kernel/{path}" for name, path in PATHS.items()}
    dep = {full[m]: tuple(full[n] for n in NEEDS.get(m, ())) for m in PATHS}
    order = list(PATHS)  # depmod writes the aliases in the order of the modules
    aliases = tuple(sorted(ALIASES, key=lambda a: order.index(a[1])))
    tree = Modules(dep, (*aliases[:-1], aliases[-1]))
    folder = tmp_path / "lib/modules/6.1.0"
    tree.write(folder, binary=request.param, text=True)
    put(tmp_path, {"/bin/sh": "", "/opt/x": "", "z.conf": BLOCKED})
    os.chmod(tmp_path / "bin/sh", 0o755)
    return tmp_path


def judged(root: Path, check: str = "sctp") -> Finding:
    (found,) = examine(Looker(TreeHost(root)), select([f"kernel.module.{check}"]))
    return found


@pytest.mark.parametrize(
    ("lines", "request_name", "by"),
    [
        ("softdep can_raw pre: sctp\n", "can-proto-1", "softdep can_raw"),
        ("softdep can-raw post: sctp\n", "can-proto-1", "softdep can-raw"),
        ("softdep can pre: can_raw\nsoftdep can_raw pre: sctp\n", "can-proto-1", "softdep can"),
        ("softdep c*_raw pre: sctp\n", "can-proto-1", "softdep c*_raw"),
        ("softdep can_raw pre: sctp_diag\n", "can-proto-1", "softdep can_raw"),
        ("softdep libx pre: sctp\n", "tty-ldisc-1", "softdep libx"),
        ("softdep tun pre: sctp\n", "char-major-10-200", "softdep tun"),
        ("softdep gcm pre: sctp\n", "crypto-gcm", "softdep gcm"),
        ("softdep can_raw pre: odd\nalias odd sctp_diag\n", "can-proto-1", "softdep can_raw"),
        ("install udf /sbin/modprobe sctp; /sbin/modprobe -i udf\n", "fs-udf", "install udf"),
        ("install char-major-10-200 /sbin/modprobe sctp\n", "char-major-10-200", "install char"),
        ("alias fs-x foo\ninstall foo /sbin/modprobe sctp\n", "fs-x", "install foo"),
        ("alias tty-ldisc-* sctp_diag\n", "tty-ldisc-", "it needs sctp"),
        ("alias tty-ldisc-[7-9] sctp_diag\n", "tty-ldisc-7", "it needs sctp"),
        ("alias *ldisc-7 sctp_diag\n", "algif-ldisc-7", "it needs sctp"),
        ("alias rtnl-link-odd sctp_diag\n", "rtnl-link-odd", "user namespace"),
        ("alias net-pf-16-proto-4-type-1 sctp_diag\n", "proto-4-type-1", "it needs sctp"),
        ("alias net-pf-16-proto-4-type-2-6 sctp_diag\n", "proto-4-type-2-6", "sock_diag"),
        ("softdep nft_ct pre: sctp\n", "nft-expr-ct", "softdep nft_ct"),
    ],
)  # fmt: skip
def test_what_a_process_can_ask_for_lets_it_in(
    root: Path, lines: str, request_name: str, by: str
) -> None:
    assert judged(root).status is Status.PASS
    put(root, {"x.conf": lines})
    found = judged(root)
    assert found.status is Status.FAIL
    assert request_name in found.because
    assert by in found.because
    if lines.split()[0] in ("softdep", "install"):
        assert any(e.source.startswith("/etc/modprobe.d/x.conf:") for e in found.evidence)
    assert found.remedy is not None
    assert "install sctp /bin/false" in found.remedy.text


@pytest.mark.parametrize(
    "lines",
    [
        "softdep e1000e pre: sctp\n",
        "softdep ppp pre: sctp\n",
        "softdep loop pre: sctp\n",
        "softdep odd pre: sctp\nalias net-pf-16-proto-4-type-10-6 odd\ninstall odd /bin/true\n",
        "softdep odd pre: sctp\nalias net-pf-16-proto-4-type-2-47 odd\ninstall odd /bin/true\n",
    ],
)
def test_what_only_root_or_a_device_asks_for_is_said_and_no_failure(root: Path, lines: str) -> None:
    put(root, {"x.conf": lines})
    found = judged(root)
    assert found.status is Status.PASS
    assert "/etc/modprobe.d/x.conf:1" in found.because
    assert "which root can load, or udev for a device" in found.because


@pytest.mark.parametrize(
    "shut", ["alias net-pf-29 off\n", "install can /bin/false\n", "install can_raw /bin/false\n"]
)
def test_a_request_that_nothing_can_make_lets_nothing_in(root: Path, shut: str) -> None:
    """can-proto-1 is asked for by the code of can."""
    put(root, {"a.conf": f"{shut}install can_raw /sbin/modprobe sctp\n"})
    assert judged(root).status is Status.PASS


def test_a_module_does_not_open_the_way_to_itself(root: Path) -> None:
    """algif_hash needs af_alg, and it is af_alg that asks for it."""
    put(root, {"a.conf": "blacklist af_alg\nalias algif-hash algif_hash\n"})
    assert judged(root, "algif").status is Status.PASS
    put(root, {"b.conf": "softdep tun pre: algif_hash\n"})
    found = judged(root, "algif")
    assert found.status is Status.FAIL
    assert "algif_hash" in found.because


def test_a_need_is_a_way_in_without_any_rule(root: Path) -> None:
    """A line discipline for amateur radio: any process with a terminal may ask for it."""
    put(root, {"a.conf": "blacklist ax25\ninstall can /bin/false\n"})
    found = judged(root, "legacy-families")
    assert found.status is Status.FAIL
    assert "tty-ldisc-5" in found.because
    assert "it needs ax25" in found.because


def test_a_kernel_that_loads_no_line_discipline_for_all_has_one_way_less(root: Path) -> None:
    put(root, {"a.conf": "blacklist ax25\ninstall can /bin/false\n",
               "/proc/sys/dev/tty/ldisc_autoload": "1\n"})  # fmt: skip
    assert judged(root, "legacy-families").status is Status.FAIL
    (root / "proc/sys/dev/tty/ldisc_autoload").write_text("0\n")
    assert judged(root, "legacy-families").status is Status.PASS


def test_an_install_rule_that_nothing_gets_round_holds_against_all(root: Path) -> None:
    put(root, {"a.conf": "install sctp /bin/false\nsoftdep can_raw pre: sctp\n"})
    assert judged(root).status is Status.PASS
    put(root, {"b.conf": "install udf /sbin/modprobe -i sctp; /sbin/modprobe -i udf\n"})
    assert judged(root).status is Status.FAIL


def test_a_program_that_is_given_the_name_makes_it_unknown(root: Path) -> None:
    put(root, {"a.conf": "install can_raw /opt/x sctp\n"})
    found = judged(root)
    assert found.status is Status.UNKNOWN
    assert "can-proto-1" in found.because


def test_what_takes_a_user_namespace_opens_nothing_where_there_is_none(root: Path) -> None:
    put(root, {"/proc/sys/user/max_user_namespaces": "0\n"})
    assert judged(root, "filesystems").status is Status.PASS
    put(root, {"a.conf": "softdep can_raw pre: udf\n"})
    found = judged(root, "filesystems")
    assert found.status is Status.FAIL
    assert "udf" in found.because


def test_too_many_rules_to_follow_are_unknown(root: Path) -> None:
    put(root, {"a.conf": "".join(f"softdep a{i}* pre: sctp\n" for i in range(300))})
    assert judged(root).status is Status.UNKNOWN
    put(root, {"b.conf": "install sctp /bin/false\n"})
    assert judged(root).status is Status.PASS


@pytest.mark.parametrize(
    "text",
    ["".join(f"softdep m{i} pre: m{i + 1}\n" for i in range(15_000)) + "softdep m15000 pre: sctp\n",
     "".join(f"softdep m{i} pre: m{i + 1}\n" for i in range(25_000)),
     "".join(f"alias x{i}* m\n" for i in range(5000))
     + "".join(f"softdep y{i} pre: x{i}\n" for i in range(5000)),
     "".join(f"alias net-pf-{i} m{i % 9}\nsoftdep m{i % 9} pre: sctp\n" for i in range(30_000)),
     "".join(f"alias a{i} sctp\n" for i in range(50_000)),
     "".join(f"alias *{i} sctp\n" for i in range(1_000)),
     "".join(f"install x{i} /sbin/modprobe x{i + 1}; /sbin/modprobe sctp\n" for i in range(9_000)),
     "".join(f"install x{i}* /sbin/modprobe sctp\n" for i in range(9_000))],
    ids=["chain", "long chain", "patterns", "many ways", "names", "wild", "commands",
         "wild commands"],
)  # fmt: skip
@pytest.mark.parametrize("root", [False], indirect=True, ids=["texts"])
def test_much_to_follow_is_followed_or_unknown_and_never_a_defect(root: Path, text: str) -> None:
    put(root, {"a.conf": text})
    chosen = select(["kernel.module.sctp", "kernel.module.rule-ineffective"])
    for finding in examine(Looker(TreeHost(root)), chosen):
        assert finding.status is not Status.ERROR, finding.because


def test_every_request_of_a_component_has_somebody_who_asks() -> None:
    for component in COMPONENTS:
        for r in component.requests:
            if ":" in r.name or (r.name.startswith("net-pf-16-proto-4-") and r.until == DIAG_GUARD):
                continue
            kernel = r.since if r.since > (0, 0) else (5, 10)
            found = asker(r.name.replace("-", "_"), kernel)
            assert found is not None, r.name
            assert found.userns is r.userns or "CAP_SYS_ADMIN" in found.by, r.name


def test_a_shape_gives_back_the_name_that_it_was_asked() -> None:
    for one in ASKERS:
        if one.prefix.endswith(("-", "_")):
            name = f"{one.prefix}2".replace("-", "_")
            found = asker(name, (5, 10) if one.since == (0, 0) else one.since)
            assert found is None or found.request(name).name.replace("-", "_") == name


@pytest.mark.parametrize(
    ("pattern", "one"),
    [("net_pf_*", "net_pf_1"), ("*_proto_132", "net_pf_1_proto_132"), ("fs_?df", "fs_1df"),
     ("*", "can_proto_1"), ("tty_ldisc_[!3]", "tty_ldisc_3"), ("net_pf_2?", "net_pf_21")],
)  # fmt: skip
def test_names_that_a_pattern_may_match(pattern: str, one: str) -> None:
    assert one in instances(pattern)


@pytest.mark.parametrize(
    "lines",
    [
        "install udf /sbin/modprobe -i ax25; /sbin/modprobe -i udf\n",
        "install lib_x /sbin/modprobe -i ax25\nsoftdep udf post: lib-x\n",
    ],
)
def test_what_one_request_has_brought_in_stops_the_next_no_more(root: Path, lines: str) -> None:
    """modprobe does not try again what is there: mkiss then finds the ax25 that it needs."""
    put(root, {"a.conf": lines, "b.conf": "install ax25 /bin/false\ninstall sctp /bin/false\n",
               "c.conf": "install gcm /sbin/modprobe mkiss && /sbin/modprobe -i tipc\n",
               "d.conf": "blacklist tipc\n"})  # fmt: skip
    found = judged(root, "tipc")
    assert found.status is Status.FAIL
    assert "once fs-udf has brought in ax25: any process can load tipc" in found.because
    (root / "etc/modprobe.d/a.conf").write_text("")
    assert judged(root, "tipc").status is Status.PASS
