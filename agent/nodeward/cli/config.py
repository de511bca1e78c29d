"""`nodeward config`: validate the settings."""

from __future__ import annotations

import click

from nodeward.cli.text import safe


@click.group("config")
def command() -> None:
    """Look after the agent's settings."""


@command.command("check")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False))
def check(file: str | None) -> None:
    """Read agent.yaml, agent.d/*.yaml and NODEWARD_*, and say what is wrong with them.

    Exit codes: 0 all keys are known and fit, 2 they do not.
    """
    from nodeward.agent.config import ConfigError, config_file, load
    from nodeward.agent.reach import authorities
    from nodeward.agent.settings import settings
    from nodeward.agent.sign import Health

    try:
        config = load(file)
        settings(config)
        bad = [sign.seen for sign in authorities(config) if sign.health is Health.BAD]
        if bad:
            raise ConfigError([f"collector.ca: {seen}" for seen in bad])
    except ConfigError as exc:
        for problem in exc.problems[:-1]:
            click.echo(f"nodeward: {safe(problem)}", err=True)
        raise click.UsageError(exc.problems[-1]) from None
    click.echo(f"{file or config_file()}: good", err=True)
