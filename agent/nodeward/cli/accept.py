"""`--accept FILE`: dated exceptions from the exit code. The result stays as it is."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from fnmatch import fnmatchcase

from nodeward.model import JSON, CheckId, Finding, Status

KEYS = ("check", "reason", "owner", "until")
ACCEPTABLE = (Status.FAIL, Status.UNKNOWN)  # a defect of ours is nothing to accept


class AcceptError(ValueError):
    """The file is not a list of exceptions; the text names the entry and the member."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """One exception. `check` is a glob over check ids; `until` is seconds since 1970: a date
    counts to its end in UTC."""

    check: str
    reason: str
    owner: str
    until: float
    until_text: str

    @property
    def line(self) -> str:
        return f"until {self.until_text} by {self.owner}: {self.reason}"

    def to_json(self) -> dict[str, JSON]:
        return {
            "check": self.check,
            "reason": self.reason,
            "owner": self.owner,
            "until": self.until_text,
        }


def parse(text: str, known: Iterable[str]) -> list[Accepted]:
    """YAML or JSON: a list of {check, reason, owner, until}. `known` are the ids there are."""
    import yaml

    from nodeward.agent.config import StrictLoader, yaml_problem

    try:
        data = yaml.load(text, Loader=StrictLoader)  # noqa: S506  a safe loader
    except (yaml.YAMLError, RecursionError, ValueError) as exc:
        raise AcceptError(f"no YAML: {yaml_problem(exc)}") from None
    if data is None:  # every entry was taken out
        return []
    if not isinstance(data, list):
        raise AcceptError("must be a list of {check, reason, owner, until}")
    ids = list(known)
    return [_entry(number, raw, ids) for number, raw in enumerate(data, 1)]


def _entry(number: int, raw: object, known: Sequence[str]) -> Accepted:
    where = f"entry {number}"
    if not isinstance(raw, dict):
        raise AcceptError(f"{where} must be {{check, reason, owner, until}}")
    for key in raw:
        if key not in KEYS:
            near = difflib.get_close_matches(str(key), KEYS, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise AcceptError(f"{where}: {str(key)[:40]!r} is not known{hint}")
    for key in KEYS:
        if not str(raw.get(key) or "").strip():
            raise AcceptError(f"{where}: {key} is missing")
    check, reason, owner = (raw[k] for k in KEYS[:3])
    if not all(isinstance(v, str) for v in (check, reason, owner)):
        raise AcceptError(f"{where}: check, reason and owner must be text")
    if not any(fnmatchcase(i, check) for i in known):
        raise AcceptError(f"{where}: no check matches {check!r}")
    until, shown = _moment(where, raw["until"])
    return Accepted(check, reason, owner, until, shown)


def _moment(where: str, raw: object) -> tuple[float, str]:
    """The end of a day, or a moment. YAML makes dates of what looks like one."""
    if isinstance(raw, str):
        try:
            raw = date.fromisoformat(raw) if len(raw) == 10 else datetime.fromisoformat(raw)
        except ValueError:
            raise AcceptError(f"{where}: until must be a date (2026-12-31)") from None
    if isinstance(raw, datetime):
        moment = raw if raw.tzinfo else raw.replace(tzinfo=UTC)
        return moment.timestamp(), moment.isoformat()
    if isinstance(raw, date):
        return datetime.combine(raw, time.max, UTC).timestamp(), raw.isoformat()
    raise AcceptError(f"{where}: until must be a date (2026-12-31)")


def apply(
    entries: Sequence[Accepted], findings: Iterable[Finding], at: float
) -> dict[CheckId, Accepted]:
    """The exception that covers each finding which needs one; what has run out covers nothing."""
    running = [e for e in entries if at <= e.until]
    return {
        f.check: entry
        for f in findings
        if f.status in ACCEPTABLE
        for entry in reversed(running)  # the first in the file counts
        if fnmatchcase(f.check, entry.check)
    }
