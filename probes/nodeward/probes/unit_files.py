"""Read a service unit with its drop-ins and environment files from a host's tree."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatchcase

from nodeward.facts.units import (
    UNIT_DIRECTORIES,
    Entry,
    Word,
    command,
    parse_environment,
    parse_environment_file,
    parse_unit,
    service_entries,
    unresolved,
    with_specifiers,
    without,
)
from nodeward.host import Host, HostError, MissingError, NotRegularError
from nodeward.lazy import dataclass, pattern


@dataclass(frozen=True, slots=True)
class Service:
    """What systemd would start. `words` is empty where no ExecStart= is left.

    `files` are all that were read, in their order: the unit, its drop-ins, environment files.
    `unread` says which of them could not be looked at, and why.
    """

    name: str
    words: tuple[Word, ...]
    environment: dict[str, Word]
    files: tuple[str, ...]
    unread: tuple[str, ...] = ()
    directory: str = "/"


def read_service(host: Host, name: str) -> Service:
    """The service `name` ("kubelet.service"). MissingError when no directory has its unit, or it is
    masked."""
    unit = _first(host, [f"{d}/{name}" for d in UNIT_DIRECTORIES])
    files = [unit, *_dropins(host, name)]
    raw = [entry for path in files for entry in parse_unit(host.read(path), path)]
    more = _of_host(host, raw)
    entries = [replace(e, value=with_specifiers(e.value, name, more)) for e in raw]
    environment, read, unread = _environment(host, entries)
    starts = service_entries(entries, "ExecStart")
    words = command(starts[-1], environment) if starts else ()
    unread += tuple(_untold(entries, raw, environment, name, more))
    places = service_entries(entries, "WorkingDirectory")
    directory = places[-1].value.lstrip("-") if places else "/"
    return Service(
        name,
        words,
        environment,
        (*files, *read),
        unread,
        directory if directory[:1] == "/" else "/",
    )


def _untold(
    entries: list[Entry],
    raw: list[Entry],
    environment: dict[str, Word],
    name: str,
    more: Mapping[str, str],
) -> Iterator[str]:
    """Why what it would start is not known, though every file was read."""
    kind, starts = service_entries(entries, "Type"), service_entries(entries, "ExecStart")
    if len(starts) > 1 and not (kind and kind[-1].value == "oneshot"):
        yield f"{starts[-1].source}: a second ExecStart=, with which systemd starts none"
    for key in ("RootDirectory", "RootImage"):
        yield from (f"{e.source}: {key}= is set" for e in service_entries(entries, key))
    text = starts[-1].value if starts else ""
    for entry in service_entries(entries, "PassEnvironment"):
        for one in entry.value.split():
            if one not in environment and one in _NAMES.findall(text):
                yield f"{entry.source}: {one} is the service manager's own, which is not known"
    names = _NAMES.findall(text)
    named = [e for e in raw if e.key == "Environment" and any(n in e.value for n in names)]
    for entry in (*service_entries(raw, "ExecStart")[-1:], *named):
        if one := unresolved(entry.value, name, more):
            yield f"{entry.source}: what {one} stands for is not known here"


_NAMES = pattern(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)")


def _of_host(host: Host, raw: list[Entry]) -> dict[str, str]:
    """What specifiers that name this host stand for, as far as they are used and can be told."""
    found: dict[str, str] = {}
    used = {m for e in raw for m in re.findall("%(.)", e.value)}
    for letters, path in (("Hl", "/etc/hostname"), ("m", "/etc/machine-id")):
        if used & set(letters):
            with suppress(HostError):
                text = host.read(path, limit=1 << 12).decode("utf-8", "replace").strip()
                found |= {c: text.partition(".")[0] if c == "l" else text for c in letters if text}
    return found


def _first(host: Host, paths: list[str]) -> str:
    for path in paths:
        if _masked(host, path):
            raise MissingError(path, "masked: a link to /dev/null")
        try:
            host.stat(path)
        except MissingError:
            continue
        return path
    raise MissingError(paths[0], "no such unit in any directory")


def _masked(host: Host, path: str) -> bool:
    try:
        return host.link(path) == "/dev/null"
    except HostError:
        return False


def _dropins(host: Host, name: str) -> list[str]:
    """The *.conf of every NAME.d, by file name; of two with the same name the stronger one, and
    none where that is masked. What is meant for this unit is stronger than what is for more."""
    found: dict[str, str] = {}
    for kind in (name, *_shorter(name), "service"):
        for directory in UNIT_DIRECTORIES:
            folder = f"{directory}/{kind}.d"
            try:
                names = host.names(folder)
            except MissingError:
                continue
            for one in names:
                if one.endswith(".conf"):
                    found.setdefault(one, f"{folder}/{one}")
    return [found[one] for one in sorted(found) if not _masked(host, found[one])]


def _shorter(name: str) -> list[str]:
    """Names whose drop-ins count too: k3s-.service of k3s-agent.service."""
    stem, dot, kind = name.rpartition(".")
    parts = stem.split("-")
    ends = range(len(parts) - 1, 0, -1)
    return [f"{'-'.join(parts[:end])}-{dot}{kind}" for end in ends]


def _environment(
    host: Host, entries: list[Entry]
) -> tuple[dict[str, Word], list[str], tuple[str, ...]]:
    """Environment= first, then the files in their order, which win."""
    environment: dict[str, Word] = {}
    for entry in service_entries(entries, "Environment"):
        environment |= parse_environment(entry)
    read: list[str] = []
    unread: list[str] = []
    for entry in service_entries(entries, "EnvironmentFile"):
        path = entry.value.removeprefix("-").strip("\"'")
        try:
            for one in _matching(host, path):
                environment |= parse_environment_file(host.read(one), one)
                read.append(one)
        except MissingError:
            if not entry.value.startswith("-"):
                unread.append(f"{path}: not there")
        except NotRegularError as exc:
            unread.append(f"{path}: {exc.why}")
        except HostError as exc:
            unread.append(f"{path}: {exc.why}")
            read.append(path)
    for entry in service_entries(entries, "UnsetEnvironment"):
        environment = without(environment, entry)
    return environment, read, tuple(unread)


_SPECIFIER = pattern(r"%[A-Za-z]")
_WILD = pattern(r"[*?[]")


def _matching(host: Host, path: str) -> Iterable[str]:
    """The files that EnvironmentFile= names: it may be a pattern."""
    folder, name = posixpath.split(path)
    if _SPECIFIER.search(path) or _WILD.search(folder):
        raise NotRegularError(path, "what this stands for is not known here")
    if not _WILD.search(name):
        return [path]
    names = [n for n in host.names(folder) if fnmatchcase(n, name) and n[0] != "."]
    if not names:
        raise MissingError(path, "nothing there has such a name")
    return [f"{folder}/{n}" for n in sorted(names)]
