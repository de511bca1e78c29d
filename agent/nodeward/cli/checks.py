"""`nodeward checks`: the catalogue."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from nodeward.cli.paint import Paint, on_terminal
from nodeward.cli.scan import complete_checks, selected

if TYPE_CHECKING:
    from nodeward.model import Check


@click.command("checks")
@click.argument("globs", nargs=-1, metavar="[GLOB]...", shell_complete=complete_checks)
@click.option(
    "--output", "-o", type=click.Choice(["table", "json"]), default="table", show_default=True
)
def command(globs: tuple[str, ...], output: str) -> None:
    """List what is judged."""
    rules = selected(globs)
    if output == "json":
        click.echo(json.dumps(as_json(rules), indent=1))
    elif on_terminal():
        paint = Paint.of_stdout()
        width = max((len(rule.id) for rule in rules), default=0)
        for rule in rules:
            severity = paint.severity(rule.severity, f"{rule.severity.value:<8}")
            click.echo(f"{rule.id:<{width}}  {severity}  {rule.title}", color=True)
    else:
        for rule in rules:
            click.echo(f"{rule.id}\t{rule.severity.value}\t{rule.title}")


def as_json(rules: Sequence[Check[...]]) -> dict[str, object]:
    """nodeward.checks/v1."""
    from nodeward.model.report import remedy_to_json

    return {
        "schema": "nodeward.checks/v1",
        "checks": [
            {
                "id": rule.id,
                "title": rule.title,
                "severity": rule.severity.value,
                "why": rule.why,
                "remedy": remedy_to_json(rule.remedy),
                "mappings": {name: list(ids) for name, ids in rule.mappings.items()},
            }
            for rule in rules
        ],
    }
