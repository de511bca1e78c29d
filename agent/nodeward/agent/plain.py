"""Plain YAML data into frozen dataclasses, with every fault named by its key."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

Path: typing.TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a configuration: the path of the key, and what to do about it."""

    key: Path
    why: str


@dataclass(slots=True)
class Builder:
    """Builds values by their types and collects what is wrong, so that all of it is shown."""

    faults: list[Fault] = field(default_factory=list)

    def build(self, kind: type[T], raw: object, at: Path = ()) -> T | None:
        """A dataclass from a mapping; missing keys take their defaults. None after a fault."""
        if not isinstance(raw, Mapping):
            self.faults.append(Fault(at, f"must be a mapping, not {_named(raw)}"))
            return None
        before = len(self.faults)
        hints = typing.get_type_hints(kind)
        known = [f.name for f in dataclasses.fields(kind) if f.init]  # type: ignore[arg-type]
        for key in raw:
            if key not in known:
                self.faults.append(Fault((*at, str(key)), unknown(str(key), known)))
        values = {k: self._value(hints[k], raw[k], (*at, k)) for k in known if k in raw}
        if len(self.faults) > before:
            return None
        try:
            return kind(**values)
        except ValueError as exc:  # the dataclass' own __post_init__
            self.faults.append(Fault(at, str(exc)))
            return None

    def _value(self, kind: object, raw: object, at: Path) -> Any:  # noqa: ANN401  driven by `kind`
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            return self.build(kind, {} if raw is None else raw, at)
        try:
            return self._plain(kind, raw, at)
        except ValueError as exc:
            self.faults.append(Fault(at, str(exc)))
            return None

    def _plain(self, kind: object, raw: object, at: Path) -> Any:  # noqa: ANN401
        origin, args = typing.get_origin(kind), typing.get_args(kind)
        if origin in (types.UnionType, typing.Union):
            return self._one_of(args, raw, at)
        if origin is typing.Literal:
            return _literal(args, raw)
        if origin in (tuple, frozenset, list):
            items = raw if isinstance(raw, list) else [raw] if isinstance(raw, str) else None
            if items is None:
                raise ValueError(f"must be a list, not {_named(raw)}")
            whole = [self._value(args[0], item, (*at, str(i))) for i, item in enumerate(items)]
            return origin(whole)
        if origin is not None and issubclass(origin, Mapping):
            if not isinstance(raw, Mapping):
                raise ValueError(f"must be a mapping, not {_named(raw)}")
            return {str(k): self._value(args[1], v, (*at, str(k))) for k, v in raw.items()}
        return _scalar(kind, raw)

    def _one_of(self, kinds: Iterable[object], raw: object, at: Path) -> Any:  # noqa: ANN401
        kinds = list(kinds)
        if raw is None and types.NoneType in kinds:
            return None
        rest = [kind for kind in kinds if kind is not types.NoneType]
        if len(rest) == 1:
            return self._value(rest[0], raw, at)
        for kind in rest:
            trial = Builder()
            value = trial._value(kind, raw, at)
            if not trial.faults:
                return value
        raise ValueError(f"{_named(raw)} is none of the kinds that fit here")


def unknown(key: str, known: Iterable[str]) -> str:
    """What to say of a key that nobody knows."""
    from difflib import get_close_matches  # rarely needed, and the resident pays for imports

    known = sorted(known)
    near = get_close_matches(key, known, n=1, cutoff=0.5)
    if near:
        return f"unknown key; did you mean {near[0]!r}?"
    return f"unknown key; known here: {', '.join(known)}"


_SWITCH = {"on": True, "yes": True, "true": True, "off": False, "no": False, "false": False}


def _scalar(kind: object, raw: object) -> object:
    match kind, raw:
        case _ if kind is bool:
            if isinstance(raw, bool):
                return raw
            if isinstance(raw, str) and raw.lower() in _SWITCH:
                return _SWITCH[raw.lower()]
            raise ValueError(f"must be true or false, not {_named(raw)}")
        case _ if kind in (int, float) and isinstance(raw, int | float | str):
            return _number(kind, raw)
        case _ if kind is str:
            return _text(raw)
        case type() as choice, _ if issubclass(choice, enum.Enum):
            return _literal([member.value for member in choice], raw, choice)
        case _ if kind is Any or kind is object:
            return raw
    raise ValueError(f"must be {getattr(kind, '__name__', kind)}, not {_named(raw)}")


def _number(kind: object, raw: float | str) -> int | float:
    if isinstance(raw, bool):
        raise ValueError(f"must be a number, not {_named(raw)}")
    try:
        value = float(raw)
    except ValueError:
        raise ValueError(f"must be a number, not {_named(raw)}") from None
    if kind is float:
        return value
    if not value.is_integer():
        raise ValueError(f"must be a whole number, not {raw}")
    return int(value)


def _text(raw: object) -> str:
    if isinstance(raw, bool):  # YAML 1.1 reads a bare `off` as false
        return "on" if raw else "off"
    if isinstance(raw, str | int | float):
        return str(raw)
    raise ValueError(f"must be text, not {_named(raw)}")


def _literal(choices: Iterable[object], raw: object, make: Any = None) -> Any:  # noqa: ANN401
    choices = list(choices)
    value = _text(raw) if isinstance(raw, bool) and raw not in choices else raw
    if value not in choices:
        raise ValueError(f"must be one of {', '.join(map(str, choices))}")
    return make(value) if make else value


def _named(raw: object) -> str:
    """A wrong value by its kind. Its text may be a secret in the wrong place."""
    names = {dict: "a mapping", list: "a list", str: "text", bool: "true or false"}
    return "nothing" if raw is None else names.get(type(raw), "a number")
