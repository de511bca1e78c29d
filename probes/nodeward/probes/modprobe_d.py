"""Find the files of modprobe's configuration: kmod's folders, and BusyBox's files."""

from __future__ import annotations

import stat as statmod
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace

from nodeward.facts import busybox_conf
from nodeward.facts.busybox_conf import OLD_FILE
from nodeward.facts.kernel_modules import Helper
from nodeward.facts.modprobe_conf import ALL_DIRS, Entry, Habits, Kind, habits
from nodeward.host import Host, HostError, MissingError

CONF_LIMIT = 16 << 20
STRAY_LIMIT = 64 << 10  # a file that kmod does not read is looked into only to say so
MOST_INCLUDED = 2000  # files of BusyBox's configuration; nobody has so many


def folders(host: Host) -> Mapping[str, str]:
    """Each modprobe.d that is there -> the first name of the same folder: /lib is /usr/lib."""
    found: dict[str, str] = {}
    first: dict[str, str] = {}
    for folder in ALL_DIRS:
        with suppress(HostError):
            found[folder] = first.setdefault(host.real(folder), folder)
    return found


def habits_of(helper: Helper, folders: Mapping[str, str]) -> tuple[Habits, ...]:
    """How modprobe may collect its files."""
    wanted = (
        (Habits(("/etc/modprobe.d",)),)
        if helper.kind == "busybox"
        else habits(helper.version, helper.dirs)
    )
    found = [
        replace(h, dirs=tuple(dict.fromkeys(folders[d] for d in h.dirs if d in folders)))
        for h in wanted
    ]
    return tuple(dict.fromkeys(found))


def old_file(host: Host, helper: Helper) -> Iterable[Entry]:
    """What module-init-tools and BusyBox read, and kmod does not."""
    limit = CONF_LIMIT if helper.kind == "busybox" else STRAY_LIMIT
    try:
        return (Entry(OLD_FILE, Kind.FILE, host.read(OLD_FILE, limit=limit)),)
    except MissingError:
        return ()
    except HostError as exc:
        return (Entry(OLD_FILE, Kind.FILE, None, exc.why),) if helper.kind == "busybox" else ()


def with_included(host: Host, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """And what BusyBox's files include, and what that includes."""
    found = {e.path: e for e in entries}
    seen: set[str] = set()
    while True:
        read = busybox_conf.files(tuple(found.values()))
        new = {path for entry in read for path in busybox_conf.included(entry)} - seen
        if not new:
            return tuple(found.values())
        if len(found) > MOST_INCLUDED:
            return (*found.values(), Entry(OLD_FILE, Kind.FILE, None, "it includes too many files"))
        seen |= new
        for path in sorted(new):
            entry = found.setdefault(path, _entry(host, path, CONF_LIMIT))
            if entry.kind is Kind.DIRECTORY:
                for inner in entries_in(host, path):
                    found.setdefault(inner.path, inner)


def _inside(host: Host, path: str) -> Iterable[Entry]:
    with suppress(HostError):
        for name in host.names(path):
            yield _entry(host, f"{path}/{name}")


def entries_in(host: Host, folder: str) -> Iterable[Entry]:
    """What stands in a folder, and in folders inside it; what cannot be listed says so."""
    try:
        names = host.names(folder)
    except MissingError:
        return
    except HostError as exc:
        yield Entry(f"{folder}/?.conf", Kind.FILE, None, exc.why)
        return
    for name in names:
        entry = _entry(host, f"{folder}/{name}")
        yield entry
        if entry.kind is Kind.DIRECTORY:
            yield from _inside(host, entry.path)


def _entry(host: Host, path: str, limit: int = STRAY_LIMIT) -> Entry:
    limit = CONF_LIMIT if path.endswith((".conf", ".alias")) else limit
    try:
        mode = host.stat(path).mode
        if statmod.S_ISDIR(mode):
            return Entry(path, Kind.DIRECTORY)
        if not statmod.S_ISREG(mode):
            null = host.real(path) == "/dev/null"
            return Entry(path, Kind.OTHER, b"" if null else None, "" if null else "no regular file")
        return Entry(path, Kind.FILE, host.read(path, limit=limit))
    except MissingError:
        if _null(host, path):  # a tree at rest has no devices
            return Entry(path, Kind.OTHER, b"")
        return Entry(path, Kind.DANGLING)
    except HostError as exc:
        return Entry(path, Kind.FILE, None, exc.why)


def _null(host: Host, path: str) -> bool:
    try:
        return host.link(path) == "/dev/null"
    except HostError:
        return False
