"""All rules. A module here is found by being here; there is no list to keep in step."""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from nodeward.model import Check, CheckId


@cache
def catalog() -> Mapping[CheckId, Check[...]]:
    """Every built-in check by id, in id order."""
    found: dict[CheckId, Check[...]] = {}
    for info in pkgutil.iter_modules(__path__, f"{__name__}."):
        module = importlib.import_module(info.name)
        for name, thing in vars(module).items():
            for one in thing if isinstance(thing, tuple) and name == "CHECKS" else (thing,):
                if isinstance(one, Check) and found.setdefault(one.id, one) is not one:
                    raise ValueError(f"two checks named {one.id}")
    return MappingProxyType(dict(sorted(found.items())))


@cache
def catalog_digest() -> str:
    """Changes when a rule's declaration does: a changed verdict is told from a changed rule."""
    text = repr(
        [
            (c.id, c.title, c.severity, c.why, c.how, c.remedy, dict(c.mappings))
            for c in catalog().values()
        ]
    )
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
