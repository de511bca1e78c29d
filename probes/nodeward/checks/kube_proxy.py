"""Which ports of kube-proxy are open, and to whom."""

from __future__ import annotations

from nodeward.checks.kubelet_samples import ANY, listener
from nodeward.checks.kubelet_support import PORTS, Answers, maps
from nodeward.facts.kubelet_answers import PROXY_HEALTHZ, PROXY_METRICS, KubeletAnswers
from nodeward.facts.listeners import Listener, Listeners
from nodeward.facts.processes import Process, Processes
from nodeward.model import (
    Absent,
    Evidence,
    Example,
    Remedy,
    Severity,
    Source,
    Status,
    Unreadable,
    Verdict,
    check,
)

METRICS = 10249
PROGRAMS = ("kube-proxy", "k3s", "kubelite")
"""Those that hold a kube-proxy."""

PROXY_CONFIG = Source(
    "Kubernetes: KubeProxyConfiguration v1alpha1",
    "https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/",
)
NONE = Unreadable("ports", "offline")


def _on(address: str, program: str = "kube-proxy") -> Listeners:
    return Listeners((listener(METRICS, address, 900, program),), "sock_diag")


def _running(*programs: str) -> Processes:
    rows = (Process(900 + n, 1, p, f"/usr/bin/{p}", (p,), 0.0, 0) for n, p in enumerate(programs))
    return Processes(tuple(rows))


@check(
    "kubeproxy.metrics-bind",
    title="kube-proxy's metrics port listens on loopback only",
    why="The port speaks plain HTTP and knows no credentials: it shows the services of the whole"
    " cluster, kube-proxy's configuration and, with profiling on, its memory.",
    severity=Severity.MEDIUM,
    remedy=Remedy(
        "Set metricsBindAddress to 127.0.0.1:10249 in the kube-proxy ConfigMap.",
        ("kubectl -n kube-system rollout restart daemonset kube-proxy",),
        "Whoever reads these metrics from another node needs a proxy with authentication.",
    ),
    sources=[PROXY_CONFIG, PORTS],
    mappings=maps(["4.3.1"], sac=["S1b"]),
    examples=lambda: [
        Example(Status.PASS, (_on("127.0.0.1"), _running("kube-proxy"), NONE), "loopback"),
        Example(Status.FAIL, (_on(ANY), _running("kube-proxy"), NONE), "every address"),
        Example(Status.FAIL, (_on(ANY, "k3s"), _running("k3s"), NONE), "inside k3s"),
        Example(
            Status.NOT_APPLICABLE,
            (Listeners((), "sock_diag"), _running("sshd"), NONE),
            "no kube-proxy runs (Cilium)",
        ),
        Example(
            Status.NOT_APPLICABLE,
            (_on(ANY, "nginx"), _running("nginx"), NONE),
            "the port is another program's",
        ),
        Example(
            Status.UNKNOWN,
            (Listeners((), "sock_diag"), _running("kube-proxy"), NONE),
            "it runs, and its metrics are on another port",
        ),
        Example(
            Status.UNKNOWN,
            (Listeners((), "sock_diag"), _running("kubelite"), NONE),
            "so may those of the one inside k3s or kubelite be",
        ),
        Example(
            Status.UNKNOWN,
            (Listeners((), "sock_diag"), Unreadable("processes", "EACCES"), NONE),
            "nothing listens, and processes may not be read",
        ),
        Example(
            Status.UNKNOWN,
            (Unreadable("listeners", "EACCES"), _running("kube-proxy"), NONE),
            "listeners may not be read",
        ),
        Example(
            Status.UNKNOWN,
            (Absent("/proc"), Absent("/proc"), NONE),
            "a tree at rest has no listeners",
        ),
    ],
)
def metrics_bind(
    listeners: Listeners | Absent, processes: Processes | Absent | Unreadable, answers: Answers
) -> Verdict:
    if isinstance(listeners, Absent):
        return Verdict.unknown("no listeners can be seen: offline")
    rows = [r for r in listeners.on(METRICS) if r.program is None or r.program in PROGRAMS]
    if not rows:
        return _nothing(listeners, processes)
    seen = [row.evidence() for row in rows]
    seen += _answered(answers)
    wide = [row for row in rows if not row.loopback]
    if wide:
        return Verdict.failed(f"{_who(wide[0])} shows its metrics to others on {wide[0]}", *seen)
    return Verdict.passed(f"{_who(rows[0])} listens on {rows[0]} only", *seen)


def _who(row: Listener) -> str:
    return row.program or "a program that cannot be told"


def _nothing(listeners: Listeners, processes: Processes | Absent | Unreadable) -> Verdict:
    if listeners.on(METRICS):
        return Verdict.not_applicable(f"port {METRICS} is not kube-proxy's on this host")
    if isinstance(processes, Processes):
        running = next(processes.running(*PROGRAMS), None)
        if running is not None:
            who = f"{running.program} (pid {running.pid})"
            because = f"{who} runs, and nothing listens on port {METRICS}"
            return Verdict.unknown(f"{because}: kube-proxy's metrics are elsewhere, or off")
        if processes.complete:
            return Verdict.not_applicable("no kube-proxy runs on this host")
    return Verdict.unknown(
        f"nothing listens on port {METRICS}; whether kube-proxy runs cannot be told"
    )


def _answered(answers: Answers) -> list[Evidence]:
    """What its two ports say of its health."""
    if not isinstance(answers, KubeletAnswers):
        return []
    ports = (answers.port(role) for role in (PROXY_METRICS, PROXY_HEALTHZ))
    return [
        port.evidence(path, reply)
        for port in ports
        if port is not None
        for path, reply in port.replies.items()
    ]
