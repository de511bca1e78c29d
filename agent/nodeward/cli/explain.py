"""`nodeward explain CHECK`: one check as a page."""

from __future__ import annotations

import click

from nodeward.checks import catalog
from nodeward.model import CheckId
from nodeward.model.explain import page


@click.command("explain")
@click.argument("check")
def command(check: str) -> None:
    """Why a check matters, how it is judged, how to mend it."""
    rule = catalog().get(CheckId(check))
    if rule is None:
        near = [i for i in catalog() if check in i]
        hint = f"; did you mean {', '.join(near[:5])}?" if near else ""
        raise click.UsageError(f"no check is called {check!r}{hint}")
    click.echo(page(rule))
