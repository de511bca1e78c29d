"""The manual pages say what `--help` says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from node import ROOT
from nodeward.cli.main import cli

SOURCES = os.pathsep.join(str(ROOT / name) for name in ("probes", "agent", "collector"))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    subprocess.run(
        [sys.executable, ROOT / "packaging/deb/debian/pages", folder, "1.2.3"],
        env=os.environ | {"PYTHONPATH": SOURCES}, check=True,
    )  # fmt: skip
    return folder


def commands(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """All of the node's, by the words that are typed."""
    yield name, command
    if isinstance(command, click.Group) and name != "nodeward collector":
        context = click.Context(command)
        for verb in command.list_commands(context):
            inside = command.get_command(context, verb)
            assert inside is not None
            yield from commands(f"{name} {verb}", inside)


def test_each_command_has_a_page_with_all_its_options(pages: Path) -> None:
    known = dict(commands("nodeward", cli))
    assert {path.stem for path in pages.glob("*.1")} == {name.replace(" ", "-") for name in known}
    for name, command in known.items():
        text = (pages / f"{name.replace(' ', '-')}.1").read_text().replace("\\-", "-")
        assert f".B {name}\n" in text
        flags = [
            flag for one in command.params if one.param_type_name == "option" for flag in one.opts
        ]
        assert not [flag for flag in flags if flag not in text], name


def test_a_group_lists_its_verbs_and_where_their_pages_are(pages: Path) -> None:
    text = (pages / "nodeward-config.1").read_text().replace("\\-", "-")
    assert ".B nodeward config check\n" in text
    assert ".BR nodeward-config-check (1)" in text


@pytest.mark.parametrize("verb", ["scan", "get", "config-check", "collector"])
def test_what_reads_pages_has_nothing_to_say(pages: Path, verb: str) -> None:
    page = pages / f"nodeward-{verb}.1"
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-Kutf8", page], capture_output=True, check=True
    )
    assert done.stderr == b""
