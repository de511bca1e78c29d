"""Read a service unit with its drop-ins and environment files from a host's tree."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
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
    entries = [
        replace(entry, value=with_specifiers(entry.value, name))
        for path in files
        for entry in parse_unit(host.read(path), path)
    ]
    environment, read, unread = _environment(host, entries)
    starts = service_entries(entries, "ExecStart")
    words = command(starts[-1], environment) if starts else ()
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
    """The *.conf of every NAME.d, by file name; of two with the same name the stronger one."""
    found: dict[str, str] = {}
    for directory in UNIT_DIRECTORIES:
        for folder in (f"{directory}/{name}.d", f"{directory}/service.d"):
            try:
                names = host.names(folder)
            except MissingError:
                continue
            for one in names:
                if one.endswith(".conf"):
                    found.setdefault(one, f"{folder}/{one}")
    return [found[one] for one in sorted(found)]


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
