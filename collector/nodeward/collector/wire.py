"""What agents send, as types. Unknown members are ignored: newer agents may say more."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias, TypeVar

import msgspec

from nodeward.collector.posture import PACKED
from nodeward.collector.problem import Problem, bad

MOST_SENT: Final = 2 << 20
"""Bytes of a body as sent."""
MOST_UNPACKED: Final = 16 << 20
"""Bytes of a body after gunzip: some 700 times a usual report's compressed size."""
MOST_FINDINGS: Final = 2_000
MOST_SEQ: Final = 2**62

CheckName = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
"""Also of CHECK_NAME's form: that is tested where a list of checks is new, not in each report."""
CHECK_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
Text = Annotated[str, msgspec.Meta(max_length=16_384)]
"""Of what goes on, into alerts and tables. What is only shown with its node is bounded by its
body: a bound for each of a report's thousand texts took as long as decoding them."""
PLAIN: Final = r"^[^\x00-\x1f]*$"
"""Of what becomes a text in the database: PostgreSQL's cannot hold a NUL."""
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=253, pattern=PLAIN)]
Boot = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=PLAIN)]
Seq = Annotated[int, msgspec.Meta(ge=0, le=MOST_SEQ)]
DigestText = Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}$")]


# Words and no enums: hashing an enum's member costs a call, 300 times a report.
StatusWord = Literal["pass", "fail", "not-applicable", "unknown", "error"]
SeverityWord = Literal["critical", "high", "medium", "low", "info"]


class EvidenceIn(msgspec.Struct, frozen=True, gc=False):
    what: str
    value: str
    source: str = ""


class RemedyIn(msgspec.Struct, frozen=True, gc=False):
    text: str
    steps: Annotated[list[str], msgspec.Meta(max_length=64)] = []
    breaks: str = ""


class FindingIn(msgspec.Struct, frozen=True, gc=False):
    check: CheckName
    status: StatusWord
    severity: SeverityWord
    because: Text
    evidence: Annotated[list[EvidenceIn], msgspec.Meta(max_length=200)] = []
    remedy: RemedyIn | None = None
    mappings: Annotated[dict[str, list[str]], msgspec.Meta(max_length=32)] = {}


class AgentIn(msgspec.Struct, frozen=True):
    version: Annotated[str, msgspec.Meta(max_length=64, pattern=PLAIN)] = ""
    catalog: Annotated[str, msgspec.Meta(max_length=128, pattern=PLAIN)] = ""


class ReportIn(msgspec.Struct, frozen=True):
    """nodeward.report/v1."""

    schema: Literal["nodeward.report/v1"]
    node: Name
    taken_at: Annotated[str, msgspec.Meta(max_length=40)]
    boot: Boot
    seq: Seq
    kind: Literal["full", "delta"]
    digest: DigestText
    findings: Annotated[list[FindingIn], msgspec.Meta(max_length=MOST_FINDINGS)]
    base: DigestText | None = None
    inventory: dict[str, Any] = {}
    agent: AgentIn = AgentIn()


class SpoolIn(msgspec.Struct, frozen=True):
    depth: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 0
    dropped: Annotated[int, msgspec.Meta(ge=0, le=MOST_SEQ)] = 0


class HeartbeatIn(msgspec.Struct, frozen=True):
    boot: Boot
    seq: Seq
    digest: DigestText
    spool: SpoolIn = SpoolIn()
    looked: Seq | None = None
    """The request for a look that it last looked for, all of which has arrived; 0: none yet. Agents
    of an earlier version do not say."""


class AttestationIn(msgspec.Struct, frozen=True):
    kind: Annotated[str, msgspec.Meta(max_length=64)]
    token: Annotated[str, msgspec.Meta(max_length=8_192)] = ""


class EnrollIn(msgspec.Struct, frozen=True):
    public_key: Annotated[str, msgspec.Meta(max_length=128)]
    node: Name
    cluster: Name
    attestation: AttestationIn
    proof: Annotated[str, msgspec.Meta(max_length=256)]


class RotateIn(msgspec.Struct, frozen=True):
    public_key: Annotated[str, msgspec.Meta(max_length=128)]
    proof: Annotated[str, msgspec.Meta(max_length=256)]


T = TypeVar("T")
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}
_PATH: Final = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_MISSING: Final = re.compile(r"missing required field `(?P<name>[^`]+)`")


def decode(raw: bytes, kind: type[T]) -> T:
    """JSON to a struct; a 400 that names the member otherwise."""
    try:
        decoder = _decoders.get(kind)
        if decoder is None:  # making one costs twenty times a decoding
            decoder = _decoders[kind] = msgspec.json.Decoder(kind)
        decoded: T = decoder.decode(raw)
    except msgspec.ValidationError as exc:
        raise _named(str(exc)) from None
    except (msgspec.DecodeError, RecursionError) as exc:
        raise bad("", f"the body is not JSON: {exc}") from None
    except UnicodeDecodeError:
        raise bad("", "the body is not UTF-8") from None
    return decoded


def _named(text: str) -> Problem:
    at = _PATH.search(text)
    path = at["path"] if at else ""
    message = _PATH.sub("", text)
    missing = _MISSING.search(text)
    if missing:
        path = f"{path}.{missing['name']}" if path else missing["name"]
    return bad(path, message)


class Statuses(NamedTuple):
    """Of a report's findings what is counted: the checks as they came, and a packed value each."""

    checks: tuple[str, ...]
    values: bytes


Known: TypeAlias = Callable[[tuple[str, ...]], tuple[str, ...] | None]
"""Gives a list of checks that was looked at before, the very object, for one that equals it: what
compares it later need not read it, and its texts are kept once."""


def statuses(report: ReportIn, known: Known = lambda _checks: None) -> Statuses:
    """A 400 for a check id that is none, or comes twice, in a list of checks that is not known."""
    checks = tuple([f.check for f in report.findings])
    seen = known(checks)
    if seen is None:
        _look_at(checks)
    values = bytes([PACKED[f.status][f.severity] for f in report.findings])
    return Statuses(seen or checks, values)


def _look_at(checks: Sequence[str]) -> None:
    for place, check in enumerate(checks):
        if not CHECK_NAME.fullmatch(check):
            raise bad(f"findings[{place}].check", "not the id of a check")
    if len(set(checks)) != len(checks):
        raise bad("findings", "two findings of one check")


def gunzip(sent: bytes) -> bytes:
    """The body as it was before gzip. Never makes more than MOST_UNPACKED bytes of it."""
    unpack = zlib.decompressobj(wbits=31)
    try:
        out = unpack.decompress(sent, MOST_UNPACKED + 1)
    except zlib.error as exc:
        raise bad("", f"the body is not gzip: {exc}") from None
    if len(out) > MOST_UNPACKED or unpack.unconsumed_tail:
        raise Problem(413, "too-large", f"the body unpacks to more than {MOST_UNPACKED} bytes")
    if not unpack.eof or unpack.unused_data:
        raise bad("", "the gzip body is cut short or has something after its end")
    return out


def identity(sent: bytes) -> bytes:
    """What makes it this report and no other, however it is compressed: the SHA-256 of its JSON.

    It costs a fifth of what taking a report in does, and is asked for only where a report comes
    again, and when one is folded.
    """
    return hashlib.sha256(gunzip(sent)).digest()


def unbase64(text: str, field: str, size: int | None = None) -> bytes:
    """Standard base64, strictly; of exactly `size` bytes if given."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise bad(field, "not base64") from None
    if size is not None and len(raw) != size:
        raise bad(field, f"must be {size} bytes")
    return raw


def digest_bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("sha256:"))


def digest_text(raw: bytes | None) -> str | None:
    return None if raw is None else "sha256:" + raw.hex()
