"""`nodeward completion SHELL`: the script that teaches a shell our verbs, options and checks."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

VARIABLE = "_NODEWARD_COMPLETE"  # click makes this name of the program's


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of a shell.

    bash: nodeward completion bash > /etc/bash_completion.d/nodeward
    """
    from nodeward.cli.main import cli

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "nodeward", VARIABLE).source())
