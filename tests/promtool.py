"""Prometheus's own opinion of metrics and rules."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest


def check(what: str, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """`promtool check WHAT`."""
    program = shutil.which("promtool")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("promtool is missing: see script/packages.debian")
        pytest.skip("needs the package prometheus")
    return subprocess.run(
        [program, "check", what, *arguments],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )


def said_nothing(what: str, text: str) -> None:
    ran = check(what, text=text)
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")
