"""How a probe is declared and found: a function `(Host, facts...) -> one Fact`, marked @probe."""

from __future__ import annotations

import importlib
import pkgutil
import typing
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType

from nodeward.facts.errors import ParseError
from nodeward.host import Host, HostError, MissingError
from nodeward.lazy import dataclass
from nodeward.model import Absent, Broken, Fact, Need, Reading, Seen, Unreadable, place
from nodeward.model.rule import needs_of


@dataclass(frozen=True, slots=True)
class Probe:
    """Reads one fact. `needs` are other facts that it starts from, as for a check."""

    fact: type[Fact]
    needs: tuple[Need, ...]
    read: Callable[..., Fact]


def probe(function: Callable[..., Fact]) -> Probe:
    """Declare a probe. The first parameter is the Host; the rest are facts it needs."""
    fact = typing.get_type_hints(function)["return"]
    if not (isinstance(fact, type) and issubclass(fact, Fact)):
        raise TypeError(f"{function.__qualname__} must return one Fact")
    return Probe(fact, needs_of(function, skip=1), function)


@cache
def probes() -> Mapping[type[Fact], Probe]:
    """Every probe by the fact it reads. A module in nodeward.probes is found by being there."""
    import nodeward.probes as package

    found: dict[type[Fact], Probe] = {}
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        for thing in vars(importlib.import_module(info.name)).values():
            if isinstance(thing, Probe) and found.setdefault(thing.fact, thing) is not thing:
                raise ValueError(f"two probes read {thing.fact.__name__}")
    return MappingProxyType(found)


def look(host: Host, reader: Probe, given: list[object]) -> Reading[Fact]:
    """Run one probe; turn every way in which it can fail into a Reading."""
    name = reader.fact.__name__
    try:
        return Seen(reader.read(host, *given))
    except MissingError as exc:
        return Absent(exc.path)
    except HostError as exc:
        return Unreadable(exc.path, exc.why)
    except ParseError as exc:
        return Unreadable(exc.what, str(exc))
    except RecursionError:
        return Unreadable(name, "nested too deeply")
    except MemoryError:
        return Unreadable(name, "too large for our memory")
    except Exception as exc:  # noqa: BLE001  one probe's defect must not cost the others
        return Broken(name, place(exc))
