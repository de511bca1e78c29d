"""What the host itself offers to others, Kubernetes apart."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import ClassVar

from nodeward.facts.listeners import Listener, Listeners
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

ANY = "0.0.0.0"  # noqa: S104  the address of a sample
MOST_NAMED = 5  # in one sentence


@dataclass(frozen=True, slots=True)
class KnownListeners(Params):
    """`allowed`: who may listen beyond loopback, each as PROGRAM, PROGRAM:PORT or :PORT (whoever
    holds it); `*` stands for any characters. `more` is added, so that the shipped ones stay."""

    section: ClassVar[tuple[str, ...]] = ("checks", "host.listeners")

    allowed: tuple[str, ...] = (
        "kubelet",
        "kube-proxy",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "*cloud-controller-manager",
        "etcd",
        "hyperkube",
        "kubelite",
        "k8s-dqlite",
        "cluster-agent",  # MicroK8s'
        "k3s",
        "rke2",
        "k0s",
        "proxy-server",  # konnectivity's
        "cilium-*",
        "calico-*",
        "bird*",
        "antrea-agent",
        "kube-router",
        "kube-vip",
        "aws-k8s-agent",
        "eks-pod-identity-agent",
        "node-cache",
        "node_exporter",
        "sshd",
        "systemd:22",  # ssh.socket
    )
    more: tuple[str, ...] = ()

    def allows(self, row: Listener) -> bool:
        names = (row.program or "", f"{row.program or ''}:{row.port}", f":{row.port}")
        entries = (*self.allowed, *self.more)
        return any(name and fnmatchcase(name, entry) for name in names for entry in entries)


def _on(*rows: tuple[str, int, str | None]) -> Listeners:
    return Listeners(
        tuple(Listener(address, port, n, 0, n, program)
              for n, (address, port, program) in enumerate(rows, 1)),
        "sock_diag",
    )  # fmt: skip


@check(
    "host.listeners",
    title="Only known programs listen beyond loopback",
    why="Whatever listens on an address of the node is open to pods and to the network, and seldom"
    " asks who calls: rpcbind, a database for a test, a forgotten proxy. A node needs few.",
    severity=Severity.MEDIUM,
    remedy=Remedy(
        "Stop the program, or bind it to 127.0.0.1; allow it in the settings where it is meant.",
        (
            "ss -ltnp   # which program, and which unit: systemctl status PID",
            "systemctl disable --now UNIT",
            "# agent.yaml: checks: {host.listeners: {more: ['PROGRAM:PORT']}}",
        ),
        "Whoever uses the port.",
    ),
    sources=(
        Source(
            "Kubernetes: ports and protocols",
            "https://kubernetes.io/docs/reference/networking/ports-and-protocols/",
        ),
        Source(
            "Kubernetes: security checklist",
            "https://kubernetes.io/docs/concepts/security/security-checklist/",
        ),
    ),
    mappings={
        "sac": ["S1b", "B13"],
        "nsa-cisa-1.2": ["WN"],
        "stig": ["V-242410", "V-242411", "V-242412", "V-242413"],
    },
    examples=lambda: (
        Example(Status.PASS, _on((ANY, 10250, "kubelet"), (ANY, 22, "sshd")), "known programs"),
        Example(Status.PASS, _on(("127.0.0.1", 5432, "postgres")), "loopback"),
        Example(Status.FAIL, _on((ANY, 111, "rpcbind")), "rpcbind"),
        Example(Status.FAIL, _on(("10.0.0.7", 8080, "python3.11")), "one address of the node"),
        Example(
            Status.PASS,
            (_on((ANY, 111, "rpcbind")), KnownListeners(more=("rpcbind:111",))),
            "the operator allows it",
        ),
        Example(
            Status.FAIL,
            (_on((ANY, 112, "rpcbind")), KnownListeners(more=("rpcbind:111",))),
            "on this port only",
        ),
        Example(Status.UNKNOWN, _on((ANY, 2049, None)), "whose it is cannot be told"),
        Example(
            Status.PASS,
            (_on((ANY, 2049, None)), KnownListeners(more=(":2049",))),
            "the operator allows the port, whoever holds it",
        ),
        Example(Status.UNKNOWN, Absent("/proc"), "a tree at rest has no listeners"),
        Example(Status.UNKNOWN, Unreadable("listeners", "EACCES"), "they may not be read"),
    ),
)
def listeners(found: Listeners | Absent, p: KnownListeners) -> Verdict:
    if isinstance(found, Absent):
        return Verdict.unknown("no listeners can be seen: offline")
    wide = [row for row in found.rows if not row.loopback]
    strange = [row for row in wide if not p.allows(row)]
    named = [row for row in strange if row.program]
    rest = [row for row in found.rows if row not in strange]
    seen = most(
        [_evidence(row) for row in (*named, *(row for row in strange if not row.program))]
        + [row.evidence() for row in rest]
    )
    if named:
        return Verdict.failed(f"{_listen(named)} beyond loopback, and not known here", *seen)
    if strange:
        who = "a process that is hidden from us, or the kernel itself"
        return Verdict.unknown(f"cannot tell who listens on {strange[0]}: {who}", *seen)
    if not wide:
        return Verdict.passed("nothing listens beyond loopback", *seen)
    programs = ", ".join(sorted({row.program or f"port {row.port}" for row in wide}))
    return Verdict.passed(f"who listens beyond loopback is known: {programs}", *seen)


def _evidence(row: Listener) -> Evidence:
    return row.evidence("not known, listens on")


def _listen(rows: Sequence[Listener]) -> str:
    """Each program with its ports, the most telling few."""
    ports: dict[str, set[int]] = {}
    for row in rows:
        ports.setdefault(row.program or "", set()).add(row.port)
    named = [
        f"{program} on port {', '.join(map(str, sorted(found)))}"
        for program, found in list(ports.items())[:MOST_NAMED]
    ]
    more = f" and {len(ports) - MOST_NAMED} more programs" if len(ports) > MOST_NAMED else ""
    return f"{', '.join(named)}{more} {'listens' if len(ports) == 1 else 'listen'}"
