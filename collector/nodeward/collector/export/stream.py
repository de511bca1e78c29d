"""Changes of the fleet as OCSF events, into a file or to a web server, each at least once.

What was delivered is remembered in a file, and only after the delivery: after a crash the last
batch may come twice, and `finding_info.uid` with `time` tells it. Some changes are committed later
than their time says, so the last minute is asked for again at each turn.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeAlias

import requests

from nodeward.collector.export import ndjson, ocsf

Change: TypeAlias = Mapping[str, Any]
Params: TypeAlias = Sequence[tuple[str, str]]
Ask: TypeAlias = Callable[[str, Params], Iterable[Mapping[str, Any]]]
"""All rows of a list of the API: its path and the filters."""
Deliver: TypeAlias = Callable[[str], None]
"""Returns once the events are safe where they go. Raises OSError."""
OVERLAP: Final = timedelta(seconds=60)
BATCH: Final = 500
NOT_WELL: Final = ("status", "fail,unknown,error")
TIMEOUT_S: Final = (5.0, 30.0)


@dataclass
class Place:
    """How far a stream has come: up to `at`, and what of the minute before that was delivered."""

    at: str
    told: set[str] = field(default_factory=set)

    @staticmethod
    def load(file: Path, begin: str) -> Place:
        """Where it stopped, or `begin` (RFC 3339) if there is no such file. Raises ValueError."""
        try:
            kept = json.loads(file.read_text())
            datetime.fromisoformat(kept["at"])
            return Place(kept["at"], set(kept["told"]))
        except FileNotFoundError:
            return Place(begin)
        except (KeyError, TypeError) as exc:
            raise ValueError(f"{file} is not the place of a stream: {exc}") from None

    def save(self, file: Path) -> None:
        partial = file.with_name(file.name + ".partial")
        with partial.open("w") as out:
            json.dump({"at": self.at, "told": sorted(self.told)}, out)
            out.flush()
            os.fsync(out.fileno())
        partial.rename(file)

    @property
    def since(self) -> str:
        return _text(datetime.fromisoformat(self.at) - OVERLAP)

    def new(self, changes: Iterable[Change]) -> list[Change]:
        return [change for change in changes if _key(change) not in self.told]

    def passed(self, changes: Sequence[Change]) -> None:
        """These were delivered."""
        self.at = max([self.at, *(change["at"] for change in changes)])
        self.told |= {_key(change) for change in changes}
        since = self.since
        self.told = {key for key in self.told if key.partition(" ")[0] >= since}


def turn(ask: Ask, params: Params, place: Place, deliver: Deliver, save: Callable[[], None]) -> int:
    """Deliver what has come since; how many events that were.

    Raises what `ask` and `deliver` raise.
    """
    since = [*params, ("since", place.since)]
    of_nodes = [pair for pair in since if pair[0] != "check"]
    # All lists before any node: asking each of many takes longer than the overlap.
    arrived = place.new(_marks("arrived", "first_seen", ask("/v1/nodes", of_nodes)))
    retired = place.new(_marks("retired", "at", ask("/v1/retirements", of_nodes)))
    rows = [*ask("/v1/changes", since)]
    rows += [*_arrivals(ask, params, arrived), *_ends(ask, params, retired)]
    new = place.new(sorted(rows, key=lambda row: row["at"]))
    for begin in range(0, len(new), BATCH):
        batch = new[begin : begin + BATCH]
        deliver(ndjson.write(events(ask, batch)))
        place.passed(batch)
        save()
    if arrived or retired:
        place.passed([*arrived, *retired])
        save()
    return len(new)


def _marks(what: str, when: str, nodes: Iterable[Mapping[str, Any]]) -> Iterator[Change]:
    """What came to these nodes as a whole, in the form of changes: each is looked at once."""
    for node in nodes:
        names = {"cluster": node["cluster"], "node": node["node"], "check": what}
        yield {**names, "at": node[when]}


def _arrivals(ask: Ask, params: Params, nodes: Iterable[Change]) -> Iterator[Change]:
    """What is not well on nodes first seen since: it never changed, and is news all the same."""
    for node in nodes:
        for row in ask("/v1/findings", [*_about(node, params), NOT_WELL]):
            if row["since"] != node["at"]:
                continue  # it changed since, and that is among the changes
            yield {**_names(row), "at": node["at"], "old": None, "new": _value(row)}


def _ends(ask: Ask, params: Params, retired: Iterable[Change]) -> Iterator[Change]:
    """What was not well on nodes that were retired: it never changes again. A node that comes back
    has a new life, and its findings begin anew."""
    for end in retired:
        before = _text(datetime.fromisoformat(end["at"]) - timedelta(milliseconds=1))
        for row in ask("/v1/findings", [*_about(end, params), NOT_WELL, ("at", before)]):
            yield {**_names(row), "at": end["at"], "old": _value(row), "new": None}


def _about(node: Change, params: Params) -> Params:
    """The filter for this node's share of what is asked for."""
    checks = [pair for pair in params if pair[0] == "check"]
    return [("cluster", node["cluster"]), ("node", node["node"]), *checks]


def _names(row: Mapping[str, Any]) -> Mapping[str, str]:
    return {name: row[name] for name in ("cluster", "node", "check")}


def _value(row: Mapping[str, Any]) -> Mapping[str, str]:
    return {"status": row["status"], "severity": row["severity"]}


def events(ask: Ask, changes: Iterable[Change]) -> list[Mapping[str, Any]]:
    """An event a change, with what the finding says where it still says that."""
    known: dict[tuple[str, str], Mapping[str, Mapping[str, Any]]] = {}
    out = []
    for change in changes:
        node = change["cluster"], change["node"]
        if node not in known:
            known[node] = _findings(ask, *node)
        out.append(ocsf.event(_row(change, known[node].get(change["check"])), _activity(change)))
    return out


def _findings(ask: Ask, cluster: str, node: str) -> Mapping[str, Mapping[str, Any]]:
    """The node's findings by check; none of a node that has gone since."""
    rows = ask("/v1/findings", [("cluster", cluster), ("node", node)])
    return {row["check"]: row for row in rows}


def _row(change: Change, finding: Mapping[str, Any] | None) -> Mapping[str, Any]:
    value = change["new"] or {"status": "not-applicable", "severity": change["old"]["severity"]}
    when = {"since": change["at"], "last_seen": change["at"]}
    same = finding is not None and finding["status"] == value["status"]
    words = finding if same and finding is not None else {}
    return {
        **words,
        **_names(change),
        **when,
        "status": value["status"],
        "severity": value["severity"],
    }


def _activity(change: Change) -> int:
    """A finding begins when its check is first seen, and ends when it passes or applies no more, or
    with its node."""
    if change["old"] is None:
        return ocsf.CREATE
    new = change["new"]["status"] if change["new"] else "not-applicable"
    return ocsf.CLOSE if new in ("pass", "not-applicable") else ocsf.UPDATE


def _key(change: Change) -> str:
    return f"{change['at']} {change['cluster']}\0{change['node']}\0{change['check']}"


def _text(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# -- where to


def to_file(file: Path) -> Deliver:
    """Append, and have it on the disk. Opened by name each time, so a rotated file is let go."""

    def deliver(text: str) -> None:
        with file.open("a", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())

    return deliver


def to_server(url: str, token: str = "") -> Deliver:
    """POST newline-delimited JSON; anything but 2xx is a failure. Proxies are not followed."""
    http = requests.Session()
    http.trust_env = False
    http.headers["Content-Type"] = "application/x-ndjson"
    if token:
        http.headers["Authorization"] = f"Bearer {token}"

    def deliver(text: str) -> None:
        try:
            answer = http.post(url, data=text.encode(), timeout=TIMEOUT_S, allow_redirects=False)
        except requests.RequestException as exc:
            raise OSError(f"{url}: {type(exc).__name__}") from None
        if not 200 <= answer.status_code < 300:
            raise OSError(f"{url} answered {answer.status_code}")

    return deliver
