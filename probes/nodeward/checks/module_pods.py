"""What keeps pods from asking for a module in the first place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nodeward.checks.module_terms import KMOD_C, MAPPINGS, SOURCES, blocking, example_node, group
from nodeward.facts.kernel_guards import ModuleRequests, PodContext, PodSeccomp, UserNamespaces
from nodeward.facts.kernel_modules import KernelModules
from nodeward.facts.module_requests import USERNS
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
    examples=(
        Example(
            Status.PASS,
            ModuleRequests(
                enforcing=True,
                contexts=(PodContext("system_u:system_r:container_t:s0:c1,c2", False, ("web/a",)),),
            ),
            "container_t may not",
        ),
        Example(
            Status.FAIL,
            ModuleRequests(
                enforcing=True,
                contexts=(PodContext("system_u:system_r:my_pod_t:s0", True, ("web/a",)),),
            ),
            "a pod's context may",
        ),
        Example(
            Status.PASS,
            ModuleRequests(
                enforcing=True, contexts=(PodContext("system_u:system_r:spc_t:s0", True, ("x/y",)),)
            ),
            "only privileged pods (spc_t) may",
        ),
        Example(Status.FAIL, ModuleRequests(enforcing=False, contexts=()), "SELinux is permissive"),
        Example(Status.NOT_APPLICABLE, Absent("/sys/fs/selinux/enforce"), "there is no SELinux"),
        Example(Status.UNKNOWN, Unreadable("/sys/fs/selinux/access", "EACCES"), "could not ask"),
    ),
)
def lsm_request(asked: ModuleRequests) -> Verdict:
    if not asked.enforcing:
        return Verdict.failed("SELinux is permissive: it refuses nothing")
    open_ = [c for c in asked.contexts if c.allowed and _type(c.context) not in PRIVILEGED]
    if open_:
        return Verdict.failed(
            f"pods in {', '.join(_type(c.context) for c in open_)} may have modules loaded",
            *most([Evidence("context", c.context, ", ".join(c.pods)) for c in open_]),
        )
    privileged = [c for c in asked.contexts if c.allowed]
    note = f"; {', '.join(_type(c.context) for c in privileged)} may" if privileged else ""
    return Verdict.passed(f"none of {len(asked.contexts)} contexts of ordinary pods may{note}")


PRIVILEGED = frozenset({"spc_t", "container_engine_t", "unconfined_t", "container_runtime_t"})


def _type(context: str) -> str:
    parts = context.split(":")
    return parts[2] if len(parts) > 2 else context


NF_ALIAS, NF_DEP = "alias nfnetlink-subsys-10 nf_tables\n", "kernel/net/nf_tables.ko:\n"


@dataclass(frozen=True, slots=True)
class UsernsParams(Params):
    """`allowed`: modules of this family that the node needs (a CNI's)."""

    section: ClassVar[tuple[str, ...]] = ("checks", "kernel.module.userns-vectors")

    allowed: tuple[str, ...] = ()


@check(
    "kernel.module.userns-vectors",
    title="Pods cannot reach the modules behind CAP_NET_ADMIN through a user namespace",
    why="In a user namespace of its own a process has CAP_NET_ADMIN, and with it nf_tables, traffic"
    " control and virtual interfaces: most of the kernel's recent flaws that give root. It takes"
    " user namespaces, the modules, and a pod without a seccomp filter.",
    severity=Severity.MEDIUM,
    remedy=blocking("nf_tables"),
    sources=(
        *SOURCES,
        Source("user_namespaces(7)", "https://man7.org/linux/man-pages/man7/user_namespaces.7.html"),
        Source("Kubernetes: seccomp", "https://kubernetes.io/docs/tutorials/security/seccomp/"),
    ),
    mappings=MAPPINGS,
    examples=(
        Example(
            Status.FAIL,
            (example_node("", NF_ALIAS, NF_DEP), UserNamespaces(1000), PodSeccomp(("web/a",), 3)),
            "user namespaces, nf_tables, and a pod without seccomp",
        ),
        Example(
            Status.PASS,
            (example_node("", NF_ALIAS, NF_DEP), UserNamespaces(0), PodSeccomp(("web/a",), 3)),
            "no user namespaces",
        ),
        Example(
            Status.PASS,
            (example_node("", NF_ALIAS, NF_DEP), UserNamespaces(1000), PodSeccomp((), 3)),
            "every pod has a seccomp filter",
        ),
        Example(
            Status.PASS,
            (example_node("install nf_tables /bin/false\n", NF_ALIAS, NF_DEP),
             UserNamespaces(1000), PodSeccomp(("web/a",), 3)),
            "none of the modules can be loaded",
        ),
        Example(
            Status.UNKNOWN,
            (example_node("", NF_ALIAS, NF_DEP), UserNamespaces(1000),
             Unreadable("PodSeccomp", "offline")),
            "the pods cannot be seen",
        ),
        Example(
            Status.UNKNOWN,
            (Unreadable("/proc/modules", "EACCES"), UserNamespaces(1000), PodSeccomp((), 3)),
            "the modules cannot be seen",
        ),
    ),
)  # fmt: skip
def userns_vectors(
    node: KernelModules,
    userns: UserNamespaces | Unreadable,
    pods: PodSeccomp | Absent | Unreadable,
    p: UsernsParams,
) -> Verdict:
    closed = userns.closed if isinstance(userns, UserNamespaces) else ""
    if closed:
        return Verdict.passed(f"no user namespace without rights: {closed}")
    wanted = [c for c in USERNS if c.name not in p.allowed]
    judged = group(node, "userns", wanted, "a process in a user namespace reaches")
    if judged.status is not Status.FAIL:
        return judged
    if isinstance(pods, Unreadable):
        return Verdict.unknown(f"{judged.because}; which pods have seccomp: {pods.error}")
    if isinstance(pods, Absent) or (pods.complete and not pods.looked_at):
        return Verdict.passed("no pod runs here that could use them")
    if not pods.unconfined:
        if not pods.complete:
            return Verdict.unknown(f"{judged.because}; some pods cannot be seen")
        return Verdict.passed(
            f"all {pods.looked_at} processes of pods looked at have a seccomp filter,"
            " which keeps them from making a user namespace"
        )
    return Verdict.failed(
        f"pods without seccomp ({', '.join(pods.unconfined[:5])}) can make a user namespace;"
        f" {judged.because}",
        *judged.evidence,
        remedy=judged.remedy,
    )
