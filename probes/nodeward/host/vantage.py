"""Talk to a network from a given place in it: a child of ours that holds no right to anything else.

Nothing here chooses an address: requests come from the operator's configuration or the shipped
table. The environment's NODEWARD_METADATA=off stops everything at this door.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, ClassVar, TypeVar

from nodeward.host import rights
from nodeward.host.base import DeniedError, HostError, OfflineError
from nodeward.host.exchange import Reply, Request, exchange
from nodeward.host.live import LiveHost
from nodeward.host.query import Query, from_plain, to_plain
from nodeward.lazy import dataclass

if TYPE_CHECKING:
    from nodeward.host.tree import TreeHost

A = TypeVar("A")

SWITCH = "NODEWARD_METADATA"
GRACE_S = 3.0
"""What a child may take above the time of its requests: a busy node forks slowly."""
MOST_ANSWER = 1 << 18
TOO_SLOW = "the probe was too slow"
CAP_SYS_ADMIN = 21
OWN_NETWORK = "/proc/self/ns/net"


@dataclass(frozen=True, slots=True)
class Network:
    """A network namespace by its inode, and processes seen in it; any of them may be gone."""

    inode: int
    pids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one place answered: a reply for each request, or the problem instead."""

    replies: tuple[Reply, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class AskFromHost(Query[Answer]):
    """Send the requests from the machine's own network, as a process without any right."""

    answer_type: ClassVar[object] = Answer

    requests: tuple[Request, ...]
    timeout_s: float

    def answer(self, host: TreeHost) -> Answer:
        _allowed()
        if not isinstance(host, LiveHost) or host.same_namespace("net") is False:
            raise OfflineError(
                "the host's network", "we are in another network namespace (hostNetwork: true)"
            )

        def work() -> Answer:
            rights.drop_all()
            return Answer(exchange(self.requests, self.timeout_s))

        (answer,) = run_apart(Answer, [work], 1, self.timeout_s + GRACE_S, GRACE_S)
        return answer


@dataclass(frozen=True, slots=True)
class AskFromNetworks(Query[tuple[Answer, ...]]):
    """Send the requests from each network namespace, in their order; one answer each.

    `at_once` children work side by side, `a_round` networks make a round, and no network is
    begun after `total_s` less the time that one may take.
    """

    answer_type: ClassVar[object] = tuple[Answer, ...]

    networks: tuple[Network, ...]
    requests: tuple[Request, ...]
    timeout_s: float
    a_round: int
    at_once: int
    total_s: float

    def answer(self, host: TreeHost) -> tuple[Answer, ...]:
        _allowed()
        ours = others_may_be_entered(host)
        stop = time.monotonic() + self.total_s - self.timeout_s
        answers: list[Answer] = []
        for begin in range(0, len(self.networks), self.a_round):
            works = [
                self._work(host.root, network, ours)
                for network in self.networks[begin : begin + self.a_round]
            ]
            left = stop - time.monotonic()
            answers += run_apart(Answer, works, self.at_once, self.timeout_s + GRACE_S, left)
        return tuple(answers)

    def _work(self, root: str, network: Network, ours: frozenset[int]) -> Callable[[], Answer]:
        def work() -> Answer:
            enter(root, network, ours)
            rights.drop_all()
            return Answer(exchange(self.requests, self.timeout_s))

        return work


def others_may_be_entered(host: TreeHost) -> frozenset[int]:
    """The namespaces that no child may talk from. DeniedError where we may enter no other."""
    if not rights.effective_capabilities() >> CAP_SYS_ADMIN & 1:
        raise DeniedError("the pods' networks", "needs CAP_SYS_ADMIN to enter them")
    return _own_networks(host)


def _own_networks(host: TreeHost) -> frozenset[int]:
    """Inodes of the namespaces that no child may talk from: ours, and the machine's first one."""
    found = {os.stat(OWN_NETWORK).st_ino}
    with contextlib.suppress(OSError):
        found.add(os.stat(os.path.join(host.root, "proc/1/ns/net")).st_ino)
    return frozenset(found)


def enter(root: str, network: Network, ours: frozenset[int]) -> None:
    """Move this child into the network, and prove that it is there and has left ours."""
    fd = _open_network(root, network)
    try:
        rights.enter_network(fd)
    finally:
        os.close(fd)
    here = os.stat(OWN_NETWORK).st_ino
    if here != network.inode or here in ours:
        raise HostError("the pod's network", "still in the host's network: nothing was sent")


def _open_network(root: str, network: Network) -> int:
    for pid in network.pids:
        try:
            fd = os.open(os.path.join(root, f"proc/{pid}/ns/net"), os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, ProcessLookupError):
            continue
        if os.fstat(fd).st_ino == network.inode:  # or the pid is another process's by now
            return fd
        os.close(fd)
    raise HostError("the pod's network", "the pod is gone")


def _allowed() -> None:
    if os.environ.get(SWITCH, "").lower() in ("off", "no", "false", "0"):
        raise DeniedError("the metadata endpoints", f"{SWITCH}=off in the environment")


@dataclass(slots=True)
class _Child:
    pid: int
    pipe: int
    number: int
    end: float
    raw: bytearray = field(default_factory=bytearray)


def run_apart(
    kind: type[A],
    works: Sequence[Callable[[], A]],
    at_once: int,
    each_s: float,
    start_within_s: float,
) -> tuple[A, ...]:
    """Do each in a child of its own, so many at once; a child that is late is killed. `kind` is a
    dataclass of what they find, with a `problem` for the sentence that tells why they did not.

    After `start_within_s` no more is started, and what has not been is answered with a problem.
    """
    stop_starting = time.monotonic() + start_within_s
    answers: dict[int, A] = {}
    waiting = iter(enumerate(works))
    running: dict[int, _Child] = {}
    with selectors.DefaultSelector() as selector:
        try:
            while True:
                for child in _start_some(waiting, at_once - len(running), each_s, stop_starting):
                    running[child.pipe] = child
                    selector.register(child.pipe, selectors.EVENT_READ)
                if not running:
                    break
                for pipe in _finished(selector, running):
                    selector.unregister(pipe)
                    child = running.pop(pipe)
                    answers[child.number] = _collect(kind, child)
        finally:
            for child in running.values():
                _end(child)
    late = _without(kind, "no time was left in this round")
    return tuple(answers.get(number, late) for number in range(len(works)))


def _start_some(
    waiting: Iterator[tuple[int, Callable[[], object]]], room: int, each_s: float, until: float
) -> Iterator[_Child]:
    for _ in range(room):
        if time.monotonic() > until:
            return
        following = next(waiting, None)
        if following is None:
            return
        yield _start(*following, each_s)


def _start(number: int, work: Callable[[], object], each_s: float) -> _Child:
    inside, outside = os.pipe2(os.O_CLOEXEC)
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(inside)
            _be_the_child(parent, outside, work, each_s)
        finally:
            os._exit(1)  # never back into the caller's code
    os.close(outside)
    return _Child(pid, inside, number, time.monotonic() + each_s)


def _be_the_child(parent: int, pipe: int, work: Callable[[], object], most_s: float) -> None:
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    # Once this child is another user, its parent may lack the right (CAP_KILL) to end it.
    signal.setitimer(signal.ITIMER_REAL, most_s)
    gc.disable()  # a collection would copy the parent's whole heap to count nothing
    rights.die_with(parent)
    _close_all_but(pipe)
    try:
        answer = work()
    except Exception as exc:  # noqa: BLE001  told to the parent, which judges it
        answer = {"problem": _why(exc)}
    os.write(pipe, json.dumps(to_plain(answer)).encode())
    os._exit(0)


def _close_all_but(pipe: int) -> None:
    os.closerange(3, pipe)
    os.closerange(pipe + 1, min(os.sysconf("SC_OPEN_MAX"), 1 << 16))


def _why(exc: Exception) -> str:
    """What this child has no right to load any more (a module, a codec) fails here too."""
    return exc.why if isinstance(exc, HostError) else f"{type(exc).__name__}: {exc}"


def _finished(selector: selectors.BaseSelector, running: dict[int, _Child]) -> list[int]:
    """The pipes of children that are done or late."""
    now = time.monotonic()
    nearest = min(child.end for child in running.values())
    done = []
    for key, _ in selector.select(max(nearest - now, 0)):
        child = running[key.fd]
        piece = os.read(key.fd, 1 << 16)
        child.raw += piece
        if not piece or len(child.raw) > MOST_ANSWER:
            done.append(key.fd)
    now = time.monotonic()
    return done + [p for p, child in running.items() if child.end <= now and p not in done]


def _collect(kind: type[A], child: _Child) -> A:
    late = child.end <= time.monotonic()
    late = _end(child) == -signal.SIGALRM or late  # its own alarm may ring a little before ours
    try:
        answer: A = from_plain(kind, json.loads(child.raw))
        return answer
    except (ValueError, TypeError, KeyError, AssertionError):
        return _without(kind, TOO_SLOW if late else "the probe died")


def _without(kind: type[A], problem: str) -> A:
    answer: A = from_plain(kind, {"problem": problem})
    return answer


def _end(child: _Child) -> int:
    """End it, and tell by what it ended: an exit code, or a signal's number below 0."""
    os.close(child.pipe)
    with contextlib.suppress(PermissionError):  # then its own alarm ends it
        os.kill(child.pid, signal.SIGKILL)  # a zombie does not mind
    return os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
