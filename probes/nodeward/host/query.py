"""Typed questions about what is no file, and how question and answer are kept in a recording."""

from __future__ import annotations

import dataclasses
import enum
import json
import types
import typing
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

if TYPE_CHECKING:
    from nodeward.host.tree import TreeHost

A = TypeVar("A")


class Query(Generic[A]):
    """A frozen dataclass whose fields are the question. One subclass a file in nodeward.host.

    Heavy libraries are imported inside `answer`, so that a tree at rest never needs them.
    """

    answer_type: ClassVar[object]
    """The type of the answer, built from what `from_plain` knows."""

    at_rest: ClassVar[bool] = False
    """Whether a tree at rest can answer too (from its files)."""

    def answer(self, host: TreeHost) -> A:
        """Look. Raises HostError."""
        raise NotImplementedError

    def key(self) -> str:
        """The question as a line of text: the key of its answer in a recording."""
        fields = {
            f.name: to_plain(getattr(self, f.name))
            for f in dataclasses.fields(self)  # type: ignore[arg-type]  # every subclass is one
        }
        return f"{type(self).__name__} {json.dumps(fields, sort_keys=True)}"


@cache
def _hints(kind: type) -> dict[str, object]:
    """The types of a dataclass' fields, looked up once: an answer may hold thousands of it."""
    return typing.get_type_hints(kind)


def to_plain(value: object) -> object:
    """A value of dataclasses, enums, tuples, dicts, bytes and scalars as plain JSON."""
    match value:
        case enum.Enum():
            return value.value
        case bytes():
            return value.decode("utf-8", "surrogateescape")
        case dict():
            return {str(k): to_plain(v) for k, v in value.items()}
        case tuple() | list() | frozenset():
            return [to_plain(v) for v in value]
        case _ if dataclasses.is_dataclass(value):
            return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        case _:
            return value


def from_plain(kind: object, raw: object) -> typing.Any:  # noqa: ANN401  driven by `kind`
    """The inverse of `to_plain` for one type: the recording is data, the type is ours.

    Raises ValueError, TypeError or KeyError where the data is not of that type. Members that the
    type does not know are left out: they are of a newer version.
    """
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if raw is None:
            return None
        return from_plain(next(a for a in args if a is not type(None)), raw)
    if origin in (tuple, list, frozenset):
        values = _expect(list, raw)
        if origin is not tuple or args[1:] == (...,):
            return origin(from_plain(args[0], v) for v in values)
        return tuple(from_plain(a, v) for a, v in zip(args, values, strict=True))
    if origin is dict:
        return {
            from_plain(args[0], k): from_plain(args[1], v) for k, v in _expect(dict, raw).items()
        }
    if not isinstance(kind, type):
        return raw
    if kind is bytes:
        return _expect(str, raw).encode("utf-8", "surrogateescape")
    if dataclasses.is_dataclass(kind):
        hints, data = _hints(kind), _expect(dict, raw)
        known = [f.name for f in dataclasses.fields(kind) if f.init and f.name in data]
        return kind(**{name: from_plain(hints[name], data[name]) for name in known})
    if issubclass(kind, enum.Enum):
        return kind(raw)
    if kind is int and isinstance(raw, str):  # the key of a dict
        return int(raw)
    if kind is float and isinstance(raw, int) and not isinstance(raw, bool):
        return float(raw)
    return _expect(kind, raw) if kind in (str, int, float, bool) else raw


def _expect(kind: type[A], raw: object) -> A:
    if not isinstance(raw, kind) or (kind is int and isinstance(raw, bool)):
        raise TypeError(f"{kind.__name__} expected, not {type(raw).__name__}")
    return raw
