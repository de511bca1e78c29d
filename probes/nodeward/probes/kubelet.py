"""Find the kubelet, how it was started, and the files it reads."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import replace

from nodeward.facts.errors import ParseError
from nodeward.facts.kubelet import (
    ConfigFile,
    Kubelet,
    Launch,
    assemble,
    config_file,
    minor_of,
    refused,
    refused_folder,
)
from nodeward.facts.kubelet_flags import KINDS
from nodeward.facts.listeners import Listeners
from nodeward.facts.pflags import parse_arguments
from nodeward.facts.processes import Process, Processes
from nodeward.facts.units import UNIT_DIRECTORIES, Word
from nodeward.host import Host, HostError, MissingError, OfflineError
from nodeward.lazy import pattern
from nodeward.model import Absent, Unreadable
from nodeward.probes.kubelet_embedded import EMBEDDED, NoneInsideError, embedded_services, there
from nodeward.probes.kubelet_process import find, link, network_of
from nodeward.probes.kubelet_sources import of_supervisor, of_unit
from nodeward.probes.kubelet_version import version_of
from nodeward.probes.registry import probe
from nodeward.probes.unit_files import Service, read_service

ALPHA_GATE = b"KUBELET_CONFIG_DROPIN_DIR_ALPHA="
ENVIRON_LIMIT = 4 << 20
MOST_DROPINS = 1000
MOST_LEVELS = 16
MOST_STEPS = 1000  # names and links on the way to one file; the kernel follows 40 links

BINARIES = (
    "/usr/bin/kubelet",
    "/usr/local/bin/kubelet",
    "/opt/bin/kubelet",
    "/home/kubernetes/bin/kubelet",
    "/var/lib/k0s/bin/kubelet",
)

SUPERVISORS = (
    "rke2-server.service",
    "rke2-agent.service",
    "k0sworker.service",
    "k3s.service",
    "k3s-agent.service",
)
"""Units of programs that start a kubelet with arguments that they make (k3s: by a wrapper)."""


@probe
def read_kubelet(
    host: Host, processes: Processes | Absent, listeners: Listeners | Absent | Unreadable
) -> Kubelet:
    if isinstance(processes, Absent):
        return read(host, at_rest(host))
    found: list[Kubelet] = []
    failed: list[tuple[Process, HostError]] = []
    for process in find(host, processes, listeners):
        try:
            found.append(read(host, of_process(host, process)))
        except HostError as exc:
            failed.append((process, exc))
    empty = [row for row in failed if isinstance(row[1], NoneInsideError)]
    failed = [row for row in failed if row not in empty]
    if not found:
        raise (*failed, *empty)[0][1]
    unread = tuple((f"{p.program} (pid {p.pid})", f"{e.path}: {e.why}") for p, e in failed)
    return replace(found[0], others=tuple(found[1:]), unread=unread)


def _root_of(host: Host, pid: int) -> str:
    """The prefix under which the files of this process are seen: "" when they are the host's."""
    prefix = f"/proc/{pid}/root"
    theirs, ours = link(host, f"/proc/{pid}/ns/mnt"), link(host, "/proc/1/ns/mnt")
    if host.live and theirs is not None and ours is not None and theirs != ours:
        return prefix
    try:
        place, root = host.stat(f"{prefix}/"), host.stat("/")
    except HostError:
        return ""  # no such link in a tree at rest, or it may not be followed
    return "" if (place.device, place.inode) == (root.device, root.inode) else prefix


def seen_from(root: str | None, path: str) -> str:
    """A path that the kernel told from our root, as a process with this root sees it. One in a
    mount namespace of its own has its paths told from there already: its root reads "/"."""
    if root in (None, "/") or not posixpath.join(path, "").startswith(posixpath.join(root, "")):
        return path
    return posixpath.join("/", path[len(root) :].lstrip("/"))


def of_process(host: Host, process: Process) -> Launch:
    """How a running kubelet was started. HostError when its arguments may not be read."""
    if process.argv is None:
        raise HostError(f"/proc/{process.pid}/cmdline", "not readable")
    if process.program not in EMBEDDED and not _are_its_own(process.argv, process.program):
        raise HostError(f"/proc/{process.pid}/cmdline", "overwritten: it holds no arguments")
    root = _root_of(host, process.pid)
    theirs = link(host, f"/proc/{process.pid}/root") if root else None
    exe = seen_from(theirs, process.exe) if process.exe else None
    launch = Launch(
        argv=process.argv,
        origin=f"pid {process.pid}",
        pid=process.pid,
        exe=exe,
        started_at=process.started_at,
        version=version_of(host, exe, root, process.started_at),
        gate=_gate(host, process.pid),
        cwd=seen_from(theirs, link(host, f"/proc/{process.pid}/cwd") or "/"),
        root=root,
        unit=_unit_of(host, process.pid) or "kubelet",
        network=network_of(host, process.pid),
        uid=process.uid or 0,
    )
    if process.program in EMBEDDED:
        return EMBEDDED[process.program](host, launch)
    return of_supervisor(host, _with_sources(host, launch))


_UNIT = pattern(rb"/([^/\n]+\.service)(?:/|\n|\Z)")


def _unit_of(host: Host, pid: int) -> str | None:
    """The service that the process runs in, by its cgroup; RKE2 and k0s start theirs."""
    try:
        found = _UNIT.findall(host.read(f"/proc/{pid}/cgroup", limit=1 << 16))
    except HostError:
        return None
    return found[-1].decode("utf-8", "surrogateescape") if found else None


def _are_its_own(argv: tuple[str, ...], program: str) -> bool:
    """Not where they were overwritten: with nothing, or with a title ("kubelet: working"), which
    may leave a part of what stood there. One empty word is what the kernel makes of no arguments
    at all."""
    first = argv[0] if argv else ""
    if first.endswith(":") or any(c.isspace() for c in first):
        return False
    if len(argv) > 1:
        return any(argv[1:])
    return argv == ("",) or (bool(argv) and posixpath.basename(argv[0]) in (program, "kubelet"))


def _with_sources(host: Host, launch: Launch) -> Launch:
    """Note for each argument the file that holds it, where the unit gives the same word. Not for
    one in a network of its own: a node inside a container was started by the units in there."""
    if launch.network:
        return launch
    try:
        service = read_service(host, f"{launch.unit.removesuffix('.service')}.service")
    except (HostError, ParseError):
        return launch
    ours = (launch.program, posixpath.basename(launch.argv[0]))
    if not service.words or posixpath.basename(service.words[0].text) not in ours:
        return launch  # a supervisor's unit: RKE2, k0s
    known = {w.text: w.source for w in service.words}
    words = {i: known[w] for i, w in enumerate(launch.argv) if i and w in known}
    return replace(launch, words=words, differs=of_unit(launch, service))


def _gate(host: Host, pid: int) -> bool | None:
    try:
        environ = host.read(f"/proc/{pid}/environ", limit=ENVIRON_LIMIT)
    except HostError:
        return None
    return any(entry.startswith(ALPHA_GATE) for entry in environ.split(b"\0"))


def at_rest(host: Host) -> Launch:
    """How the unit of a tree at rest would start it."""
    for program, service in embedded_services(host):
        exe = service.words[0].text if service.words else None
        version = version_of(host, exe, "", None)
        launch = Launch((program,), service.name, exe=exe, version=version, unit=service.name)
        return EMBEDDED[program](host, launch)
    try:
        service = read_service(host, "kubelet.service")
    except MissingError:
        raise _without_unit(host) from None
    return from_service(host, service)


def _without_unit(host: Host) -> HostError:
    """Why nothing is known of a kubelet that no unit of its own starts."""
    supervisor = next((s for s in SUPERVISORS if _has_unit(host, s)), None)
    if supervisor is not None:
        return OfflineError(supervisor, "starts the kubelet: its arguments are not known")
    binary = next((b for b in BINARIES if there(host, b)), None)
    if binary is not None:
        return OfflineError(binary, "no unit starts it: its arguments are not known")
    return MissingError("kubelet", "neither unit nor binary")


def _has_unit(host: Host, name: str) -> bool:
    return any(there(host, f"{folder}/{name}") for folder in UNIT_DIRECTORIES)


def from_service(host: Host, service: Service) -> Launch:
    if not service.words:
        raise OfflineError(service.files[0], "starts nothing")
    if service.unread:
        raise HostError(service.name, "; ".join(service.unread))
    exe = service.words[0].text
    if not _is_kubelet(service.words):
        raise OfflineError(
            service.name,
            f"starts {posixpath.basename(exe)}: what that gives the kubelet is not known",
        )
    return Launch(
        argv=tuple(w.text for w in service.words),
        origin=service.name,
        exe=exe,
        version=version_of(host, exe, "", None),
        gate=any(name == ALPHA_GATE[:-1].decode() for name in service.environment),
        cwd=service.directory,
        words={i: w.source for i, w in enumerate(service.words) if i},
    )


def _is_kubelet(words: tuple[Word, ...]) -> bool:
    """Not a shell, nor another program that may start one with arguments of its own."""
    program = posixpath.basename(words[0].text)
    return program == "kubelet" or (
        program == "hyperkube" and len(words) > 1 and words[1].text == "kubelet"
    )


def read(host: Host, launch: Launch) -> Kubelet:
    """The kubelet that was started like this, with the files its arguments name."""
    arguments = parse_arguments(launch.argv, KINDS)
    files: list[ConfigFile] = []
    skipped: list[str] = []
    folders: list[tuple[str, float]] = []
    dark = launch.dark
    config = arguments.given("config")
    if config is not None:
        place = clean(posixpath.join(launch.cwd, config.value))  # filepath.Abs
        files.append(_read_file(host, launch, place))
    folder = arguments.given("config-dir")
    if folder is not None:
        place = posixpath.join(launch.cwd, folder.value)
        try:
            place = _of_itself(host, launch, place)
            for path in _all_files(host, launch, place):
                if path.endswith("/"):
                    folders.append((path, host.stat(launch.root + path).mtime))
                elif path.endswith(".conf"):
                    files.append(_read_file(host, launch, path, dropin=True))
                else:
                    skipped.append(path)
        except HostError as exc:
            dark = dark or f"could not read {place}: {exc.why}"
    files += refused_folder(launch)
    return assemble(launch, files, dark, tuple(skipped), tuple(folders))


def _read_file(host: Host, launch: Launch, path: str, *, dropin: bool = False) -> ConfigFile:
    try:
        path, linked_at = _place(host, launch, path)
        raw = host.read(launch.root + path)
        stat = host.stat(launch.root + path)
    except HostError as exc:
        return ConfigFile(path, error=exc.why, dropin=dropin)
    found = config_file(path, raw, dropin=dropin, changed_at=max(stat.mtime, linked_at))
    found = replace(found, refused=refused(found, minor_of(launch.version), launch.gate))
    return replace(found, placed_at=stat.ctime) if host.live and stat.ctime else found


def clean(path: str) -> str:
    """Go's filepath.Clean: by the text alone, whatever is a link."""
    return posixpath.normpath(f"/{path.lstrip('/')}")


_OWN = pattern(r"(?:/proc/(?:thread-)?self/(cwd|root|fd/\d+)|/dev/(stdin|fd/\d+))(/.*)?")


def _of_itself(host: Host, launch: Launch, path: str) -> str:
    """The path, with what is another place for each process told as this one's."""
    found = _OWN.fullmatch(clean(path))
    if found is None:
        if clean(path).startswith(("/proc/self", "/proc/thread-self")):
            raise HostError(path, "of the kubelet's own process")
        return path
    if launch.pid is None:
        raise HostError(path, "another file for each process that reads it")
    name = found[1] or found[2].replace("stdin", "fd/0")
    if name == "root":
        place = "/"
    elif name == "cwd":
        place = launch.cwd
    else:
        place = host.link(f"/proc/{launch.pid}/{name}")
        if not place.startswith("/") or place.endswith(" (deleted)"):
            raise HostError(path, "what it was given to read cannot be read twice")
        place = seen_from(link(host, f"/proc/{launch.pid}/root"), place)
    return posixpath.join(place, (found[3] or "").lstrip("/")) if found[3] else place


def _place(host: Host, launch: Launch, path: str, level: int = 0) -> tuple[str, float]:
    """The path of the file that is meant, and when the newest link on the way to it was made: one
    that leads elsewhere by now is a change of what is read, however old the file is."""
    if level > MOST_LEVELS:
        raise HostError(path, "too many links to itself")
    path = _of_itself(host, launch, path)
    newest, root = 0.0, launch.root
    if _is_straight(host, root + path):
        return path, newest
    done, todo, steps = "/", path.split("/"), 0
    while todo and (steps := steps + 1) < MOST_STEPS:
        place = posixpath.normpath(posixpath.join(done, todo.pop(0)))
        if not _is_link(host, root + place):
            done = place
            continue
        newest = max(newest, host.lstat(root + place).mtime)
        target = host.link(root + place)
        done = "/" if target.startswith("/") else done
        todo = [*target.split("/"), *todo]
        whole = posixpath.join(done, *todo)
        if (own := _of_itself(host, launch, whole)) != whole:
            inside, at = _place(host, launch, own, level + 1)
            return inside, max(newest, at)
    return path, newest


def _is_straight(host: Host, path: str) -> bool:
    """Whether no link is on the way. Where a link leads to nothing that may be ours alone."""
    try:
        return host.real(path) == path
    except HostError:
        return False


def _all_files(host: Host, launch: Launch, folder: str) -> Iterator[str]:
    """Every file below the folder, in the order of filepath.WalkDir: by name, depth first. A
    directory, the folder itself too, comes before what is in it, with a slash at its end.

    WalkDir does not follow a link, not even the folder itself, unless its path ends in "/": the
    link, or a file that stands where a folder was meant, is then all that there is, and is read if
    its name ends so.
    """
    if not folder.endswith("/") and not _is_directory(host, launch.root + folder):
        yield folder
        return
    for count, path in enumerate(_walk(host, launch.root, folder, 0)):
        if count >= MOST_DROPINS:
            raise HostError(folder, f"more than {MOST_DROPINS} files")
        yield path


def _walk(host: Host, root: str, folder: str, level: int) -> Iterator[str]:
    if level > MOST_LEVELS:
        raise HostError(folder, f"more than {MOST_LEVELS} levels deep")
    yield posixpath.join(folder, "")
    for name in host.names(root + folder):
        path = clean(posixpath.join(folder, name))
        if _is_directory(host, root + path):
            yield from _walk(host, root, path, level + 1)
        else:
            yield path


def _is_link(host: Host, path: str) -> bool:
    return not path.endswith("/") and host.lstat(path).mode & 0o170000 == 0o120000


def _is_directory(host: Host, path: str) -> bool:
    """WalkDir does not follow links: a link to a directory is no directory here."""
    return host.lstat(path).mode & 0o170000 == 0o040000
