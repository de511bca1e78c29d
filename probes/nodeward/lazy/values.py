"""A frozen dataclass whose methods are made when it is first used.

The standard decorator writes and compiles the text of six methods for each class. Here the class
gets stand-ins; the first call of one of them lets the standard decorator work on a twin of the
class and takes over what it made: what describes the class, or what shows and compares a value.
The standard library compiles two methods that refuse changes with each `__init__` of a frozen
class; ours refuses them already, so the `__init__` alone is compiled here, in a third of the time.
"""

from __future__ import annotations

import dataclasses
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

T = TypeVar("T")
Realise: TypeAlias = Callable[[], object]

COMPARED = ("__repr__", "__eq__", "__hash__")
DESCRIBED = ("__dataclass_fields__", "__dataclass_params__", "__match_args__")


def _dataclass(
    cls: type[T] | None = None, /, *, frozen: bool = False, slots: bool = False
) -> type[T] | Callable[[type[T]], type[T]]:
    """As dataclasses.dataclass, which it is for what is not frozen."""

    def wrap(plain: type[T]) -> type[T]:
        if not frozen:
            return dataclasses.dataclass(slots=slots)(plain)
        return _later(plain, slots=slots)

    return wrap if cls is None else wrap(cls)


def _later(plain: type[T], *, slots: bool) -> type[T]:
    body = {k: v for k, v in vars(plain).items() if k not in ("__dict__", "__weakref__")}
    own = _fields(body.get("__annotations__", {}))
    made = _slotted(plain, body, own) if slots else plain

    def twin(**how: bool) -> Any:  # noqa: ANN401  a class like `plain`
        made_twin: Any = types.new_class(
            plain.__name__, plain.__bases__, {"metaclass": type(plain)},
            lambda namespace: namespace.update(body),
        )  # fmt: skip
        return dataclasses.dataclass(**how)(made_twin)

    def take(names: Iterable[str], methods: Mapping[str, Any]) -> None:
        for name in names:
            if name in stand_ins and name in methods:
                setattr(made, name, methods[name])

    inherits = any("__dataclass_fields__" in vars(base) for base in plain.__mro__[1:])

    def describe() -> Any:  # noqa: ANN401  as above
        described = twin(init=False, repr=False, eq=False, frozen=inherits)  # frozen from frozen
        described.__dataclass_params__.frozen = True
        take(DESCRIBED, vars(described))
        return described

    def construct() -> None:
        if inherits:
            fields = {f.name: f for f in dataclasses.fields(describe())}
        else:
            fields = {name: _field(body.get(name, dataclasses.MISSING)) for name in own}
        take(("__init__",), {"__init__": _init(made, fields)})

    def compare() -> None:
        take(COMPARED, vars(twin(init=False, frozen=True)))

    stand_ins: dict[str, object] = {name: _Described(name, describe) for name in DESCRIBED}
    for name, realise in (*((n, compare) for n in COMPARED), ("__init__", construct)):
        if body.get(name) is None:  # a class with __eq__ has None for its hash
            stand_ins[name] = _method(made, name, realise)
    stand_ins |= {"__setattr__": _refuse, "__delattr__": _refuse}
    if slots:
        stand_ins |= {"__getstate__": _state, "__setstate__": _restore}
    for name, stand_in in stand_ins.items():
        setattr(made, name, stand_in)
    return made


def _field(given: Any) -> dataclasses.Field[Any]:  # noqa: ANN401  a default, or a field()
    found: dataclasses.Field[Any] = (
        given if isinstance(given, dataclasses.Field) else dataclasses.field(default=given)
    )
    return found


def _init(made: type, fields: Mapping[str, dataclasses.Field[Any]]) -> Callable[..., None]:
    """`def __init__(self, a, b=DEFAULT): set(self, "a", a); ...`, as the standard one sets them."""
    known: dict[str, Any] = {"set_": object.__setattr__, "missing_": dataclasses.MISSING}
    parameters, lines = ["self"], []
    for name, field in fields.items():
        value = f"{name}_value"
        if field.default_factory is not dataclasses.MISSING:
            known[value] = field.default_factory
            given = f"{value}() if {name} is missing_ else {name}" if field.init else f"{value}()"
            default = "=missing_"
        elif field.default is not dataclasses.MISSING:
            known[value] = field.default
            given, default = (name if field.init else value), f"={value}"
        else:
            given, default = name, ""
        if field.init:
            parameters.append(f"{name}{default}")
        if field.init or default:
            lines.append(f"set_(self, {name!r}, {given})")
    if hasattr(made, "__post_init__"):
        lines.append("self.__post_init__()")
    text = f"def __init__({', '.join(parameters)}):\n " + "\n ".join(lines or ["pass"])
    exec(text, known)  # noqa: S102  names of fields, which are identifiers
    init: Callable[..., None] = known["__init__"]
    init.__qualname__ = f"{made.__qualname__}.__init__"
    return init


def _fields(annotations: dict[str, Any]) -> list[str]:
    return [
        n
        for n, kind in annotations.items()
        if not str(kind).startswith(("ClassVar", "typing.ClassVar"))
    ]


def _slotted(plain: type[T], body: dict[str, Any], own: Iterable[str]) -> type[T]:
    """The class anew, with a slot for each field: slots cannot be added later."""
    taken = {slot for base in plain.__mro__[1:] for slot in vars(base).get("__slots__", ())}
    own = [name for name in own if name not in taken]
    rest = {k: v for k, v in body.items() if k not in own}
    kind: Any = type(plain)
    made: type[T] = kind(plain.__name__, plain.__bases__, {**rest, "__slots__": tuple(own)})
    made.__qualname__ = plain.__qualname__
    return made


class _Described:
    """Stands for what describes a dataclass to others, until somebody asks."""

    def __init__(self, name: str, realise: Realise) -> None:
        self._name = name
        self._realise = realise

    def __get__(self, instance: object, owner: type) -> object:
        return vars(self._realise())[self._name]


def _method(made: type, name: str, realise: Realise) -> Callable[..., Any]:
    def stand_in(self: object, *args: object, **kwargs: object) -> object:
        realise()
        return getattr(made, name)(self, *args, **kwargs)

    stand_in.__name__ = name
    return stand_in


def _refuse(self: object, name: str, value: object = None) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to or delete field {name!r}")


def _state(self: Any) -> list[object]:  # noqa: ANN401  any of these classes
    return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _restore(self: Any, state: list[object]) -> None:  # noqa: ANN401
    for field, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, field.name, value)


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
elif sys.version_info >= (3, 14):  # compiles all methods of a class at once, and annotations later
    from dataclasses import dataclass
else:
    dataclass = _dataclass
