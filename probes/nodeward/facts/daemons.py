"""The daemons of a cluster on this node, and the arguments that each is or would be given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from typing import Any, ClassVar

from nodeward.facts.manifests import Container, Manifests
from nodeward.facts.pflags import Arguments, Flag, Kind, parse_arguments
from nodeward.facts.processes import Process
from nodeward.lazy import dataclass
from nodeward.model import Fact

APISERVER, ETCD, KUBELET, PROXY = "kube-apiserver", "etcd", "kubelet", "kube-proxy"
MANAGER, SCHEDULER = "kube-controller-manager", "kube-scheduler"
CLOUD, KONNECTIVITY = "cloud-controller-manager", "konnectivity-server"
PROGRAMS = (APISERVER, MANAGER, SCHEDULER, ETCD, KUBELET, PROXY, CLOUD, KONNECTIVITY)

SUPERVISORS = ("k3s", "rke2", "k0s", "kubelite")

_KINDS = dict.fromkeys(
    (
        "client-cert-auth",
        "peer-client-cert-auth",
        "auto-tls",
        "peer-auto-tls",
        "enable-bootstrap-token-auth",
        "allow-privileged",
        "profiling",
        "leader-elect",
        "use-service-account-credentials",
        "anonymous-auth",
        "rotate-certificates",
    ),
    Kind.BOOL,
)


@dataclass(frozen=True, slots=True)
class Daemon:
    """One daemon. `origin` is its process ("pid 812") or the file that would start it.

    `settings` are those of etcd's environment or configuration file, as flags, with the source of
    each; with a configuration file etcd ignores every other flag (`exclusive`). `container` is
    the container of a static pod that it runs in: its paths are those of that container. `uid` is
    the user that it runs as.
    """

    program: str
    arguments: Arguments
    origin: str
    pid: int | None = None
    started_at: float | None = None
    settings: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    exclusive: bool = False
    container: Container | None = None
    root: str = ""
    uid: int | None = None

    def flag(self, name: str) -> str | None:
        """The value that counts, None where it is not set."""
        found = None if self.exclusive else self.arguments.last(name)
        if found is not None:
            return found.value
        return self.settings[name][0] if name in self.settings else None

    def every(self, name: str) -> tuple[str, ...]:
        return tuple(f.value for f in self.arguments.every(name))

    def on(self, name: str, *, default: bool = False) -> bool:
        """A boolean, as Go's strconv.ParseBool reads it."""
        value = self.flag(name)
        return default if value is None else value in ("1", "t", "T", "true", "TRUE", "True")

    def where(self, name: str) -> str:
        """Where a flag is set, for evidence."""
        if name in self.settings and (self.exclusive or self.arguments.last(name) is None):
            return self.settings[name][1]
        return f"{self.program} --{name} ({self.origin})"

    def outside(self, path: str) -> str:
        """Where a path of this daemon lies on the host."""
        if self.container is not None:
            return self.container.outside(path) or (self.root + path)
        return self.root + path


@dataclass(frozen=True, slots=True)
class Daemons(Fact):
    """All of them. `complete`: False where processes may be hidden from us. `table`: whether
    there is a process table at all; without one, the manifests tell what would run.
    `supervisors` are running programs that hold or start the daemons (k3s, k0s, kubelite)."""

    events: ClassVar[tuple[str, ...]] = ("process",)

    rows: tuple[Daemon, ...]
    complete: bool = True
    table: bool = True
    supervisors: tuple[str, ...] = ()

    def running(self, *programs: str) -> Iterator[Daemon]:
        return (d for d in self.rows if d.program in programs)

    def one(self, program: str) -> Daemon | None:
        return next(self.running(program), None)


def arguments_of(program: str, argv: tuple[str, ...]) -> Arguments:
    """etcd uses Go's own flag package, for which one dash is as good as two."""
    words = list(argv)
    if program == ETCD:
        words = [f"-{w}" if w.startswith("-") and not w.startswith("--") else w for w in words]
    return parse_arguments(words, _KINDS)


def of_processes(processes: tuple[Process, ...], manifests: Manifests | None) -> Iterator[Daemon]:
    """The daemons that run."""
    for process in processes:
        if process.program in PROGRAMS and process.argv:
            yield Daemon(
                process.program,
                arguments_of(process.program, process.argv),
                f"pid {process.pid}",
                process.pid,
                process.started_at,
                container=_container(process, manifests),
                uid=process.uid,
            )


def _container(process: Process, manifests: Manifests | None) -> Container | None:
    """The static pod's container that starts this program with these arguments, or at least with
    its name: a manifest that was edited since still tells the mounts."""
    if manifests is None:
        return None
    found = [c for _, c in manifests.containers(process.program)]
    same = [c for c in found if c.argv[1:] == (process.argv or ())[1:]]
    return next(iter([*same, *found]), None)


def of_manifests(manifests: Manifests) -> Iterator[Daemon]:
    """The daemons that static pods would start."""
    for pod, container in manifests.containers(*PROGRAMS):
        program = container.program
        yield Daemon(program, arguments_of(program, container.argv), pod.path, container=container)


_ETCD_SECTIONS = {"client-transport-security": "", "peer-transport-security": "peer-"}
_ETCD_PATHS = ("cert-file", "key-file", "client-cert-file", "client-key-file", "trusted-ca-file")
_ETCD_BOOLEANS = ("client-cert-auth", "auto-tls")


def with_etcd_config(daemon: Daemon, path: str, value: object) -> Daemon:
    """etcd --config-file: the file alone counts. `value` is its YAML."""
    found: dict[str, tuple[str, str]] = {}
    body: Mapping[str, Any] = value if isinstance(value, dict) else {}
    for section, prefix in _ETCD_SECTIONS.items():
        inner = body.get(section)
        for name, one in inner.items() if isinstance(inner, dict) else ():
            if name in _ETCD_PATHS and isinstance(one, str):
                found[prefix + name] = (one, f"{path} {section}.{name}")
            elif name in _ETCD_BOOLEANS and isinstance(one, bool):
                found[prefix + name] = (str(one).lower(), f"{path} {section}.{name}")
    for name, one in body.items():
        if isinstance(one, str):
            found.setdefault(name, (one, f"{path} {name}"))
    return replace(daemon, settings=found, exclusive=True)


def with_etcd_environment(daemon: Daemon, names: Mapping[str, str]) -> Daemon:
    """ETCD_CERT_FILE and its like stand for the flag that is not given."""
    found = {
        name.removeprefix("ETCD_").lower().replace("_", "-"): (value, f"{name} ({daemon.origin})")
        for name, value in names.items()
    }
    return replace(daemon, settings=found)


def sample(program: str, arguments: str, origin: str = "pid 812") -> Daemon:
    """A daemon for a check's truth table."""
    return Daemon(program, arguments_of(program, (program, *arguments.split())), origin, 812, 1.0)


__all__ = [
    "APISERVER",
    "CLOUD",
    "ETCD",
    "KONNECTIVITY",
    "KUBELET",
    "MANAGER",
    "PROGRAMS",
    "PROXY",
    "SCHEDULER",
    "Daemon",
    "Daemons",
    "Flag",
    "arguments_of",
    "of_manifests",
    "of_processes",
    "sample",
    "with_etcd_config",
    "with_etcd_environment",
]
