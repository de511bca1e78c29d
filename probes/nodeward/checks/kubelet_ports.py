"""Which ports of the kubelet are open, and to whom."""

from __future__ import annotations

import ipaddress

from nodeward.checks.kubelet_authn import NO_KUBELET, NOBODY, OFFLINE, C
from nodeward.checks.kubelet_samples import ANY, LISTENING, answers, listener, reply
from nodeward.checks.kubelet_support import (
    CONFIG,
    FLAGS,
    Answers,
    each_asked,
    maps,
    mend,
    said,
    shown,
    unknown,
    unprobed,
)
from nodeward.facts.kubelet import Kubelet, Unknown, example
from nodeward.facts.kubelet_answers import (
    CADVISOR,
    CADVISOR_PORT,
    HEALTHZ,
    PODS,
    READ_ONLY,
    KubeletAnswers,
    Port,
)
from nodeward.facts.listeners import Listeners
from nodeward.model import (
    Absent,
    Evidence,
    Example,
    Remedy,
    Severity,
    Status,
    Unreadable,
    Verdict,
    check,
)

RO = "readOnlyPort"
MOST_SHOWN = 20


@check(
    "kubelet.port.readonly",
    title="No kubelet port answers without asking who is there",
    why="The read-only port shows every pod of the node, with its environment, images and"
    " addresses, to whoever can reach it, over plain HTTP.",
    severity=Severity.HIGH,
    remedy=Remedy(
        "Set readOnlyPort to 0; with --config-dir alone also give --read-only-port=0.",
        ("systemctl restart kubelet",),
        "Monitoring that reads port 10255 must use 10250 with credentials.",
    ),
    sources=[CONFIG, FLAGS],
    mappings=maps(["4.2.4"], ["NS"], ["V-242387"], ["S1b", "S4a"]),
    examples=lambda: [
        Example(Status.PASS, (example(C, "{}"), OFFLINE), "with a file the default is 0"),
        Example(Status.FAIL, (example(""), OFFLINE), "no --config: the flags' default is 10255"),
        Example(
            Status.FAIL,
            (example("--config-dir=/d", None, {"1.conf": "kind: KubeletConfiguration"}), OFFLINE),
            "--config-dir alone keeps 10255 open (k3s 1.32.0 to 1.32.3)",
        ),
        Example(
            Status.FAIL,
            (example(C, "readOnlyPort: 0"), answers(read_only=reply(200))),
            "the file says 0, the port answers",
        ),
        Example(
            Status.FAIL,
            (example(C, "readOnlyPort: 0"), LISTENING),
            "the file says 0, and a tree at rest shows the kubelet's socket",
        ),
        Example(
            Status.PASS,
            (example(C, "{}"), answers(read_only=reply(200), read_only_pid=4711)),
            "port 10255 is another program's",
        ),
        Example(
            Status.UNKNOWN,
            (example(C, "{}"), answers(read_only=reply(None, outcome="timeout"))),
            "the kubelet holds the port and does not answer in time",
        ),
        Example(
            Status.UNKNOWN,
            (example(C, "a: ["), answers(read_only=reply(None, outcome="timeout"))),
            "and its file cannot be read either",
        ),
        Example(
            Status.PASS,
            (example(C, "a: ["), answers()),
            "its file cannot be read, and all that it holds open asks who is there",
        ),
        Example(
            Status.UNKNOWN,
            (example(C, "a: ["), answers(whole=False)),
            "its file cannot be read, and its sockets cannot be told from others",
        ),
        Example(
            Status.UNKNOWN,
            (example(C, "readOnlyPort: 0", changed_at=5000.0), answers(whole=False)),
            "the file was changed after the start, and they cannot either",
        ),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
        Example(Status.NOT_APPLICABLE, NO_KUBELET, "no kubelet"),
    ],
)
def read_only(kubelet: Kubelet, answers: Answers) -> Verdict:
    return each_asked(kubelet, answers, _read_only)


def _read_only(kubelet: Kubelet, answers: Answers) -> Verdict:
    setting = kubelet.get(RO)
    seen = [shown(RO, setting)]
    breaks = "Monitoring that reads this port must use the secure one with credentials."
    remedy = mend(kubelet, RO, "0", breaks=breaks)
    ports = _open_ports(answers)
    for port in ports[:MOST_SHOWN]:
        seen += [*(row.evidence() for row in port.listeners), _answered(port)]
    if (because := _tells_pods(ports)) is not None:
        because = unprobed(answers, f"{because}; {said(RO, setting)}", "")
        return Verdict.failed(because, *seen, remedy=remedy)
    value = setting.value
    opened = isinstance(value, int) and value != 0
    if (dim := _tells_nothing(ports)) is not None and not opened:
        return Verdict.unknown(f"{dim}; {said(RO, setting)}", *seen)
    if isinstance(value, Unknown) or not isinstance(value, int) or isinstance(value, bool):
        if _looked(answers):
            because = f"the kubelet holds no read-only port open; {said(RO, setting)}"
            return Verdict.passed(because, *seen)
        return unknown(RO, setting)
    if value == 0:
        return Verdict.passed(unprobed(answers, said(RO, setting), ""), *seen)
    return Verdict.failed(unprobed(answers, said(RO, setting), ""), *seen, remedy=remedy)


def _open_ports(answers: Answers) -> list[Port]:
    if not isinstance(answers, KubeletAnswers):
        return []
    port = answers.port(READ_ONLY)
    return [p for p in (port, *answers.extra) if p is not None and p.asked]


def _answered(port: Port) -> Evidence:
    answer = port.reply(PODS)
    if answer is None:
        return Evidence("listens", f"{port.number}, {port.error or 'not probed'}", str(port))
    return port.evidence(PODS, answer)


def _tells_pods(ports: list[Port]) -> str | None:
    """A port that answers; in a tree at rest one that is seen to listen is as good as that."""
    for port in ports:
        answer = port.reply(PODS)
        if answer is not None and answer.status == 200:
            return f"port {port.number} shows all pods to anyone"
        if answer is None and not port.error:
            return f"port {port.number} is open: {port}"
    return None


def _tells_nothing(ports: list[Port]) -> str | None:
    """What is open, perhaps by the kubelet, and neither shows pods nor says whose it is."""
    for port in ports:
        answer = port.reply(PODS)
        who = "the kubelet holds" if port.owned else "a program that cannot be told holds"
        what = f"which answers {answer}" if answer is not None else port.error
        return f"{who} port {port.number} open, {what}"
    return None


def _looked(answers: Answers) -> bool:
    """Whether every port that the kubelet holds open beyond loopback was seen."""
    return isinstance(answers, KubeletAnswers) and answers.whole


BIND = "healthzBindAddress"
NOTHING = Listeners((), "sock_diag")


def _listens(address: str) -> Listeners:
    return Listeners((listener(CADVISOR_PORT, address),), "sock_diag")


@check(
    "kubelet.port.healthz-bind",
    title="The kubelet's health port listens on loopback only",
    why="The health port speaks plain HTTP and knows no credentials.",
    severity=Severity.MEDIUM,
    remedy=Remedy("Set healthzBindAddress to 127.0.0.1.", ("systemctl restart kubelet",)),
    sources=[CONFIG],
    mappings=maps(nsa=["NS"], sac=["S1b"]),
    examples=lambda: [
        Example(Status.PASS, (example(C, "{}"), OFFLINE), "the default"),
        Example(Status.PASS, (example(C, "healthzPort: 0"), OFFLINE), "switched off"),
        Example(
            Status.PASS,
            (example(C, "healthzBindAddress: '::ffff:127.0.0.1'"), OFFLINE),
            "loopback, written as an IPv6 address",
        ),
        Example(Status.FAIL, (example(C, "healthzBindAddress: 0.0.0.0"), OFFLINE), "everywhere"),
        Example(
            Status.FAIL, (example(C, "{}"), answers(healthz=ANY)), "what listens wins over the file"
        ),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
        Example(Status.NOT_APPLICABLE, NO_KUBELET, "no kubelet"),
    ],
)
def healthz_bind(kubelet: Kubelet, answers: Answers) -> Verdict:
    return each_asked(kubelet, answers, _healthz)


def _healthz(kubelet: Kubelet, answers: Answers) -> Verdict:
    setting, number = kubelet.get(BIND), kubelet.get("healthzPort")
    remedy = mend(kubelet, BIND, "127.0.0.1")
    port = answers.port(HEALTHZ) if isinstance(answers, KubeletAnswers) else None
    if port is not None and port.asked:
        wide = [row for row in port.listeners if not row.loopback]
        seen = [row.evidence() for row in port.listeners]
        seen += [port.evidence(path, r, f"GET {path}") for path, r in port.replies.items()]
        if wide:
            because = f"the health port listens on {wide[0]}; {said(BIND, setting)}"
            return Verdict.failed(because, *seen, remedy=remedy)
        return Verdict.passed(f"the health port listens on {port.listeners[0]} only", *seen)
    if number.value == 0:
        return Verdict.passed(unprobed(answers, said("healthzPort", number), ""))
    if isinstance(setting.value, Unknown) or not isinstance(setting.value, str):
        return unknown(BIND, setting)
    if _is_loopback(setting.value):
        return Verdict.passed(unprobed(answers, said(BIND, setting), ""), shown(BIND, setting))
    because = unprobed(answers, said(BIND, setting), "")
    return Verdict.failed(because, shown(BIND, setting), remedy=remedy)


def _is_loopback(address: str) -> bool:
    """Also written as an IPv6 one, which Go binds as what it is."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


@check(
    "kubelet.port.cadvisor",
    title="No cAdvisor page is served on port 4194",
    why="Kubelets before 1.12 served cAdvisor's page there: every container, to anyone.",
    severity=Severity.MEDIUM,
    remedy=Remedy("Upgrade the kubelet, or stop the cAdvisor that listens on this port."),
    sources=[FLAGS],
    mappings=maps(sac=["S1b"]),
    examples=lambda: [
        Example(Status.PASS, (NOTHING, OFFLINE), "nothing listens there"),
        Example(Status.FAIL, (_listens(ANY), OFFLINE), "something does"),
        Example(Status.FAIL, (_listens("127.0.0.1"), OFFLINE), "on loopback: less severe"),
        Example(
            Status.UNKNOWN,
            (Unreadable("listeners", "EACCES"), OFFLINE),
            "listeners may not be read",
        ),
        Example(Status.UNKNOWN, (Absent("/proc"), OFFLINE), "a tree at rest has no listeners"),
    ],
)
def cadvisor(listeners: Listeners | Absent, answers: Answers) -> Verdict:
    if isinstance(listeners, Absent):
        return Verdict.unknown("no listeners can be seen: offline")
    rows = sorted(listeners.on(CADVISOR_PORT), key=lambda row: row.loopback)
    if not rows:
        return Verdict.passed(f"nothing listens on port {CADVISOR_PORT}")
    seen = [row.evidence() for row in rows]
    port = answers.port(CADVISOR) if isinstance(answers, KubeletAnswers) else None
    if port is not None:
        seen += [port.evidence(path, r, f"GET {path}") for path, r in port.replies.items()]
    who = rows[0].program or "an unknown program"
    if rows[0].loopback:
        because = f"{who} listens on {rows[0]}, which only this node reaches, so less severe"
        return Verdict.failed(because, *seen, severity=Severity.LOW)
    return Verdict.failed(f"{who} listens on {rows[0]}", *seen)
