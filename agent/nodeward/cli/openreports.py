"""`nodeward collector openreports`: a ClusterReport for each node, kept up to date."""

from __future__ import annotations

from pathlib import Path

import click

from nodeward.cli import asking, controller


@click.command("openreports")
@click.argument("cluster")
@controller.options
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
    from nodeward.collector.export.cluster import Api, Keeper

    keeper = Keeper(ask.items, Api(api, Path(api_ca), Path(api_token_file)), cluster)

    def turn() -> str:
        written, dropped = keeper.turn()
        return f"{written} reports written, {dropped} deleted" if written or dropped else ""

    return controller.run(turn, every, rounds)
