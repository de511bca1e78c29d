"""`nodeward seal`: the last step before an image is captured."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("seal")
@click.option("--config", "file", metavar="FILE", help="Instead of /etc/nodeward/agent.yaml.")
@click.option(
    "--root", type=click.Path(exists=True, file_okay=False), default="/", help="A mounted image."
)
@click.option(
    "--hold", is_flag=True,
    help="Also keep the service from starting until /etc/nodeward/sealed is removed.",
)  # fmt: skip
def command(file: str | None, root: str, hold: bool) -> None:
    """Wipe this node's key, enrolment and spool, so that nodes made from an image of it make
    their own. Settings and join tokens stay."""
    from nodeward.agent.config import ConfigError, load
    from nodeward.agent.seal import BusyError, seal

    inside = Path(root, "etc/nodeward/agent.yaml")
    try:
        config = load(file or (str(inside) if root != "/" else None))
    except ConfigError as exc:
        raise click.UsageError(str(exc)) from None
    try:
        removed = seal(Path(root), config.state_dir, config.run_dir, hold=hold)
    except BusyError as exc:
        raise click.UsageError(str(exc)) from None
    for path in removed:
        click.echo(f"removed {path}", err=True)
    click.echo("sealed" if removed else "there was nothing to remove", err=True)
