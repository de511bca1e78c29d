"""`nodeward version`."""

from __future__ import annotations

import click


@click.command("version")
def command() -> None:
    """Print the version."""
    from nodeward.agent.version import version

    click.echo(version())
