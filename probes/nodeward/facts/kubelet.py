"""The kubelet of a node: how it was started, and the configuration in force."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from datetime import UTC, datetime
from typing import Any, ClassVar

from nodeward.facts.errors import ParseError
from nodeward.facts.kubejson import is_json, parse_object
from nodeward.facts.kubelet_defaults import LEGACY, VALUES, defaults
from nodeward.facts.kubelet_fields import faults
from nodeward.facts.kubelet_flags import KINDS
from nodeward.facts.kubelet_merge import (
    Layer,
    Rules,
    Setting,
    Tree,
    Unknown,
    apply_flags,
    find,
    merge,
    paths,
    plant,
    put,
    rules_for,
)
from nodeward.facts.kubelet_releases import GATES, OLDEST, stage
from nodeward.facts.kubelet_shown import is_zero, shown, text
from nodeward.facts.kubeyaml import BoundError, Document, parse_document
from nodeward.facts.pflags import Arguments, parse_arguments
from nodeward.lazy import dataclass
from nodeward.model import Fact

__all__ = ["ConfigFile", "Effective", "Kubelet", "Launch", "Setting", "Unknown", "assemble"]

LATER = " (changed after the kubelet started: from its next restart)"
START_SLACK_S = 2.0  # the boot time that starts are counted from is a whole second


@dataclass(frozen=True, slots=True)
class Change:
    """What a source of arguments or settings would give from the next restart, and what is in force
    instead, each as "--flag=value" or "field: value"; "" where there is none. `where` is the file
    or unit."""

    where: str
    was: str
    will: str


@dataclass(frozen=True, slots=True)
class Launch:
    """How a kubelet was, or would be, started.

    `origin` names it in evidence: "pid 812", "kubelet.service". `gate` says whether
    KUBELET_CONFIG_DROPIN_DIR_ALPHA is in its environment (None: not readable). `words` maps an
    argument's place to the file that it was taken from, where that could be told. `root` is the
    prefix under which its files are seen: "" or "/proc/812/root". `differs` are arguments that its
    unit would now give it, or no longer. `sources` are files of whoever starts it, of which its
    arguments are made, with when they were changed; `late` are the places of arguments that stand
    in one that was changed since it started: what they were then is not known.
    """

    argv: tuple[str, ...]
    origin: str
    pid: int | None = None
    exe: str | None = None
    started_at: float | None = None
    version: str | None = None
    gate: bool | None = False
    cwd: str = "/"
    root: str = ""
    words: Mapping[int, str] = field(default_factory=dict)
    unit: str = "kubelet"
    differs: tuple[Change, ...] = ()
    sources: tuple[tuple[str, float], ...] = ()
    late: frozenset[int] = frozenset()
    doubts: Mapping[str, str] = field(default_factory=dict)
    """Fields that whoever starts it may have set by flags we cannot see, and why."""
    dark: str = ""
    """Why nothing is known but what a flag sets; "" where that is not so."""
    network: int | None = 0
    """The inode of its network namespace, where that is another than the host's. None: we may not
    see which it is."""
    uid: int = 0

    @property
    def hidden(self) -> bool:
        """Whether its arguments are not seen but worked out of files, of whatever time."""
        return self.pid is not None and self.program in ("k3s", "kubelite")

    @property
    def program(self) -> str:
        return (self.exe or (self.argv[0] if self.argv else "kubelet")).rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """The file of --config, or a drop-in of --config-dir. `error` says why it was not read.

    `path` is as the kubelet sees it. `changed_at` is its mtime, or that of a link on the way to it
    if that is later; `placed_at` its ctime on a running host: a file put there by mv or cp -p keeps
    an old mtime, but chmod changes the ctime too. `refused` says why no kubelet starts with it.
    """

    path: str
    document: Document | None = None
    error: str = ""
    changed_at: float | None = None
    dropin: bool = False
    placed_at: float | None = None
    refused: str = ""
    json: bool = False

    @property
    def unfit(self) -> str:
        """Why no kubelet starts with what was read here; "" where one does, or it was not read."""
        return self.refused or (self.error if self.changed_at is not None else "")

    @property
    def mapping(self) -> Mapping[str, Any]:
        value = self.document.value if self.document else None
        return value if isinstance(value, dict) else {}


@dataclass(frozen=True, slots=True)
class Effective:
    """The configuration under one set of merge rules. `rules` is None where none are needed."""

    tree: Tree
    rules: Rules | None = None
    files: Tree = field(default_factory=dict)
    """The same without the flags."""


@dataclass(frozen=True, slots=True)
class Kubelet(Fact):
    """One kubelet. `effective` holds one configuration for each set of merge rules that may apply.

    `dark` says why what no flag sets is not known (a file that could not be read). `others` are
    further kubelets on this host, `unread` those of which nothing could be told, each with why.
    """

    events: ClassVar[tuple[str, ...]] = ("process",)

    launch: Launch
    arguments: Arguments
    files: tuple[ConfigFile, ...]
    effective: tuple[Effective, ...]
    legacy: bool
    dark: str = ""
    others: tuple[Kubelet, ...] = ()
    unread: tuple[tuple[str, str], ...] = ()
    skipped: tuple[str, ...] = ()
    """Files in --config-dir that are not read for their name."""
    folders: tuple[tuple[str, float], ...] = ()
    """--config-dir and the directories below it, with their mtime: when a name came or went."""
    untold: str = ""
    """Why what its files give is not known to be in force; "" where it is, or where that is not
    asked. `untold_flags`: the same of its flags. `configz` is what it shows of itself."""
    untold_flags: bool = False
    configz: Mapping[str, Any] | None = None

    @property
    def pid(self) -> int | None:
        return self.launch.pid

    @property
    def version(self) -> str | None:
        return self.launch.version

    @property
    def minor(self) -> int | None:
        return minor_of(self.launch.version)

    @property
    def argv(self) -> tuple[str, ...]:
        return self.launch.argv

    @property
    def started_at(self) -> float | None:
        return self.launch.started_at

    @property
    def root(self) -> str:
        """Prefix under which this kubelet's own paths are found on the host."""
        return self.launch.root

    def __str__(self) -> str:
        where = ", in a network of its own" if self.launch.network else ""
        where += f", of uid {self.launch.uid}" if self.launch.uid else ""
        return f"{self.launch.program} ({self.launch.origin}{where})"

    def flag(self, name: str) -> Setting | None:
        """The last one given of a flag that is no field (kubeconfig, root-dir); None if empty."""
        if self.untold_flags:
            return Setting(Unknown(self.untold), self.launch.origin, Layer.FLAG, name)
        found = self.arguments.given(name)
        if found is None:
            return None
        return Setting(found.value, f"--{name} ({self.argument(found.place)})", Layer.FLAG, name)

    def argument(self, place: int) -> str:
        """Where an argument stands, for people."""
        where = self.launch.words.get(place)
        text = f"argument {place} of {self.launch.origin}"
        note = LATER if place in self.launch.late else ""
        return f"{text}, from {where}{note}" if where else text

    def get(self, path: str) -> Setting:
        """The value of a KubeletConfiguration field, by its dotted path.

        A branch is given as a dict. `value` is Unknown when it could not be told: a file that may
        not be read, or merge rules that disagree while the version is not known; of in_force()
        also where it is only known what the next start will give.
        """
        given = self._agreed([self._under(one, one.tree, path) for one in self.effective])
        return self._now(path, given)

    def _now(self, path: str, given: Setting) -> Setting:
        """The same of in_force(), as far as it is."""
        flag = given.layer is Layer.FLAG and not isinstance(given.value, dict)
        known = not self.untold or (flag and not self.untold_flags)
        if self.configz is not None and (now := shown(path, given, self.configz, known=known)):
            return now
        return given if known else replace(given, value=Unknown(self.untold))

    def in_force(self, configz: Mapping[str, Any] | None = None) -> Kubelet:
        """The same with no value but those known to be in force: what it shows of itself, and what
        it was given by that has not been changed since it started."""
        changed = {where for where, _ in self.changed()}
        flags = any(where in changed for where, _ in self._hidden_sources())
        return replace(self, untold=self.stale, untold_flags=flags, configz=configz)

    def _hidden_sources(self) -> tuple[tuple[str, float], ...]:
        return self.launch.sources if self.launch.hidden else ()

    def changed(self) -> tuple[tuple[str, float], ...]:
        """What gives its configuration, or gave it, and was changed since it started, with when."""
        every = (*self.dated(), *self.folders, *self._hidden_sources())
        return tuple(row for row in every if changed_after(row[1], self.started_at))

    @property
    def stale(self) -> str:
        """Why what is on disk may not be what it has read; "" where nothing says so."""
        if changed := self.changed():
            where, at = changed[0]
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            return (
                f"{where}{more} was changed at {moment(at)}, after the kubelet started; what it"
                " read then is not known"
            )
        if self.pid is not None and self.started_at is None and self.files:
            return f"when it started is not known, nor whether {self.files[0].path} is older"
        return ""

    def without_flags(self, path: str) -> Setting:
        """What the files alone would have in force."""
        return self._agreed([self._under(one, one.files, path) for one in self.effective])

    def path(self, field: str) -> str | None:
        """The absolute path in a field, as the kubelet sees it; None where none is set or told."""
        value = self.located(field).value
        return value if isinstance(value, str) and value else None

    def located(self, field: str) -> Setting:
        """A field that holds a path, with that made absolute.

        pkg/kubelet/kubeletconfig/configfiles: a relative one of the --config file counts from that
        file's directory. From 1.29 one of a drop-in does not, 1.28 loaded drop-ins alike: that and
        one of a flag count from where the kubelet runs.
        """
        found = [self._absolute(self._under(e, e.tree, field), e.rules) for e in self.effective]
        return self._now(field, self._agreed(found))

    def _absolute(self, setting: Setting, rules: Rules | None) -> Setting:
        if not isinstance(setting.value, str) or not setting.value:
            return setting
        in_file = setting.layer is Layer.FILE
        in_dropin = setting.layer is Layer.DROPIN and rules is Rules.MERGO
        from_file = (in_file or in_dropin) and setting.place.startswith("/")
        folder = posixpath.dirname(setting.place) if from_file else self.launch.cwd
        absolute = posixpath.normpath(posixpath.join(folder, setting.value))
        return replace(setting, value=absolute)

    def dated(self) -> tuple[tuple[str, float], ...]:
        """The files that were read, with when they were changed."""
        return tuple((f.path, f.changed_at) for f in self.files if f.changed_at is not None)

    def steps(self) -> tuple[Kubelet, ...]:
        """The same kubelet with no drop-in, with the first, with the first two, ..."""
        base = [f for f in self.files if not f.dropin]
        dropins = [f for f in self.files if f.dropin]
        return tuple(
            assemble(self.launch, [*base, *dropins[:count]], self.dark)
            for count in range(len(dropins) + 1)
        )

    def _agreed(self, found: list[Setting]) -> Setting:
        last = found[-1]
        if all(one.value == last.value for one in found):
            return last
        texts = [
            f"{text(one.value)} by {e.rules}" for one, e in zip(found, self.effective, strict=True)
        ]
        why = "; ".join(texts) + "; the version of this kubelet is not known"
        among: list[Any] = []
        for one in found:
            if isinstance(one.value, Unknown) and not one.value.among:
                return replace(last, value=Unknown(why))
            among += one.value.among if isinstance(one.value, Unknown) else (one.value,)
        return replace(last, value=Unknown(why, tuple(among)))

    def generations(self) -> tuple[Kubelet, ...]:
        """The same kubelet as each set of merge rules that may apply would have it."""
        return tuple(replace(self, effective=(one,)) for one in self.effective)

    def gate(self, name: str) -> bool | Unknown | None:
        """A feature gate that is set; None when nobody sets it."""
        value = self.gate_setting(name).value
        return value if isinstance(value, bool | Unknown) else None

    def gate_setting(self, name: str) -> Setting:
        """Its value, or that of AllAlpha or AllBeta where it is one of those and not set itself."""
        own = self.get(f"featureGates.{name}")
        gate, minor = GATES.get(name), self.minor
        if own.value is not None or gate is None or minor is None:
            return own
        group = {"alpha": "AllAlpha", "beta": "AllBeta"}.get(stage(gate, minor))
        of_all = self.get(f"featureGates.{group}") if group else own
        return own if of_all.value is None else of_all

    def _under(self, effective: Effective, tree: Tree, path: str) -> Setting:
        node = find(tree, path)
        certain = not self.dark and path not in self.launch.doubts
        if isinstance(node, Setting) and (node.layer is Layer.FLAG or certain):
            return self._filled(path, node, effective.rules)
        doubt = self.launch.doubts.get(path)
        if self.dark or doubt:
            return Setting(Unknown(doubt or self.dark), self.launch.origin, Layer.FILE)
        if isinstance(node, dict) and node:
            return _branch(path, node)
        return self._default(path)

    def _filled(self, path: str, node: Setting, rules: Rules | None) -> Setting:
        """Defaulting comes after the file, and from 1.32 after the drop-ins too."""
        layers = (Layer.FILE, Layer.DROPIN) if rules is Rules.PATCH else (Layer.FILE,)
        if path not in VALUES or node.layer not in layers or not is_zero(node.value):
            return node
        filled = self._default(path)
        note = f"{filled.source}; the zero in {node.source} counts as not set"
        return replace(filled, source=note, place=node.place)

    def _default(self, path: str) -> Setting:
        release = f"v1.{self.minor}" if self.minor is not None else "every version"
        rows = defaults(path, self.minor)
        if len(rows) == 1:
            return Setting(rows[0][1], f"default of {release}", Layer.DEFAULT)
        steps = ", ".join(f"{v!r} from 1.{since}" for since, v in rows[1:])
        why = f"the default is {rows[0][1]!r}, {steps}; the version of this kubelet is not known"
        return Setting(Unknown(why, tuple(v for _, v in rows)), "default", Layer.DEFAULT)


def _branch(path: str, tree: Tree) -> Setting:
    found = list(paths(tree))
    value: dict[str, Any] = {}
    for dotted, leaf in found:
        node = value
        *parents, last = dotted.split(".")
        for key in parents:
            node = node.setdefault(key, {})
        node[last] = leaf.value
    strongest = max((leaf for _, leaf in found), key=lambda leaf: list(Layer).index(leaf.layer))
    sources = dict.fromkeys(leaf.source for _, leaf in found)
    text = "; ".join(list(sources)[:3]) + ("; ..." if len(sources) > 3 else "")
    return Setting(value, text, strongest.layer, strongest.place, any(x.later for _, x in found))


def minor_of(version: str | None) -> int | None:
    """36 of "v1.36.2"; None of None and of what is no version."""
    found = re.match(r"v?1\.(\d{1,3})(?!\d)", version or "")
    return int(found[1]) if found else None


def assemble(
    launch: Launch,
    files: Sequence[ConfigFile] = (),
    dark: str = "",
    skipped: tuple[str, ...] = (),
    folders: tuple[tuple[str, float], ...] = (),
) -> Kubelet:
    """The kubelet that was started like this and reads these files (--config first)."""
    arguments = parse_arguments(launch.argv, KINDS)
    legacy = arguments.given("config") is None
    bare = Kubelet(launch, arguments, tuple(files), (), legacy, dark or _errors(files))
    base = _legacy_tree(bare) if legacy else {}
    for one in (f for f in files if not f.dropin):
        base = _without_nulls(_plant(one, launch))
    dropins = [_plant(one, launch) for one in files if one.dropin]
    rules: tuple[Rules | None, ...] = rules_for(bare.minor, launch.gate) if dropins else (None,)
    trees = [(_merged(bare, base, dropins, r), r) for r in rules]
    effective = tuple(
        Effective(apply_flags(tree, arguments, bare.argument, launch.late), r, tree)
        for tree, r in trees
    )
    return replace(bare, effective=effective, skipped=skipped, folders=folders)


def _merged(bare: Kubelet, base: Tree, dropins: Sequence[Tree], rules: Rules | None) -> Tree:
    return merge(base, dropins, rules, bare.minor) if rules else base


def _legacy_tree(kubelet: Kubelet) -> Tree:
    release = f"v1.{kubelet.minor}" if kubelet.minor is not None else "every version"
    source = f"legacy default of {release} (there is no --config)"
    tree: Tree = {}
    for path, value in LEGACY.items():
        tree = put(tree, path, Setting(value, source, Layer.LEGACY))
    return tree


def _errors(files: Sequence[ConfigFile]) -> str:
    found = [f"could not read {f.path}: {f.error}" for f in files if f.error]
    return "; ".join([*found, *(f"{f.path}: {f.refused}" for f in files if f.refused)])


def refused(file: ConfigFile, minor: int | None, gate: bool | None) -> str:
    """Why no kubelet of this version starts with the file: a value is of another type than its
    field; it is of another kind, or of none (the decoder asks for both apiVersion and kind, but for
    drop-ins from 1.29 to 1.31); a drop-in from 1.29 on names a key twice, for there is no second,
    lenient reading as there is of the file.
    """
    rules = rules_for(minor, gate) if file.dropin else ()
    if file.error or file.document is None:
        return ""
    for fault in faults(file.mapping, OLDEST if minor is None else minor):
        if fault.fatal:
            return f"{fault.path} {fault.why}: no kubelet starts with it"
    if file.dropin and Rules.MERGO not in rules and file.document.duplicates:
        name = ".".join(map(str, file.document.duplicates[0].path))
        return f"{name} is given twice: no kubelet starts with it"
    if Rules.INTERNAL in rules:
        return ""
    given = {str(key).lower(): value for key, value in file.mapping.items()}
    for key, wanted in TYPE.items():
        if (value := given.get(key.lower())) != wanted:
            what = f"{key} is {value}" if value else f"there is no {key}"
            return f"{what}, where {wanted} belongs: no kubelet starts with it"
    return ""


def refused_folder(launch: Launch) -> tuple[ConfigFile, ...]:
    """--config-dir as a drop-in that no kubelet of this version starts with, where that is so."""
    folder = parse_arguments(launch.argv, KINDS).given("config-dir")
    minor = minor_of(launch.version)
    if folder is None or minor is None or minor >= 30 or (minor >= 28 and launch.gate is not False):
        return ()
    lack = "without KUBELET_CONFIG_DROPIN_DIR_ALPHA in its environment " if minor >= 28 else ""
    why = f"no kubelet 1.{minor} {lack}starts with --config-dir"
    return (ConfigFile(folder.value, refused=why, dropin=True),)


TYPE = {"kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1"}


def changed_after(changed_at: float | None, started_at: float | None) -> bool:
    """Whether a file was changed since the process started; False where that cannot be told."""
    if changed_at is None or started_at is None:
        return False
    return changed_at > started_at + START_SLACK_S


def moment(at: float) -> str:
    """A file's time, for people."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return "a time that is no date"


def _plant(one: ConfigFile, launch: Launch) -> Tree:
    later = changed_after(one.changed_at, launch.started_at)
    note = LATER if later else ""
    layer = Layer.DROPIN if one.dropin else Layer.FILE

    def make(path: tuple[str, ...], value: Any) -> Setting:  # noqa: ANN401
        line = one.document.line(*path) if one.document else 0
        where = f"{one.path}:{line}" if line else f"{one.path} {'.'.join(path)}"
        return Setting(value, f"{where}{note}", layer, one.path, later)

    return plant(one.mapping, make)


def _without_nulls(tree: Tree) -> Tree:
    """A null in the file is as good as nothing: decoding leaves the field to its default."""
    out: Tree = {}
    for dotted, leaf in paths(tree):
        if leaf.value is not None:
            out = put(out, dotted, leaf)
    return out


def config_file(
    path: str, raw: bytes, *, dropin: bool = False, changed_at: float | None = None
) -> ConfigFile:
    """Parse one file; what is not YAML is a file that could not be read."""
    try:
        document = parse_object(raw, path) if is_json(raw) else parse_document(raw, path)
    except BoundError as exc:  # a kubelet may take more than we do
        return ConfigFile(path, None, str(exc), None, dropin)
    except ParseError as exc:
        return ConfigFile(path, None, str(exc), changed_at, dropin)
    if not raw:  # pkg/kubelet/kubeletconfig/configfiles: "no configuration is an error"
        return ConfigFile(path, None, "empty: no kubelet starts with it", changed_at, dropin)
    if document.value is not None and not isinstance(document.value, dict):
        return ConfigFile(path, None, "not a mapping", changed_at, dropin)
    return ConfigFile(path, document, "", changed_at, dropin, json=is_json(raw))


def example(
    arguments: str,
    config: str | None = None,
    dropins: Mapping[str, str] | None = None,
    *,
    version: str | None = "v1.36.2",
    gate: bool | None = False,
    changed_at: float = 500.0,
    started: bool = True,
) -> Kubelet:
    """A kubelet for a check's truth table: its arguments, its file and its drop-ins as text. It
    started at 1000 s, and its files were changed before unless `changed_at` says otherwise. A text
    that begins with a brace is meant as YAML; with a blank before it, as the JSON that it is."""
    launch = Launch(
        ("kubelet", *arguments.split()),
        "pid 812",
        812,
        "/usr/bin/kubelet",
        1000.0 if started else None,
        version,
        gate,
    )
    files = []
    if config is not None:
        if config.startswith("{") and config != "{}":
            config = f"---\n{config}"  # what begins with a brace would have to be JSON
        place = "/var/lib/kubelet/config.yaml"
        files.append(config_file(place, config.encode(), changed_at=changed_at))
    for name, raw in (dropins or {}).items():
        files.append(config_file(f"/etc/kubernetes/kubelet.d/{name}", raw.encode(), dropin=True))
    return assemble(launch, [*files, *refused_folder(launch)])
