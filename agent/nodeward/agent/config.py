"""What an operator may set: /etc/nodeward/agent.yaml, agent.d/*.yaml, and NODEWARD_* over them.

Only what the resident process needs is typed here. Sections that belong to checks and probes stay
plain, and `nodeward.agent.settings` builds them where checks may be imported.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import SplitResult, urlsplit

import yaml

from nodeward.agent.plain import Builder, Fault

DEFAULT_FILE = "/etc/nodeward/agent.yaml"
ENVIRONMENT_FILE = "NODEWARD_CONFIG"
PREFIX = "NODEWARD_"
LARGEST = 1 << 20

LOOPBACK = ("127.0.0.1", "::1", "localhost")

Tree: TypeAlias = dict[str, Any]


class ConfigError(ValueError):
    """A configuration that cannot be used. `problems` name file, key and what would fit."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


DAY_S = 86400.0
TIB = 1 << 40


def _within(name: str, value: float, least: float, most: float) -> None:
    """Neither NaN nor infinity is within anything: a look that never comes is no setting."""
    if not least <= value <= most:
        raise ValueError(f"{name} must be between {least:.12g} and {most:.12g}")


def _is_name(text: str) -> bool:
    return len(text) <= 253 and text.isascii() and all(c.isalnum() or c in "-._" for c in text)


def _absolute(name: str, path: str | None) -> None:
    if path is not None and not path.startswith("/"):
        raise ValueError(f"{name} must be an absolute path")


def _address(url: str) -> SplitResult | None:
    """The parts of a URL that names a host and a possible port; None otherwise."""
    try:
        parts = urlsplit(url)
        return parts if parts.hostname and parts.port != 0 else None
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Collector:
    """Where reports go. Without `urls` the agent looks and keeps, and sends nothing.

    `ca` are PEM files of authorities, all trusted at once, so that one can be rotated; without
    them the system's store is used. Proxies come from `proxy` only, never from the environment.
    """

    urls: tuple[str, ...] = ()
    ca: tuple[str, ...] = ()
    proxy: str | None = None
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        for url in self.urls:
            if "@" in url or "?" in url:
                raise ValueError("a URL here holds no credentials and no query")
            parts = _address(url)
            local = parts is not None and parts.hostname in LOOPBACK
            if parts is None or parts.scheme not in ("https", "http" if local else "https"):
                raise ValueError(f"{url}: must be https://HOST[:PORT] (http only to loopback)")
        if self.proxy is not None:
            parts = _address(self.proxy)  # not shown: it may hold a password
            if parts is None or parts.scheme not in ("http", "https"):
                raise ValueError("proxy must be http://[USER:PASSWORD@]HOST[:PORT], or https")
        _within("timeout_s", self.timeout_s, 0.1, 600)


@dataclass(frozen=True, slots=True)
class Enrol:
    """What vouches for this node when its key is first shown to the collector."""

    join_token_file: str | None = None
    service_account_token_file: str | None = None


@dataclass(frozen=True, slots=True)
class Looks:
    """How often everything is looked at, and what one look may take.

    `jitter` is the part of the interval by which each look is spread; `first_within_s` spreads
    the first one, so that a fleet that starts together does not report together.
    """

    interval_s: float = 300.0
    jitter: float = 0.1
    first_within_s: float = 0.0
    limit_s: float = 60.0
    cpu_limit_s: int = 60
    memory_limit_bytes: int = 512 << 20

    def __post_init__(self) -> None:
        _within("interval_s", self.interval_s, 1, 7 * DAY_S)
        _within("jitter", self.jitter, 0, 0.5)
        _within("first_within_s", self.first_within_s, 0, DAY_S)
        _within("limit_s", self.limit_s, 1, 3600)
        _within("cpu_limit_s", self.cpu_limit_s, 1, 3600)
        _within("memory_limit_bytes", self.memory_limit_bytes, 64 << 20, TIB)


@dataclass(frozen=True, slots=True)
class Events:
    """What wakes the agent between full looks.

    `quiet_s`: a burst is over after this long without a change; `latest_s`: but no burst delays a
    look for longer. `floor_s`: how often is compared what no event source covers. `exec`: listen
    to process starts, which wakes the agent at every fork of the node. `processes`: programs whose
    start or end matters (as the kernel names them, cut at 15 bytes).
    """

    files: bool = True
    netlink: bool = True
    exec: bool = False
    quiet_s: float = 0.1
    latest_s: float = 0.5
    floor_s: float = 30.0
    processes: tuple[str, ...] = (
        "kubelet", "kube-apiserver", "kube-controller", "kube-scheduler", "kube-proxy", "etcd",
        "containerd", "crio", "dockerd", "cri-dockerd", "sshd", "auditd", "chronyd", "k3s", "rke2",
    )  # fmt: skip

    def __post_init__(self) -> None:
        _within("floor_s", self.floor_s, 1, DAY_S)
        _within("quiet_s", self.quiet_s, 0, 60)
        _within("latest_s", self.latest_s, self.quiet_s, 600)


@dataclass(frozen=True, slots=True)
class SpoolBounds:
    """How much is kept while the collector is away. The oldest goes first, and is counted."""

    max_bytes: int = 64 << 20
    max_age_s: float = 7 * 86400.0

    def __post_init__(self) -> None:
        _within("max_bytes", self.max_bytes, 64 << 10, TIB)
        _within("max_age_s", self.max_age_s, 60, 3650 * DAY_S)


@dataclass(frozen=True, slots=True)
class Budget:
    """What the agent may take of the node before it slows itself down: a share of one core,
    averaged over an hour."""

    cpu_share: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.cpu_share <= 1:
            raise ValueError("cpu_share must be above 0 and at most 1")


@dataclass(frozen=True, slots=True)
class Metrics:
    """`textfile`: a directory of node_exporter's textfile collector. `listen`: HOST:PORT, loopback
    only."""

    textfile: str | None = None
    listen: str | None = None

    def __post_init__(self) -> None:
        _absolute("textfile", self.textfile)
        if self.listen is not None:
            parse_listen(self.listen)


@dataclass(frozen=True, slots=True)
class Config:
    """The agent's own settings. `tree` is all that was set, plain, the sections of checks and
    probes too; `origin` tells from which file each key came."""

    node: str | None = None
    cluster: str = "default"
    host_root: str = "/"
    state_dir: str = "/var/lib/nodeward"
    run_dir: str = "/run/nodeward"
    collector: Collector = Collector()
    enrol: Enrol = Enrol()
    looks: Looks = Looks()
    events: Events = Events()
    spool: SpoolBounds = SpoolBounds()
    budget: Budget = Budget()
    metrics: Metrics = Metrics()
    tree: Mapping[str, Any] = field(default_factory=dict)
    origin: Mapping[tuple[str, ...], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("host_root", "state_dir", "run_dir"):
            _absolute(name, getattr(self, name))
        if self.node and not _is_name(self.node):
            raise ValueError("node must be a host's name: letters, digits, -, . and _")
        if not self.cluster:
            raise ValueError("cluster must have a name")

    def to_job(self) -> dict[str, Any]:
        """What a worker makes the same configuration of: see `from_job`."""
        return {"tree": self.tree, "origin": [[*path, file] for path, file in self.origin.items()]}


def from_job(raw: Mapping[str, Any]) -> Config:
    """Raises ConfigError, like `from_tree`."""
    return from_tree(raw["tree"], {tuple(path): file for *path, file in raw.get("origin", ())})


OWN = tuple(f.name for f in fields(Config) if f.name not in ("tree", "origin"))


def parse_listen(text: str) -> tuple[str, int]:
    """HOST:PORT of a loopback listener."""
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    if host not in LOOPBACK or not port.isdigit() or int(port) > 65535:
        raise ValueError("listen must be 127.0.0.1:PORT or [::1]:PORT")
    return host, int(port)


class StrictLoader(yaml.CSafeLoader):
    """The safe loader, but a key that stands twice is an error and not a silent override."""


def _mapping(loader: StrictLoader, node: yaml.MappingNode) -> Tree:
    seen: Tree = {}
    for key_node, value_node in node.value:
        key = str(loader.construct_object(key_node, deep=True))
        if key in seen:
            line = key_node.start_mark.line + 1
            raise yaml.constructor.ConstructorError(
                None, None, f"{key!r} is set twice (line {line})"
            )
        seen[key] = loader.construct_object(value_node, deep=True)
    return seen


StrictLoader.add_constructor("tag:yaml.org,2002:map", _mapping)


def config_file(environment: Mapping[str, str] = os.environ) -> str:
    """Where the configuration is, when nobody says."""
    return environment.get(ENVIRONMENT_FILE, DEFAULT_FILE)


def load(
    file: str | None = None,
    environment: Mapping[str, str] = os.environ,
    *,
    must_exist: bool = False,
) -> Config:
    """Read the file, then its drop-ins in order of name, then the environment.

    Raises ConfigError with every problem found. A file that is not there is an empty one, unless
    it was named by someone (`must_exist`, or NODEWARD_CONFIG).
    """
    must_exist = must_exist or (file is None and ENVIRONMENT_FILE in environment)
    path = Path(file or config_file(environment))
    tree: Tree = {}
    origin: dict[tuple[str, ...], str] = {}
    problems: list[str] = []
    for source in _sources(path, must_exist=must_exist):
        try:
            _merge(tree, _read(source), origin, str(source))
        except ConfigError as exc:
            problems += exc.problems
    if problems:
        raise ConfigError(problems)
    _from_environment(tree, environment, origin)
    return from_tree(tree, origin)


def _sources(path: Path, *, must_exist: bool) -> Iterator[Path]:
    if must_exist or path.exists():
        yield path
    folder = path.with_name(f"{path.stem}.d")
    if folder.is_dir():
        yield from sorted(folder.glob("*.yaml"))


def _read(path: Path) -> Tree:
    try:
        raw = read_regular(path, LARGEST + 1)
    except OSError as exc:
        raise ConfigError([f"{path}: {exc.strerror}"]) from None
    if len(raw) > LARGEST:
        raise ConfigError([f"{path}: larger than {LARGEST} bytes"])
    if any(isinstance(t, yaml.AliasToken) for t in _tokens(path, raw)):
        raise ConfigError([f"{path}: YAML aliases are not taken"])
    try:
        tree = yaml.load(raw, Loader=StrictLoader)  # noqa: S506  a safe loader
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise ConfigError([f"{path}: {yaml_problem(exc)}"]) from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError([f"{path}: must be a mapping of keys"])
    return tree


def read_regular(path: Path, most: int = -1) -> bytes:
    """A file, or a device like /dev/null. OSError of anything else: a FIFO would never end."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        kind = os.fstat(file.fileno()).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISCHR(kind)):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return file.read(most)


def _tokens(path: Path, raw: bytes) -> Iterator[object]:
    try:
        yield from yaml.scan(raw, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError) as exc:
        raise ConfigError([f"{path}: {yaml_problem(exc)}"]) from None


def yaml_problem(exc: BaseException) -> str:
    mark = getattr(exc, "problem_mark", None)
    why = getattr(exc, "problem", None) or type(exc).__name__
    return f"line {mark.line + 1}: {why}" if mark else str(why)


def _merge(
    into: Tree,
    new: Tree,
    origin: dict[tuple[str, ...], str],
    source: str,
    at: tuple[str, ...] = (),
) -> None:
    """Mappings merge key by key; anything else replaces."""
    for key, value in new.items():
        path = (*at, key)
        origin[path] = source
        if isinstance(value, dict):
            old = into.get(key)
            into[key] = old if isinstance(old, dict) else {}
            _merge(into[key], value, origin, source, path)
        else:
            into[key] = value


def _from_environment(
    tree: Tree, environment: Mapping[str, str], origin: dict[tuple[str, ...], str]
) -> None:
    """NODEWARD_COLLECTOR_URLS sets collector.urls; commas part the items of a list."""
    for path, listed in own_paths():
        name = variable(path)
        if name not in environment:
            continue
        value: object = environment[name]
        if listed:
            value = [item.strip() for item in environment[name].split(",") if item.strip()]
        at = tree
        for step in path[:-1]:
            below = at.get(step)
            at[step] = below if isinstance(below, dict) else {}
            at = at[step]
        at[path[-1]] = value
        origin[path] = name


def variable(path: tuple[str, ...]) -> str:
    """The environment variable that sets the key at this path."""
    return PREFIX + "_".join(path).upper().replace(".", "_").replace("-", "_")


def own_paths() -> Iterator[tuple[tuple[str, ...], bool]]:
    for own in fields(Config):
        inner = own.default
        if own.name not in OWN:
            continue
        if is_dataclass(inner):
            for one in fields(inner):
                yield (own.name, one.name), "tuple" in str(one.type)
        else:
            yield (own.name,), False


def from_tree(tree: Mapping[str, Any], origin: Mapping[tuple[str, ...], str]) -> Config:
    """The typed configuration of a merged tree. Raises ConfigError."""
    builder = Builder()
    own = {k: v for k, v in tree.items() if k in OWN}
    config = builder.build(Config, own)
    if builder.faults or config is None:
        raise ConfigError(explain(builder.faults, origin))
    return replace(config, tree=tree, origin=origin)


def explain(faults: list[Fault], origin: Mapping[tuple[str, ...], str]) -> list[str]:
    """Each fault with the file that holds its key."""
    return [f"{_origin(fault.key, origin)}{'.'.join(fault.key)}: {fault.why}" for fault in faults]


def _origin(key: tuple[str, ...], origin: Mapping[tuple[str, ...], str]) -> str:
    for length in range(len(key), 0, -1):
        if key[:length] in origin:
            return f"{origin[key[:length]]}: "
    return ""
