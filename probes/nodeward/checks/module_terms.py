"""What the checks on kernel modules share: sources, verdicts, the fix, small hosts as examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nodeward.facts.autoload import EndlessError
from nodeward.facts.errors import ParseError
from nodeward.facts.exposed import BAD, Exposure, State
from nodeward.facts.exposure import expose, forgotten
from nodeward.facts.kernel_modules import KernelModules, KernelTree, Loaded
from nodeward.facts.modprobe_conf import DIRS_29, Entry, Habits
from nodeward.facts.modprobe_effect import useless
from nodeward.facts.module_fix import FOLDER, file_name, fix, together, usual_name
from nodeward.facts.module_requests import Component
from nodeward.facts.next_boot import Listed, ModulesLoad
from nodeward.facts.seccomp_profiles import keeps_out
from nodeward.lazy import dataclass
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


def verdict(
    node: KernelModules,
    component: Component,
    exposure: Exposure,
    *,
    partly: Severity | None = Severity.MEDIUM,
) -> Verdict:
    """A state as one of the five statuses; a failure brings the fix for this very host. `partly`:
    how severe it is when some requests are blocked and others not."""
    if exposure.state in BAD:
        useless_lines = _no_effect(node, component)
        because = exposure.because
        if useless_lines:
            because += f"; without effect: {useless_lines[0].value}"
        pods = reach(node, (component,), {component.name: exposure})
        return Verdict.failed(
            because + pods.note,
            *exposure.evidence,
            *useless_lines,
            *pods.rows,
            severity=pods.severity or (partly if exposure.state is State.PARTLY else None),
            remedy=mend(node, component.name, (component,), {component.name: exposure}),
        )
    if exposure.state is State.UNKNOWN:
        return Verdict.unknown(exposure.because, *exposure.evidence)
    return Verdict.passed(exposure.because + defaults(node), *exposure.evidence)


def defaults(node: KernelModules) -> str:
    """What was taken for granted, where the tree does not say."""
    return f" (taken for granted: {'; '.join(node.assumed)})" if node.assumed else ""


@dataclass(frozen=True, slots=True)
class Reach:
    """Which pods that run now are left open, as evidence and in words. `severity` is low when
    none is: the host's own processes still are, and the next pod may be."""

    rows: tuple[Evidence, ...] = ()
    note: str = ""
    severity: Severity | None = None


def reach(
    node: KernelModules, components: Sequence[Component], exposures: Mapping[str, Exposure]
) -> Reach:
    """SELinux may refuse a pod the request for a module, and a seccomp filter what leads to it.
    Both only lower what is reached from pods: they never turn a failure into a pass."""
    mine = [c for c in components if not c.by_udev]
    if not mine:
        return Reach()
    asked = all(exposures[c.name].state in (State.OPEN, State.PARTLY) for c in mine)
    label = _by_selinux(node) if asked else Reach()  # what is there needs no request
    filter_ = _by_seccomp(node, mine, exposures)
    return Reach(
        label.rows + filter_.rows, label.note + filter_.note, label.severity or filter_.severity
    )


def _by_selinux(node: KernelModules) -> Reach:
    asked = node.requests
    if asked is None or not asked.enforcing or not asked.contexts:
        return Reach()
    rows = [
        Evidence("left open by SELinux", ", ".join(c.pods[:MOST_LINES]), c.context)
        for c in asked.contexts
        if c.allowed
    ]
    if asked.left_open or not asked.complete:
        return Reach(tuple(rows[:MOST_LINES]))
    note = "; SELinux refuses the request to every ordinary pod that runs here now"
    return Reach(tuple(rows[:MOST_LINES]), note, Severity.LOW)


def _by_seccomp(
    node: KernelModules, components: Sequence[Component], exposures: Mapping[str, Exposure]
) -> Reach:
    pods = node.pods
    if pods is None or not pods.looked_at:
        return Reach()
    asked = [r for c in components for r in exposures[c.name].by or c.requests]
    userns = all(r.userns for r in asked)
    own = {r.name for c in components for r in c.requests}
    why = _shut(node, components, userns=userns) if own.issuperset(r.name for r in asked) else ""
    confined = f"a seccomp filter: {why}" if why else "left open: the default filters let it pass"
    rows = (
        _named("left open: no seccomp filter", pods.unconfined),
        *((_named("left open: a user namespace with rights", pods.admins),) if userns else ()),
        _named(confined, pods.filtered),
    )
    found = tuple(row for row in rows if row.value)
    left = bool(pods.unconfined or (userns and pods.admins))
    if left or not why or not pods.filtered or not pods.complete:
        return Reach(found)
    note = (
        f"; no pod that runs here now can: each has a seccomp filter, and {why}, unless it came"
        " with a profile of its own"
    )
    return Reach(found, note, Severity.LOW)


def _shut(node: KernelModules, components: Sequence[Component], *, userns: bool) -> str:
    """What a runtime's default filter keeps pods from; "" where it lets them pass."""
    if userns:
        return "the default ones forbid a user namespace"
    if node.runtime is None:
        return ""
    whose = {keeps_out(node.runtime, c.wants or c.name) for c in components}
    return "" if "" in whose else f"{max(whose)}'s default one keeps this socket out"


def _named(what: str, pods: Sequence[str]) -> Evidence:
    more = f" and {len(pods) - MOST_LINES} more" if len(pods) > MOST_LINES else ""
    return Evidence(what, ", ".join(pods[:MOST_LINES]) + more, "/proc/PID/status")


def _built_in(names: Sequence[str]) -> Remedy:
    return Remedy(
        f"{', '.join(names)} cannot be kept out by a file: keep pods from it with a seccomp"
        " profile, or take a kernel that is built without.",
        breaks="Whatever uses it on this node.",
    )


def _no_effect(node: KernelModules, component: Component) -> list[Evidence]:
    """Lines of configuration that were meant for this component and do nothing."""
    try:
        rows = {
            line: Evidence("rule without effect", f"{line.text} ({line.why})", line.place)
            for variant in node.variants()
            for line in useless(node, variant)
            if set(line.modules) & set(component.modules)
        }
    except (ParseError, EndlessError):  # it is loaded, whatever the index says
        return []
    return list(rows.values())[:MOST_LINES]


def mend(
    node: KernelModules,
    name: str,
    components: Sequence[Component],
    exposures: Mapping[str, Exposure],
) -> Remedy:
    """The smallest file that the engine itself finds to block; where none helps it says so."""
    file = file_name(node, name)
    fixes = {
        c.name: fix(node, c, file)
        for c in components
        if exposures[c.name].state is not State.BUILT_IN
    }
    mended = [c for c in components if fixes.get(c.name)]
    left = [c.title for c in components if c.name in fixes and not fixes[c.name]]
    lines = list(dict.fromkeys(line for c in mended for line in fixes[c.name]))
    if not mended or not together(node, mended, f"{FOLDER}/{file}", lines):
        built_in = [c.title for c in components if c.name not in fixes]
        return _built_in(built_in) if built_in and not left else _unproved(components)
    path = f"{FOLDER}/{file}"
    text = "".join(f"{line}\\n" for line in lines)
    loaded = [c.title for c in mended if exposures[c.name].state is State.LOADED]
    after = ("then reboot: " + ", ".join(loaded) + " cannot be unloaded while it holds itself",)
    return Remedy(
        f"{path} with {'these lines' if len(lines) > 1 else 'this line'} keeps"
        f" {', '.join(c.title for c in mended)} out of this host: {'; '.join(lines)}"
        + (f"; {after[0]}" if loaded else "")
        + (f"; no file that was tried keeps out {', '.join(left)}" if left else ""),
        (f"printf '{text}' > '{path}'", *(("reboot",) if loaded else ())),
        BREAKS.get(name, "Whatever uses it on this node."),
    )


def _unproved(components: Sequence[Component]) -> Remedy:
    return Remedy(
        f"No file that was tried is proved to keep {', '.join(c.title for c in components)} out of"
        " this host: take away what lets it in (see the evidence), or set kernel.modprobe to"
        " nothing, and look again.",
    )


MOST_LINES = 10  # lines without effect shown beside one verdict
BREAKS = {
    "dccp": "Programs that speak DCCP; hardly any do.",
    "sctp": "Services and pods that use SCTP: 5G cores, SIGTRAN, Multus networks for them.",
    "rds": "Oracle RAC over RDS.",
    "tipc": "Clusters of TIPC.",
    "vsock": "Agents that speak to the hypervisor over vsock, and Kata Containers.",
}


def blocking(name: str, *modules: str) -> Remedy:
    """`install X /bin/false` for each (for the one of this name, when none is given): the only rule
    that also holds for a dependency. In the file that `mend` names as well."""
    lines = "".join(f"install {m} /bin/false\\n" for m in modules or (name,))
    return Remedy(
        "Have modprobe run a command that fails instead of loading it. `blacklist` is not enough:"
        " it does not apply to a module that is loaded as a dependency or by its own name.",
        (f"printf '{lines}' > {FOLDER}/{usual_name(name)}",),
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
    files: Mapping[str, bytes] = {
        # Something behind all others, so that the texts are seen not to be cut off.
        "modules.alias": f"# Aliases\n{alias}alias fs-zonefs zonefs\n".encode(),
        "modules.dep": f"{dep}kernel/fs/zonefs/zonefs.ko:\n".encode(),
        "modules.builtin": b"",
    }
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


def at_each_boot(*names: str) -> ModulesLoad:
    """A modules-load.d that names these."""
    return ModulesLoad(
        tuple(Listed(n, f"/etc/modules-load.d/node.conf:{i}") for i, n in enumerate(names, 1))
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
        pods = reach(node, bad, found)
        return Verdict.failed(
            f"{title}: {names}; {found[bad[0].name].because}{pods.note}",
            *most([_piece(c, found[c.name]) for c in bad] + [*pods.rows]),
            severity=pods.severity,
            remedy=mend(node, name, bad, found),
        )
    if dark:
        exposure = found[dark[0].name]
        return Verdict.unknown(exposure.because, *exposure.evidence)
    counts: dict[State, list[str]] = {}
    for c in components:
        counts.setdefault(found[c.name].state, []).append(c.title)
    said = "; ".join(f"{state}: {', '.join(names)}" for state, names in counts.items())
    return Verdict.passed(said + _stale(node, components) + defaults(node))


def _stale(node: KernelModules, components: Sequence[Component]) -> str:
    """A file that the index does not know can be loaded once somebody runs depmod."""
    files = [f for tree in node.kernels for c in components for f in forgotten(tree, c)]
    if not files:
        return ""
    more = f" and {len(files) - MOST_LINES} more" if len(files) > MOST_LINES else ""
    return (
        f"; on the disk, but not in the index (depmod was not run): {', '.join(files[:MOST_LINES])}"
        f"{more}"
    )


def _piece(component: Component, exposure: Exposure) -> Evidence:
    return Evidence(component.title, exposure.because, exposure.place)
