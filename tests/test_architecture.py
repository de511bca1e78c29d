"""Who may import whom. Read from the syntax tree, so lazy imports count too."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NODE = {"model", "facts", "checks", "host", "probes"}
LAYERS = {  # package -> nodeward packages it may import
    "model": set[str](),
    "facts": {"model"},
    "checks": {"model", "facts"},
    "host": set[str](),
    "probes": {"model", "facts", "host"},
    "agent": NODE,
    "collector": {"model", "facts", "checks"},
    "client": {"model"},
    "cli": NODE | {"agent", "collector", "client"},
}
PURE = {"model", "facts", "checks"}
IMPURE = {
    "os",
    "io",
    "pathlib",
    "socket",
    "subprocess",
    "time",
    "random",
    "threading",
    "urllib",
    "requests",
    "psutil",
    "pyroute2",
    "watchdog",
    "systemd",
    "sqlite3",
    "shutil",
}
# Only these may start another program, and why. The node's side runs none.
EXECUTES: dict[str, str] = {
    "agent/nodeward/agent/worker.py": "starts our own interpreter as the short-lived worker",
}
OURS = {"agent", "probes", "collector"}  # the folders are no packages
FILES = [p for r in ("probes", "agent", "collector") for p in sorted((ROOT / r).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{a.name}" for a in node.names if node.module == "nodeward"}
    return names


def layer(path: Path) -> str:
    return path.relative_to(ROOT).parts[2]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    names = imported(path)
    ours = {n.split(".")[1] for n in names if n.startswith("nodeward.")}
    assert ours - {layer(path)} <= LAYERS[layer(path)]
    assert not {n.split(".")[0] for n in names} & OURS
    if layer(path) in PURE:
        assert not {n.split(".")[0] for n in names} & IMPURE


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_node_side_runs_no_program(path: Path) -> None:
    if layer(path) == "collector" or str(path.relative_to(ROOT)) in EXECUTES:
        return
    assert "subprocess" not in imported(path)
    forbidden = {"system", "popen", "execv", "execve", "execvp", "posix_spawn", "spawnv"}
    calls = {
        n.attr
        for n in ast.walk(ast.parse(path.read_text()))
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "os"
    }
    assert not calls & forbidden


def test_nodeward_stays_a_namespace() -> None:
    """An __init__.py beside the portions hides the other roots, and mypy would not tell."""
    assert not list(ROOT.glob("*/nodeward/__init__.py"))
    assert not list(ROOT.glob("*/__init__.py"))


@pytest.mark.parametrize("folder", ["systemd", "packaging", "vagrant"])
def test_folders_named_like_packages_hold_no_python(folder: str) -> None:
    """`import systemd` from the repository root must fail, not find an empty namespace."""
    assert not list((ROOT / folder).glob("*.py"))


def test_every_portion_is_typed() -> None:
    for package in {p.parent for p in FILES if p.parent.parent.name == "nodeward"}:
        assert (package / "py.typed").is_file(), package
