"""The version that is told is the one that is installed."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest

from nodeward.agent.version import version


def test_it_is_what_the_installer_wrote_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "nodeward-1.2.3rc1+deb12.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Name: nodeward\nVersion: 1.2.3rc1+deb12\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "no-such"), str(tmp_path)])
    assert version() == metadata.version("nodeward") == "1.2.3rc1+deb12"


def test_a_bare_checkout_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    assert version() == "0"
