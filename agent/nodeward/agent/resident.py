"""The resident process: waits, decides by nodeward.agent.loop, and lets workers do the work.

One thread and one poll(2). It imports no more than the standard library, watchdog's inotify
binding, systemd.daemon and yaml, because what is imported here is paid for on every node for ever.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import select
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from nodeward.agent.config import Config, ConfigError, load, parse_listen
from nodeward.agent.floor import FLAP_S, Floor
from nodeward.agent.listener import Listener
from nodeward.agent.locks import RESIDENT, own, take
from nodeward.agent.log import ERROR, INFO, WARNING, log
from nodeward.agent.loop import (
    NEVER,
    Action,
    Changed,
    Compare,
    Died,
    Done,
    Happened,
    Kill,
    Look,
    Pace,
    Spent,
    State,
    Warm,
    step,
    wait_s,
)
from nodeward.agent.netlink import Events
from nodeward.agent.notify import notify, watchdog_s
from nodeward.agent.plan import Plan
from nodeward.agent.status_names import METRICS_FILE
from nodeward.agent.watch import FileWatch
from nodeward.agent.worker import Worker

FLOOR_KINDS = ("module", "process", "listener", "route", "pod")
LOST_FOR_S = 3600.0
"""How long an overflow is told after it happened."""

REST_S = 0.05
"""After events were taken, so long none are: who makes many of them wakes us 20 times a second at
most, whatever they are about."""


def now() -> float:
    """Seconds of the boot clock: it counts suspend, and nobody can set it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Resident:
    """The agent between its looks."""

    def __init__(self, config: Config, file: str | None) -> None:
        self._file = file
        self._random = random.Random()  # noqa: S311  spreads load, guards nothing
        self._state = State(next_full=now() + config.looks.first_within_s * self._random.random())
        self._plan = Plan()
        self._worker: Worker | None = None
        self._trial: tuple[Worker, Config] | None = None
        self._looked_at = time.time()
        self._overflowed_at = -NEVER
        self._conflict = ""
        self._broken: list[str] = []
        self._said: dict[str, Any] = {}
        self._stopping = False
        self._problems: list[str] = []
        self._ready = False
        self._status = ""
        self._untold = ""
        self._own_cpu_s = _own_cpu_s()
        self._next_ping = 0.0
        self._rests_until = 0.0
        self._stillborn = False
        self._wake, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._signals: set[int] = set()
        self._settle(config)

    # -- configuration ---------------------------------------------------------------------

    def _settle(self, config: Config) -> None:
        """Take on a configuration: the first, or a new one that was found good."""
        self._config = config
        self._pace = Pace(
            interval_s=config.looks.interval_s,
            jitter=config.looks.jitter,
            limit_s=config.looks.limit_s,
            quiet_s=config.events.quiet_s,
            latest_s=config.events.latest_s,
            floor_s=config.events.floor_s,
            cpu_share=config.budget.cpu_share,
        )
        self._files = FileWatch(config.host_root) if config.events.files else None
        kinds = ["module", "route"] if config.events.netlink else []
        kinds += ["process"] if config.events.exec else []
        self._events = Events(kinds, config.events.processes, config.host_root)
        self._floor = Floor(config.host_root, config.events.processes)
        self._listener = self._listen(config)
        self._hold = self._at_work(config)

    def _at_work(self, config: Config) -> int | None:
        """What keeps `nodeward seal` away from our folder, between looks too."""
        folder = Path(config.state_dir)
        try:
            own(folder)
            return take(folder, RESIDENT, shared=True)
        except OSError as exc:  # the looks will tell what is wrong with it
            log(WARNING, "the state folder cannot be held", folder=folder, why=exc.strerror)
            return None

    def _listen(self, config: Config) -> Listener | None:
        if config.metrics.listen is None:
            return None
        file = Path(config.run_dir, METRICS_FILE)
        try:
            return Listener(parse_listen(config.metrics.listen), file)
        except OSError as exc:
            log(ERROR, "metrics cannot be served", address=config.metrics.listen, why=exc.strerror)
            return None

    def _unsettle(self) -> None:
        if self._files is not None:
            self._files.close()
        self._events.close()
        if self._listener is not None:
            self._listener.close()
        if self._hold is not None:
            os.close(self._hold)

    def _reload(self) -> None:
        """SIGHUP. A file that is wrong keeps the old configuration."""
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            config = load(self._file)
        except ConfigError as exc:
            self._rejected(exc.problems)
            return
        if self._trial is not None:
            self._trial[0].kill()
            return  # the signal is kept, and comes up again when that worker has ended
        self._signals.discard(signal.SIGHUP)
        worker = self._started()
        if worker is None:
            self._stillborn = False
            self._rejected(["no worker can be started to judge it"])
            return
        worker.give({"kind": "check", "config": config.to_job()})
        self._trial = (worker, config)

    def _rejected(self, problems: list[str]) -> None:
        self._signals.discard(signal.SIGHUP)
        for problem in problems:
            log(ERROR, "configuration not taken, the old one stays", problem=problem)
        notify("READY=1")

    def _end_trial(self, worker: Worker, config: Config) -> None:
        self._trial = None
        result = worker.said()
        worker.close()
        if not worker.well or not result:
            self._rejected([f"the worker that should judge it {worker.why()}"])
        elif "problems" in result:
            self._rejected(result["problems"])
        else:
            self._unsettle()
            self._settle(config)
            self._state = replace(self._state, next_full=now())
            log(INFO, "configuration reloaded")
            notify("READY=1")

    # -- the loop --------------------------------------------------------------------------

    def run(self) -> int:
        """Until SIGTERM. Returns the exit status: 2 when the configuration proves wrong."""
        self._catch_signals()
        log(INFO, "agent started", interval_s=self._config.looks.interval_s)
        self._ask_for_time()
        while not self._stopping:
            happened = [*self._wait(self._patience())]
            happened.append(Spent(self._own_spending()))
            self._state, actions = step(
                self._state, now(), happened, self._pace, self._random.random
            )
            for action in actions:
                self._act(action)
            self._tell()
        self._end()
        return 2 if self._problems else 0

    def _ask_for_time(self) -> None:
        """systemd gives a start 90 seconds; ours is over with the first look, well or not."""
        looks = self._config.looks
        allowed_s = looks.first_within_s + looks.limit_s + 30
        notify(f"EXTEND_TIMEOUT_USEC={int(allowed_s * 1e6)}\nSTATUS=the first look is to come")

    def _catch_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda number, frame: self._signals.add(number))
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)

    def _patience(self) -> float:
        waits = [0.0 if self._stillborn else wait_s(self._state, now(), self._pace)]
        if watchdog_s() is not None:
            waits.append(max(0.0, self._next_ping - now()))
        if self._rests_until > now():
            waits.append(self._rests_until - now())
        return min(waits)

    def _wait(self, seconds: float) -> Iterator[Happened]:
        poll = select.poll()
        for fd in self._fds():
            poll.register(fd, select.POLLIN)
        # Rounded up, or the loop would spin through the last millisecond.
        for fd, _ in poll.poll(min(int(seconds * 1000) + 1, 2**30)):
            yield from self._ready_to_read(fd)
        yield from self._handle_signals()
        yield from self._reap()

    def _fds(self) -> Iterator[int]:
        yield self._wake
        if now() >= self._rests_until:
            if self._files is not None and self._files.fd >= 0:
                yield self._files.fd
            yield from self._events.sockets
        if self._listener is not None:
            yield from self._listener.fds
        for worker in self._workers():
            if not worker.at_end:
                yield worker.result_fd

    def _workers(self) -> list[Worker]:
        return [w for w in (self._worker, self._trial[0] if self._trial else None) if w is not None]

    def _ready_to_read(self, fd: int) -> Iterator[Happened]:
        if fd == self._wake:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 4096)
        elif self._files is not None and fd == self._files.fd:
            stale, overflow = self._files.read()
            self._rests_until = now() + REST_S
            yield from self._changed(stale, lost=overflow)
        elif fd in self._events.sockets:
            kind, lost = self._events.read(fd)
            self._rests_until = now() + REST_S
            yield from self._changed(set(self._plan.events.get(kind or "", ())), lost=lost)
        elif self._listener is not None and fd in self._listener.fds:
            self._listener.read(fd)
        else:
            for worker in self._workers():
                if worker.result_fd == fd:
                    worker.read()
                    if worker is self._worker:
                        yield from self._hear(worker)

    def _hear(self, worker: Worker) -> Iterator[Happened]:
        """What a look found is watched from now on, however long sending it takes."""
        said = worker.said()
        self._said |= said
        if "plan" not in said:
            return
        self._plan = self._plan.merge(Plan.from_json(said["plan"]), said["facts"])
        if self._files is not None:
            missed = self._files.apply(self._plan.folders, self._looked_at)
            yield from self._changed(missed, lost=False)
        self._compare()  # what is polled from now on is for once only remembered

    def _changed(self, stale: set[str], *, lost: bool) -> Iterator[Happened]:
        if lost:
            self._overflowed_at = now()
            log(WARNING, "the kernel dropped events, everything is looked at")
            yield Changed(None)
        elif stale:
            yield Changed(frozenset(stale))

    def _handle_signals(self) -> Iterator[Happened]:
        if self._signals & {signal.SIGTERM, signal.SIGINT}:
            self._stopping = True
        elif signal.SIGHUP in self._signals:
            self._reload()
        yield from ()

    def _reap(self) -> Iterator[Happened]:
        if self._trial is not None and self._trial[0].ended():
            self._end_trial(*self._trial)
        if self._stillborn:
            self._stillborn = False
            yield Died()
        if self._worker is None or not self._worker.ended():
            return
        worker, self._worker = self._worker, None
        yield from self._hear(worker)
        worker.close()
        said, self._said = self._said, {}
        if "looked" in said and not worker.well:  # the look is done, sending is not
            failed = f"the worker {worker.why()}"
            said |= {"left": 1, "failed": failed, "conflict": self._conflict}
        elif not worker.well or not said:
            log(WARNING, "the worker did not finish", why=worker.why())
            if worker.failed:
                self._broken = [f"worker: {worker.why()}"]
            self._show(f"no look is finished: the worker {worker.why()}")
            self._be_ready()
            yield Died(worker.cpu_s)
            return
        if "problems" in said:
            self._problems = said["problems"]
            for problem in self._problems:
                log(ERROR, "configuration is wrong", problem=problem)
            self._stopping = not self._ready
            yield Died(worker.cpu_s)
        else:
            yield from self._learn(said, worker.cpu_s)

    # -- acting ----------------------------------------------------------------------------

    def _act(self, action: Action) -> None:
        match action:
            case Warm():
                self._worker = self._worker or self._started()
            case Kill():
                log(WARNING, "the worker took too long and is killed")
                if self._worker is not None:
                    self._worker.kill()
            case Compare():
                self._compare()
            case Look():
                self._worker = self._worker or self._started()
                if self._worker is not None:
                    self._worker.give(self._job(action))

    def _started(self) -> Worker | None:
        """A new worker. Where there is no room for a process, that counts as its death."""
        try:
            return self._start()
        except OSError as exc:
            log(ERROR, "no worker can be started", why=exc.strerror)
            self._stillborn = True
            return None

    def _start(self) -> Worker:
        looks = self._config.looks
        return Worker(looks.cpu_limit_s, looks.memory_limit_bytes)

    def _job(self, look: Look) -> dict[str, Any]:
        self._looked_at = time.time()
        return {
            "kind": look.kind,
            "config": self._config.to_job(),
            "facts": sorted(look.facts),
            "send": look.send,
            "request": look.request,
            "watch": {"sources": self._sources(), "lost": self._lost()},
            "spending": {
                "used": round(self._state.used, 6),
                "allowed": self._pace.cpu_share,
                "throttled": self._state.throttled,
            },
            "conflict": self._conflict,
            "broken": self._broken,
        }

    def _compare(self) -> None:
        covered = {kind for kind, _ in self._events.sockets.values()}
        unwatched = self._plan.folders if self._files is None else self._files.unwatched
        stale = self._floor.compare(self._plan, set(FLOOR_KINDS) - covered, list(unwatched))
        if stale:
            self._state, actions = step(
                self._state, now(), [Changed(frozenset(stale))], self._pace, self._random.random
            )
            for action in actions:
                self._act(action)

    def _learn(self, result: dict[str, Any], cpu_s: float) -> Iterator[Happened]:
        """Take over what came of a worker."""
        self._conflict = result.get("conflict") or ""
        if result.get("spool_error"):
            log(ERROR, "what was found could not be kept", why=result["spool_error"])
            self._be_ready()
            yield Died(cpu_s)  # so it is looked at again, soon and then less often
            return
        self._complain(result.get("status_error") or "")
        failed = result.get("failed")
        log(
            INFO if not failed else WARNING,
            "looked" if "looked" in result else "sent",
            checks=result.get("looked"),
            seq=result.get("seq"),
            sent=result.get("pushed"),
            waiting=result.get("left"),
            failed=failed,
            cpu_s=round(cpu_s, 3),
        )
        self._be_ready()
        yield from self._mourn(result.get("broken", self._broken))
        trouble = failed or "; ".join(self._broken) or "all is well"
        self._show(f"{result.get('left', 0)} reports wait; {trouble}")
        yield Done(
            cpu_s, result.get("left", 0), bool(failed), result.get("after_s"),
            bool(result.get("look")), result.get("request") or 0,
        )  # fmt: skip

    def _mourn(self, broken: list[str]) -> Iterator[Happened]:
        """Parts of the worker that had a defect: a finding, once they are others than before."""
        for one in broken:
            if one not in self._broken:
                log(ERROR, "a part of the agent is broken", where=one)
        if broken != self._broken:
            self._broken = broken
            yield Changed(frozenset({"Agent"}))

    def _show(self, status: str) -> None:
        if status != self._status:
            self._status = status
            notify(f"STATUS={status}")

    def _complain(self, untold: str) -> None:
        """Once, for as long as it is the same."""
        if untold and untold != self._untold:
            log(WARNING, "status or metrics could not be written", why=untold)
        self._untold = untold

    def _be_ready(self) -> None:
        """The first look is over, well or not. A wrong configuration never gets here."""
        if not self._ready:
            self._ready = True
            notify("READY=1")

    def _sources(self) -> dict[str, str]:
        """How each kind of change is noticed."""
        floor = f"polling every {self._config.events.floor_s:g} s"
        covered = {kind for kind, _ in self._events.sockets.values()}
        names = {"module": "uevent", "route": "rtnetlink", "process": "process connector"}
        found = {kind: names[kind] if kind in covered else floor for kind in names}
        found["listener"] = found["pod"] = found["/proc and /sys"] = found["mounts"] = floor
        found["files"] = "inotify" if self._files is not None and self._files.fd >= 0 else floor
        return found

    def _lost(self) -> list[str]:
        lost = sorted(self._files.lost) if self._files is not None else []
        lost += [f"no {kind} events: {why}" for kind, why in sorted(self._events.failed.items())]
        lost += [
            f"{path} changes all the time, and is compared every {FLAP_S / 60:.0f} min only"
            for path in sorted(self._floor.resting)
        ]
        if now() - self._overflowed_at < LOST_FOR_S:
            lost.append("events overflowed within the last hour")
        return lost

    # -- telling ---------------------------------------------------------------------------

    def _tell(self) -> None:
        watchdog = watchdog_s()
        if watchdog is not None and now() >= self._next_ping and self._sound():
            notify("WATCHDOG=1")
            self._next_ping = now() + watchdog / 2

    def _sound(self) -> bool:
        """Whether looks really are taken: the loop alone going round proves little."""
        overdue = now() - self._state.next_full
        return overdue < 2 * self._pace.limit_s + 30

    def _own_spending(self) -> float:
        before, self._own_cpu_s = self._own_cpu_s, _own_cpu_s()
        return self._own_cpu_s - before

    def _end(self) -> None:
        notify("STOPPING=1")
        for worker in self._workers():
            worker.kill()  # whatever it was at is safe: each step of it is one transaction
        until = now() + 5
        while any(not w.ended() for w in self._workers()) and now() < until:
            time.sleep(0.01)
        self._unsettle()
        log(INFO, "agent stopped")


def _own_cpu_s() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime
