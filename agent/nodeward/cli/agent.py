"""`nodeward agent`: the daemon."""

from __future__ import annotations

import click

from nodeward.agent.worker import become_resident


@click.command("agent")
@click.option(
    "--config", "file", metavar="FILE",
    help="Instead of /etc/nodeward/agent.yaml; drop-ins are then in FILE's folder.",
)  # fmt: skip
def command(file: str | None) -> None:
    """Run the daemon: look on an interval and on change, push to the collector."""
    become_resident(file)
