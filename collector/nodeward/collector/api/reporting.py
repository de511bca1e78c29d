"""Reports and heartbeats: nearly all requests of a fleet.

Each is judged in two ways from the same parts. What memory can decide is answered on the spot, by
the connection itself (`Desk`, for protocol.py); what has to ask the database first is a coroutine.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec

from nodeward.collector import wire
from nodeward.collector.api.caller import (
    Answer,
    Call,
    Caller,
    admitted,
    caller_of,
    claimed_agent,
    unauthorized,
    unpacked,
)
from nodeward.collector.center import Center
from nodeward.collector.problem import AWAY, Problem, bad, store_away
from nodeward.collector.store.enrol import tell_both
from nodeward.collector.store.ingest import ENDED, Incoming, Outcome, problem
from nodeward.collector.store.keys import Key
from nodeward.collector.store.names import Platform
from nodeward.collector.store.pulse import Beat, Last, mark_of

log = logging.getLogger(__name__)

Reply = Callable[[int, bytes, int | None], None]
"""Takes status, body and seconds of Retry-After."""
encode: Final = msgspec.json.Encoder().encode
_OK_BEAT: Final = encode({"look": False})


async def reports(center: Center, call: Call) -> Answer:
    caller = await caller_of(center, call, by_session=True)
    job = _incoming(center, call, caller)
    await _own(center, caller, job.report.node)
    return _settled(center, job, await center.writer.report(job))


async def heartbeat(center: Center, call: Call) -> Answer:
    caller = await caller_of(center, call, by_session=True)
    beat = wire.decode(unpacked(call), wire.HeartbeatIn)
    mark, node, pulse = _mark(beat), caller.key.node, center.pulse
    if not pulse.knows(node, mark, caller.signed_at):
        last = await center.stored.get(node)
        if last is None or last.mark != mark:
            raise _send_full("the collector holds another posture")
        if caller.signed_at < last.signed_at:
            raise _send_full("this node has signed something later")
        pulse.learn(node, last)
    return _noted(center, caller, beat)


def _send_full(why: str) -> Problem:
    return Problem(409, "send-full", f"{why}: send a full report")


def _mark(said: wire.HeartbeatIn | wire.ReportIn) -> bytes:
    return mark_of(said.boot, wire.digest_bytes(said.digest))


def _noted(center: Center, caller: Caller, beat: wire.HeartbeatIn) -> Answer:
    node, pulse = caller.key.node, center.pulse
    pulse.beat(node, Beat(caller.at, caller.signed_at, beat.spool.depth))
    asked = pulse.look(node, beat.looked)
    return 200, _OK_BEAT if asked is None else encode({"look": True, "request": asked})


def _incoming(center: Center, call: Call, caller: Caller) -> Incoming:
    """The report that came; a Problem if it is not well-formed."""
    if len(caller.signature) != 64:
        raise unauthorized("unsigned", "a report carries its signature, within a session too")
    report = wire.decode(wire.gunzip(call.body), wire.ReportIn)
    if report.kind == "delta" and report.base is None:
        raise bad("base", "a delta names the digest it starts from")
    statuses = wire.statuses(report, center.writer.names.known)
    return Incoming(
        node=caller.key.node,
        agent=caller.key.agent,
        # Thousands of objects, let go while the processor has them at hand: waiting for the commit
        # with hundreds of others they cost as much again.
        report=msgspec.structs.replace(report, findings=[], inventory={}),
        platform=Platform.of(report.inventory, report.agent.version, report.agent.catalog),
        statuses=statuses,
        sent=call.body,
        signature=caller.signature,
        signed_at=caller.signed_at,
        verified=caller.verified,
        at=None,
    )


async def _own(center: Center, caller: Caller, node: str) -> None:
    """A body that names another node than the key's is refused, and both nodes will know."""
    key = caller.key
    if node == key.node_name:
        return
    await center.writer.act(
        lambda connection: tell_both(
            connection, agent=key.agent, node=key.node, named=node, now=caller.at
        )
    )
    raise Problem(403, "other-node", "this key speaks for another node", field="node")


def _settled(center: Center, job: Incoming, outcome: Outcome) -> Answer:
    """What to answer once the report's transaction is committed."""
    center.metrics.report(outcome)
    refusal = problem(outcome)
    if refusal is not None:
        if outcome == "conflict" or outcome in ENDED:
            center.keys.forget(job.agent)
        raise refusal
    report = job.report
    if outcome == "stored":
        center.pulse.learn(job.node, Last(_mark(report), job.signed_at))
    return 200, encode({"boot": report.boot, "seq": report.seq, "digest": report.digest})


CALLS: Final[Mapping[str, Callable[[Center, Call], Awaitable[Answer]]]] = {
    "/v1/reports": reports,
    "/v1/heartbeat": heartbeat,
}


class Desk:
    """Answers a report or a heartbeat without a task of its own, unless the database is needed."""

    def __init__(self, center: Center) -> None:
        self._center = center
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(self, call: Call, reply: Reply) -> None:
        """Reply to this call, now or later, once."""
        try:
            key = self._center.keys.held(claimed_agent(call))
            if key is not None and self._at_once(call, key, reply):
                return
        except Exception as exc:  # noqa: BLE001  told to the agent
            _refuse(reply, exc)
            return
        task = asyncio.get_running_loop().create_task(self._in_time(call, reply))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _at_once(self, call: Call, key: Key, reply: Reply) -> bool:
        """Whether it was answered, or will be by the writer."""
        center = self._center
        if call.path == "/v1/heartbeat":
            caller = admitted(center, call, key, by_session=True)
            beat = wire.decode(unpacked(call), wire.HeartbeatIn)
            if not center.pulse.knows(key.node, _mark(beat), caller.signed_at):
                return False
            reply(*_noted(center, caller, beat), None)
            return True
        job = _incoming(center, call, admitted(center, call, key, by_session=True))
        if job.report.node != key.node_name:
            return False

        def done(outcome: Outcome | Exception) -> None:
            try:
                if isinstance(outcome, Exception):
                    raise outcome
                reply(*_settled(center, job, outcome), None)
            except Exception as exc:  # noqa: BLE001  told to the agent
                _refuse(reply, exc)

        center.writer.take(job, done)
        return True

    async def _in_time(self, call: Call, reply: Reply) -> None:
        try:
            status, content = await CALLS[call.path](self._center, call)
        except Exception as exc:  # noqa: BLE001  told to the agent
            _refuse(reply, exc)
        else:
            reply(status, content, None)


def _refuse(reply: Reply, exc: Exception) -> None:
    if isinstance(exc, AWAY):
        exc = store_away(exc)
    elif not isinstance(exc, Problem):
        log.error("a defect: %s", type(exc).__name__)
        exc = Problem(500, "defect", "a defect in the collector; its log says more")
    reply(int(exc.status), encode(exc.to_json()), exc.retry_after)
