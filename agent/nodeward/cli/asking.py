"""What all asking verbs share: where the collector is, and rows on a terminal or in a pipe."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nodeward.cli import exits
from nodeward.cli.text import safe

if TYPE_CHECKING:
    from nodeward.client import Client

F = TypeVar("F", bound=Callable[..., Any])
Row = Mapping[Any, Any]
Rows = Iterable[Row]
Cell = Callable[[Row], str]
Columns = Sequence[tuple[str, Cell]]
FORMS = ("table", "json", "ndjson", "csv")
NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?|-")
"""Or the dash that stands for nothing."""


def connection_options(command: F) -> F:
    """--collector, --ca, --token-file."""
    for option in (
        click.option("--token-file", type=click.Path(), help="Or the token in NODEWARD_TOKEN."),
        click.option("--ca", type=click.Path(), envvar="NODEWARD_CA", help="The CA to trust."),
        click.option("--collector", metavar="URL", envvar="NODEWARD_COLLECTOR", help="Its URL."),
    ):
        command = option(command)
    return command


def client(collector: str | None, ca: str | None, token_file: str | None) -> Client:
    """A client of the collector that options or environment name."""
    try:
        from nodeward.client import Client, Where
    except ModuleNotFoundError as exc:
        raise click.UsageError(f"asking needs the collector extra: no {exc.name}") from None
    if not collector:
        raise click.UsageError("say where: --collector URL, or NODEWARD_COLLECTOR")
    if token_file:
        try:
            token = Path(token_file).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise click.UsageError(f"{token_file}: {exc}") from None
    else:
        token = os.environ.get("NODEWARD_TOKEN", "").strip()
    if not token:
        raise click.UsageError("no token: --token-file FILE, or NODEWARD_TOKEN")
    if ca and not Path(ca).is_file():
        raise click.UsageError(f"there is no CA file {ca}")
    return Client(Where(collector, ca or None, token))


def answering(act: Callable[[], int]) -> int:
    """Run; a collector that cannot be reached or refuses us is exit code 4."""
    from nodeward.client import ClientError

    try:
        return act()
    except ClientError as exc:
        click.echo(f"nodeward: {safe(str(exc))}", err=True)
        return exits.COLLECTOR


def show(rows: Rows, columns: Columns, output: str) -> None:
    """Rows in the form asked for. Piped tables are tab-separated."""
    match output:
        case "json":
            click.echo(json.dumps({"schema": "nodeward.cli/v1", "items": list(rows)}, indent=1))
        case "ndjson":
            for row in rows:
                click.echo(json.dumps(row))
        case "csv":
            click.echo(_csv(rows, columns), nl=False)
        case _:
            _table([[safe(cell(row)) for _, cell in columns] for row in rows], columns)


def _csv(rows: Rows, columns: Columns) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_defused(safe(name)) for name, _ in columns])
    for row in rows:
        writer.writerow([_defused(safe(cell(row))) for _, cell in columns])
    return out.getvalue()


def _defused(cell: str) -> str:
    """A cell that a spreadsheet would run as a formula gets an apostrophe; a number is none."""
    return "'" + cell if cell[:1] in ("=", "+", "-", "@") and not NUMBER.fullmatch(cell) else cell


def _table(cells: list[list[str]], columns: Columns) -> None:
    if not sys.stdout.isatty():
        for line in cells:
            click.echo("\t".join(line))
        return
    names = [name.upper() for name, _ in columns]
    widths = [
        max(len(line[i]) for line in [names, *cells]) if i < len(names) - 1 else 0
        for i in range(len(names))
    ]
    for line in [names, *cells]:
        text = "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True))
        click.echo(text.rstrip())
