"""Whom the agent trusts for a collector, and whether it reaches one. Part of `nodeward doctor`."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from nodeward.agent.authorities import Authorities
from nodeward.agent.config import Config, read_regular
from nodeward.agent.sign import Health, Sign
from nodeward.agent.work import attestation_files
from nodeward.facts.der import DerError
from nodeward.facts.pem import CERTIFICATES, split
from nodeward.facts.x509 import Certificate, parse_certificate

MOST_ANSWER = 1 << 16
SKEW_S = 60.0
SOON_S = 30 * 86400.0
"""An authority that ends within this time should be in rotation."""


def authorities(config: Config) -> Iterator[Sign]:
    for file in config.collector.ca:
        yield _authority(file, time.time())


def _authority(file: str, now: float) -> Sign:
    try:
        found = list(_certificates(read_regular(Path(file))))
    except OSError as exc:
        return Sign("TLS", Health.BAD, f"{file}: {exc.strerror}", "set collector.ca")
    if not found:
        return Sign("TLS", Health.BAD, f"{file} holds no certificate", "set collector.ca")
    last = max(one.not_after for one in found)
    seen = f"{file}: trusted until {datetime.fromtimestamp(last, UTC):%Y-%m-%d}"
    if last < now:
        return Sign("TLS", Health.BAD, seen, "take it out, and the collector's new authority in")
    if last < now + SOON_S:
        advice = "add the collector's new authority beside it: nodeward collector ca begin"
        return Sign("TLS", Health.WORSE, seen, advice)
    return Sign("TLS", Health.GOOD, seen)


def _certificates(text: bytes) -> Iterator[Certificate]:
    for block in split(text):
        if block.label in CERTIFICATES and block.data is not None:
            with contextlib.suppress(DerError):
                yield parse_certificate(block.data)


def collectors(config: Config) -> Iterator[Sign]:
    if not config.collector.urls:
        return
    files = attestation_files(config).values()
    if not any(file and os.access(file, os.R_OK) for file in files):
        advice = "only needed until the agent is enrolled: enrol.join_token_file"
        yield Sign("join token", Health.WORSE, "none can be read", advice)
    for url in config.collector.urls:
        yield from _reach(config, url)


def _reach(config: Config, url: str) -> Iterator[Sign]:
    import requests
    import urllib3

    with requests.Session() as session, tempfile.NamedTemporaryFile() as bundle:
        session.trust_env = False
        if config.collector.proxy:
            session.proxies = {"http": config.collector.proxy, "https": config.collector.proxy}
        if config.collector.ca:
            trusted = Authorities(config.collector.ca, Path(config.state_dir))
            bundle.write(trusted.content())
            bundle.flush()
            session.verify = bundle.name
        try:
            answer = session.get(
                url.rstrip("/") + "/readyz",
                timeout=config.collector.timeout_s,
                allow_redirects=False,
                stream=True,
            )
            content = answer.raw.read(MOST_ANSWER, decode_content=True)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as exc:
            yield Sign("collector", Health.BAD, f"{url}: {_cause(exc)}", _cure(exc, config))
            return
    yield _ready(url, answer.status_code, content)
    yield from _skew(answer.headers.get("Date"))


def _ready(url: str, status: int, content: bytes) -> Sign:
    """A collector says "ok", or in our form of an error why it is not ready."""
    if status == 200 and content.strip() == b"ok":
        return Sign("collector", Health.GOOD, f"{url}: ready")
    try:
        why = str(json.loads(content)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        seen = f"{url}: {status}, and not from a collector"
        return Sign("collector", Health.BAD, seen, "is this really its address?")
    return Sign("collector", Health.BAD, f"{url}: {status}, {why}", "see the collector's log")


def _skew(date: str | None) -> Iterator[Sign]:
    from email.utils import parsedate_to_datetime

    try:
        theirs = parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return
    skew = time.time() - theirs
    if abs(skew) > SKEW_S:
        advice = "signatures carry the time: check both time services"
        yield Sign("clock", Health.WORSE, f"{skew:+.0f} s from the collector's", advice)
    else:
        yield Sign("clock", Health.GOOD, "as the collector's, to a minute")


def _cause(exc: BaseException) -> str:
    while (inner := exc.__cause__ or exc.__context__) is not None:
        exc = inner
    return f"{type(exc).__name__}: {exc}"[:200]


def _cure(exc: BaseException, config: Config) -> str:
    text = _cause(exc)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "collector.ca does not hold the authority that signed its certificate"
    if "NO_CERTIFICATE" in text:
        return "collector.ca holds no certificate"
    if config.collector.proxy:
        return f"is the proxy {urlsplit(config.collector.proxy).hostname} up, and may it go there?"
    if "gaierror" in text:
        return "the name cannot be resolved from here"
    return "is it up, and may this node reach it?"
