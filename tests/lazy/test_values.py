"""A lazy dataclass is a dataclass to whoever uses it."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any, ClassVar, Generic, TypeVar

import pytest

from nodeward.lazy import dataclass, values

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Point:
    """Where something is."""

    kind: ClassVar[str] = "point"
    x: int
    y: int = 2
    tags: tuple[str, ...] = dataclasses.field(default=(), compare=False)
    more: list[int] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("x is not negative")


@dataclass(frozen=True, slots=True)
class Deep(Point):
    z: int = 3


@dataclass(frozen=True)
class Open:
    name: str


@dataclass(frozen=True, slots=True)
class Box(Generic[T]):
    inside: T


@dataclass(slots=True)
class Counter:
    count: int = 0


# What the standard decorator makes of the same text.
@dataclasses.dataclass(frozen=True, slots=True)
class Standard:
    x: int
    y: int = 2


def test_it_is_made_shown_and_compared_like_any_other() -> None:
    assert Point(1) == Point(1, 2, ("other",), [])
    assert Point(1) != Point(2)
    assert Deep(1) != Point(1)
    assert repr(Deep(1, z=4)) == "Deep(x=1, y=2, tags=(), more=[], z=4)"
    assert {Open("a"), Open("a")} == {Open("a")}
    assert hash(Box("a")) == hash(Box("a"))
    assert Point.kind == "point"
    assert Point(1).more is not Point(1).more


def test_wrong_arguments_are_refused_as_by_the_standard_one() -> None:
    said = []
    kinds: tuple[Any, ...] = (Standard, Point)
    for kind in kinds:
        with pytest.raises(TypeError) as refused:
            kind()
        said.append(str(refused.value).rpartition("__init__")[2])
    assert said[0] == said[1]
    with pytest.raises(ValueError, match="not negative"):
        Point(-1)


@pytest.mark.parametrize("thing", [Point(1), Deep(1), Open("a"), Box(1)])
def test_it_is_frozen(thing: Point | Deep | Open | Box[int]) -> None:
    for name in ("x", "name", "inside", "other"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(thing, name, 5)
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(thing, name)


def test_what_is_not_frozen_is_the_standard_one() -> None:
    counter = Counter()
    counter.count += 1
    assert counter == Counter(1)


def test_others_can_ask_what_it_is_before_it_is_used() -> None:
    @dataclass(frozen=True, slots=True)
    class Fresh:
        a: int
        b: str = "x"

    assert dataclasses.is_dataclass(Fresh)
    assert [f.name for f in dataclasses.fields(Fresh)] == ["a", "b"]
    assert Fresh.__match_args__ == ("a", "b")
    match Fresh(1):
        case Fresh(a, b):
            assert (a, b) == (1, "x")
    assert dataclasses.replace(Fresh(1), b="y") == Fresh(1, "y")
    assert dataclasses.asdict(Fresh(1)) == {"a": 1, "b": "x"}
    assert not hasattr(Fresh(1), "__dict__")


def test_a_standard_one_can_be_made_of_it() -> None:
    @dataclasses.dataclass(frozen=True, slots=True)
    class Child(Point):
        w: int = 9

    assert Child(1).w == 9
    assert [f.name for f in dataclasses.fields(Child)][-1] == "w"


def test_copies_are_equal() -> None:
    for thing in (Point(1, tags=("a",)), Deep(2), Open("a"), Box((1, 2))):
        assert copy.deepcopy(thing) == thing
        assert pickle.loads(pickle.dumps(thing)) == thing


def test_nothing_is_compiled_before_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    standard = dataclasses.dataclass
    init = values._init

    def counting(**how: bool) -> object:
        def wrap(cls: type) -> type:
            made.append(f"{cls.__name__} described")
            return standard(**how)(cls)

        return wrap

    def noted(cls: type, fields: Any) -> object:
        made.append(f"{cls.__name__} made")
        return init(cls, fields)

    monkeypatch.setattr(dataclasses, "dataclass", counting)
    monkeypatch.setattr(values, "_init", noted)

    @dataclass(frozen=True, slots=True)
    class Late:
        a: int

    assert made == []
    late = Late(1)
    assert made == ["Late made"]
    assert dataclasses.replace(late, a=2).a == 2
    assert made == ["Late made", "Late described"]
    assert late == Late(1)
    assert hash(late) == hash(Late(1))
    assert made == ["Late made", "Late described", "Late described"]
