"""One look at a host: each needed fact is read once, within a time limit, then judged."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType

from nodeward.agent.trace import Traced
from nodeward.host import Host
from nodeward.host.redact import redact
from nodeward.model import (
    Absent,
    Broken,
    Check,
    Fact,
    Finding,
    Need,
    Params,
    Reading,
    Seen,
    Unreadable,
    decide,
    finding,
)
from nodeward.probes.registry import look, probes

PROBE_LIMIT_S = 20.0


class _ProbeTimeout(BaseException):
    """A probe took longer than it may. No Exception: a probe that goes on after a HostError must
    not go on after this."""


@dataclass(slots=True)
class Looker:
    """Reads facts of one host, each once, in the order in which they are needed.

    `readings` starts with what the caller already knows (the clock, the operator's settings).
    """

    host: Host
    readings: dict[type[Fact], Reading[Fact]] = field(default_factory=dict)
    limit_s: float = PROBE_LIMIT_S
    traces: dict[type[Fact], set[str]] | None = None
    """When given, filled with what each fact's probe asked for (see nodeward.agent.trace)."""
    _open: list[type[Fact]] = field(default_factory=list)

    def look(self, wanted: type[Fact]) -> Reading[Fact]:
        """The reading of one fact, and before it of those its probe starts from."""
        if wanted not in self.readings:
            self.readings[wanted] = self._read(wanted)
        return self.readings[wanted]

    def _read(self, wanted: type[Fact]) -> Reading[Fact]:
        if issubclass(wanted, Params):
            return Seen(wanted())
        reader = probes().get(wanted)
        if reader is None:
            return Broken(wanted.__name__, "no probe reads it")
        if wanted in self._open:
            return Broken(wanted.__name__, "its probe needs itself")
        self._open.append(wanted)
        try:
            given: list[object] = []
            for need in reader.needs:
                match self.look(need.fact):
                    case Seen(fact):
                        given.append(fact)
                    case (Absent() | Unreadable()) as failed if _handled(need, failed):
                        given.append(failed)
                    case failed:
                        return failed
            with _time_limit(self.limit_s):
                return look(self._host_of(wanted), reader, given)
        except _ProbeTimeout:
            return Unreadable(wanted.__name__, f"took longer than {self.limit_s:g} s")
        finally:
            self._open.pop()

    def _host_of(self, wanted: type[Fact]) -> Host:
        if self.traces is None:
            return self.host
        return Traced(self.host, self.traces.setdefault(wanted, set()))


def _handled(need: Need, failed: Absent | Unreadable) -> bool:
    if isinstance(failed, Absent):
        return need.absent
    return need.unreadable and not isinstance(failed, Broken)


def examine(looker: Looker, checks: Iterable[Check[...]]) -> tuple[Finding, ...]:
    """Judge each check; exactly one finding for each, in their order."""
    found = []
    for rule in checks:
        readings: Mapping[type[Fact], Reading[Fact]] = {
            need.fact: looker.look(need.fact) for need in rule.needs
        }
        found.append(without_secrets(finding(rule, decide(rule, readings))))
    return tuple(found)


def without_secrets(found: Finding) -> Finding:
    """The same without what looks like a secret. Judges show none on purpose; this holds where a
    line that they quote turns out to have one in it."""
    return replace(
        found,
        because=redact(found.because),
        evidence=tuple(e.each(redact) for e in found.evidence),
    )


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise _ProbeTimeout inside the block. Only the main thread can be interrupted; the resident
    agent kills a worker that is stuck in the kernel."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    armed = True

    def ring(signum: int, frame: FrameType | None) -> None:
        if armed:
            raise _ProbeTimeout

    before = signal.signal(signal.SIGALRM, ring)
    # Again and again: an exception raised inside a finaliser is lost.
    others = signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        try:
            armed = False
        finally:  # the last ring may come right here
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            if others[0]:  # an alarm of whoever called us comes a little later than it would
                signal.setitimer(signal.ITIMER_REAL, *others)
