"""`nodeward checks`: the catalogue."""

from __future__ import annotations

import json

import click

from nodeward.checks import catalog
from nodeward.model.report import remedy_to_json


@click.command("checks")
@click.option("--output", "-o", type=click.Choice(["table", "json"]), default="table")
def command(output: str) -> None:
    """List what is judged."""
    rules = catalog().values()
    if output == "json":
        listed = [
            {
                "id": rule.id,
                "title": rule.title,
                "severity": rule.severity.value,
                "why": rule.why,
                "remedy": remedy_to_json(rule.remedy),
                "mappings": {k: list(v) for k, v in rule.mappings.items()},
            }
            for rule in rules
        ]
        click.echo(json.dumps({"schema": "nodeward.checks/v1", "checks": listed}, indent=1))
        return
    width = max((len(rule.id) for rule in rules), default=0)
    for rule in rules:
        click.echo(f"{rule.id:<{width}}  {rule.severity.value:<8}  {rule.title}")
