"""What every test may rely on: a private network namespace, and a deterministic hypothesis."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import commit_seed
import kubeadm_tree

settings.register_profile(
    "nodeward",
    deadline=None,  # machines are noisy; nothing here is a timed test
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("nodeward")

# The code under test must never find a cloud of the machine that runs the tests.
os.environ.setdefault("NODEWARD_METADATA", "off")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-goldens", action="store_true", help="write what is found into tests/hosts"
    )


@pytest.fixture
def update_goldens(pytestconfig: pytest.Config) -> bool:
    """Whether to write the goldens anew instead of comparing with them."""
    return bool(pytestconfig.getoption("--update-goldens"))


def pytest_report_header() -> str:
    """The seeds with which this very run can be repeated."""
    name, short, long = commit_seed.VARIABLE, commit_seed.seed(), commit_seed.fresh()
    return f"generated from {name}={short}; the long tier from {name}={long}"


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to run where a packet could leave: `script/test` makes a network namespace."""
    others = [name for _, name in socket.if_nameindex() if name != "lo"]
    if others:
        pytest.exit(f"run the tests through script/test (interfaces here: {others})", 2)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`long` tests run only when asked for by -m; root tests need root, and CI has it."""
    asked = str(config.getoption("-m"))
    for item in items:
        if "long" in item.keywords and "long" not in asked:
            item.add_marker(pytest.mark.skip(reason="long: script/test --long"))
        if "root" in item.keywords and os.geteuid() != 0 and os.environ.get("CI") != "true":
            item.add_marker(pytest.mark.skip(reason="needs root; under CI this is a failure"))


@pytest.fixture
def kubeadm_root(tmp_path: Path) -> Path:
    """A recorded kubeadm control-plane node as a fresh file tree; judge it at kubeadm_tree.NOW."""
    return kubeadm_tree.build(tmp_path / "kubeadm")
