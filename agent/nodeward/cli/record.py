"""`nodeward record FILE`: a redacted recording of this host."""

from __future__ import annotations

import time
from pathlib import Path

import click

from nodeward.cli.private_file import write
from nodeward.cli.scan import complete_checks, open_host, operator_settings, selected


@click.command("record")
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--root", type=click.Path(exists=True, file_okay=False), help="A file tree at rest.")
@click.option(
    "--check", "globs", multiple=True, metavar="GLOB", help="Only what these checks ask.",
    shell_complete=complete_checks,
)  # fmt: skip
def command(file: str, root: str | None, globs: tuple[str, ...]) -> None:
    """Write what every check asks of this host, and the answers, without secrets ("-": stdout)."""
    from nodeward.agent.scan import scan
    from nodeward.host import Recorder
    from nodeward.host.record import dump

    checks = selected(globs)
    recorder = Recorder(open_host(root, None)[0])
    report = scan(recorder, checks, at=time.time(), given=operator_settings())
    text = dump(recorder, node=report.node, taken_at=report.taken_at)
    if file == "-":
        click.echo(text, nl=False)
    else:
        write(Path(file), text.encode())
    click.echo(f"{len(recorder.log)} answers recorded; read it before you share it", err=True)
