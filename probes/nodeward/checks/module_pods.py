"""What keeps pods from asking for a module in the first place."""

from __future__ import annotations

from typing import ClassVar

from nodeward.checks.module_terms import KMOD_C, MAPPINGS, SOURCES, blocking, example_node, group
from nodeward.facts.kernel_guards import KernelGuards, ModuleRequests, PodContext, UserNamespaces
from nodeward.facts.kernel_modules import KernelModules
from nodeward.facts.module_requests import USERNS
from nodeward.facts.pods import PodGuards
from nodeward.lazy import dataclass
from nodeward.model import (
    Absent,
    Evidence,
    Example,
    Params,
    Remedy,
    Severity,
    Source,
    Status,
    Unreadable,
    Verdict,
    check,
    most,
)


def _asked(context: str, *, allowed: bool) -> ModuleRequests:
    """One pod in this context."""
    return ModuleRequests(
        enforcing=True, contexts=(PodContext(context, allowed=allowed, pods=("web/a",)),)
    )


def _lsm_examples() -> tuple[Example, ...]:
    guards = KernelGuards(None, None, 0, ("capability", "yama", "apparmor"))
    return (
        Example(
            Status.PASS,
            (_asked("system_u:system_r:container_t:s0:c1,c2", allowed=False), guards),
            "container_t may not",
        ),
        Example(
            Status.FAIL,
            (_asked("system_u:system_r:my_pod_t:s0", allowed=True), guards),
            "a pod's context may",
        ),
        Example(
            Status.PASS,
            (_asked("system_u:system_r:spc_t:s0", allowed=True), guards),
            "only privileged pods (spc_t) may",
        ),
        Example(
            Status.FAIL,
            (ModuleRequests(enforcing=False, contexts=()), guards),
            "SELinux is permissive",
        ),
        Example(
            Status.UNKNOWN,
            (ModuleRequests(enforcing=True, contexts=(), complete=False), guards),
            "the processes of others are hidden from us",
        ),
        Example(
            Status.NOT_APPLICABLE,
            (Absent("/sys/fs/selinux/enforce"), guards),
            "there is no SELinux, and no other security module can refuse the request",
        ),
        Example(
            Status.UNKNOWN,
            (Unreadable("/sys/fs/selinux/access", "EACCES"), guards),
            "could not ask",
        ),
    )


@check(
    "kernel.module.lsm-request",
    title="SELinux keeps containers from making the kernel load modules",
    why="SELinux can refuse the request itself, whatever modprobe.d says. A pod whose context may"
    " make it has only modprobe.d between itself and every module on the disk.",
    severity=Severity.MEDIUM,
    remedy=Remedy(
        "Turn the boolean off that widens it to all domains, and run pods as container_t.",
        ("setsebool -P domain_kernel_load_modules off",),
        "Pods that load modules on purpose (CNI, storage) need their own domain.",
    ),
    sources=(
        KMOD_C,
        Source("container-selinux", "https://github.com/containers/container-selinux"),
    ),
    mappings={"sac": ["kernel-modules"], "cis-kubernetes-1.12": ["5.6.3"], "nsa-cisa-1.2": ["PS"]},
    examples=_lsm_examples,
)
def lsm_request(
    asked: ModuleRequests | Absent, guards: KernelGuards | Absent | Unreadable
) -> Verdict:
    if isinstance(asked, Absent):
        return _no_selinux(guards)
    if not asked.enforcing:
        return Verdict.failed("SELinux is permissive: it refuses nothing")
    open_ = asked.left_open
    if open_:
        return Verdict.failed(
            f"pods in {', '.join(dict.fromkeys(c.type for c in open_))} may have modules loaded",
            *most([Evidence("context", c.context, ", ".join(c.pods)) for c in open_]),
        )
    if not asked.complete:
        return Verdict.unknown("some processes are hidden from us, and a pod's may be among them")
    privileged = dict.fromkeys(c.type for c in asked.contexts if c.allowed)
    note = f"; privileged ones in {', '.join(privileged)} may" if privileged else ""
    return Verdict.passed(f"none of {len(asked.contexts)} contexts of ordinary pods may{note}")


def _no_selinux(guards: KernelGuards | Absent | Unreadable) -> Verdict:
    """Of Linux's security modules only SELinux implements the hook kernel_module_request."""
    names = guards.lsms if isinstance(guards, KernelGuards) else ()
    on = f" ({', '.join(names)} cannot)" if names else ""
    return Verdict.not_applicable(
        f"there is no SELinux here, and nothing else can refuse a pod the request{on}: what keeps"
        " modules out are modprobe.d and the kernel's switches alone",
        *((Evidence("security modules", ",".join(names), "/sys/kernel/security/lsm"),)
          if names else ()),
    )  # fmt: skip


NF_ALIAS, NF_DEP = "alias nfnetlink-subsys-10 nf_tables\n", "kernel/net/nf_tables.ko:\n"


@dataclass(frozen=True, slots=True)
class UsernsParams(Params):
    """`allowed`: modules of this family that the node needs (a CNI's)."""

    section: ClassVar[tuple[str, ...]] = ("checks", "kernel.module.userns-vectors")

    allowed: tuple[str, ...] = ()


def _userns_examples() -> tuple[Example, ...]:
    nft = example_node("", NF_ALIAS, NF_DEP)
    bare = PodGuards(unconfined=("web/a",), looked_at=3)
    filtered = PodGuards(filtered=("web/a",), looked_at=3)
    admin = PodGuards(filtered=("web/a",), admins=("web/a",), looked_at=3)
    proxy = PodGuards(privileged=("kube-system/proxy",), looked_at=3)
    return (
        Example(
            Status.FAIL,
            (nft, UserNamespaces(1000), bare),
            "user namespaces, nf_tables, and a pod without seccomp",
        ),
        Example(
            Status.PASS,
            (nft, UserNamespaces(0), bare),
            "no user namespaces",
        ),
        Example(
            Status.PASS,
            (nft, UserNamespaces(1000), filtered),
            "every pod has a seccomp filter",
        ),
        Example(
            Status.PASS,
            (nft, UserNamespaces(1000), proxy),
            "only privileged pods have none, and they are root on the host anyway",
        ),
        Example(
            Status.FAIL,
            (nft, UserNamespaces(0), admin),
            "a pod with CAP_NET_ADMIN in a user namespace of its own",
        ),
        Example(
            Status.PASS,
            (
                example_node("install nf_tables /bin/false\n", NF_ALIAS, NF_DEP),
                UserNamespaces(1000),
                bare,
            ),
            "none of the modules can be loaded",
        ),
        Example(
            Status.UNKNOWN,
            (nft, UserNamespaces(1000), Unreadable("PodGuards", "offline")),
            "the pods cannot be seen",
        ),
        Example(
            Status.UNKNOWN,
            (nft, UserNamespaces(1000), Absent("the process table")),
            "a tree at rest: its pods do not run yet",
        ),
        Example(
            Status.UNKNOWN,
            (Unreadable("/proc/modules", "EACCES"), UserNamespaces(1000), filtered),
            "the modules cannot be seen",
        ),
    )


@check(
    "kernel.module.userns-vectors",
    title="Pods cannot reach the modules behind CAP_NET_ADMIN through a user namespace",
    why="In a user namespace of its own a process has CAP_NET_ADMIN, and with it nf_tables, traffic"
    " control and virtual interfaces: most of the kernel's recent flaws that give root. It takes"
    " user namespaces, the modules, and a pod without a seccomp filter.",
    severity=Severity.MEDIUM,
    remedy=blocking("userns", "nf_tables"),
    sources=(
        *SOURCES,
        Source("user_namespaces(7)", "https://man7.org/linux/man-pages/man7/user_namespaces.7.html"),
        Source("Kubernetes: seccomp", "https://kubernetes.io/docs/tutorials/security/seccomp/"),
    ),
    mappings=MAPPINGS,
    examples=_userns_examples,
)  # fmt: skip
def userns_vectors(
    node: KernelModules,
    userns: UserNamespaces | Unreadable,
    pods: PodGuards | Absent | Unreadable,
    p: UsernsParams,
) -> Verdict:
    closed = userns.closed if isinstance(userns, UserNamespaces) else ""
    # The runtime makes a pod's own user namespace as root: no setting for others forbids it.
    admins = pods.admins if isinstance(pods, PodGuards) else ()
    if closed and not admins:
        return Verdict.passed(f"no user namespace without rights: {closed}")
    wanted = [c for c in USERNS if c.name not in p.allowed]
    judged = group(node, "userns", wanted, "a process in a user namespace reaches")
    if judged.status is not Status.FAIL:
        return judged
    if isinstance(pods, Unreadable):
        return Verdict.unknown(f"{judged.because}; how pods are confined: {pods.error}")
    if isinstance(pods, Absent) or (pods.complete and not pods.looked_at):
        if not node.live:
            return Verdict.unknown(f"offline: which pods will run here; {judged.because}")
        return Verdict.passed("no pod runs here that could use them")
    unconfined = () if closed else pods.unconfined
    if not unconfined and not admins:
        return _confined(judged, pods)
    ways = [
        f"pods without seccomp ({', '.join(unconfined[:5])}) can make a user namespace"
        if unconfined
        else "",
        f"pods have one of their own, with CAP_NET_ADMIN or CAP_SYS_ADMIN ({', '.join(admins[:5])})"
        if admins
        else "",
    ]
    return Verdict.failed(
        f"{'; '.join(way for way in ways if way)}; {judged.because}",
        *judged.evidence,
        remedy=judged.remedy,
    )


def _confined(judged: Verdict, pods: PodGuards) -> Verdict:
    if not pods.complete:
        return Verdict.unknown(f"{judged.because}; some pods cannot be seen")
    rest = f"; privileged pods are root on the host anyway ({', '.join(pods.privileged[:5])})"
    return Verdict.passed(
        f"all {len(pods.filtered)} ordinary pods have a seccomp filter, which keeps them from"
        f" making a user namespace{rest if pods.privileged else ''}"
    )
