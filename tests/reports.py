"""Made-up reports: findings of every status and severity, with text that means harm."""

from nodeward.model import CheckId, Evidence, Finding, Remedy, Report, Severity, Status

HOSTILE = "café\x1b[31m\n\t\x00\x07]]>&<\"' \u202e\ud800 end"


def finding(
    check: str,
    status: Status,
    severity: Severity = Severity.HIGH,
    because: str = "the value is bad",
    *evidence: Evidence,
    remedy: Remedy | None = None,
) -> Finding:
    return Finding(
        CheckId(check), status, severity, because, evidence, remedy, {"sac": ("x",), "stig": ()}
    )


EVERY_STATUS = (
    finding(
        "a.fail.high",
        Status.FAIL,
        Severity.HIGH,
        "the mode is 0644, want 0600",
        Evidence("mode", "0644", "/etc/kubernetes/admin.conf"),
        Evidence("line", "mode: x", "/var/lib/kubelet/config.yaml:14"),
        Evidence("flag", "--x=1", "arguments of pid 812"),
        remedy=Remedy("Set the mode.", ("chmod 600 /etc/kubernetes/admin.conf",), "Nothing."),
    ),
    finding("a.fail.low", Status.FAIL, Severity.LOW, "the file is old"),
    finding("a.fail.critical", Status.FAIL, Severity.CRITICAL, "anybody may run commands"),
    finding("b.error", Status.ERROR, Severity.HIGH, "the rule is defective: KeyError at x.py:3"),
    finding("c.unknown", Status.UNKNOWN, Severity.MEDIUM, "could not look at /etc/x: EACCES"),
    finding("d.pass", Status.PASS, Severity.HIGH, "the port is closed"),
    finding("e.idle.one", Status.NOT_APPLICABLE, Severity.HIGH, "etcd is not on this host"),
    finding("e.idle.two", Status.NOT_APPLICABLE, Severity.HIGH, "etcd is not on this host"),
    finding(
        "f.hostile", Status.FAIL, Severity.INFO, HOSTILE, Evidence(HOSTILE, HOSTILE, HOSTILE),
        remedy=Remedy(HOSTILE, (HOSTILE,), HOSTILE),
    ),
)  # fmt: skip


def report(*findings: Finding, live: bool = True, root: str = "/") -> Report:
    return Report(
        node="worker-7",
        taken_at="2026-11-22T04:10:11.123Z",
        root=root,
        live=live,
        version="0.1.0",
        catalog="sha256:0",
        inventory={
            "os": {"id": "debian", "version": "12"},
            "kernel": "6.1.0-56-amd64",
            "kubelet": {"version": "1.36.2"},
            "runtime": {"name": "containerd", "version": "1.6.20"},
            "cloud": "aws",
            "roles": ["worker"],
            "distribution": "kubeadm",
            "machine_id": "sha256:1",
        },
        findings=findings or EVERY_STATUS,
    )
