"""The short-lived worker: one job in on stdin, a line of JSON; on stdout what came of it, a line
after the look and one at the end.

It looks, keeps what it found, and sends what waits. Everything heavy is imported here and gone
again when the worker ends. It is started a moment before its job is known (see `warm`), so that
its imports run while a burst of changes settles.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import select
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from nodeward.agent.baseline import baseline
from nodeward.agent.clock import moment
from nodeward.agent.config import Config, ConfigError, from_job
from nodeward.agent.locks import locked, own
from nodeward.agent.plan import plan
from nodeward.agent.runner import Looker, examine
from nodeward.agent.sandbox import examine_sandbox
from nodeward.agent.scan import report_of
from nodeward.agent.settings import settings
from nodeward.agent.spool import Spool, SpoolFullError, Tally
from nodeward.agent.status import write_status
from nodeward.checks import catalog
from nodeward.facts.agent import Agent, Kept, Parts, Sandbox, Spending, Standing, Watch
from nodeward.facts.clock import Now
from nodeward.facts.kernel_modules import KernelModules
from nodeward.facts.module_baseline import ModuleBaseline
from nodeward.facts.pki import Pki
from nodeward.facts.pki_metrics import CertificateRow, certificate_rows
from nodeward.host import HostError, LiveHost
from nodeward.model import Check, Fact, Finding, Params, Reading, Seen, place
from nodeward.model.report import REPORT_SCHEMA, finding_to_json, report_to_json
from nodeward.probes.registry import probes

Said: TypeAlias = dict[str, Any]
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)

LOCK_WAIT_S = 10.0
"""Another worker may still be at its end: one that outlived a killed resident."""


@dataclass(frozen=True, slots=True)
class Job:
    """`kind`: "full" looks at all, "part" at what depends on the stale `facts`, "push" only
    sends, "check" only judges the configuration. `config` is what nodeward.agent.config.from_job
    takes; without `send` what waits is left where it is."""

    kind: str
    config: Mapping[str, Any]
    facts: tuple[str, ...] = ()
    watch: Mapping[str, Any] | None = None
    spending: Mapping[str, Any] | None = None
    conflict: str = ""
    broken: tuple[str, ...] = ()
    """What had a defect in the worker before."""

    send: bool = True
    request: int = 0
    """The collector's, which this look is for."""

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Job:
        return cls(
            raw["kind"], raw["config"], tuple(raw.get("facts", ())), raw.get("watch"),
            raw.get("spending"), raw.get("conflict") or "", tuple(raw.get("broken", ())),
            bool(raw.get("send", True)), int(raw.get("request", 0)),
        )  # fmt: skip


def main() -> None:
    """See nodeward.agent.start."""
    os.umask(0o077)
    limit(int(sys.argv[1]), int(sys.argv[2]))
    if not select.select([sys.stdin], [], [], 0)[0]:  # the job is not there yet: use the time
        warm()
    line = sys.stdin.readline()
    if not line:
        return  # nothing to do after all
    result = perform(Job.from_json(json.loads(line)), say)
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    result["cpu_s"] = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    result["peak_bytes"] = own.ru_maxrss * 1024
    say(result)


def say(said: Said) -> None:
    """To the resident. It may be gone; what counts is on disk."""
    with contextlib.suppress(BrokenPipeError), open(1, "wb", closefd=False) as out:
        out.write(json.dumps(said).encode() + b"\n")


def limit(cpu_s: int, memory_bytes: int) -> None:
    """Bounds that no probe can argue with. A sandbox may forbid to set them: it has its own."""
    for what, bounds in (
        (resource.RLIMIT_CPU, (cpu_s, cpu_s + 5)),
        (resource.RLIMIT_DATA, (memory_bytes, memory_bytes)),
        (resource.RLIMIT_CORE, (0, 0)),
    ):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(what, bounds)


def warm() -> None:
    """Import what a look needs, and what sends its result."""
    catalog()
    probes()
    import nodeward.agent.push  # noqa: F401


def perform(job: Job, say: Callable[[Said], None] = lambda said: None) -> Said:
    """Do one job. What a collector, a disk or a host does wrong is in the result. What a look found
    is said before it is sent, so that nobody who answers slowly keeps it from being watched."""
    began = time.monotonic()
    try:
        config = from_job(job.config)
        given = {} if job.kind == "push" else dict(settings(config))
    except ConfigError as exc:
        return {"problems": exc.problems}
    if job.kind == "check":
        return {}
    try:
        with contextlib.ExitStack() as held:
            spool, unkept = _spool(config, held)
            task = _Task(job, config, given, began + config.looks.limit_s / 2, spool, unkept)
            held.callback(lambda: task.spool.close())
            return task.run(say)
    except (SpoolFullError, OSError) as exc:
        return {"spool_error": _no_room(exc)}


def _spool(config: Config, held: contextlib.ExitStack) -> tuple[Spool, str]:
    """The spool, and why it is kept in memory only. Opening one writes; a disk that takes nothing
    keeps nobody from looking."""
    state = Path(config.state_dir)
    try:
        own(state)
        held.enter_context(_waiting_for(state))
        return Spool(state, config.spool, moment), ""
    except (SpoolFullError, OSError) as exc:
        return Spool(None, config.spool, moment), _no_room(exc)


def _no_room(exc: SpoolFullError | OSError) -> str:
    """What the disk says. Raises what is no fault of a disk."""
    if isinstance(exc, SpoolFullError):
        return str(exc)
    if exc.errno not in NO_ROOM:
        raise exc
    return f"{exc.filename}: {exc.strerror}"


@contextlib.contextmanager
def _waiting_for(state: Path) -> Iterator[None]:
    until = time.monotonic() + LOCK_WAIT_S
    with contextlib.ExitStack() as held:
        while True:
            try:
                held.enter_context(locked(state))
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
        yield


@dataclass(slots=True)
class _Task:
    job: Job
    config: Config
    given: dict[type[Fact], Reading[Fact]]
    until: float
    """When it must be done with sending, on the monotonic clock: well before it would be killed."""

    spool: Spool
    unkept: str
    """Why what is found cannot be kept; the spool is in memory then."""

    standing: Standing = field(default_factory=Standing)
    told: tuple[Agent, Tally] | None = None
    certificates: tuple[CertificateRow, ...] | None = None
    """For the metrics; None when nobody wants them, or nothing is looked at."""

    broken: list[str] = field(default_factory=list)
    """Which parts had a defect just now, and where in the code. The next job says so."""

    @contextlib.contextmanager
    def _part(self, name: str) -> Iterator[None]:
        """Go on without this part where it has a defect: a worker that dies of it each time would
        leave the node unwatched."""
        try:
            yield
        except (SpoolFullError, OSError):
            raise
        except Exception as exc:  # noqa: BLE001  told, and the rest of the look counts more
            told = f"{name}: {place(exc)}"
            if told not in self.broken:
                self.broken.append(told)

    def run(self, say: Callable[[Said], None]) -> Said:
        with self._part("identity"):
            self.standing = self._standing()
        if self.job.kind != "push":
            found = self._look(self._agent())
            say(found | self._tell())
        result: Said = {"spool_error": self.unkept} if self.unkept else {}
        if not self.unkept:
            with self._part("sending"):
                result = self._push()
            if not result:
                result = {"left": 1, "failed": self.broken[-1]}
        return result | self._tell() | {"broken": self.broken}

    def _tell(self) -> Said:
        """Status and metrics, where they do not say so already."""
        now = self._agent(), self.spool.tally()
        if now == self.told:
            return {}
        self.told = now
        try:
            with self._part("status"):
                write_status(self.config, *now, self.spool.latest(), self.certificates)
        except OSError as exc:
            where = os.path.dirname(exc.filename or "")  # the name itself is a temporary one
            return {"status_error": f"{where}: {exc.strerror}"}
        return {}

    def _agent(self) -> Agent:
        tally = self.spool.tally()
        watch = self.job.watch or {}
        sandbox = Sandbox(hidden=("(could not be examined)",))
        with self._part("sandbox"):
            sandbox = examine_sandbox(LiveHost(self.config.host_root))
        return Agent(
            watch=Watch(dict(watch.get("sources", {})), tuple(watch.get("lost", ()))),
            spending=Spending(**(self.job.spending or {})),
            sandbox=sandbox,
            standing=self.standing,
            kept=Kept(tally.dropped, tally.refused, tally.set_aside, self.unkept),
            parts=Parts(self.job.broken),
        )

    def _standing(self) -> Standing:
        from nodeward.agent.identity import Identity

        try:
            folder = Path(self.config.state_dir) / "identity"
            identity = Identity(folder, machine_id(self.config))
        except OSError:  # sending will say why
            return Standing(conflict=self.job.conflict)
        return Standing(
            identity.agent_id, identity.enrolment is not None, self.job.conflict, identity.cloned
        )

    # -- look ------------------------------------------------------------------------------

    def _look(self, agent: Agent) -> Said:
        at = time.time()
        traces: dict[type[Fact], set[str]] = {}
        readings = {**self.given, Now: Seen(Now(at)), Agent: Seen(agent)}
        looker = Looker(LiveHost(self.config.host_root), readings, traces=traces)
        whole = self.job.kind == "full" or self.spool.head() is None
        rules = list(catalog().values())
        if not whole:
            rules = affected(rules, {*self.job.facts, Agent.__name__})
        with self._part("module baseline"):
            self._baseline(looker, rules)
        findings = examine(looker, rules)
        head = self._head(looker, findings, at, whole=whole)
        if self.config.metrics.listen or self.config.metrics.textfile:
            self.certificates = ()
            with self._part("metrics of certificates"):
                match looker.look(Pki):
                    case Seen(Pki() as pki):
                        self.certificates = certificate_rows(pki)
                    case _:
                        pass
        found: Said = {f.check: finding_to_json(f) for f in findings}
        seq = self._keep(head, found, whole=whole)
        result = {"looked": len(findings), "seq": seq}
        with self._part("watches"):
            result |= _watching(looker, traces)
        return result

    def _keep(self, head: Said, found: Said, *, whole: bool) -> int | None:
        """What no disk takes is in memory for as long as it is told on this node."""
        try:
            seq = self.spool.put(head, found, whole=whole)
            if self.job.request:
                self.spool.keep_looked(self.job.request)
        except SpoolFullError as exc:
            self.unkept = str(exc)
        except Exception as exc:  # noqa: BLE001  as on a disk that takes nothing
            self.unkept = place(exc)
        else:
            return seq
        with contextlib.suppress(SpoolFullError):
            found = {**self.spool.latest(), **found}
        self.spool.close()
        self.spool = Spool(None, self.config.spool, moment)
        self.spool.put(head, found, whole=True)
        return None

    def _baseline(self, looker: Looker, rules: list[Check[...]]) -> None:
        """Give the rules that ask for it the list of modules that this agent keeps."""
        if not any(need.fact is ModuleBaseline for rule in rules for need in rule.needs):
            return
        match looker.look(KernelModules):
            case Seen(KernelModules(loaded=tuple() as loaded)):
                names = (module.name for module in loaded)
                kept = baseline(Path(self.config.state_dir), names, moment())
                looker.readings[ModuleBaseline] = Seen(kept)
            case _:
                pass  # then nothing can be held against it either

    def _head(
        self, looker: Looker, findings: tuple[Finding, ...], at: float, *, whole: bool
    ) -> dict[str, Any]:
        last = self.spool.head()
        if not whole and last is not None:  # the inventory costs a look of its own
            from nodeward.agent.scan import rfc3339

            return {**last, "taken_at": rfc3339(at)}
        report = report_to_json(report_of(looker, findings, at=at, node=self.config.node))
        del report["findings"], report["summary"]
        return {**report, "schema": REPORT_SCHEMA}

    # -- push ------------------------------------------------------------------------------

    def _push(self) -> Said:
        if not self.config.collector.urls:
            self._keep_no_history()
            return {"left": 0}
        if not self.job.send or time.monotonic() > self.until:  # then the next one sends
            return {"left": self.spool.tally().depth, "conflict": self.job.conflict}
        from nodeward.agent.identity import Identity
        from nodeward.agent.push import Centre, Pusher, attestation

        state = Path(self.config.state_dir)
        head = self.spool.head() or {}
        node = str(head.get("node") or self.config.node or os.uname().nodename)
        try:
            identity = Identity(state / "identity", machine_id(self.config))
            with contextlib.closing(Centre(self.config.collector, state, self.until)) as centre:
                vouch = attestation_files(self.config)
                outcome = Pusher(
                    centre, identity, self.spool, node, self.config.cluster,
                    lambda: attestation(vouch), head,
                ).push()  # fmt: skip
        except (SpoolFullError, OSError) as exc:
            return {"left": 1, "failed": f"{type(exc).__name__}: {exc}"}
        enrolled = identity.enrolment is not None
        self.standing = Standing(
            identity.agent_id, enrolled, outcome.conflict or "", self.standing.cloned
        )
        return asdict(outcome)

    def _keep_no_history(self) -> None:
        """Nobody will ever ask for it: only the latest posture is kept."""
        with contextlib.suppress(SpoolFullError):
            while (waiting := self.spool.oldest()) is not None:
                self.spool.ack(waiting[0])


def affected(rules: list[Check[...]], stale: set[str]) -> list[Check[...]]:
    """The checks that need a stale fact, or a fact that is read from one."""
    known: dict[type[Fact], bool] = {}

    def depends(fact: type[Fact]) -> bool:
        if fact not in known:
            known[fact] = False  # a probe that needs itself is told elsewhere
            reader = probes().get(fact)
            known[fact] = fact.__name__ in stale or (
                reader is not None and any(depends(need.fact) for need in reader.needs)
            )
        return known[fact]

    return [rule for rule in rules if any(depends(need.fact) for need in rule.needs)]


def _watching(looker: Looker, traces: Mapping[type[Fact], set[str]]) -> Said:
    read = [f for f in looker.readings if f in probes() and not issubclass(f, Params)]
    events = {f.__name__: f.events for f in read}
    made = plan({f.__name__: paths for f, paths in traces.items()}, events, looker.host.root)
    return {"plan": made.to_json(), "facts": sorted(events)}


def machine_id(config: Config) -> str:
    """What binds our key to this machine; "" where it has no id, or none that can be read now.
    machine-id(5): 32 digits; an image has an empty file, or `uninitialized` in it."""
    try:
        raw = LiveHost(config.host_root).read("/etc/machine-id").strip()
    except HostError:
        return ""
    return raw.decode() if len(raw) == 32 and raw.isalnum() else ""


def attestation_files(config: Config) -> dict[str, str | None]:
    """Where what vouches for us may be: a systemd credential wins over the configured file."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    credential = f"{folder}/join-token" if folder else None
    if credential is not None and not os.path.exists(credential):
        credential = None
    return {
        "k8s-psat": config.enrol.service_account_token_file,
        "join-token": credential or config.enrol.join_token_file,
    }
