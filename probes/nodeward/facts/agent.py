"""What the agent knows of itself: what wakes it, what it costs, what its sandbox hides from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any, TypeVar

from nodeward.facts.errors import ParseError
from nodeward.lazy import dataclass
from nodeward.model import Fact

SCHEMA = "nodeward.agent/v1"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Watch:
    """`sources`: how each kind of change is noticed ("files": "inotify"). `lost`: why some are
    noticed later than they should be."""

    sources: Mapping[str, str] = field(default_factory=dict)
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Spending:
    """Shares of one core; `used` is the last hour's average."""

    used: float = 0.0
    allowed: float = 1.0
    throttled: bool = False


@dataclass(frozen=True, slots=True)
class Sandbox:
    """`hidden`: paths of the host that our own sandbox hides. `foreign`: kinds of namespaces in
    which we are not with the host ("net", "pid"). `missing`: rights we would need. `mounted`: all
    of the host that there is for us, where that is not all of it."""

    hidden: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    mounted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """How we stand with the collector. `conflict`: why it does not take us for this node;
    `cloned`: a key of another machine was found here."""

    agent_id: str = ""
    enrolled: bool = False
    conflict: str = ""
    cloned: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """Counted since the spool file is there. `failing`: why nothing can be kept now."""

    dropped: int = 0
    refused: int = 0
    set_aside: int = 0
    failing: str = ""


@dataclass(frozen=True, slots=True)
class Parts:
    """`broken`: which parts of the agent had a defect when it last worked, and where."""

    broken: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Agent(Fact):
    """The agent of this host, as it last said of itself. Absent where none runs."""

    watch: Watch = Watch()
    spending: Spending = Spending()
    sandbox: Sandbox = Sandbox()
    standing: Standing = Standing()
    kept: Kept = Kept()
    parts: Parts = Parts()


def parse_agent(raw: bytes) -> Agent:
    """The agent's own status file. Members that we do not know are those of a newer agent."""
    try:
        data = json.loads(raw)
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            raise ValueError
        parts: dict[str, Any] = {
            f.name: _part(type(f.default), data.get(f.name, {})) for f in fields(Agent)
        }
        return Agent(**parts)
    except (ValueError, TypeError, RecursionError):
        raise ParseError("the agent's status file", 0, "not nodeward.agent/v1") from None


def _part(kind: type[T], raw: object) -> T:
    if not isinstance(raw, dict):
        raise ValueError
    out: dict[str, Any] = {}
    for one in fields(kind):  # type: ignore[arg-type]  # each part is a dataclass
        if one.name not in raw:
            continue
        value = raw[one.name]
        if one.name in ("lost", "hidden", "foreign", "missing", "mounted", "broken"):
            value = tuple(_text(item) for item in _list(value))
        elif one.name == "sources":
            value = {str(k): _text(v) for k, v in dict(value).items()}
        elif not isinstance(value, type(one.default)) and not (
            type(one.default) is float and isinstance(value, int)
        ):
            raise ValueError
        out[one.name] = value
    return kind(**out)


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise ValueError
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value
