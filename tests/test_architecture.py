"""Who may import whom. Read from the syntax tree, so lazy imports count too."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NODE = {"lazy", "model", "facts", "checks", "host", "probes"}
LAYERS = {  # package -> nodeward packages it may import
    "lazy": set[str](),
    "model": {"lazy"},
    "facts": {"lazy", "model"},
    "checks": {"lazy", "model", "facts"},
    "host": {"lazy"},
    "probes": {"lazy", "model", "facts", "host"},
    "agent": NODE,
    "collector": {"model", "facts", "checks"},
    "client": {"model"},
    "cli": NODE | {"agent", "collector", "client"},
}
PURE = {"lazy", "model", "facts", "checks"}
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
# Only these may do what starts, ends or becomes another program, and why.
EXECUTES: dict[str, set[str]] = {
    # our own interpreter, as the short-lived worker
    "agent/nodeward/agent/worker.py": {"posix_spawn", "execv"},
    # a child of ours that looks from inside a pod's network, and goes no further than our code
    "probes/nodeward/host/vantage.py": {"fork"},
}
RUNS = re.compile(r"system|popen|fork\w*|exec[lv]\w*|spawn\w*|posix_spawnp?|startfile")
RUNNERS = {"subprocess", "multiprocessing", "pty", "asyncio", "concurrent", "runpy", "code", "sh"}
# What the code that looks at a host may write, and why.
WRITES: dict[str, set[str]] = {
    # asks SELinux a question, as security_compute_av(3) does; nothing is stored
    "probes/nodeward/host/selinux.py": {"O_RDWR", "write"},
    # the answer of that child, into a pipe
    "probes/nodeward/host/vantage.py": {"write"},
}
OF_PATHS = re.compile(
    r"write_text|write_bytes|touch|mkdir|rmdir|unlink|rename|symlink_to|hardlink_to|l?chmod"
)
OF_OS = re.compile(
    r"p?writev?|sendfile|copy_file_range|splice|f?truncate|mkdir|makedirs|mkfifo|mknod|rmdir"
    r"|removedirs|unlink|remove|renames?|replace|link|symlink|[lf]?chmod|[lf]?chown|utime"
    r"|setxattr|removexattr|u?mount|chroot|O_(?:WRONLY|RDWR|CREAT|APPEND|TRUNC|TMPFILE)"
)
WRITERS = {"shutil", "tempfile", "sqlite3", "fileinput", "dbm", "shelve"}
OURS = {"agent", "probes", "collector"}  # the folders are no packages
FILES = [p for r in ("probes", "agent", "collector") for p in sorted((ROOT / r).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    return named(ast.parse(path.read_text()))


def named(tree: ast.AST) -> set[str]:
    """The modules that are imported, wherever the statement stands."""
    names: set[str] = set()
    for node in ast.walk(tree):
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


def of_module(tree: ast.AST, module: str) -> set[str]:
    """What is taken from a module: `os.fork`, `o.fork` after `import os as o`, `from os import`."""
    known, names = {module}, set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {a.asname for a in node.names if a.name == module and a.asname}
        elif isinstance(node, ast.ImportFrom) and node.module == module:
            names |= {a.name for a in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names |= {node.attr} if node.value.id in known else set()
    return names


def modes(tree: ast.AST) -> Iterator[str]:
    """With what mode each open() and io.open() of a text opens; `?` where that is computed."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or ast.unparse(node.func) not in {"open", "io.open"}:
            continue
        given = [k.value for k in node.keywords if k.arg == "mode"] + node.args[1:2]
        for mode in given:
            yield str(mode.value) if isinstance(mode, ast.Constant) else "?"


def programs_run(source: str) -> set[str]:
    tree = ast.parse(source)
    modules = {n.split(".")[0] for n in named(tree)}
    return {n for n in of_module(tree, "os") if RUNS.fullmatch(n)} | modules & RUNNERS


def writes(source: str) -> set[str]:
    tree = ast.parse(source)
    called = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    found = {n for n in of_module(tree, "os") if OF_OS.fullmatch(n)}
    found |= {n for n in called if OF_PATHS.fullmatch(n)}
    found |= {m for m in modes(tree) if set(m) - set("rbt")}
    return found | {n.split(".")[0] for n in named(tree)} & WRITERS


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_node_side_runs_no_program(path: Path) -> None:
    if layer(path) in {"collector", "client"}:
        return
    assert programs_run(path.read_text()) <= EXECUTES.get(str(path.relative_to(ROOT)), set())


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_what_looks_at_a_host_writes_nothing(path: Path) -> None:
    if layer(path) not in NODE:
        return
    assert writes(path.read_text()) <= WRITES.get(str(path.relative_to(ROOT)), set())


@pytest.mark.parametrize(
    "source",
    [
        "import os; os.execvpe('sh', [], {})",
        "import os as o; o.spawnlp(0, 'sh')",
        "from os import fork",
        "from subprocess import run",
        "import asyncio.subprocess",
        "def f():\n    import multiprocessing",
    ],
)
def test_a_program_run_in_any_way_is_noticed(source: str) -> None:
    assert programs_run(source)


@pytest.mark.parametrize(
    "source",
    [
        "open('/etc/passwd', 'w')",
        "open(path, mode='r+b')",
        "open(path, how)",
        "import os; os.open(path, os.O_CREAT)",
        "from os import rename",
        "Path('/etc/passwd').write_text('')",
        "Path('/etc/passwd').unlink()",
        "import shutil",
    ],
)
def test_a_write_in_any_way_is_noticed(source: str) -> None:
    assert writes(source)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_what_a_look_imports_is_cheap(path: Path) -> None:
    """`from nodeward.lazy import dataclass, pattern`: CONTRIBUTING tells why."""
    if layer(path) in NODE - {"lazy"}:
        text = path.read_text()
        assert "@dataclass(frozen=True" not in text or "dataclasses.dataclass" not in taken(text)
        assert not re.search(r"^\w+ = re\.compile", text, re.MULTILINE)


def taken(text: str) -> set[str]:
    """What is imported from where, as `module.name`."""
    froms = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    return {f"{node.module}.{alias.name}" for node in froms for alias in node.names}


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


def test_the_schemas_revisions_are_one_chain() -> None:
    folder = ROOT / "collector/nodeward/collector/db/migrations/versions"
    texts = [path.read_text() for path in folder.glob("0*.py")]
    revisions = {re.search(r'^revision = "(\w+)"', text, re.M)[1] for text in texts}  # type: ignore[index]
    before = re.findall(r'^down_revision = "(\w+)"', "\n".join(texts), re.M)
    assert len(before) == len(set(before)) == len(revisions) - 1
    assert set(before) < revisions
