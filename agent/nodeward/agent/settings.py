"""The operator's settings of checks and probes, as the readings that judges ask for."""

from __future__ import annotations

import os
import typing
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from nodeward.agent.config import OWN, Config, ConfigError, explain, variable
from nodeward.agent.plain import Builder, Fault, unknown
from nodeward.checks import catalog
from nodeward.model import Fact, Params, Reading, Seen
from nodeward.probes.registry import probes


def parameters() -> list[type[Params]]:
    """Every Params class that a check or a probe asks for, by its section."""
    needs = [need for rule in catalog().values() for need in rule.needs]
    needs += [need for reader in probes().values() for need in reader.needs]
    found = {need.fact for need in needs if issubclass(need.fact, Params)}
    return sorted(found, key=lambda kind: (kind.section, kind.__name__))


def settings(
    config: Config, environment: Mapping[str, str] = os.environ
) -> Mapping[type[Fact], Reading[Fact]]:
    """Build every Params class from its section. Raises ConfigError: a section or key that no
    check or probe reads is a mistake, and never silently without effect."""
    builder = Builder()
    readings: dict[type[Fact], Reading[Fact]] = {}
    kinds = parameters()
    for kind in kinds:
        raw = _spread(kind, _section(config.tree, kind.section))
        raw = _with_environment(kind, _without_siblings(kind, raw, kinds), environment)
        built = builder.build(kind, raw, kind.section)
        if built is not None:
            readings[kind] = Seen(built)
    faults = builder.faults + list(_unread(_foreign(config), [kind.section for kind in kinds]))
    if faults:
        raise ConfigError(explain(faults, config.origin))
    return readings


def _foreign(config: Config) -> dict[str, Any]:
    return {key: value for key, value in config.tree.items() if key not in OWN}


def _section(tree: Mapping[str, Any], path: tuple[str, ...]) -> object:
    at: object = tree
    for step in path:
        if not isinstance(at, Mapping) or step not in at:
            return {}
        at = at[step]
    return {} if at is None else at


def _spread(kind: type[Params], raw: object) -> object:
    """`metadata: off` sets the section's first key: the switch stands first in its class."""
    if isinstance(raw, Mapping | list):
        return raw
    return {_names(kind)[0]: raw} if _names(kind) else raw


def _with_environment(kind: type[Params], raw: object, environment: Mapping[str, str]) -> object:
    whole = environment.get(variable(kind.section))
    if whole is not None:
        raw = {**(raw if isinstance(raw, Mapping) else {}), _names(kind)[0]: whole}
    hints = typing.get_type_hints(kind)
    for name in _names(kind):
        text = environment.get(variable((*kind.section, name)))
        if text is None:
            continue
        listed = typing.get_origin(hints[name]) in (tuple, frozenset, list)
        value: object = [t.strip() for t in text.split(",") if t.strip()] if listed else text
        raw = {**(raw if isinstance(raw, Mapping) else {}), name: value}
    return raw


def _names(kind: type[Params]) -> list[str]:
    return [f.name for f in fields(kind)]  # type: ignore[arg-type]  # every Params is a dataclass


def _without_siblings(kind: type[Params], raw: object, kinds: list[type[Params]]) -> object:
    """Classes may share a section, or own one inside another's: each is shown its own keys."""
    if not isinstance(raw, Mapping):
        return raw
    depth = len(kind.section)
    theirs = {n for k in kinds if k is not kind and k.section == kind.section for n in _names(k)}
    theirs |= {k.section[depth] for k in kinds if k.section[:depth] == kind.section != k.section}
    own = set(_names(kind))
    return {k: v for k, v in raw.items() if k in own or k not in theirs}


def _unread(
    tree: Mapping[str, Any], sections: list[tuple[str, ...]], at: tuple[str, ...] = ()
) -> Iterator[Fault]:
    """Sections that belong to nobody."""
    here = {section[len(at)] for section in sections if section[: len(at)] == at and section != at}
    for key, value in tree.items():
        path = (*at, key)
        if path in sections:
            continue
        if key in here and isinstance(value, Mapping):
            yield from _unread(value, sections, path)
        elif key not in here or value is not None:
            yield Fault(path, unknown(key, here | set(() if at else OWN)))
