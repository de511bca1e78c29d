"""The configuration of BusyBox's modprobe: other files than kmod's, and `include`.

From BusyBox's modutils/modprobe.c (read_config, config_file_action): /etc/modprobe.conf, then what
ends in .conf in /etc/modprobe.d. `include` names a file, or a folder of such files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from nodeward.facts.modprobe_conf import Configuration, Entry, Kind, is_config, parse

OLD_FILE = "/etc/modprobe.conf"
FOLDER = "/etc/modprobe.d"


def included(entry: Entry) -> Iterator[str]:
    """The paths that a file includes; what is not absolute lies nowhere that we know."""
    data = entry.data or b""
    if b"include" not in data:
        return
    for line in data.decode("latin-1").split("\n"):
        words = line.partition("#")[0].split()
        if len(words) > 1 and words[0] == "include" and words[1].startswith("/"):
            yield words[1].rstrip("/")


def files(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """What it reads, in its order, each file once: one may include itself."""
    by_path = {entry.path: entry for entry in entries}
    found: dict[str, Entry] = {}
    todo = [FOLDER, OLD_FILE]
    while todo:
        path = todo.pop()
        if path in found:
            continue
        for entry in _at(path, by_path):
            if entry.path not in found:
                found[entry.path] = entry
                todo += reversed(list(included(entry)))
    return tuple(entry for entry in found.values() if entry.kind is not Kind.DIRECTORY)


def _at(path: str, by_path: Mapping[str, Entry]) -> Iterator[Entry]:
    """The file of this path, or the files in the folder of this path."""
    entry = by_path.get(path)
    if entry is not None and entry.kind is not Kind.DIRECTORY:
        yield entry
        return
    for one in sorted(by_path.values(), key=lambda e: e.path):
        if one.folder == path and is_config(one.name, alias_files=False):
            yield one


def circle(entries: Sequence[Entry]) -> Entry | None:
    """A file that is included by what it includes. BusyBox then reads until it runs out of files
    or memory, and what it does is nothing."""
    by_path = {entry.path: entry for entry in entries}
    done: set[str] = set()
    for start in files(entries):
        # Leaving a file is on the list behind what it includes, as (path, None).
        todo: list[tuple[str, Entry | None]] = [(start.path, start)]
        inside: set[str] = set()
        while todo:
            path, entry = todo.pop()
            if entry is None:
                inside.discard(path)
                done.add(path)
                continue
            if path in inside:
                return entry
            if path in done:
                continue
            inside.add(path)
            todo.append((path, None))
            todo += [(e.path, e) for to in included(entry) for e in _at(to, by_path)]
    return None


def configure(entries: Sequence[Entry]) -> Configuration:
    """All rules of all files. Nothing hides anything here."""
    read = files(entries)
    endless = circle(entries)
    parsed = [parse(entry.data or b"", entry.path) for entry in read]
    return Configuration(
        tuple(rule for rules, _ in parsed for rule in rules),
        tuple(o for _, odd in parsed for o in odd if o.text.split()[:1] != ["include"]),
        unread=(
            *(e for e in read if e.data is None and e.kind is not Kind.DANGLING),
            *((Entry(endless.path, error="it includes itself"),) if endless else ()),
        ),
        dirs=(FOLDER,),
        read=frozenset(e.path for e in read),
    )
