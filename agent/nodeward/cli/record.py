"""`nodeward record FILE`: a redacted recording of this host."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from nodeward.agent.scan import scan, select
from nodeward.cli.scan import ENVIRONMENT_ROOT, operator_settings
from nodeward.host import LiveHost, Recorder, TreeHost
from nodeward.host.record import dump


@click.command("record")
@click.argument("file", type=click.Path(dir_okay=False, writable=True))
@click.option("--root", type=click.Path(exists=True, file_okay=False), help="A file tree at rest.")
def command(file: str, root: str | None) -> None:
    """Write what every check asks of this host, and the answers, without secrets."""
    inner = TreeHost(root) if root else LiveHost(os.environ.get(ENVIRONMENT_ROOT, "/"))
    recorder = Recorder(inner)
    report = scan(recorder, select(()), at=time.time(), given=operator_settings())
    text = dump(recorder, node=report.node, taken_at=report.taken_at)
    Path(file).write_text(text, encoding="utf-8")
    click.echo(f"{len(recorder.log)} answers in {file}; read it before you share it", err=True)
