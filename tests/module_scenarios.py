"""Configurations of module loading, made from a seed, that together take every branch.

No scenario says what must come of it: a real kernel shows that, and nodeward must have said so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

ETC, RUN, LOCAL, LIB = (
    "/etc/modprobe.d",
    "/run/modprobe.d",
    "/usr/local/lib/modprobe.d",
    "/usr/lib/modprobe.d",
)
FOLDERS = (ETC, RUN, LOCAL, LIB)
NAMES = ("aa", "dccp", "kubernetes-blacklist", "modules", "sctp", "zz")
DCCP = ("dccp", "dccp_ipv4", "dccp_ipv6", "dccp-ipv4", "dccp-ipv6")
SCTP = ("sctp",)
FALSE = (
    "/bin/false",
    "false",
    "exit 1",
    "/no/such/file",
    "/bin/false # why",
    "/bin/true && exit 3",
)
TRUE = ("/bin/true", "true", ":", "exit 0", "/bin/echo no", "/bin/false || true", "echo >/dev/null",
        "/bin/true >/dev/null 2>&1", "/bin/true 2>&1")  # fmt: skip
REQUESTS = (
    "net-pf-2-proto-132",
    "net-pf-10-proto-132",
    "net-pf-2-proto-33-type-6",
    "net-pf-10-proto-33-type-6",
)
SOCKETS = ("sock4-dccp", "sock6-dccp", "sock4-dccp-p0", "userns-dccp", "sock4-sctp", "sock6-sctp",
           "seq4-sctp", "userns-sctp")  # fmt: skip
BY_ROOT = ("modprobe-dccp", "modprobe-dccp_ipv4", "modprobe-sctp", "modprobe-sctp_diag",
           "modprobe-net-pf-2-proto-132")  # fmt: skip


@dataclass(frozen=True)
class Scenario:
    """Files to write (None takes one away), sysctls, root's commands before, what is then tried.

    `base` is the saved state: `up` has DCCP's aliases, `stock` has not. `command_line` asks for a
    boot of its own.
    """

    shape: str
    files: dict[str, str | None] = field(default_factory=dict)
    sysctl: dict[str, str] = field(default_factory=dict)
    prepare: tuple[str, ...] = ()
    triggers: tuple[str, ...] = ()
    base: str = "up"
    command_line: str = ""


def triggers(rng: Random, *, root: bool = True, count: int = 4) -> tuple[str, ...]:
    """Some sockets in some order, and sometimes a modprobe by root at the end."""
    chosen = rng.sample(SOCKETS, count)
    if root and rng.random() < 0.6:
        chosen.append(rng.choice(BY_ROOT))
    return tuple(chosen)


def place(rng: Random, folder: str = "", name: str = "") -> str:
    return f"{folder or rng.choice(FOLDERS)}/{name or rng.choice(NAMES)}.conf"


def text(rng: Random, *lines: str) -> str:
    """Lines in some order, written as people write them; all of it means the same."""
    done = []
    for line in rng.sample(lines, len(lines)):
        word, _, rest = line.partition(" ")
        gap = rng.choice((" ", "\t", "  ", " \\\n "))
        done.append(rng.choice(("", "", " ", "\t")) + word + gap + rest)
    if rng.random() < 0.4:
        done.insert(0, rng.choice(("# a comment", "", "   ")))
    return "\n".join(done) + rng.choice(("\n", "\n", ""))


def nothing(rng: Random) -> Scenario:
    return Scenario("nothing", triggers=triggers(rng), base=rng.choice(("up", "stock")))


def page(rng: Random) -> Scenario:
    lines = text(rng, "blacklist dccp", "blacklist sctp")
    files: dict[str, str | None] = {place(rng, ETC, "kubernetes-blacklist"): lines}
    return Scenario("the Kubernetes page's lines", files, triggers=triggers(rng))


def blacklist(rng: Random) -> Scenario:
    names = rng.sample((*DCCP, *SCTP, "sctp_diag"), rng.randint(1, 4))
    files: dict[str, str | None] = {place(rng): text(rng, *(f"blacklist {n}" for n in names))}
    return Scenario("blacklist", files, triggers=triggers(rng))


def install_false(rng: Random) -> Scenario:
    names = rng.sample((*DCCP, "dccp*", "dccp_ipv?", "sctp", "sct[o-q]"), rng.randint(1, 2))
    lines = [f"install {n} {rng.choice(FALSE)}" for n in names]
    return Scenario("install that fails", {place(rng): text(rng, *lines)}, triggers=triggers(rng))


def install_true(rng: Random) -> Scenario:
    names = rng.sample(("dccp", "dccp_ipv4", "dccp_ipv6", "sctp"), rng.randint(1, 2))
    lines = [f"install {n} {rng.choice(TRUE)}" for n in names]
    return Scenario("install that succeeds", {place(rng): text(rng, *lines)},
                    triggers=triggers(rng))  # fmt: skip


def install_loads(rng: Random) -> Scenario:
    name = rng.choice(("dccp", "dccp_ipv4", "sctp"))
    loads = rng.choice((
        f"/sbin/modprobe --ignore-install {name}",
        f"/sbin/modprobe -i {name} $CMDLINE_OPTS",
        f"/sbin/modprobe -i {name} && /bin/false",
        f"/bin/false || /sbin/modprobe -q -i {name}",
    ))  # fmt: skip
    if name == "sctp" and rng.random() < 0.4:  # for DCCP's own it would call itself without end
        loads = "/sbin/modprobe dccp_ipv4; /sbin/modprobe -i sctp"
    first, second = rng.sample((f"install {name} {loads}", f"install {name} /bin/false"), 2)
    files: dict[str, str | None] = {
        place(rng, ETC, "aa"): text(rng, first),
        place(rng, rng.choice(FOLDERS), "zz"): text(rng, second),
    }
    return Scenario("install that loads, first wins", files, triggers=triggers(rng))


def alias(rng: Random) -> Scenario:
    pattern = rng.choice((*REQUESTS, "net-pf-2-proto-*", "net-pf-*-proto-132", "net-pf-1[0-2]-*"))
    target = rng.choice(("off", "dccp_ipv4", "sctp", "no_such_module", "tipc"))
    lines = [f"alias {pattern} {target}"]
    if rng.random() < 0.5:
        lines.append(f"blacklist {rng.choice(('sctp', 'dccp_ipv4'))}")
    return Scenario("alias", {place(rng): text(rng, *lines)}, triggers=triggers(rng))


def softdep(rng: Random) -> Scenario:
    name = rng.choice(("sctp", "dccp_ipv4", "dccp"))
    other = rng.choice(("tipc", "dccp_ipv4", "sctp", "no_such_module", "net-pf-30"))
    when = rng.choice(("pre:", "post:", "pre: post:", ""))
    lines = [f"softdep {name} {when} {other}"]
    lines.append(rng.choice((f"install {name} /bin/false", f"blacklist {other}",
                             "install tipc /bin/false")))  # fmt: skip
    return Scenario("softdep", {place(rng): text(rng, *lines)}, triggers=triggers(rng))


def masked(rng: Random) -> Scenario:
    higher, lower = sorted(rng.sample(range(4), 2))
    name = rng.choice(NAMES)
    rule = rng.choice(("install dccp /bin/false", "blacklist sctp", "install sctp /bin/false"))
    hides = rng.choice(("-> /dev/null", "", "# empty\n", "blacklist sctp\n"))
    files: dict[str, str | None] = {
        place(rng, FOLDERS[higher], name): hides,
        place(rng, FOLDERS[lower], name): text(rng, rule),
    }
    return Scenario("masked", files, triggers=triggers(rng))


def spoilt(rng: Random) -> Scenario:
    rule = rng.choice(("install dccp /bin/false", "blacklist dccp_ipv4", "blacklist sctp",
                       "install sctp /bin/false"))  # fmt: skip
    path, body = rng.choice((
        (place(rng, ETC), f"\ufeff{rule}\n"),
        (place(rng, ETC), f"{rule}\r\n"),
        (place(rng, ETC), f"{rule.capitalize()}\n"),
        (place(rng, ETC), f"{rule.upper()}\n"),
        (place(rng, ETC), f"# off \\\n{rule}\n"),
        (f"{ETC}/sctp", f"{rule}\n"),
        (f"{ETC}/sctp.cfg", f"{rule}\n"),
        (f"{ETC}/.sctp.conf", f"{rule}\n"),
        (f"{ETC}/sub.d/sctp.conf", f"{rule}\n"),
        ("/etc/modprobe.conf", f"{rule}\n"),
        (place(rng, ETC), "install sctp\nblacklist\n"),
        (place(rng, ETC), f"{rule.partition(' ')[0]} \\\n{rule.partition(' ')[2]}"),
    ))  # fmt: skip
    return Scenario("spoilt", {path: body}, triggers=triggers(rng))


def switched(rng: Random) -> Scenario:
    key, value = rng.choice((
        ("kernel.modprobe", ""),
        ("kernel.modprobe", "/bin/false"),
        ("kernel.modprobe", "/bin/true"),
        ("kernel.modprobe", "/no/such/modprobe"),
        ("kernel.modprobe", "/agent.py"),
        ("kernel.modules_disabled", "1"),
    ))  # fmt: skip
    return Scenario(f"{key}={value}", sysctl={key: value}, triggers=triggers(rng))


def busybox(rng: Random) -> Scenario:
    lines = rng.sample(("install sctp /bin/false", "blacklist sctp", "blacklist dccp",
                        "blacklist dccp_ipv6", "install dccp /bin/false",
                        "alias net-pf-2-proto-132 off"), rng.randint(1, 3))  # fmt: skip
    files: dict[str, str | None] = {
        place(rng, rng.choice((ETC, ETC, LIB))): "\n".join(lines) + "\n",
        "/opt/busybox/modprobe": "-> /usr/bin/busybox",
    }
    return Scenario("BusyBox", files, {"kernel.modprobe": "/opt/busybox/modprobe"},
                    triggers=triggers(rng, root=False))  # fmt: skip


def loaded(rng: Random) -> Scenario:
    rule = rng.choice(("install sctp /bin/false", "blacklist sctp", "install dccp /bin/true",
                       "install dccp_ipv4 /bin/false", "blacklist dccp_ipv4"))  # fmt: skip
    before = rng.choice(("modprobe -i sctp_diag", "modprobe -i dccp", "modprobe -i dccp_ipv4",
                         "modprobe -i sctp"))  # fmt: skip
    return Scenario("loaded before", {place(rng): text(rng, rule)}, prepare=(before,),
                    triggers=triggers(rng))  # fmt: skip


def absent(rng: Random) -> Scenario:
    name = rng.choice(("net/sctp/sctp", "net/dccp/dccp_ipv4", "net/dccp/dccp_ipv6"))
    files: dict[str, str | None] = {f"/usr/lib/modules/RELEASE/kernel/{name}.ko": None}
    prepare = ("depmod",) if rng.random() < 0.5 else ()
    return Scenario("a file that is gone", files, prepare=prepare, triggers=triggers(rng))


def command_line(rng: Random) -> Scenario:
    names = ",".join(rng.sample(("dccp", "sctp", "dccp_ipv4", "dccp-ipv6", "dccp_ipv6"), 2))
    word = rng.choice(("module_blacklist", "modprobe.blacklist"))
    files: dict[str, str | None] = (
        {place(rng): text(rng, "blacklist dccp_ipv6")} if rng.random() < 0.5 else {}
    )
    return Scenario("command line", files, triggers=triggers(rng), command_line=f"{word}={names}")


def mixed(rng: Random) -> Scenario:
    files: dict[str, str | None] = {}
    for _ in range(rng.randint(2, 3)):
        part = rng.choice((blacklist, install_false, install_true, alias, softdep, page))(rng)
        files |= part.files
    return Scenario("mixed", files, triggers=triggers(rng, count=5))


SHAPES: tuple[Callable[[Random], Scenario], ...] = (
    page, blacklist, install_false, install_true, install_loads, alias, softdep, masked, spoilt,
    switched, busybox, loaded, absent, mixed, nothing,
)  # fmt: skip


def scenarios(seed: int, count: int) -> list[Scenario]:
    """`count` of them: each shape in turn, the last one with a kernel parameter."""
    rng = Random(seed)
    shapes = rng.sample(SHAPES, len(SHAPES))
    if count < len(SHAPES):  # the page's own lines are never left out
        shapes = [page, *(s for s in shapes if s not in (page, nothing))]
    found = [shapes[i % len(shapes)](rng) for i in range(count - 1)]
    return [*found, command_line(rng)]
