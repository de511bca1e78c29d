"""`nodeward collector departed`: nodes that their cluster has deleted are retired."""

from __future__ import annotations

from pathlib import Path

import click

from nodeward.cli import asking, controller


@click.command("departed")
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
    """Retire the nodes that CLUSTER has deleted, by its own list of nodes.

    A controller: it runs until it is stopped. Its token for the collector needs the role operator.
    """
    ask = asking.client(collector, ca, token_file)
    from nodeward.collector.departed import Departed
    from nodeward.collector.export.cluster import Api

    found = Departed(ask.items, ask.post, Api(api, Path(api_ca), Path(api_token_file)), cluster)

    def turn() -> str:
        return "\n".join(f"{name} is gone" for name in found.turn())

    return controller.run(turn, every, rounds)
