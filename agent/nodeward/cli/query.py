"""`nodeward query`: SQL over a collector's views."""

from __future__ import annotations

from typing import Any

import click

from nodeward.cli import asking, exits


@click.command("query")
@click.argument("sql")
@asking.connection_options
@click.option("--output", "-o", type=click.Choice(asking.FORMS), default="table")
def command(
    sql: str, collector: str | None, ca: str | None, token_file: str | None, output: str
) -> int:
    """Run one SELECT over the views node, finding, change, tally, waiver."""
    ask = asking.client(collector, ca, token_file)

    def run() -> int:
        found = ask.post("/v1/query", {"sql": sql})
        names = found["columns"]
        rows = [dict(enumerate(row)) for row in found["rows"]]
        if output in ("json", "ndjson"):
            rows = [dict(zip(names, row, strict=True)) for row in found["rows"]]
        asking.show(rows, [(name, _cell(place)) for place, name in enumerate(names)], output)
        if found["truncated"]:
            click.echo("nodeward: there are more rows than a query may give", err=True)
        return exits.OK

    return asking.answering(run)


def _cell(place: int) -> Any:  # noqa: ANN401  a function of a row
    return lambda row: "-" if row[place] is None else str(row[place])
