"""`nodeward collector openreports`: a ClusterReport for each node, kept up to date."""

from __future__ import annotations

import time
from itertools import count
from pathlib import Path

import click

from nodeward.cli import asking, exits

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


@click.command("openreports")
@click.argument("cluster")
@asking.connection_options
@click.option("--api", default="https://kubernetes.default.svc", show_default=True, metavar="URL")
@click.option("--api-ca", default=f"{ACCOUNT}/ca.crt", show_default=True, type=click.Path())
@click.option("--api-token-file", default=f"{ACCOUNT}/token", show_default=True, type=click.Path())
@click.option("--every", default=60.0, show_default=True, type=click.FloatRange(1), help="Seconds.")
@click.option("--rounds", type=click.IntRange(1), help="Look so many times; default: for ever.")
def command(
    cluster: str,
    collector: str | None,
    ca: str | None,
    token_file: str | None,
    api: str,
    api_ca: str,
    api_token_file: str,
    every: float,
    rounds: int | None,
) -> int:
    """Write what the collector knows of CLUSTER's nodes into that cluster, as OpenReports.

    A controller: it runs until it is stopped, and writes only what changed.
    """
    ask = asking.client(collector, ca, token_file)
    from nodeward.client import ClientError
    from nodeward.collector.export.cluster import Api, ClusterError, Keeper

    keeper = Keeper(ask.items, Api(api, Path(api_ca), Path(api_token_file)), cluster)

    def run() -> int:
        for number in count(1):
            try:
                written, dropped = keeper.turn()
                if written or dropped:
                    click.echo(f"{written} reports written, {dropped} deleted")
            except (ClusterError, ClientError) as exc:
                if rounds is not None and number >= rounds:
                    raise ClientError(str(exc)) from None
                click.echo(f"nodeward: {exc}; trying again", err=True)
            if rounds is not None and number >= rounds:
                break
            time.sleep(every)
        return exits.OK

    return asking.answering(run)
