"""Rules about nodeward itself: what it may have missed, and why. A monitor that went blind must
not look like a node that is well."""

from __future__ import annotations

from nodeward.facts.agent import Agent, Kept, Parts, Sandbox, Spending, Standing, Watch
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
    most,
)

_NO_AGENT = Example(Status.NOT_APPLICABLE, Absent("/run/nodeward/agent.json"), "no agent runs here")
_DARK = Example(Status.UNKNOWN, Unreadable("/run/nodeward/agent.json", "EACCES"))
_INOTIFY = Source("inotify(7)", "https://man7.org/linux/man-pages/man7/inotify.7.html")
_EXEC = Source("systemd.exec(5)", "https://man7.org/linux/man-pages/man5/systemd.exec.5.html")
_CAPABILITIES = Source(
    "capabilities(7)", "https://man7.org/linux/man-pages/man7/capabilities.7.html"
)
_RESOURCES = Source(
    "systemd.resource-control(5)",
    "https://man7.org/linux/man-pages/man5/systemd.resource-control.5.html",
)
_SYSTEMD = Source(
    "systemd.service(5)", "https://man7.org/linux/man-pages/man5/systemd.service.5.html"
)
_SQLITE = Source("SQLite, result codes", "https://www.sqlite.org/rescode.html")
_REPLAY = Source("RFC 9421, security considerations", "https://www.rfc-editor.org/rfc/rfc9421.html")


@check(
    "agent.watch.degraded",
    title="The agent notices changes when they happen",
    why=(
        "Between two full looks the agent relies on events of the kernel. When watches ran out or"
        " the kernel's queue overflowed, a change is found by polling or the next full look only."
    ),
    severity=Severity.LOW,
    remedy=Remedy(
        "Raise what ran out; the evidence names it.",
        steps=(
            "sysctl fs.inotify.max_user_watches fs.inotify.max_user_instances",
            "sysctl -w fs.inotify.max_user_watches=524288",
        ),
        breaks="Each inotify watch costs about 1 KiB of kernel memory.",
    ),
    sources=[_INOTIFY],
    examples=lambda: [
        Example(Status.PASS, Agent(watch=Watch({"files": "inotify"}))),
        Example(Status.FAIL, Agent(watch=Watch(lost=("inotify queue overflowed",)))),
        _NO_AGENT,
        _DARK,
    ],
)
def watch_degraded(agent: Agent) -> Verdict:
    how = [Evidence(kind, source) for kind, source in sorted(agent.watch.sources.items())]
    if agent.watch.lost:
        lost = [Evidence("noticed late", why) for why in agent.watch.lost]
        return Verdict.failed(
            f"changes may be noticed late: {agent.watch.lost[0]}", *most([*lost, *how])
        )
    told = ", ".join(f"{piece.what} by {piece.value}" for piece in how)
    return Verdict.passed(f"changes are noticed: {told}" if told else "no source is lost", *how)


@check(
    "agent.budget",
    title="The agent stays within its share of the processor",
    why=(
        "An agent that harms its node is switched off. Past its budget it slows itself down, and"
        " then changes are judged later than they could be."
    ),
    severity=Severity.LOW,
    remedy=Remedy(
        "Find what changes so often, or allow the agent more: budget.cpu_share in agent.yaml.",
        steps=("nodeward doctor", "journalctl -u nodeward-agent --since -1h"),
    ),
    sources=[_RESOURCES],
    examples=lambda: [
        Example(Status.PASS, Agent(spending=Spending(0.001, 0.01, False))),
        Example(Status.FAIL, Agent(spending=Spending(0.02, 0.01, True))),
        _NO_AGENT,
        _DARK,
    ],
)
def budget(agent: Agent) -> Verdict:
    allowed = f"{agent.spending.allowed:.2%} of one core"
    if not agent.spending.throttled:
        return Verdict.passed(f"the agent uses at most {allowed}")
    return Verdict.failed(
        f"the agent used up {allowed} and looks less often until it is below again"
    )


@check(
    "agent.sandbox",
    title="The agent's own sandbox hides nothing that it must judge",
    why=(
        "A service can be confined so that parts of the host look empty to it: with"
        " ProtectKernelModules=yes the folder of kernel modules has no entry. What is hidden is"
        " reported as unknown and never as absent; this finding says what to change."
    ),
    severity=Severity.MEDIUM,
    remedy=Remedy(
        "Take the named restriction out of the unit, or grant the named right; in a pod, mount the"
        " host's / or what is missing of it (agent.hostPaths).",
        steps=("systemctl cat nodeward-agent", "nodeward doctor"),
        breaks="Nothing: the unit that is shipped has none of these restrictions.",
    ),
    sources=[_EXEC, _CAPABILITIES],
    examples=lambda: [
        Example(Status.PASS, Agent()),
        Example(Status.FAIL, Agent(sandbox=Sandbox(hidden=("/usr/lib/modules",)))),
        Example(Status.FAIL, Agent(sandbox=Sandbox(missing=("CAP_SYS_PTRACE",)))),
        Example(Status.FAIL, Agent(sandbox=Sandbox(foreign=("net",))), "a pod without hostNetwork"),
        Example(Status.FAIL, Agent(sandbox=Sandbox(mounted=("/etc", "/proc"))), "named volumes"),
        _NO_AGENT,
        _DARK,
    ],
)
def sandbox(agent: Agent) -> Verdict:
    box = agent.sandbox
    found = [Evidence("hidden by the sandbox", path) for path in box.hidden]
    found += [Evidence("namespace that is not the host's", kind) for kind in box.foreign]
    found += [Evidence("right that is missing", right) for right in box.missing]
    if box.mounted:
        there = ", ".join(box.mounted)
        found.append(Evidence("not mounted for the agent", f"all of the host but {there}"))
    if not found:
        return Verdict.passed("nothing of the host is hidden from the agent")
    return Verdict.failed(f"{found[0].what}: {found[0].value}", *most(found))


@check(
    "agent.part.broken",
    title="Every part of the agent works",
    why=(
        "A defect in one part of the agent costs only that part: the look goes on without it. What"
        " it would have told, sent or watched is missing until it is mended."
    ),
    severity=Severity.MEDIUM,
    remedy=Remedy(
        "Report the place to the project with the output of doctor, and try a newer version.",
        steps=("nodeward doctor --bundle FILE", "journalctl -u nodeward-agent --since -1h"),
    ),
    sources=[_SYSTEMD],
    examples=lambda: [
        Example(Status.PASS, Agent()),
        Example(Status.FAIL, Agent(parts=Parts(("sending: TypeError at push.py:12",)))),
        _NO_AGENT,
        _DARK,
    ],
)
def part_broken(agent: Agent) -> Verdict:
    broken = [Evidence("a defect", one) for one in agent.parts.broken]
    if broken:
        return Verdict.failed(f"a part of the agent is broken: {broken[0].value}", *most(broken))
    return Verdict.passed("no part of the agent had a defect when it last worked")


@check(
    "agent.identity.conflict",
    title="Nobody else reports as this node",
    why=(
        "The collector knows a node by a key made on it. A key that turned up on another machine,"
        " or a refusal by the collector, means a cloned disk, a captured image, or someone who"
        " passes for this node."
    ),
    severity=Severity.HIGH,
    remedy=Remedy(
        "Seal images before they are captured; if a second node has the same key, revoke it at the"
        " collector and let both enrol again.",
        steps=("nodeward seal", "nodeward get agents"),
        breaks="After sealing, the node needs a join token again.",
    ),
    sources=[_REPLAY],
    examples=lambda: [
        Example(Status.PASS, Agent(standing=Standing("a", True))),
        Example(Status.FAIL, Agent(standing=Standing(conflict="403 foreign-node"))),
        Example(Status.FAIL, Agent(standing=Standing(cloned=True)), "a disk that was copied"),
        _NO_AGENT,
        _DARK,
    ],
)
def identity_conflict(agent: Agent) -> Verdict:
    if agent.standing.conflict:
        return Verdict.failed(
            "the collector refuses this agent", Evidence("answer", agent.standing.conflict)
        )
    if agent.standing.cloned:
        return Verdict.failed(
            "the key found here was made on another machine; a new one was made",
            severity=Severity.MEDIUM,
        )
    return Verdict.passed("the key was made on this machine, and nobody contests it")


@check(
    "agent.spool.dropped",
    title="No report was lost on its way to the collector",
    why=(
        "While the collector is away, reports wait on the node within bounds. Past them the oldest"
        " are dropped: the node's state stays right, but changes in between are missing from its"
        " history."
    ),
    severity=Severity.LOW,
    remedy=Remedy(
        "Bring the collector back sooner, or raise spool.max_bytes and spool.max_age_s. Where"
        " nothing can be kept, make room on the disk of the agent's state folder.",
        steps=("nodeward doctor",),
    ),
    sources=[_SQLITE],
    examples=lambda: [
        Example(Status.PASS, Agent()),
        Example(Status.FAIL, Agent(kept=Kept(dropped=3))),
        Example(Status.FAIL, Agent(kept=Kept(set_aside=1)), "a corrupt file"),
        Example(Status.FAIL, Agent(kept=Kept(failing="disk I/O error")), "a full disk"),
        _NO_AGENT,
        _DARK,
    ],
)
def spool_dropped(agent: Agent) -> Verdict:
    counts = (
        ("dropped because the spool was full or they were too old", agent.kept.dropped),
        ("refused by the collector for good", agent.kept.refused),
        ("spool files that could not be read, set aside", agent.kept.set_aside),
    )
    lost = [Evidence(what, str(count)) for what, count in counts if count]
    if agent.kept.failing:
        why = Evidence("what is found cannot be kept", agent.kept.failing)
        return Verdict.failed(f"{why.what}: {why.value}", why, *lost)
    if lost:
        return Verdict.failed(f"{lost[0].value} {lost[0].what}", *lost)
    return Verdict.passed("every report since the spool began was kept until it was acknowledged")
