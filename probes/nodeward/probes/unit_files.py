"""Read a service unit with its drop-ins and environment files from a host's tree."""

from __future__ import annotations

from nodeward.facts.units import (
    UNIT_DIRECTORIES,
    Entry,
    Word,
    command,
    parse_environment,
    parse_environment_file,
    parse_unit,
    service_entries,
)
from nodeward.host import Host, HostError, MissingError, NotRegularError
from nodeward.lazy import dataclass


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
    """The service `name` ("kubelet.service"). MissingError when no directory has its unit."""
    unit = _first(host, [f"{d}/{name}" for d in UNIT_DIRECTORIES])
    files, entries = [unit], list(parse_unit(host.read(unit), unit))
    for path in _dropins(host, name):
        files.append(path)
        entries += parse_unit(host.read(path), path)
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
        try:
            host.stat(path)
        except MissingError:
            continue
        return path
    raise MissingError(paths[0], "no such unit in any directory")


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
    read, unread = [], []
    for entry in service_entries(entries, "EnvironmentFile"):
        path = entry.value.removeprefix("-").strip("\"'")
        try:
            environment |= parse_environment_file(host.read(path), path)
            read.append(path)
        except MissingError:
            if not entry.value.startswith("-"):
                unread.append(f"{path}: not there")
        except NotRegularError as exc:
            unread.append(f"{path}: {exc.why}")
        except HostError as exc:
            unread.append(f"{path}: {exc.why}")
            read.append(path)
    return environment, read, tuple(unread)
