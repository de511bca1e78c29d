"""From what the probes really asked for to what must be watched."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_LINKS = 40
_VIRTUAL = re.compile(r"/(proc|sys|dev)(/|$)")
"""inotify sees no change here; what can be compared is polled."""

OF_PROCESS = re.compile(r"/proc/\d+/root(?=/.)")
"""The root of a process that has one of its own: what lies below is on disks again, and inotify
follows there."""

_COUNTERS = "modules|swaps|stat|meminfo|vmstat|uptime|loadavg|interrupts|diskstats|net"
"""Files of /proc with numbers that always move. Names of modules are compared apart."""

_NOT_POLLED = re.compile(rf"/proc/(\d+|self|thread-self|{_COUNTERS})(/|$)|/dev(/|$)|/proc/?$")
ANY = ""
"""The name that stands for every entry of a directory."""

SELF = "."
"""The name of a directory on the way to what was read: it matters only when it is moved away."""


@dataclass(slots=True)
class Plan:
    """Facts (by name) that become stale: `folders` by directory and entry, `polled` by path,
    `events` by kind of event. All paths start at the host's root."""

    folders: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    polled: dict[str, list[str]] = field(default_factory=dict)
    events: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Plan:
        return cls(dict(raw["folders"]), dict(raw["polled"]), dict(raw["events"]))

    def to_json(self) -> dict[str, Any]:
        return {"folders": self.folders, "polled": self.polled, "events": self.events}

    def merge(self, new: Plan, facts: Iterable[str]) -> Plan:
        """This plan, with everything about these facts as the new one says."""
        stale = frozenset(facts)
        merged = Plan(
            {d: kept for d, names in self.folders.items() if (kept := _without(names, stale))},
            _without(self.polled, stale),
            _without(self.events, stale),
        )
        for folder, names in new.folders.items():
            for name, wanted in names.items():
                for fact in wanted:
                    merged.watch(folder, name, fact)
        for into, added in ((merged.polled, new.polled), (merged.events, new.events)):
            for key, wanted in added.items():
                into[key] = sorted({*into.get(key, ()), *wanted})
        return merged

    def watch(self, folder: str, name: str, fact: str) -> None:
        facts = self.folders.setdefault(folder, {}).setdefault(name, [])
        if fact not in facts:
            facts.append(fact)


def _without(names: Mapping[str, list[str]], stale: frozenset[str]) -> dict[str, list[str]]:
    """The entries that still concern some fact."""
    return {
        key: kept for key, facts in names.items() if (kept := [f for f in facts if f not in stale])
    }


def plan(
    traces: Mapping[str, Iterable[str]], events: Mapping[str, Iterable[str]], root: str
) -> Plan:
    """`traces`: the paths each fact's probe asked for; `events`: what each fact declares."""
    made = Plan()
    for fact, paths in sorted(traces.items()):
        for path in sorted(paths):
            _add(made, root, path, fact)
    for fact, kinds in sorted(events.items()):
        for kind in kinds:
            made.events.setdefault(kind, []).append(fact)
    return made


def _add(made: Plan, root: str, path: str, fact: str) -> None:
    inside = OF_PROCESS.match(path)
    prefix = inside[0] if inside else ""
    path = path[len(prefix) :]
    if _VIRTUAL.match(path):
        if not (prefix or _NOT_POLLED.match(path)):
            made.polled.setdefault(path, []).append(fact)
        return
    listed = path.endswith("/")
    where = None
    for folder, name, important in _steps(root + prefix, path):
        where = f"{folder.rstrip('/')}/{name}"
        if important:
            made.watch(prefix + folder, name, fact)
        else:
            made.watch(prefix + where, SELF, fact)
    if listed and where and not _VIRTUAL.match(where) and _is_dir(root + prefix, where):
        made.watch(prefix + where, ANY, fact)


def _steps(root: str, path: str) -> Iterable[tuple[str, str, bool]]:
    """Each (directory, entry) that leads to the path. Important are the links on the way, the
    last entry, and the first that is missing: when one of them changes, so may what is read."""
    todo = [part for part in path.split("/") if part not in ("", ".")]
    at: list[str] = []
    links = 0
    while todo:
        part = todo.pop(0)
        if part == "..":
            at = at[:-1]
            continue
        folder = "/" + "/".join(at)
        if _VIRTUAL.match(folder):
            return
        target = _target(os.path.join(root, folder.lstrip("/"), part))
        yield folder, part, target != "" or not todo
        if target is None:
            return
        if not target:
            at.append(part)
            continue
        links += 1
        if links > MAX_LINKS:
            return
        at = [] if target.startswith("/") else at
        todo = [p for p in target.split("/") if p not in ("", ".")] + todo


def _target(path: str) -> str | None:
    """Where the link leads; "" when it is no link, None when it is not there."""
    try:
        return os.readlink(path) if stat.S_ISLNK(os.lstat(path).st_mode) else ""
    except OSError:
        return None


def _is_dir(root: str, path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(os.path.join(root, path.lstrip("/"))).st_mode)
    except OSError:
        return False
