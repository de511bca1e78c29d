"""Programs of ours that stand in a Kubernetes cluster and look again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from typing import Any, TypeVar

import click

from nodeward.cli import asking, exits

F = TypeVar("F", bound=Callable[..., Any])
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


def options(command: F) -> F:
    """--api, --api-ca, --api-token-file, --every, --rounds, and where the collector is."""
    for option in (
        click.option("--rounds", type=click.IntRange(1), help="Look so often; default: for ever."),
        click.option("--every", default=60.0, show_default=True, type=click.FloatRange(1),
                     help="Seconds."),
        click.option("--api-token-file", default=f"{ACCOUNT}/token", show_default=True,
                     type=click.Path()),
        click.option("--api-ca", default=f"{ACCOUNT}/ca.crt", show_default=True,
                     type=click.Path()),
        click.option("--api", default="https://kubernetes.default.svc", show_default=True,
                     metavar="URL"),
    ):  # fmt: skip
        command = option(command)
    return asking.connection_options(command)


def run(turn: Callable[[], str], every: float, rounds: int | None) -> int:
    """Take turns until stopped; each says what it did. What fails is tried again, but in the last
    round."""
    from nodeward.client import ClientError
    from nodeward.collector.export.cluster import ClusterError

    def act() -> int:
        for number in count(1):
            try:
                did = turn()
                if did:
                    click.echo(did)
            except (ClusterError, ClientError) as exc:
                if rounds is not None and number >= rounds:
                    raise ClientError(str(exc)) from None
                click.echo(f"nodeward: {exc}; trying again", err=True)
            if rounds is not None and number >= rounds:
                break
            time.sleep(every)
        return exits.OK

    return asking.answering(act)
