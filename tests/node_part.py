"""Leaves out the tests that need the collector: `pytest -p node_part` in script/test-system-python.

The collector wants newer libraries than a node has. Its tests are found by what they import,
themselves or through modules of the tests, so that nobody has to keep a list of them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parent
COLLECTOR = "nodeward.collector"
STARTERS = frozenset({"collector_process"})
"""Modules of the tests that import nothing of it, and start it as a program."""


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    if collection_path.suffix == ".py" and needs_collector(collection_path):
        return True
    return None


@cache
def needs_collector(file: Path) -> bool:
    """Whether importing this file imports the collector, or a module that starts it."""
    return _reaches(file, set())


def _reaches(file: Path, seen: set[Path]) -> bool:
    seen.add(file)
    for name in imported(ast.parse(file.read_text(encoding="utf-8"))):
        if name.startswith(COLLECTOR) or name in STARTERS:
            return True
        other = TESTS.joinpath(*name.split(".")).with_suffix(".py")
        if other.is_file() and other not in seen and _reaches(other, seen):
            return True
    return False


def imported(tree: ast.Module) -> Iterator[str]:
    """What a module imports when it is imported; not what its functions do later."""
    todo: list[ast.stmt] = list(tree.body)
    while todo:
        match todo.pop():
            case ast.Import(names=names):
                yield from (one.name for one in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield module
                yield from (f"{module}.{one.name}" for one in names)
            case ast.Try(body=body):
                todo += body
            case _:
                pass
