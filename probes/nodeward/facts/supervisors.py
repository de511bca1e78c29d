"""Programs that start a whole node (k3s, RKE2, k0s): how one was started, and where it keeps what
it makes. Whoever looks for its files asks here.

Sources: k3s pkg/configfilearg and pkg/datadir, which RKE2 uses too; k0s pkg/config/cfgvars.go.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any, ClassVar

from nodeward.lazy import dataclass
from nodeward.model import Fact

K3S, RKE2, K0S = "k3s", "rke2", "k0s"
DATA: Mapping[str, str] = {
    K3S: "/var/lib/rancher/k3s",
    RKE2: "/var/lib/rancher/rke2",
    K0S: "/var/lib/k0s",
}
CONFIG: Mapping[str, str] = {
    K3S: "/etc/rancher/k3s/config.yaml",
    RKE2: "/etc/rancher/rke2/config.yaml",
}
"""k0s' own configuration says nothing of where its data lie."""
UNITS: Mapping[str, tuple[str, ...]] = {
    K3S: ("k3s.service", "k3s-agent.service"),
    RKE2: ("rke2-server.service", "rke2-agent.service"),
    K0S: ("k0scontroller.service", "k0sworker.service"),
}
SIGNS: Mapping[str, tuple[str, ...]] = {
    K3S: (DATA[K3S], "/etc/rancher/k3s"),
    RKE2: (DATA[RKE2], "/etc/rancher/rke2"),
    K0S: (DATA[K0S], "/etc/k0s"),
}
"""What is there once one was installed, whatever its unit is called."""
VERBS = ("server", "agent", "controller", "worker")


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """One file of a supervisor's configuration, already read."""

    path: str
    value: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Start:
    """How a supervisor was started: its unit, its arguments (without the program), its files.
    `variables` are those of its environment that are paths. `unseen` says why its arguments are
    not known, "" where they are."""

    unit: str
    words: tuple[str, ...]
    files: tuple[ConfigFile, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    unseen: str = ""
    program: str = K3S

    @property
    def data(self) -> str:
        """The data directory: of the command line, else of the files, else of the environment."""
        names = ("--data-dir",) if self.program == K0S else ("--data-dir", "-d")  # k0s: debug
        given = option(self.words, *names) or self.configured("data-dir", "d")
        named = self.variables.get(f"{self.program.upper()}_DATA_DIR")
        return (str(given) if given else named or DATA[self.program]).rstrip("/")

    def configured(self, *keys: str) -> object:
        """What the files say of any of these keys, the last one that does."""
        found = [f.value[k] for f in self.files for k in keys if f.value.get(k) is not None]
        return found[-1] if found else None


def config_path(words: Iterable[str], variables: Mapping[str, str], program: str = K3S) -> str:
    """The configuration file of k3s or RKE2: the environment's comes before the command line's
    (pkg/configfilearg/parser.go)."""
    variable = f"{program.upper()}_CONFIG_FILE"
    named = variables.get(variable) or option(tuple(words), "--config", "-c", first=True)
    return named or CONFIG[program]


def option(
    words: tuple[str, ...], *names: str, bare: str | None = None, first: bool = False
) -> str | None:
    """The value of an option, the last one given or the first; `bare` is that of a switch without
    one. None where it is not given."""
    found: list[str] = []
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name not in names:
            continue
        following = words[place + 1] if place + 1 < len(words) else ""
        found.append(value if equals else following if bare is None else bare)
    return found[0 if first else -1] if found else None


@dataclass(frozen=True, slots=True)
class Home:
    """Where one supervisor keeps what it makes. `runs`: whether it does now; `unit` would start it
    ("" where no unit does). `kubelet` is the root directory of a kubelet that it keeps there."""

    program: str
    data: str
    runs: bool = False
    unit: str = ""
    kubelet: str = ""

    @property
    def moved(self) -> bool:
        return self.data != DATA[self.program]

    @property
    def alive(self) -> bool:
        return self.runs or bool(self.unit)


@dataclass(frozen=True, slots=True)
class Homes(Fact):
    """One for each supervisor that this node has, or whose usual directory is there. `unseen` says
    which could not be told, and why. `table`: whether there is a process table at all."""

    events: ClassVar[tuple[str, ...]] = ("process",)

    rows: tuple[Home, ...]
    unseen: tuple[str, ...] = ()
    table: bool = True

    def left(self, program: str, folder: str) -> bool:
        """Whether nothing uses this directory of a program any more. A tree at rest does not tell
        what runs: there only one that was moved away from is."""
        rows = [h for h in self.rows if h.program == program]
        return any(h.data != folder or (self.table and not h.alive) for h in rows)

    def folders(self, program: str) -> tuple[str, ...]:
        """Its data directory; the usual one too, where it was moved and the old one may be left."""
        return tuple(dict.fromkeys((*(h.data for h in self.rows if h.program == program),
                                    DATA[program])))  # fmt: skip

    @property
    def moved(self) -> tuple[str, ...]:
        """Data directories that are not the usual one."""
        return tuple(h.data for h in self.rows if h.moved)

    def planned(self) -> tuple[str, ...]:
        """What does not run, and would be started."""
        return tuple(h.program for h in self.rows if h.unit and not h.runs)

    def of(self, path: str) -> Home | None:
        """The one below whose data directory a path lies."""
        rows = [h for h in self.rows if path.startswith(h.data + "/")]
        return max(rows, key=lambda h: len(h.data), default=None)


NOWHERE = Homes(())


def home_of(start: Start, *, runs: bool, unit: str) -> Home:
    data = start.data
    root = option(start.words, "--kubelet-root-dir") if start.program == K0S else None
    kubelet = (root or posixpath.join(data, "kubelet")) if start.program == K0S else ""
    return Home(start.program, data, runs, unit, kubelet.rstrip("/"))
