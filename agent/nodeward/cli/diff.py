"""`nodeward diff`: what one node's posture came to between two times."""

from __future__ import annotations

import click

from nodeward.cli import asking, exits


def _value(name: str) -> asking.Cell:
    def cell(row: asking.Row) -> str:
        value = row[name]
        return f"{value['status']} ({value['severity']})" if value else "none"

    return cell


COLUMNS: asking.Columns = [
    ("check", lambda row: str(row["check"])),
    ("old", _value("old")),
    ("new", _value("new")),
]


@click.command("diff")
@click.argument("node", metavar="[CLUSTER/]NODE")
@asking.connection_options
@click.option("--since", default="24h", show_default=True, help="RFC 3339, or a span.")
@click.option("--until", help="RFC 3339, or a span; default: now.")
@click.option("--output", "-o", type=click.Choice(asking.FORMS), default="table")
def command(
    node: str,
    collector: str | None,
    ca: str | None,
    token_file: str | None,
    since: str,
    until: str | None,
    output: str,
) -> int:
    """What changed on a node between two times; steps that were undone cancel out."""
    ask = asking.client(collector, ca, token_file)

    def run() -> int:
        cluster, name = _found(ask.items("/v1/nodes", [("node", node.rpartition("/")[2])]), node)
        params = [("since", since), *([("until", until)] if until else [])]
        found = ask.get(f"/v1/nodes/{cluster}/{name}/diff", params)
        asking.show(found["changes"], COLUMNS, output)
        return exits.OK

    return asking.answering(run)


def _found(rows: asking.Rows, wanted: str) -> tuple[str, str]:
    """Cluster and node that were meant; a name in several clusters must say which."""
    cluster = wanted.rpartition("/")[0]
    found = [(r["cluster"], r["node"]) for r in rows if not cluster or r["cluster"] == cluster]
    if not found:
        raise click.UsageError(f"there is no node {wanted}")
    if len(found) > 1:
        names = ", ".join(f"{c}/{n}" for c, n in found)
        raise click.UsageError(f"say which: {names}")
    return found[0]
