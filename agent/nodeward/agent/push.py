"""Send what waits in the spool to a collector. Runs in the worker only: `requests` is heavy."""

from __future__ import annotations

import contextlib
import gzip
import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import requests
import urllib3

from nodeward.agent.authorities import Authorities
from nodeward.agent.clock import moment
from nodeward.agent.config import Collector
from nodeward.agent.identity import Enrolment, Identity, write_whole
from nodeward.agent.session import Session, none_given, opened
from nodeward.agent.spool import Body, Moment, Spool

MOST_ANSWER = 1 << 20
CONFLICTS = ("conflict", "other-node", "quarantined", "revoked")
"""Codes of a collector that does not take us for this node (any more)."""

IN_SESSION = ("/v1/reports", "/v1/heartbeat")

RENEW_S = 14 * 86400.0
"""An enrolment that ends within this time, and is in its second half, is renewed."""

ROTATE_S = 15 * 86400.0
"""A key that is older is replaced."""

NOTHING = {"kind": "join-token", "token": ""}
"""In place of an attestation, from who is known already."""

BATCH_S = 20.0
"""One worker sends for no longer than this; the next goes on."""


class RefusedError(Exception):
    """The collector answered, and it was no yes. `code` is the error's code, if it gave one."""

    def __init__(self, status: int, code: str, message: str, after_s: float | None) -> None:
        super().__init__(f"{status} {code}: {message}"[:300])
        self.status = status
        self.code = code
        self.after_s = after_s


class AwayError(Exception):
    """No collector could be reached. `after_s`: what stands before it asked us to wait for."""

    def __init__(self, why: str, after_s: float | None = None) -> None:
        super().__init__(why)
        self.after_s = after_s


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a push. `failed`: why it stopped, for people; then `after_s` is what the
    collector asked for, if it did. `look`: it wants a full look now, by the request `request` (0:
    it gives its requests no names)."""

    pushed: int = 0
    left: int = 0
    failed: str | None = None
    after_s: float | None = None
    look: bool = False
    request: int = 0
    pending: bool = False
    conflict: str | None = None


class Centre:
    """The collectors that were configured, tried in their order, starting with the one that
    answered last. What answers without being a collector (a balancer in front of none, a page to
    log in at) and a collector that cannot serve now are passed over, like one that is away."""

    def __init__(self, config: Collector, state: Path, until: float | None = None) -> None:
        """`until`: see `within`."""
        self._config = config
        self._until = until
        self._remembered = state / "collector"
        self._http = requests.Session()
        self._http.trust_env = False  # else REQUESTS_CA_BUNDLE overrides the pinned authority
        if config.proxy:
            self._http.proxies = {"http": config.proxy, "https": config.proxy}
        self._authorities = Authorities(config.ca, state)
        bundle = self._authorities.bundle()
        if bundle is not None:
            self._http.verify = str(bundle)
        self._answered = ""
        self._http.headers.update({"Content-Type": "application/json"})

    def close(self) -> None:
        self._http.close()

    def post(
        self, path: str, body: Mapping[str, Any], headers: Callable[[bytes], Mapping[str, str]]
    ) -> tuple[int, Any]:
        """Status below 300 and the answer's JSON. Raises RefusedError, AwayError."""
        packed = gzip.compress(json.dumps(body, separators=(",", ":")).encode(), 6, mtime=0)
        failures: list[RefusedError | AwayError] = []
        for url in self._order():
            try:
                judged = self._ask(url.rstrip("/"), path, packed, headers(packed))
            except AwayError as exc:
                failures.append(exc)
                continue
            except RefusedError as exc:
                if exc.status == 503:
                    failures.append(exc)
                    continue
                self._remember(url)
                raise
            self._remember(url)
            self._answered = url
            return judged
        if not failures:
            raise AwayError("no collector is configured")
        # What a collector says is worth more than that another is away, and who asks for the
        # longest rest gets it.
        raise max(failures, key=lambda exc: (isinstance(exc, RefusedError), exc.after_s or 0.0))

    def _ask(
        self, url: str, path: str, packed: bytes, headers: Mapping[str, str]
    ) -> tuple[int, Any]:
        try:
            with within(2 * self._config.timeout_s, self._until):
                answer = self._http.post(
                    url + path,
                    data=packed,
                    headers={"Content-Encoding": "gzip", **headers},
                    timeout=self._config.timeout_s,
                    allow_redirects=False,
                    stream=True,
                )
                with answer:
                    content = answer.raw.read(MOST_ANSWER, decode_content=True)
            return _judged(answer, content)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as exc:
            why, after_s = _cause(exc), None
        except AwayError as exc:
            why, after_s = str(exc), exc.after_s
        raise AwayError(f"{url}: {self._way()}{why}", after_s)

    def _way(self) -> str:
        return "through the proxy: " if self._config.proxy else ""

    def trust(self, pem: object) -> None:
        """The collector that answered last named its authorities; from the next push on."""
        self._authorities.tell(self._answered, pem)

    def _order(self) -> list[str]:
        try:
            last = self._remembered.read_text(encoding="utf-8")
        except (OSError, ValueError):
            last = ""
        return sorted(self._config.urls, key=lambda url: url != last)

    def _remember(self, url: str) -> None:
        if len(self._config.urls) > 1 and self._order()[0] != url:
            write_whole(self._remembered, url.encode())


@contextlib.contextmanager
def within(seconds: float, until: float | None) -> Iterator[None]:
    """Raise TimeoutError in this block once it has taken so long, or at `until` on the monotonic
    clock: a socket's own timeout begins anew with every byte that comes. Without `until` nothing is
    bounded: it takes a signal, and so the main thread."""
    if until is None:
        yield
        return

    def ring(*_: object) -> None:
        raise TimeoutError("the answer took too long")

    left = min(seconds, until - time.monotonic())
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(left, 0.001), 1.0)  # again, where one was swallowed
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _cause(exc: BaseException) -> str:
    """The innermost reason: requests wraps it three times."""
    while (inner := exc.__cause__ or exc.__context__) is not None:
        exc = inner
    return f"{type(exc).__name__}: {exc}"[:200]


def _judged(answer: requests.Response, content: bytes) -> tuple[int, Any]:
    """Status and JSON. Raises RefusedError; AwayError where it is no collector that answers."""
    try:
        data = json.loads(content)
    except ValueError:
        data = None
    after_s = retry_after(answer.headers.get("Retry-After"), time.time())
    if isinstance(data, dict):
        if 200 <= answer.status_code < 300:
            return answer.status_code, data
        error = data.get("error")
        if isinstance(error, dict):
            code, message = str(error.get("code", "")), str(error.get("message", ""))
            raise RefusedError(answer.status_code, code, message, after_s)
    raise AwayError(f"{answer.status_code}, and not from a collector", after_s)


def retry_after(text: str | None, now: float) -> float | None:
    """The Retry-After header, RFC 9110 10.2.3: seconds or a date. At most an hour; None when it
    says nothing we understand."""
    if text is None:
        return None
    if text.isascii() and text.strip().isdigit():
        return float(min(int(text.strip()[:9]), 3600))
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max((at - datetime.fromtimestamp(now, UTC)).total_seconds(), 0.0), 3600.0)


def attestation(files: Mapping[str, str | None]) -> dict[str, str] | None:
    """What vouches for the node: the first of the files (kind -> path) that can be read."""
    for kind, file in files.items():
        try:
            token = Path(file).read_text(encoding="ascii").strip() if file else ""
        except (OSError, ValueError):
            continue
        if token:
            return {"kind": kind, "token": token}
    return None


@dataclass(slots=True)
class Pusher:
    """One push: enrol if need be, then the waiting reports, or a heartbeat when there are none."""

    centre: Centre
    identity: Identity
    spool: Spool
    node: str
    cluster: str
    vouch: Callable[[], Mapping[str, str] | None]
    head: Mapping[str, Any]
    clock: Callable[[], float] = time.time
    instant: Callable[[], Moment] = moment

    def push(self) -> Outcome:
        """Never raises for what a collector or a network does."""
        outcome = Outcome()
        try:
            if self.identity.enrolment is None and not self._enrol():
                return self._left(replace(outcome, failed="waits for approval", pending=True))
            outcome = self._reports(outcome)
            self._renew()
            self._rotate()
        except AwayError as exc:
            outcome = replace(outcome, failed=str(exc), after_s=exc.after_s)
        except RefusedError as exc:
            outcome = replace(outcome, failed=str(exc), after_s=exc.after_s)
            if exc.code in CONFLICTS:
                outcome = replace(outcome, conflict=str(exc))
        return self._left(outcome)

    def _left(self, outcome: Outcome) -> Outcome:
        return replace(outcome, left=self.spool.tally().depth)

    def _renew(self) -> None:
        """Prolong the enrolment; the key itself is enough for that. A refusal can wait."""
        enrolled = self.identity.enrolment
        ends = _seconds(enrolled.expires_at) if enrolled else None
        if enrolled is None or ends is None:
            return
        left, since = ends - self.clock(), enrolled.since
        if left < RENEW_S and (since is None or left < (ends - since) / 2):
            with contextlib.suppress(RefusedError, AwayError):
                self._enrol(self.vouch() or NOTHING)

    def _rotate(self) -> None:
        """A new key in place of one that is old. It lies on the disk before the collector hears of
        it: if the answer is lost, the old one is told that it is superseded."""
        if self.clock() - self.identity.made_at < ROTATE_S:
            return
        body = self.identity.handing_over(self.identity.successor())
        with contextlib.suppress(RefusedError, AwayError):
            answer = self._post("/v1/rotate", body)[1]
            self.identity.succeed()
            self._enrolled(answer)

    def _enrol(self, vouching: Mapping[str, str] | None = None) -> bool:
        """Whether the collector knows us now."""
        vouching = vouching or self.vouch()
        if vouching is None:
            raise AwayError("not enrolled, and there is no join token to enrol with")
        body = self.identity.request(self.node, self.cluster, vouching)
        status, answer = self._post("/v1/enroll", body)
        if status == 202:
            return False
        self._enrolled(answer)
        return True

    def _enrolled(self, answer: Mapping[str, Any]) -> None:
        self.identity.enrolled(
            Enrolment(
                agent_id=self.identity.agent_id,
                node=str(answer.get("node", self.node)),
                cluster=str(answer.get("cluster", self.cluster)),
                expires_at=_optional(answer.get("expires_at")),
                since=self.clock(),
            )
        )

    def _reports(self, outcome: Outcome) -> Outcome:
        until = time.monotonic() + BATCH_S
        waiting = self.spool.oldest()
        if waiting is None:
            return self._heartbeat(outcome)
        while waiting is not None and time.monotonic() < until:
            seq, body = waiting
            if self._send(seq, body):
                outcome = replace(outcome, pushed=outcome.pushed + 1)
            waiting = self.spool.oldest()
        return outcome

    def _send(self, seq: int, body: Body) -> bool:
        """Whether the collector took it. What it will never take is set aside."""
        enrolled = self.identity.enrolment
        try:
            # The collector may know us by another name than the one we had when we looked.
            named = {**body, "node": enrolled.node} if enrolled else body
            receipt = self._reenrolling("/v1/reports", named)
        except RefusedError as exc:
            if exc.status == 409 and exc.code == "send-full" and body["kind"] == "delta":
                return self._send(seq, self.spool.as_full(body))
            if exc.status == 409 and exc.code == "old-seq":
                # Our spool is older than what was sent from it: a snapshot that was brought back.
                self.spool.begin_anew(self.head)
                return False
            if exc.status not in (400, 413, 422):
                raise
            self.spool.refuse(seq)
            return False
        if receipt.get("seq") != seq:  # it is let go only against its receipt
            raise AwayError(f"the answer to report {seq} is no receipt")
        self.spool.ack(seq)
        return True

    def _heartbeat(self, outcome: Outcome) -> Outcome:
        tally = self.spool.tally()
        body = {
            "boot": tally.boot,
            "seq": tally.acked,
            "digest": self.spool.held(),
            "spool": {"depth": tally.depth, "dropped": tally.dropped},
            "looked": self.spool.looked(),
        }
        self._begin_session()
        try:
            answer = self._reenrolling("/v1/heartbeat", body)
        except RefusedError as exc:
            if exc.status != 409 or exc.code != "send-full":
                raise
            self.spool.put_full(self.head)
            return self._reports(outcome)
        return self._heard(outcome, answer if isinstance(answer, dict) else {})

    def _heard(self, outcome: Outcome, answer: Mapping[str, Any]) -> Outcome:
        """Asked for again what was looked for: another replica does not know yet."""
        said = answer.get("request")
        request = said if type(said) is int and 0 < said < 2**62 else 0
        if not answer.get("look") or (request and request == self.spool.looked()):
            return outcome
        return replace(outcome, look=True, request=request)

    def _begin_session(self) -> None:
        """Ask for a session once in its life. A collector that gives none is not asked again for
        a while, and is signed to as ever."""
        at = self.instant()
        if self.identity.session(at) is not None:
            return
        try:
            answer = self._post("/v1/session", {})[1]
            begun = opened(answer, self.identity.agent_id, _seconds(answer.get("expires_at")), at)
            self.centre.trust(answer.get("authorities"))
        except RefusedError as exc:
            if exc.status in (429, 503):
                raise
            if exc.status not in (404, 405):
                return  # the heartbeat will be told the same
            begun = none_given(self.identity.agent_id, at)
        except (ValueError, AttributeError):
            begun = none_given(self.identity.agent_id, at)
        with contextlib.suppress(OSError):  # a full disk costs signatures, no heartbeat
            self.identity.keep_session(begun)

    def _reenrolling(self, path: str, body: Mapping[str, Any]) -> Any:  # noqa: ANN401  JSON
        """Post; when the collector does not know us (any more), enrol and post once more."""
        try:
            return self._post(path, body)[1]
        except RefusedError as exc:
            if exc.code == "superseded" and self.identity.succeed():
                self._enrol(NOTHING)  # it knows the new key, by which we do not need to join
                return self._post(path, body)[1]
            unknown = exc.status == 401 or exc.code in ("expired", "retired")
            if not unknown or self.vouch() is None:
                raise
            self.identity.forget_enrolment()
            if not self._enrol():
                raise
            return self._post(path, body)[1]

    def _post(self, path: str, body: Mapping[str, Any]) -> tuple[int, Any]:
        """Within the session where the path allows it; signed when that is refused."""
        session = self.identity.session(self.instant()) if path in IN_SESSION else None
        if session is None or not session.id:
            return self._sent(path, body, None)
        try:
            return self._sent(path, body, session)
        except RefusedError as exc:
            if exc.status != 401:
                raise
            self.identity.forget_session()
            return self._sent(path, body, None)

    def _sent(self, path: str, body: Mapping[str, Any], session: Session | None) -> tuple[int, Any]:
        return self.centre.post(
            path,
            body,
            lambda packed: self.identity.headers("POST", path, packed, self.clock(), session),
        )


def _seconds(text: str | None) -> float | None:
    """RFC 3339 as seconds since 1970; None when there is none."""
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except ValueError:
        return None


def _optional(value: object) -> str | None:
    return None if value is None else str(value)
