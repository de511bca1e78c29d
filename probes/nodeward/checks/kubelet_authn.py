"""Who may ask the kubelet, and as whom."""

from __future__ import annotations

from nodeward.facts.kubelet import Kubelet, Setting, Unknown, example
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

AUTHN = Source(
    "Kubernetes: Kubelet authentication/authorization",
    "https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/",
)


def shown(what: str, setting: Setting) -> Evidence:
    value = setting.value
    return Evidence(what, value.why if isinstance(value, Unknown) else str(value), setting.source)


@check(
    "kubelet.authn.anonymous",
    title="The kubelet refuses requests without credentials",
    why="An anonymous caller of the kubelet's port may read every pod of the node and, where"
    " authorization does not hold it, run commands in every container.",
    severity=Severity.CRITICAL,
    remedy=Remedy(
        "Set authentication.anonymous.enabled to false in the file that wins, and restart.",
        ("systemctl restart kubelet",),
        "Probes and monitoring that ask the kubelet without credentials stop working.",
    ),
    sources=[AUTHN],
    mappings={"cis-kubernetes-1.12": ["4.2.1"], "nsa-cisa-1.2": ["AA"], "stig": ["V-242391"]},
    examples=[
        Example(Status.PASS, example("--config=/c", "{}"), "a file that does not name the field"),
        Example(Status.FAIL, example(""), "no --config: the legacy default is true"),
        Example(Status.UNKNOWN, Unreadable("/proc/812/cmdline", "EACCES")),
        Example(Status.NOT_APPLICABLE, Absent("kubelet")),
    ],
)
def anonymous(kubelet: Kubelet) -> Verdict:
    path = "authentication.anonymous.enabled"
    setting = kubelet.get(path)
    seen = shown(path, setting)
    match setting.value:
        case False:
            return Verdict.passed(f"{path} is false: {setting.source}", seen)
        case True:
            return Verdict.failed(f"{path} is true: {setting.source}", seen)
        case Unknown(why):
            return Verdict.unknown(f"{path} could not be told: {why}", seen)
        case _:
            return Verdict.unknown(f"{path} is no boolean: {setting.source}", seen)
