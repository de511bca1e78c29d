"""How k3s, RKE2 and k0s are started on this host, and where they keep what they make."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from nodeward.facts.errors import ParseError
from nodeward.facts.kubeyaml import parse_document
from nodeward.facts.processes import Process, Processes
from nodeward.facts.supervisors import (
    CONFIG,
    DATA,
    SIGNS,
    UNITS,
    VERBS,
    ConfigFile,
    Home,
    Homes,
    Start,
    config_path,
    home_of,
)
from nodeward.facts.units import UNIT_DIRECTORIES
from nodeward.host import Host, HostError, MissingError, NotRegularError
from nodeward.host.environment import EnvironmentPaths
from nodeward.lazy import pattern
from nodeward.model import Absent, Unreadable
from nodeward.probes.node import own
from nodeward.probes.registry import probe
from nodeward.probes.unit_files import Service, read_service

_UNIT = pattern(r"(k3s|rke2|k0s)(?:-.+|controller|worker)?\.service")


@probe
def read_homes(host: Host, processes: Processes | Absent | Unreadable) -> Homes:
    rows: list[Home] = []
    unseen: list[str] = []
    for program in DATA:
        process = _process(host, processes, program)
        try:
            rows += _home(host, program, process)
        except HostError as exc:
            unseen.append(f"{exc.path}: {exc.why}")
        except ParseError as exc:
            unseen.append(str(exc))
    return Homes(tuple(rows), tuple(unseen), table=isinstance(processes, Processes))


def _process(
    host: Host, processes: Processes | Absent | Unreadable, program: str
) -> Process | None:
    """Its server or agent; the same program is also kubectl and more. Not that of a cluster inside
    a container (k3d)."""
    rows = processes.running(program) if isinstance(processes, Processes) else ()
    for one in own(host, rows):
        if any(word in VERBS for word in " ".join(one.argv or ()).split()[1:2]):
            return one
    return None


def _home(host: Host, program: str, process: Process | None) -> Iterator[Home]:
    """None where nothing of this program is here."""
    units = (f"{folder}/{unit}" for folder in UNIT_DIRECTORIES for unit in UNITS[program])
    if process is None and not any(_there(host, path) for path in (*SIGNS[program], *units)):
        return
    service = next(services(host, program), None)
    if service is None and process is None:
        if _there(host, DATA[program]):
            yield Home(program, DATA[program])
        return
    start = start_of_process(host, program, process)
    if not start.data.startswith("/"):
        raise HostError(start.unit, f"the data directory of this {program} cannot be told")
    yield home_of(start, runs=process is not None, unit=service.name if service else "")


def start_of_process(host: Host, program: str, process: Process | None) -> Start:
    """How this one was started; None: how it would be."""
    return start_of(host, program, pid=process.pid if process else None, shown=_shown(process))


def _shown(process: Process | None) -> tuple[str, ...]:
    """Its arguments, where it has not written a title over them."""
    argv = process.argv if process else None
    return argv[1:] if argv and len(argv) > 2 else ()


def start_of(
    host: Host, program: str, unit: str = "", pid: int | None = None, shown: tuple[str, ...] = ()
) -> Start:
    """How a supervisor was, or would be, started: k3s and RKE2 write another title over their own
    arguments, so the unit tells (`shown` where they did not). HostError where its configuration
    may not be read."""
    service = next(services(host, program, unit), None)
    words = shown or (tuple(w.text for w in service.words[1:]) if service else ())
    variables = {n: w.text for n, w in service.environment.items()} if service else {}
    prefix = f"{program.upper()}_"
    if pid is not None:
        with suppress(HostError):
            own: dict[str, str] = host.ask(EnvironmentPaths(pid, prefix))
            variables |= own
    unseen = "" if words else f"no unit starts this {program}: what it was given is not known"
    if service and service.unread:
        unseen = "; ".join(service.unread)
    path = config_path(words, variables, program) if program in CONFIG else ""
    files = tuple(_files(host, path, program)) if path else ()
    names = (f"{prefix}DATA_DIR", f"{prefix}CONFIG_FILE")
    given = {name: variables[name] for name in names if variables.get(name)}
    name = service.name if service else unit or UNITS[program][0]
    return Start(name, words, files, given, unseen, program)


def services(host: Host, program: str, first: str = "") -> Iterator[Service]:
    """Units that start it: installers name them k3s, k3s-agent, k3s-NAME."""
    names: dict[str, None] = dict.fromkeys([first, *UNITS[program]])
    for folder in UNIT_DIRECTORIES:
        with suppress(HostError):
            found = (_UNIT.fullmatch(n) for n in host.names(folder))
            names |= dict.fromkeys(m[0] for m in found if m and m[1] == program)
    for name in filter(None, names):
        try:
            service = read_service(host, name)
        except (MissingError, NotRegularError):  # the second is a masked one
            continue
        texts = [w.text for w in service.words[:2]]
        if len(texts) > 1 and texts[0].endswith(f"/{program}") and texts[1] in VERBS:
            yield service


def _files(host: Host, config: str, program: str) -> Iterator[ConfigFile]:
    if not config.startswith("/"):
        raise HostError(config, f"this configuration of {program} cannot be read from here")
    folder = f"{config}.d"
    try:
        names = [f"{folder}/{n}" for n in host.names(folder) if n.endswith((".yaml", ".yml"))]
    except MissingError:
        names = []
    for path in (config, *names):
        try:
            document = parse_document(host.read(path), path)
        except MissingError:
            if path == CONFIG[program] or names:
                continue
            raise HostError(path, f"this configuration of {program} is not there") from None
        if isinstance(document.value, dict):
            yield ConfigFile(path, document.value)


def _there(host: Host, path: str) -> bool:
    try:
        host.stat(path)
    except MissingError:
        return False
    return True
