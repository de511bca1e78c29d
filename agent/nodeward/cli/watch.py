"""`nodeward watch`: changes as they come."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nodeward.cli import asking, exits
from nodeward.cli.get import KINDS
from nodeward.cli.text import safe

if TYPE_CHECKING:
    from nodeward.client import Client
    from nodeward.collector.export.stream import Deliver, Params

EVERY_S = 5.0


@click.command("watch")
@asking.connection_options
@click.option("--check", multiple=True, metavar="GLOB")
@click.option("--cluster")
@click.option("--node")
@click.option("--since", default="5m", show_default=True, help="Where to begin.")
@click.option("--rounds", type=click.IntRange(1), help="Ask so many times; default: for ever.")
@click.option("--output", "-o", type=click.Choice(["table", "ndjson", "ocsf"]), default="table")
@click.option("--to", metavar="FILE|URL", help="With -o ocsf: append or POST, each at least once.")
@click.option("--resume", type=click.Path(dir_okay=False), help="With --to: keep the place here.")
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
    to: str | None,
    resume: str | None,
) -> int:
    """Print changes as they come, the oldest first, until interrupted.

    A token for the server that --to names is taken from NODEWARD_TO_TOKEN.
    """
    if (to or resume) and output != "ocsf":
        raise click.UsageError("--to and --resume are for -o ocsf")
    ask = asking.client(collector, ca, token_file)
    params = [("check", glob) for glob in check]
    params += [(n, v) for n, v in (("cluster", cluster), ("node", node)) if v]
    if output == "ocsf":
        return asking.answering(lambda: _stream(ask, params, since, to, resume, rounds))
    return asking.answering(lambda: _print(ask, params, since, output, rounds))


def _print(ask: Client, params: Params, since: str, output: str, rounds: int | None) -> int:
    begin, shown = since, set[str]()

    def turn() -> None:
        nonlocal begin, shown
        rows = list(ask.items("/v1/changes", [*params, ("since", begin)]))[::-1]
        new = [row for row in rows if repr(row) not in shown]
        if new:
            asking.show(new, KINDS["changes"], output)
            # The last moment is asked for again: more may come within it.
            begin = new[-1]["at"]
            shown = {repr(row) for row in rows if row["at"] == begin}

    return _again_and_again(_patient(turn, rounds), rounds)


def _stream(
    ask: Client, params: Params, since: str, to: str | None, resume: str | None, rounds: int | None
) -> int:
    from nodeward.collector.export.stream import Place, turn

    try:
        place = Place.load(Path(resume), _moment(since)) if resume else Place(_moment(since))
    except ValueError as exc:
        raise click.UsageError(str(exc)) from None
    deliver = _deliver(to)

    def save() -> None:
        if resume:
            place.save(Path(resume))

    def once() -> None:
        turn(ask.items, params, place, deliver, save)

    return _again_and_again(_patient(once, rounds), rounds)


def _patient(turn: Callable[[], None], rounds: int | None) -> Callable[[], None]:
    """Whoever watches for ever outlives a collector that is away for a while."""
    from nodeward.client import ClientError

    def once() -> None:
        try:
            turn()
        except (OSError, ClientError) as exc:
            if rounds is not None:
                raise ClientError(str(exc)) from None
            click.echo(f"nodeward: {safe(str(exc))}; trying again", err=True)

    return once


def _deliver(to: str | None) -> Deliver:
    from nodeward.collector.export.stream import to_file, to_server

    if to is None:
        return lambda text: click.echo(text, nl=False)
    if to.startswith(("https://", "http://")):
        return to_server(to, os.environ.get("NODEWARD_TO_TOKEN", ""))
    return to_file(Path(to))


def _moment(since: str) -> str:
    """RFC 3339 of a time, or of a span before now."""
    from nodeward.collector.clock import moment_ms, now_ms, rfc3339
    from nodeward.collector.problem import Problem

    try:
        return str(rfc3339(moment_ms(since, "since", now_ms())))
    except Problem as exc:
        raise click.UsageError(str(exc)) from None


def _again_and_again(turn: Callable[[], None], rounds: int | None) -> int:
    for number in count(1):
        turn()
        if rounds is not None and number >= rounds:
            break
        time.sleep(EVERY_S)
    return exits.OK
