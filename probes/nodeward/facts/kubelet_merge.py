"""How a kubelet makes one configuration of defaults, file, drop-ins and flags.

cmd/kubelet/app/server.go: the file replaces the defaults; the drop-ins of --config-dir are merged
in, by rules that changed twice; then every flag is set once more on top. Three rules:

- MERGO (1.28): each drop-in is decoded with the defaults filled in, and what is not zero wins: a
  `false` or `0` in a drop-in has no effect, and a default that a drop-in never named does.
- INTERNAL (1.29 to 1.31): a JSON merge patch on the internal type, whose names differ by case. The
  drop-ins patch each other; what is left is decoded over the base, whatever the case of its keys.
  `null` takes nothing of the base away; fields of another internal name (resolvConf) are lost.
- PATCH (from 1.32): RFC 7386 on the versioned JSON. Maps merge, lists and scalars replace, `null`
  deletes. What is left is decoded whatever the case of its keys too, in the order of their bytes.

A configuration is a tree: dicts whose leaves are Settings, so that every value keeps its source.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any, TypeAlias

from nodeward.facts.kubelet_defaults import DEFAULTS, defaults
from nodeward.facts.kubelet_fields import FIELDS as FIELD_PATHS
from nodeward.facts.kubelet_fields import Holds
from nodeward.facts.kubelet_flags import FIELDS
from nodeward.facts.pflags import Arguments, Kind, parse_bool, parse_int, parse_pairs
from nodeward.lazy import dataclass, pattern


class Layer(StrEnum):
    """Who set a value, weakest first."""

    DEFAULT = "default"
    LEGACY = "legacy default"
    FILE = "file"
    DROPIN = "drop-in"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class Unknown:
    """Stands where a value would, when it could not be told. `why` is a phrase for people; `among`
    are the values of which it is one, where those are known."""

    why: str
    among: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Setting:
    """One value in force, and where it comes from.

    `value` is JSON, or Unknown where it could not be told: compare with `is True` and the like,
    never by truth. `source` is text for evidence; `place` is the file, or the flag's name.
    `later` says that the place was changed after the process started.
    """

    value: Any
    source: str
    layer: Layer = Layer.FILE
    place: str = ""
    later: bool = False


Tree: TypeAlias = "dict[str, Tree | Setting]"


class Rules(StrEnum):
    """How drop-ins are merged."""

    MERGO = "the merge rules of 1.28"
    INTERNAL = "the merge rules of 1.29 to 1.31"
    PATCH = "the merge rules of 1.32 and later"


_INTERNAL_NAMES = frozenset(["resolvConf"])  # ResolverConfig inside


def rules_for(minor: int | None, gate: bool | None) -> tuple[Rules, ...]:
    """The rules by which a kubelet of this version merges drop-ins: all possible ones if None.

    `gate` says whether KUBELET_CONFIG_DROPIN_DIR_ALPHA is in its environment: 1.28 and 1.29
    refuse to start with --config-dir without it. None: the environment may not be read.
    """
    if minor is None:
        return (Rules.INTERNAL, Rules.PATCH) if gate is False else tuple(Rules)
    if minor >= 32:
        return (Rules.PATCH,)
    return (Rules.INTERNAL,) if minor >= 29 else (Rules.MERGO,)


def plant(value: Mapping[str, Any], make: Callable[[tuple[str, ...], Any], Setting]) -> Tree:
    """A tree of Settings in the shape of `value`. An empty mapping stays an empty branch."""

    def grow(node: Mapping[str, Any], path: tuple[str, ...]) -> Tree:
        return {
            key: grow(child, (*path, key)) if isinstance(child, dict) else make((*path, key), child)
            for key, child in node.items()
        }

    return grow(value, ())


def merge(base: Tree, dropins: Iterable[Tree], rules: Rules, minor: int | None) -> Tree:
    """The drop-ins, in their order, onto the base."""
    if rules is Rules.INTERNAL:
        patch: Tree = {}
        for dropin in dropins:
            patch = _patch(patch, dropin)
        return _overlay(base, _canonical(_after_inside(patch, base)), _counts_inside)
    if rules is Rules.PATCH:
        base = _fields_of(base)
        for dropin in dropins:
            base = _patch(base, dropin)
        return _canonical(base, minor=minor, whole=True)
    for dropin in dropins:
        base = _overlay(_fill(base, dropin, minor), dropin, _not_zero)
    return base


def _fields_of(tree: Tree, prefix: str = "") -> Tree:
    """What decoding a file keeps of it: a key that is no field, also by its case alone, is lost."""
    return {
        key: _fields_of(node, f"{prefix}{key}.")
        if isinstance(node, dict) and FIELD_PATHS[prefix + key].holds is Holds.BRANCH
        else node
        for key, node in tree.items()
        if prefix + key in FIELD_PATHS
    }


def _after_inside(tree: Tree, base: Tree, prefix: str = "") -> Tree:
    """Without the keys that come before the internal name of their field: the base, which has them
    all, is decoded after those. Of a map only what the base has too is lost."""
    out: Tree = {}
    for key, node in tree.items():
        dotted = _SPELLED.get((prefix + key).casefold(), "")
        name = _name_inside(dotted.removeprefix(prefix))
        early = dotted and key < name
        if isinstance(node, dict) and dotted in MAPS and early:
            there = find(base, dotted)
            out[key] = {
                k: v for k, v in node.items() if not (isinstance(there, dict) and k in there)
            }
        elif isinstance(node, dict) and key == name:
            out[key] = _after_inside(node, base, f"{dotted}.")
        elif not early:
            out[key] = node
    return out


def spelled(path: str, rules: Rules) -> tuple[str, bool]:
    """The field that a drop-in's key means, whatever its case ("" if none), and whether another
    spelling comes after it, so that it counts only where nothing else gives the field."""
    field = _SPELLED.get(path.casefold(), "") if rules is not Rules.MERGO else ""
    own = (
        [_name_inside(n) for n in field.split(".")] if rules is Rules.INTERNAL else field.split(".")
    )
    return field, any(a < b for a, b in zip(path.split("."), own, strict=False))


def _name_inside(name: str) -> str:
    """The Go name of a field: tlsCertFile is TLSCertFile."""
    short = _INITIALS.match(name)
    return (short[0].upper() if short else name[:1].upper()) + name[short.end() if short else 1 :]


_INITIALS = pattern(r"(?:tls|cpu|qos|http|oom|ipt(?=ables)|id(?=s))(?=[A-Z]|ables|s)")
"""Of iptablesDropBit and idsPerPod a part only: IPTablesDropBit, IDsPerPod."""


def _canonical(
    tree: Tree, prefix: str = "", minor: int | None = None, *, whole: bool = False
) -> Tree:
    """The same with every key spelled as the field is. What is left of a merge is decoded by Go's
    encoding/json, whatever the case of its keys, in the order of their bytes: the last one counts.
    A `whole` configuration has more keys than those of its files: the defaults that are no zero."""
    out: Tree = {}
    for key in sorted(tree):
        node, dotted = tree[key], _SPELLED.get((prefix + key).casefold(), prefix + key)
        name = dotted.removeprefix(prefix)
        early, old = whole and key < name, out.get(name)
        if isinstance(node, dict):
            new = _canonical(node, f"{dotted}.", minor, whole=whole)
            new = _left(new, tree.get(name), f"{dotted}.", minor) if early else new
            out[name] = _overlay(old, new, _always) if isinstance(old, dict) else new
        elif old is not None and (node.value is None or not _held(dotted, node, whole, minor)):
            continue  # decoding leaves what is there
        elif not early or not _stands(dotted, tree.get(name), minor):
            out[name] = node
    return out


def _left(early: Tree, exact: Setting | Tree | None, prefix: str, minor: int | None) -> Tree:
    """What is left of a branch by another name, once the base's own has been decoded after it."""
    out: Tree = {}
    for key, node in early.items():
        own = exact.get(key) if isinstance(exact, dict) else None
        if isinstance(node, dict):
            out[key] = _left(node, own, f"{prefix}{key}.", minor)
        elif not _stands(prefix + key, own, minor):
            out[key] = node
    return out


def _held(path: str, node: Setting, whole: bool, minor: int | None) -> bool:
    """Whether the JSON that is decoded holds this value of a file at all."""
    return not whole or node.layer is Layer.DROPIN or _stands(path, node, minor)


def _stands(path: str, exact: Setting | Tree | None, minor: int | None) -> bool:
    """Whether the base configuration as JSON holds this field, so that it comes after a key whose
    bytes are smaller. Zeros of what is no pointer are left out."""
    if isinstance(exact, Setting) and (exact.layer is Layer.DROPIN or exact.value):
        return True
    default = defaults(path, minor)[-1][1]
    kind = FIELD_PATHS[path].holds if path in FIELD_PATHS else None
    if kind in (Holds.BOOL, Holds.NUMBER) and path not in PLAIN:
        return True
    return not isinstance(exact, Setting) and default not in (None, "", 0, False, [], {})


PLAIN = frozenset(
    ["readOnlyPort", "port", "rotateCertificates", "serverTLSBootstrap", "protectKernelDefaults",
     "enableContentionProfiling", "runOnce", "maxPods", "maxOpenFiles", "podsPerCore", "eventBurst",
     "kubeAPIBurst", "registryBurst", "evictionMaxPodGracePeriod", "nodeLeaseDurationSeconds"]
)  # fmt: skip
"""Booleans and numbers that are no pointers in v1beta1."""

_SPELLED = {path.casefold(): path for path in FIELD_PATHS}


def _patch(base: Tree, change: Tree) -> Tree:
    out = dict(base)
    for key, new in change.items():
        old = out.get(key)
        if isinstance(new, dict):
            out[key] = _patch(old if isinstance(old, dict) else {}, new)
        elif new.value is None:
            out.pop(key, None)
        else:
            out[key] = new
    return out


def _overlay(base: Tree, change: Tree, counts: Callable[[str, Setting], bool]) -> Tree:
    out = dict(base)
    for key, new in change.items():
        old = out.get(key)
        if isinstance(new, dict):
            # A map of gates or options is merged key by key, whatever its values are.
            keep = _always if key in MAPS else counts
            out[key] = _overlay(old if isinstance(old, dict) else {}, new, keep)
        elif counts(key, new):
            out[key] = new
    return out


ONLY_ON = frozenset(["seccomp-default"])
"""Flags that are no part of the configuration, but or-ed with it: false leaves the file's word."""

ADDRESSES = frozenset(["address", "healthz-bind-address"])
"""Flags whose empty value sets nothing (IPVar.Set)."""

MAPS = frozenset(path for path, kind in FIELDS.values() if kind in (Kind.MAP, Kind.GATES))


def _always(key: str, new: Setting) -> bool:
    return new.value is not None


def _counts_inside(key: str, new: Setting) -> bool:
    return new.value is not None and key not in _INTERNAL_NAMES


def _not_zero(key: str, new: Setting) -> bool:
    return new.value not in (None, False, 0, "", [])


def _fill(base: Tree, dropin: Tree, minor: int | None) -> Tree:
    """1.28 fills every drop-in with the defaults first, and those that are not zero then win."""
    name = next((s.place for s in leaves(dropin)), "a drop-in")
    out = base
    for path, rows in DEFAULTS.items():
        value = [v for since, v in rows if since <= (minor or 28)][-1]
        if value not in (None, False, 0, "", [], {}):
            filled = Setting(value, f"default, filled into {name} by 1.28", Layer.DROPIN, name)
            out = put(out, path, filled)
    return out


def leaves(tree: Tree) -> Iterator[Setting]:
    """Every Setting of the tree."""
    for node in tree.values():
        if isinstance(node, Setting):
            yield node
        else:
            yield from leaves(node)


def paths(tree: Tree, prefix: str = "") -> Iterator[tuple[str, Setting]]:
    """Every dotted path with its Setting."""
    for key, node in tree.items():
        if isinstance(node, Setting):
            yield prefix + key, node
        else:
            yield from paths(node, f"{prefix}{key}.")


def put(tree: Tree, dotted: str, node: Setting | Tree) -> Tree:
    """The tree with one path set; what was there before is gone."""
    head, _, rest = dotted.partition(".")
    out = dict(tree)
    if not rest:
        out[head] = node
        return out
    below = out.get(head)
    out[head] = put(below if isinstance(below, dict) else {}, rest, node)
    return out


def find(tree: Tree, dotted: str) -> Setting | Tree | None:
    """What stands at a path; Unknown where the path is cut off by a value that is no mapping."""
    node: Setting | Tree | None = tree
    for key in dotted.split("."):
        if isinstance(node, Setting):
            return replace(node, value=Unknown(f"{node.source} is no mapping"))
        if node is None:
            return None
        node = node.get(key)
    return node


def dig(value: Any, dotted: str) -> Any:  # noqa: ANN401  JSON of the host
    """What plain JSON holds at a path; None where nothing."""
    for key in dotted.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def apply_flags(
    tree: Tree,
    arguments: Arguments,
    name: Callable[[int], str],
    late: Container[int] = (),
) -> Tree:
    """Every flag that sets a field, on top. `name` makes the source of an argument's place; `late`
    are the places of those that may have been given otherwise at the start."""
    for flag in dict.fromkeys(f.name for f in arguments.flags if f.name in FIELDS):
        path, kind = FIELDS[flag]
        given = arguments.every(flag)
        if flag in ADDRESSES:
            given = tuple(g for g in given if g.value)
        if flag in ONLY_ON:
            given = tuple(g for g in given[-1:] if parse_bool(g.value))
        if not given:
            continue
        last = given[-1]
        source = f"--{flag} ({name(last.place)})"
        texts = [g.value for g in given]

        sample = Setting(None, source, Layer.FLAG, flag, any(g.place in late for g in given))

        def make(value: Any, sample: Setting = sample) -> Setting:  # noqa: ANN401
            return replace(sample, value=value)

        if kind is Kind.GATES:
            # Gates of the file whose name no flag gives are added back.
            for gate, text in parse_pairs(texts):
                tree = put(tree, f"{path}.{gate}", make(_typed(Kind.BOOL, text)))
        elif kind is Kind.MAP:
            tree = put(tree, path, {k: make(v) for k, v in parse_pairs(texts)})
        elif kind is Kind.LIST:
            tree = put(tree, path, make([p for t in texts for p in t.split(",") if p]))
        else:
            tree = put(tree, path, make(_typed(kind, last.value)))
    return tree


def _typed(kind: Kind, text: str) -> Any:  # noqa: ANN401
    if kind is Kind.BOOL:
        value: object = parse_bool(text)
    elif kind is Kind.INT:
        value = parse_int(text)
    else:
        return text
    return Unknown(f"{text!r} is no {kind}") if value is None else value
