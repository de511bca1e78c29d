"""What the checks on kernel modules share: sources, verdicts, the fix, small hosts as examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nodeward.facts.errors import ParseError
from nodeward.facts.exposure import BAD, Exposure, State, expose
from nodeward.facts.kernel_modules import KernelModules, KernelTree, Loaded
from nodeward.facts.modprobe_conf import DIRS_29, Entry, Habits
from nodeward.facts.modprobe_effect import useless
from nodeward.facts.module_fix import FOLDER, file_name, fix
from nodeward.facts.module_requests import Component
from nodeward.model import (
    Evidence,
    Example,
    Remedy,
    Severity,
    Source,
    Status,
    Unreadable,
    Verdict,
    most,
)

KUBERNETES = Source(
    "Kubernetes: Securing a Cluster, preventing containers from loading unwanted kernel modules",
    "https://kubernetes.io/docs/tasks/administer-cluster/securing-a-cluster/"
    "#preventing-containers-from-loading-unwanted-kernel-modules",
)
MODPROBE_D = Source("modprobe.d(5)", "https://man7.org/linux/man-pages/man5/modprobe.d.5.html")
KMOD_C = Source(
    "Linux, kernel/module/kmod.c",
    "https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/kernel/module/kmod.c",
)
HOW = """From a socket to a verdict:

1. A process calls `{call}`. The kernel has no handler, and asks for a module by the name
   `{request}` (request_module() in the kernel's source; seccomp and SELinux come before it).
2. It runs `kernel.modprobe`, as root and outside of every container, with `-q -- {request}`.
   Empty, missing or /bin/false there, modules_disabled, or no loadable modules: it ends here.
3. modprobe looks the name up: aliases of modprobe.d (patterns, all that match), modules.dep,
   install rules of just that name, modules.alias, modules.builtin. The first that knows it decides.
4. `blacklist` drops a module that was found through an alias, by its exact name; never a
   dependency, never a module asked for by its own name.
5. For each dependency, then the module: the first `install` rule whose pattern matches runs in its
   place, unless a `softdep` of the module makes modprobe ignore it. What fails ends the chain.
6. The kernel refuses what `module_blacklist=` names, and what misses a module it needs.
7. The verdict is fail when {what} is inserted for one of the requests, or is in the kernel already.

Every step that counted on this host is in the finding's evidence, with its file and line."""
SYSCTL = Source(
    "Linux, Documentation/admin-guide/sysctl/kernel.rst",
    "https://docs.kernel.org/admin-guide/sysctl/kernel.html",
)
SOURCES = (KUBERNETES, MODPROBE_D, KMOD_C)
MAPPINGS = {"sac": ["kernel-modules"], "nsa-cisa-1.2": ["WN"]}
LOGGED = {"sac": ["kernel-modules"], "nsa-cisa-1.2": ["AL"]}
DARK = Example(Status.UNKNOWN, Unreadable("/proc/modules", "EACCES"), "could not look")
NO_KERNEL = Example(Status.UNKNOWN, KernelModules(live=False), "no kernel in the tree")


def verdict(node: KernelModules, component: Component, exposure: Exposure) -> Verdict:
    """A state as one of the five statuses; a failure brings the fix for this very host."""
    if exposure.state in BAD:
        partly = Severity.MEDIUM if exposure.state is State.PARTLY else None
        useless_lines = _no_effect(node, component)
        because = exposure.because
        if useless_lines:
            because += f"; without effect: {useless_lines[0].value}"
        pods, note = left_open(node)
        return Verdict.failed(
            because + note,
            *exposure.evidence,
            *useless_lines,
            *pods,
            severity=partly,
            remedy=mend(node, component.name, (component,), {component.name: exposure}),
        )
    if exposure.state is State.UNKNOWN:
        return Verdict.unknown(exposure.because, *exposure.evidence)
    return Verdict.passed(exposure.because + defaults(node), *exposure.evidence)


def defaults(node: KernelModules) -> str:
    """What was taken for granted, where the tree does not say."""
    return f" (taken for granted: {'; '.join(node.assumed)})" if node.assumed else ""


def left_open(node: KernelModules) -> tuple[list[Evidence], str]:
    """Which pods could make such a request now: SELinux may refuse it to all, and a seccomp
    filter may keep out the socket. Both only lower what is reached from pods, not the verdict."""
    rows, note = [], ""
    if node.requests is not None and node.requests.enforcing and node.requests.contexts:
        allowed = [c for c in node.requests.contexts if c.allowed]
        if not allowed:
            note = "; SELinux refuses the request to every pod that runs here now"
        rows += [Evidence("SELinux lets pods ask", ", ".join(c.pods), c.context) for c in allowed]
    if node.seccomp is not None and node.seccomp.unconfined:
        names = ", ".join(node.seccomp.unconfined[:MOST_LINES])
        rows.append(Evidence("pods without seccomp", names, "/proc/PID/status"))
    return rows, note


def _no_effect(node: KernelModules, component: Component) -> list[Evidence]:
    """Lines of configuration that were meant for this component and do nothing."""
    try:
        variants = list(node.variants())
    except ParseError:  # it is loaded, whatever the index says
        return []
    rows = {
        line: Evidence("rule without effect", f"{line.text} ({line.why})", line.place)
        for variant in variants
        for line in useless(node, variant)
        if set(line.modules) & set(component.modules)
    }
    return list(rows.values())[:MOST_LINES]


def mend(
    node: KernelModules,
    name: str,
    components: Sequence[Component],
    exposures: Mapping[str, Exposure],
) -> Remedy | None:
    """The smallest file that the engine itself finds to block; None when the check's own text
    must do (a module that is built in, or nothing that we found helps)."""
    file = file_name(node, name)
    lines: list[str] = []
    for component in components:
        if exposures[component.name].state is not State.BUILT_IN:
            lines += [x for x in fix(node, component, file) if x not in lines]
    if not lines:
        return None
    path = f"{FOLDER}/{file}"
    text = "".join(f"{line}\\n" for line in lines)
    loaded = [c.title for c in components if exposures[c.name].state is State.LOADED]
    after = ("then reboot: " + ", ".join(loaded) + " cannot be unloaded while it holds itself",)
    return Remedy(
        f"{path} with {'these lines' if len(lines) > 1 else 'this line'} keeps"
        f" {', '.join(c.title for c in components)} out of this host: {'; '.join(lines)}"
        + (f"; {after[0]}" if loaded else ""),
        (f"printf '{text}' > '{path}'", *(("reboot",) if loaded else ())),
        BREAKS.get(name, "Whatever uses it on this node."),
    )


MOST_LINES = 10  # lines without effect shown beside one verdict
BREAKS = {
    "dccp": "Programs that speak DCCP; hardly any do.",
    "sctp": "Services and pods that use SCTP: 5G cores, SIGTRAN, Multus networks for them.",
    "rds": "Oracle RAC over RDS.",
    "tipc": "Clusters of TIPC.",
    "vsock": "Agents that speak to the hypervisor over vsock, and Kata Containers.",
}


def blocking(*modules: str) -> Remedy:
    """`install X /bin/false` for each: the only rule that also holds for a dependency."""
    lines = "".join(f"install {m} /bin/false\\n" for m in modules)
    return Remedy(
        "Have modprobe run a command that fails instead of loading it. `blacklist` is not enough:"
        " it does not apply to a module that is loaded as a dependency or by its own name.",
        (f"printf '{lines}' > /etc/modprobe.d/nodeward-{modules[0]}.conf",),
    )


def example_node(
    conf: str = "",
    alias: str = "",
    dep: str = "",
    *,
    loaded: tuple[str, ...] = (),
    held: tuple[str, ...] = (),
    tainted: tuple[str, ...] = (),
    entries: tuple[Entry, ...] = (),
) -> KernelModules:
    """A small host for the truth tables: one kernel, one file of configuration."""
    files: Mapping[str, bytes] = {"modules.alias": alias.encode(), "modules.dep": dep.encode()}
    rows = [Loaded(name, 0, "Live") for name in loaded]
    rows += [Loaded(name, 1, "Live") for name in held]
    rows += [Loaded(name, 1, "Live", "OE") for name in tainted]
    given: Sequence[Entry] = entries or (
        (Entry("/etc/modprobe.d/node.conf", data=conf.encode()),) if conf else ()
    )
    return KernelModules(
        live=False,
        kernels=(KernelTree("6.1.0", "/lib/modules/6.1.0", files),),
        habits=(Habits(DIRS_29),),
        entries=tuple(given),
        loaded=tuple(rows),
    )


DCCP_ALIAS = """alias net-pf-2-proto-33-type-6 dccp_ipv4
alias net-pf-2-proto-0-type-6 dccp_ipv4
alias net-pf-10-proto-33-type-6 dccp_ipv6
alias net-pf-10-proto-0-type-6 dccp_ipv6
"""
DCCP_DEP = """kernel/net/dccp/dccp.ko:
kernel/net/dccp/dccp_ipv4.ko: kernel/net/dccp/dccp.ko
kernel/net/dccp/dccp_ipv6.ko: kernel/net/dccp/dccp_ipv4.ko kernel/net/dccp/dccp.ko
"""
SCTP_ALIAS = "alias net-pf-2-proto-132 sctp\nalias net-pf-10-proto-132 sctp\n"
SCTP_DEP = "kernel/net/sctp/sctp.ko:\n"


def group(node: KernelModules, name: str, components: Sequence[Component], title: str) -> Verdict:
    """One verdict on several components: the offenders by name, worst first. `name` is for the
    file that mends it."""
    found = {c.name: expose(node, c) for c in components}
    ranks = list(State)
    bad = sorted(
        (c for c in components if found[c.name].state in BAD),
        key=lambda c: ranks.index(found[c.name].state),
    )
    dark = [c for c in components if found[c.name].state is State.UNKNOWN]
    if bad:
        names = ", ".join(f"{c.title} ({found[c.name].state})" for c in bad)
        pods, note = left_open(node)
        return Verdict.failed(
            f"{title}: {names}; {found[bad[0].name].because}{note}",
            *most([_piece(c, found[c.name]) for c in bad] + pods),
            remedy=mend(node, name, bad, found),
        )
    if dark:
        exposure = found[dark[0].name]
        return Verdict.unknown(exposure.because, *exposure.evidence)
    counts: dict[State, list[str]] = {}
    for c in components:
        counts.setdefault(found[c.name].state, []).append(c.title)
    said = "; ".join(f"{state}: {', '.join(names)}" for state, names in counts.items())
    return Verdict.passed(said + defaults(node))


def _piece(component: Component, exposure: Exposure) -> Evidence:
    return Evidence(component.title, exposure.because, exposure.place)
