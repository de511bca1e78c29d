"""`nodeward watch`: changes as they come."""

from __future__ import annotations

import time
from itertools import count

import click

from nodeward.cli import asking, exits
from nodeward.cli.get import KINDS

EVERY_S = 5.0


@click.command("watch")
@asking.connection_options
@click.option("--check", multiple=True, metavar="GLOB")
@click.option("--cluster")
@click.option("--node")
@click.option("--since", default="5m", show_default=True, help="Where to begin.")
@click.option("--rounds", type=click.IntRange(1), help="Ask so many times; default: for ever.")
@click.option("--output", "-o", type=click.Choice(["table", "ndjson"]), default="table")
def command(
    collector: str | None,
    ca: str | None,
    token_file: str | None,
    check: tuple[str, ...],
    cluster: str | None,
    node: str | None,
    since: str,
    rounds: int | None,
    output: str,
) -> int:
    """Print changes as they come, the oldest first, until interrupted."""
    ask = asking.client(collector, ca, token_file)
    params = [("check", glob) for glob in check]
    params += [(n, v) for n, v in (("cluster", cluster), ("node", node)) if v]

    def run() -> int:
        begin, shown = since, set[str]()
        for turn in count(1):
            rows = list(ask.items("/v1/changes", [*params, ("since", begin)]))[::-1]
            new = [row for row in rows if repr(row) not in shown]
            if new:
                asking.show(new, KINDS["changes"], output)
                # The last moment is asked for again: more may come within it.
                begin = new[-1]["at"]
                shown = {repr(row) for row in rows if row["at"] == begin}
            if rounds is not None and turn >= rounds:
                break
            time.sleep(EVERY_S)
        return exits.OK

    return asking.answering(run)
