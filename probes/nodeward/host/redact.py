"""Take secrets out of a recording: by their shape, by the name they stand under, by their place.

A recording holds whole files, so it cannot be made safe by choosing what to show, as a finding is.
What has the shape of a secret goes; so does every value of a setting named like one, of an
environment, and of a key in binary form. Paths, switches, numbers and durations stay: the replay
needs them, and they are no secrets.
"""

from __future__ import annotations

import hashlib
import re

from nodeward.lazy import pattern

REDACTED = "REDACTED"
LONGEST_PATH = 256
"""How far back of a name the path is sought that would make it a file's name."""

_PEM_KEY = pattern(
    r"-----BEGIN (?P<kind>[A-Z0-9 ]*PRIVATE KEY)-----.*?(?:-----END (?P=kind)-----|\Z)", re.DOTALL
)
# "-----BEGIN" in base64, at each of the three places it can start; all but certificates go.
_ENCODED_PEM = pattern(r"\b(?:LS0tLS1CRUdJTi|0tLS0tQkVHSU4g|tLS0tLUJFR0lOI)[A-Za-z0-9+/=]+")
_ENCODED_CERTIFICATE = pattern(r"^LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t")
# With a part that each text of this shape has: few texts have any.
_SHAPES = (
    ("eyJ", pattern(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*")),  # JSON web token
    (".", pattern(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b")),  # bootstrap token
    ("K10", pattern(r"\bK10[0-9a-f]{64}::\S+")),  # k3s and RKE2 join token
    ("IA", pattern(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),  # AWS access key id
    ("gh", pattern(r"\bgh[pousr]_[A-Za-z0-9]{20,}")),
    ("github_pat_", pattern(r"\bgithub_pat_\w{20,}")),
    ("glpat-", pattern(r"\bglpat-[\w-]{16,}")),
    ("xox", pattern(r"\bxox[abprs]-[\w-]{10,}")),  # Slack
    ("AIza", pattern(r"\bAIza[\w-]{35}")),  # Google API key
    ("$", pattern(r"(?<=\$)(?:y|gy|7|6|5|1|2[abxy])\$[./A-Za-z0-9$=,]{8,}")),  # crypt(5)
    (" ", pattern(r"(?i)(?<=\bbasic )[A-Za-z0-9+/=]{8,}")),  # Authorization
    (" ", pattern(r"(?i)(?<=\bbearer )[^\s\"',]{3,}")),
    # user:password@ in a URL; where the rest is missing, what is no port number
    ("://", pattern(r"(?<=://)[^/\s:@\"'\[\]\0]*:[^/\s@\"'\0]+(?=@)")),
    (
        "://",
        pattern(r"(?<=://)[^/\s:@\"'\[\]\0]*:(?!\d{1,5}(?![^\s/?#,;)\]}\"'\\\0]))[^/\s@\"'\0]+"),
    ),
    ("-u ", pattern(r"(?<=-u )[^\s:\"']+:[^\s\"']+")),  # curl
)
_LONG = (
    r"(?:pass(?:word|wd|phrase)|secret|token|credential|key-data"
    r"|(?:api|access|private|sas)[_-]?key)"
)
_SHORT = "auth|pass|pw|psk"
# Bounded, or a long word would be tried from each of its letters.
_WORDS = rf"[\w.-]{{0,60}}{_LONG}[\w.-]{{0,60}}|{_SHORT}"
# What every pattern below asks for: such a name before "=" or ":", or as a flag. Few texts have it.
_ANY_NAME = pattern(
    rf"(?i)(?:{_LONG}[\w.-]{{0,60}}|(?<![\w.-])(?:{_SHORT})|value)[\\\"']*[ \t]*[=:]"
    rf"|-(?:[\w.-]{{0,60}}{_LONG}|{_SHORT})"
)
_PARTS = ("pass", "secret", "token", "credential", "key", "auth", "pw", "psk", "value")
_NAME = rf"(?i:(?<![\w.-])(?:{_WORDS}))(?:\\?[\"'])?"
_QUOTED = (
    r"\"(?P<double>(?:\\.|[^\"\\])*)\""
    r"|'(?P<single>(?:''|[^'\n])*)'"
    r"|\\\"(?P<escaped>.*?)\\\""  # JSON inside JSON
)
# "DB_PASSWORD=two words" as one word of a shell or of a unit.
_PAIR = pattern(rf"(?P<name>(?P<open>[\"']){_NAME}=)(?P<bare>(?:(?!(?P=open))[^\n])+)")
# A YAML line is the secret's to its end, commas and blanks included.
_LINE = pattern(
    rf"(?m)^(?P<name>[ \t]*(?:- )?{_NAME}[ \t]*:[ \t]+)(?P<bare>[^\s\"'{{\[|>&*][^\n\0]*)"
)
# Elsewhere (TOML, JSON, INI, shell, YAML in braces): to the next blank; comma or brace after ":".
_NAMED = pattern(
    rf"(?P<name>{_NAME}[ \t]*(?:=|(?P<colon>:))[ \t]*)(?:{_QUOTED}"
    r"|(?P<bare>(?(colon)[^\s\"',{}\[\]\0|>&*][^\s,}\]\0]*|(?!\")(?:(?![\"'][,\]}])[^\s\0])+)))"
)
# A flag and its value as two arguments: NUL in a command line, a blank in a unit.
_FLAG = pattern(rf"(?P<name>(?<![\w-])--?(?i:{_WORDS})(?:\0|[ \t]+))(?P<bare>[^\s\0(-][^\s\0]*)")
# The same in a pod's list: a comma or a line between them.
_LISTED_FLAG = pattern(
    rf"(?P<name>(?<![\w-])--?(?i:{_WORDS})"
    r"(?:\\?[\"']?,\s*\\?[\"']?|[\"']?[ \t]*\n[ \t]*- [\"']?))"
    r"(?P<bare>[^\s\0\"',\[\]{}\\-][^\s\0\"',\]}\\]*)"
)
# An environment variable of a container: its value stands under its name.
_VALUE = pattern(
    rf"(?m)(?P<name>(?:^|[\s{{,])\\?[\"']?value\\?[\"']?[ \t]*:[ \t]*)"
    rf"(?:{_QUOTED}|(?P<bare>[^\s\"'{{}}\[\],|>&*][^\n,}}]*))"
)
_BLOCK = pattern(  # name: | and the deeper lines that follow
    rf"(?im)^(?P<head>(?P<indent>[ \t]*)(?:- )?[\"']?(?:{_WORDS}|value)[\"']?:"
    r"[ \t]*[|>][+-]?\d?[ \t]*\n)"
    r"(?P<body>(?:(?P=indent)[ \t]+.*(?:\n|\Z)|[ \t]*\n)+)"
)
_PLAIN_NAME = pattern(  # names that only speak of secrets
    r"(?i)(?:name|names|ref|file|files|path|dir|ttl|mode|type|provider|providers|namespace|seconds"
    r"|audience|audiences|url|uri|endpoint|webhook|issuer|config|kind|version|policy|strategy"
    r"|period|enabled|size|count|key-id|(?<=-)auth)[\"'\\]*[ \t]*[:=\0 \t,]+[\"'\\]*$"
)
# "/root/.aws/credentials: EACCES" speaks of a file; "example.com/token: x" is a setting.
_PATH_BEFORE = pattern(r"(?:^|[\s(\[\"'=,])/(?:[\w.@+-]+/)*$")
_PLAIN_VALUE = pattern(
    r"(?i)^(?:\W+|true|false|yes|no|on|off|null|none|~|-?\d{1,6}"
    r"|(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h|d))+"
    r"|/(?:etc|var|run|usr|opt|srv|home|root|proc|sys|dev|tmp|mnt|snap|system|lib|boot)(?:/\S*)?)$"
)
_ENVIRON_KEPT = pattern(r"^KUBELET_CONFIG_DROPIN_DIR_ALPHA=")


def redact(text: str) -> str:
    """The text without private keys, tokens and what is named like a secret."""
    if "-----BEGIN" in text:
        text = _PEM_KEY.sub(
            lambda m: f"-----BEGIN {m['kind']}-----\n{REDACTED}\n-----END {m['kind']}-----", text
        )
    if "tLS0tL" in text or "tLS0tQ" in text or "LS0tLS1" in text:
        text = _ENCODED_PEM.sub(
            lambda m: m[0] if _ENCODED_CERTIFICATE.match(m[0]) else REDACTED, text
        )
    for part, shape in _SHAPES:
        if part in text:
            text = shape.sub(REDACTED, text)
    if not _names_something(text):
        return text
    text = _BLOCK.sub(lambda m: f"{m['head']}{m['indent']}    {REDACTED}\n", text)
    for named in (_PAIR, _LINE, _NAMED, _FLAG, _LISTED_FLAG, _VALUE):
        text = named.sub(_redact_value, text)
    return text


def _names_something(text: str) -> bool:
    """Whether anything may stand under a name here; True where that was not worth a look."""
    if not text.isascii():  # a long s is an s to a pattern, and to nobody else
        return True
    lower = text.lower()
    return any(part in lower for part in _PARTS) and _ANY_NAME.search(text) is not None


def redact_environ(text: str) -> str:
    """proc_pid_environ(5) with the names only, but for the one variable that a judge reads."""
    return "\0".join(
        entry if _ENVIRON_KEPT.match(entry) or "=" not in entry
        else f"{entry.partition('=')[0]}={REDACTED}"
        for entry in text.split("\0")
    )  # fmt: skip


def is_private_der(text: str) -> bool:
    """Whether this is a key in binary form (as text with surrogate escapes).

    PKCS#1, PKCS#8 and SEC 1 keys are a SEQUENCE that begins with an INTEGER, an encrypted key one
    whose first member holds an object identifier; a certificate's begins with two SEQUENCEs and
    its version or serial number. PKCS#12 begins with the INTEGER 3.
    """
    raw = text[:64].encode("utf-8", "surrogateescape")
    inner = _content(raw, 0x30)
    if inner is None:
        return False
    if inner[:1] == b"\x02":
        return True
    nested = _content(inner, 0x30)
    return nested is not None and nested[:1] == b"\x06"


def _content(raw: bytes, tag: int) -> bytes | None:
    """What stands after the tag and the length octets of a DER value."""
    if len(raw) < 2 or raw[0] != tag:
        return None
    skip = 2 + (raw[1] & 0x7F if raw[1] & 0x80 else 0)
    return raw[skip:]


def another_machine_id(machine_id: str) -> str:
    """A stand-in of the same form: machine-id(5) asks that the id itself stays on its machine."""
    return hashlib.sha256(f"nodeward recording {machine_id}".encode()).hexdigest()[:32]


def _redact_value(match: re.Match[str]) -> str:
    groups = match.groupdict()
    before = match.string[max(0, match.start() - LONGEST_PATH) : match.start()]
    if _PLAIN_NAME.search(groups["name"]) or _PATH_BEFORE.search(before):
        return match[0]
    for kind, quote in (("double", '"'), ("single", "'"), ("escaped", '\\"'), ("bare", "")):
        value = groups.get(kind)
        if value and not _PLAIN_VALUE.match(value.strip()):
            return f"{groups['name']}{quote}{REDACTED}{quote}"
    return match[0]
