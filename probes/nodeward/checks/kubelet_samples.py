"""Answers of kubelet ports for truth tables."""

from __future__ import annotations

from nodeward.facts.kubelet_answers import (
    HEALTHZ,
    PODS,
    READ_ONLY,
    SECURE,
    UNHANDLED,
    KubeletAnswers,
    Port,
    Reply,
    Tls,
)
from nodeward.facts.listeners import Listener

PID = 812
ANY = "0.0.0.0"  # noqa: S104  an address that is judged, not bound


def listener(
    port: int, address: str = ANY, pid: int | None = PID, program: str = "kubelet"
) -> Listener:
    return Listener(address, port, 1, 0, pid, program)


LISTENING = KubeletAnswers({READ_ONLY: Port(10255, (listener(10255),), True)}, probed=False)
"""A tree at rest whose socket table shows the read-only port."""


def reply(status: int | None, text: str = "", outcome: str = "answered") -> Reply:
    return Reply(outcome, status, text)


def answers(
    pods: Reply | None = None,
    unhandled: Reply | None = None,
    read_only: Reply | None = None,
    read_only_pid: int | None = PID,
    healthz: str | None = "127.0.0.1",
    tls: Tls | None = None,
    old: Tls | None = None,
    weak: Tls | None = None,
    configz: dict[str, object] | None = None,
    configz_reply: str = "",
    *,
    whole: bool = True,
) -> KubeletAnswers:
    """A kubelet whose ports were asked; what is not given was not answered."""
    replies = {p: r for p, r in ((PODS, pods), (UNHANDLED, unhandled)) if r is not None}
    secure = Port(10250, (listener(10250),), True, "127.0.0.1", replies, tls, old, weak)
    ports = {SECURE: secure, READ_ONLY: Port(10255)}
    if read_only is not None:
        row = listener(10255, pid=read_only_pid)
        owned = read_only_pid == PID
        ports[READ_ONLY] = Port(10255, (row,), owned, "127.0.0.1", {PODS: read_only})
    rows = (listener(10248, healthz),) if healthz else ()
    ports[HEALTHZ] = Port(10248, rows, bool(rows) or None)
    return KubeletAnswers(ports, (), configz, configz_reply=configz_reply, whole=whole)


def closed(
    names: tuple[str, ...] | None = ("CN=kubernetes",),
    *,
    self_made: bool = False,
    old: Tls | None = None,
    weak: Tls | None = None,
) -> KubeletAnswers:
    """A kubelet that answers 401 and shows this much of its TLS."""
    issuer = "CN=node-ca@1" if self_made else "CN=kubernetes"
    tls = Tls("answered", 0x0303, 0xC02F, names, "CN=node@1", issuer, self_made)
    refused = Tls("tls-alert", alert=70)
    return answers(pods=reply(401), tls=tls, old=old or refused, weak=weak or refused)
