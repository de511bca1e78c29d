"""One whole scan: a host and a selection of checks in, a report out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from nodeward.agent.runner import Looker, examine
from nodeward.agent.version import version
from nodeward.checks import catalog, catalog_digest
from nodeward.facts.clock import Now
from nodeward.facts.cloud import Cloud
from nodeward.facts.kubelet import Kubelet
from nodeward.facts.node import Node
from nodeward.facts.runtime import Runtime
from nodeward.facts.system import System
from nodeward.host import Host
from nodeward.model import JSON, Absent, Check, Fact, Finding, Reading, Report, Seen, legible


class NoSuchCheckError(ValueError):
    """A glob that matches no check: wrong usage."""


def select(globs: Sequence[str]) -> list[Check[...]]:
    """The checks whose id matches one of the globs (all, when there are none), by id."""
    rules = list(catalog().values())
    if not globs:
        return rules
    for glob in globs:
        if not any(fnmatchcase(rule.id, glob) for rule in rules):
            raise NoSuchCheckError(f"no check matches {glob!r}")
    return [rule for rule in rules if any(fnmatchcase(rule.id, glob) for glob in globs)]


def scan(
    host: Host,
    checks: Sequence[Check[...]],
    *,
    at: float,
    node: str | None = None,
    given: Mapping[type[Fact], Reading[Fact]] | None = None,
) -> Report:
    """Look at the host once. `at` is the clock in seconds since 1970; `given` are readings that
    are already known: the operator's settings."""
    looker = Looker(host, {Now: Seen(Now(at)), **(given or {})})
    return report_of(looker, examine(looker, checks), at=at, node=node)


def report_of(
    looker: Looker, findings: tuple[Finding, ...], *, at: float, node: str | None = None
) -> Report:
    """The report of a look that was taken."""
    host = looker.host
    system = looker.look(System)
    name = (
        system.fact.hostname
        if isinstance(system, Seen) and isinstance(system.fact, System)
        else None
    )
    return Report(
        node=node or name or "unknown",
        taken_at=rfc3339(at),
        root=legible(host.root),
        live=host.live,
        version=version(),
        catalog=catalog_digest(),
        inventory=inventory(looker),
        findings=findings,
    )


def inventory(looker: Looker) -> Mapping[str, JSON]:
    """The report's inventory: what kind of node this is. What could not be read is null."""
    out: dict[str, JSON] = {}
    match looker.look(System):
        case Seen(System() as system):
            out["os"] = {"id": system.os_id, "version": system.os_version}
            out["kernel"] = system.kernel
            out["machine_id"] = system.machine_id
        case _:
            pass
    match looker.look(Kubelet):
        case Seen(Kubelet() as kubelet):
            out["kubelet"] = {"version": kubelet.version and kubelet.version.removeprefix("v")}
        case _:
            out["kubelet"] = None
    match looker.look(Runtime):
        case Seen(Runtime() as runtime):
            out["runtime"] = {"name": runtime.name, "version": runtime.version}
        case _:
            out["runtime"] = None
    match looker.look(Node):
        case Seen(Node() as node):
            out["roles"] = [role.value for role in node.roles]
            out["distribution"] = node.distribution.value
        case Absent():
            out["roles"] = []
        case _:
            out["roles"] = None
    match looker.look(Cloud):
        case Seen(Cloud() as cloud):
            out["cloud"] = cloud.name
        case _:
            out["cloud"] = None
    return out


def rfc3339(at: float) -> str:
    """Seconds since 1970 as RFC 3339 in UTC, to the millisecond."""
    text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
