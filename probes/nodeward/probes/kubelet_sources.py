"""Files from which a kubelet's arguments are made: what they would give it now, and since when.

Its own unit gives words, which are compared with those that it has. k3s, RKE2, k0s and MicroK8s
make them of files of their own, at their start.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from nodeward.facts.errors import ParseError
from nodeward.facts.kubelet import Change, Launch, changed_after, config_file
from nodeward.facts.kubelet_embedded import K3S_COPY, as_given, k3s_kubelet_args, without_copied
from nodeward.facts.kubelet_flags import KINDS
from nodeward.facts.kubelet_merge import dig
from nodeward.facts.kubelet_strength import STRONGER
from nodeward.facts.pflags import Kind, parse_arguments
from nodeward.facts.supervisors import CONFIG, RKE2, UNITS, Start, config_path
from nodeward.host import Host, HostError
from nodeward.probes.supervisors import services, start_of
from nodeward.probes.unit_files import Service

MOST_LEVELS = 16
MOST_COPIED = 1000
SHOWN = frozenset(KINDS) - {"manifest-url-header", "manifest-url"}


def of_unit(launch: Launch, service: Service) -> tuple[Change, ...]:
    """Where the unit would give other arguments than the process was given."""
    if service.unread or not service.words:
        return ()
    return _changes(launch.argv[1:], [w.text for w in service.words[1:]], service.name)


def _changes(given: Iterable[str], would: Iterable[str], where: str) -> tuple[Change, ...]:
    """Words that are new, and those that are gone; of one flag with two values both in one."""
    given, would = list(given), list(would)
    gone = {_name(w): w for w in given if w not in would}
    found = [
        Change(where, _safe(gone.pop(_name(w), "")), _safe(w)) for w in would if w not in given
    ]
    found += [Change(where, _safe(w), "") for w in gone.values()]
    return tuple(found or _reordered(given, would, where))


def _reordered(given: list[str], would: list[str], where: str) -> Iterator[Change]:
    """The same words in another order: of one flag the last value counts, and a value may be that
    of another flag."""
    if given == would:
        return
    was, will = (parse_arguments(["", *words], KINDS) for words in (given, would))
    for name in dict.fromkeys(flag.name for flag in (*was.flags, *will.flags)):
        old, new = (tuple(f.value for f in one.every(name)) for one in (was, will))
        if KINDS.get(name) not in (Kind.LIST, Kind.MAP, Kind.GATES):
            old, new = old[-1:], new[-1:]
        if old != new:
            pair = (",".join(values) for values in (old, new))
            yield Change(where, *(_safe(f"--{name}={value}") for value in pair))


def _name(word: str) -> str:
    """That of a flag; of what is none the word itself."""
    name = word.partition("=")[0]
    return name.lstrip("-").replace("_", "-") if word.startswith("-") else word


def _safe(word: str) -> str:
    """An argument fit to be shown: headers may hold a credential."""
    if not word.startswith("-"):
        return "the value of a flag" if word else ""
    name, equals, _ = word.partition("=")
    if _name(word) in SHOWN:
        return word
    return f"{name}=..." if equals else name


def with_dates(
    host: Host,
    launch: Launch,
    paths: Iterable[str],
    service: Service | None = None,
    gone: Iterable[str] = (),
) -> Launch:
    """The same with the files that its arguments were made of, those of its unit too. An argument
    that stands in one that was changed since may have been another at the start."""
    ours = service.files if service else ()
    sources = [(path, at) for path in dict.fromkeys((*paths, *ours)) for at in _times(host, path)]
    sources += _gone(host, launch.started_at, gone)
    names = [path for path, at in sources if changed_after(at, launch.started_at)]
    if service and any(path in ours for path in names):
        names.append(service.name)
    late = frozenset(
        place
        for place, source in launch.words.items()
        if source.startswith(tuple(f"{name}:" for name in names))
    )
    return replace(launch, sources=(*launch.sources, *sources), late=late)


def _gone(
    host: Host, started_at: float | None, folders: Iterable[str]
) -> Iterator[tuple[str, float]]:
    """Directories in which a name came or went since the start, and none that is there is as new:
    a file of the configuration may have been removed."""
    for folder in folders:
        try:
            at = host.stat(folder).mtime
            if not changed_after(at, started_at):
                continue
            stats = [host.lstat(f"{folder}/{name}") for name in host.names(folder)]
        except HostError:
            continue
        times = [max(s.mtime, s.ctime) if host.live else s.mtime for s in stats]
        if all(one < at - SAME_MOMENT_S for one in times):
            yield f"{folder}/", at


SAME_MOMENT_S = 2.0


def _times(host: Host, path: str) -> Iterator[float]:
    try:
        yield host.stat(path).mtime
    except HostError:
        return


def of_supervisor(host: Host, launch: Launch) -> Launch:
    """RKE2 and k0s start a kubelet with arguments that show; their own files give the next ones."""
    program = next((p for p, units in UNITS.items() if launch.unit in units), None)
    if program is None:
        return launch
    service = next(services(host, program, launch.unit), None)
    if program not in CONFIG:
        return with_dates(host, launch, (), service)
    try:
        start = start_of(host, program, launch.unit)
    except (HostError, ParseError):
        return with_dates(host, launch, (), service)
    read, gone = [f.path for f in start.files], folders_of(start)
    launch = with_dates(host, launch, read, service, gone)
    return replace(launch, differs=_of_rke2(launch, start)) if program == RKE2 else launch


def folders_of(start: Start) -> list[str]:
    """Where a file of its configuration may be missing by now: beside it, and its own directory
    where that file is not there."""
    path = config_path(start.words, start.variables, start.program)
    there = any(file.path == path for file in start.files)
    return [f"{path}.d", *([] if there else [posixpath.dirname(path)])]


def _of_rke2(launch: Launch, start: Start) -> tuple[Change, ...]:
    """Arguments that its files would add now. Which of those that it has came from there is not
    told by any; from 1.32 on it copies --config and --config-dir to its own folder, as k3s does."""
    kept, _ = without_copied(k3s_kubelet_args(start))
    now = {_name(word): word for word in launch.argv[1:]}
    return tuple(
        Change(word.source.partition(":")[0], _safe(now.get(_name(word.text), "")), word.text)
        for word in as_given((), kept)
        if word.text not in launch.argv
    )


def of_copies(host: Host, folder: str, copied: Mapping[str, str]) -> tuple[Change, ...]:
    """What k3s would copy anew to its folder at its next start, where that is not what lies there.
    `copied`: option -> the file or directory that people named."""
    found: list[Change] = []
    for option, source in copied.items():
        place = f"{folder}/{K3S_COPY[option]}"
        if source.startswith(folder) or same_content(host, source, place):
            continue
        fields = list(_fields_between(host, place, source)) if option == "config" else []
        found += fields or [Change(source, f"what {place} holds", "what stands there now")]
    return tuple(found)


def _fields_between(host: Host, now: str, then: str) -> Iterator[Change]:
    """The fields that count for security, where two configuration files differ in them."""
    try:
        was, will = (config_file(path, host.read(path)).mapping for path in (now, then))
    except HostError:
        return
    for field in STRONGER:
        old, new = dig(was, field), dig(will, field)
        if old != new:
            yield Change(then, f"{field} {json.dumps(old)}", f"{field} {json.dumps(new)}")


def same_content(host: Host, one: str, other: str) -> bool:
    """Whether two files, or two directories, hold the same; False where that cannot be told."""
    try:
        return _content(host, one) == _content(host, other)
    except HostError:
        return False


def _content(host: Host, path: str, level: int = 0) -> object:
    """A file's bytes, or what is in a folder, by name."""
    if host.stat(path).mode & 0o170000 != 0o040000:
        return host.read(path)
    names = host.names(path)
    if level > MOST_LEVELS or len(names) > MOST_COPIED:
        raise HostError(path, "too much to compare")
    return {name: _content(host, f"{path}/{name}", level + 1) for name in names}
