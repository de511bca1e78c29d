"""`nodeward get`: rows of a collector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from nodeward.cli import asking, exits
from nodeward.cli.paint import GLYPH
from nodeward.model import Severity, Status


def _text(name: str) -> Callable[[asking.Row], str]:
    return lambda row: str(row.get(name) if row.get(name) is not None else "-")


def _because(row: asking.Row) -> str:
    waiver = row.get("waiver")
    text = row.get("because") or "-"
    return f"{text} [waived by {waiver['owner']} until {waiver['until']}]" if waiver else text


def _summary(row: asking.Row) -> str:
    return " ".join(f"{n} {status}" for status, n in row["summary"].items() if n) or "-"


def _groups(row: asking.Row) -> str:
    return "; ".join(f"{status}: {', '.join(names)}" for status, names in row["nodes"].items())


def _status(row: asking.Row) -> str:
    return f"{GLYPH[Status(row['status'])]} {row['status']}"


def _value(name: str) -> Callable[[asking.Row], str]:
    def cell(row: asking.Row) -> str:
        value = row[name]
        return f"{value['status']} ({value['severity']})" if value else "none"

    return cell


def _on(row: asking.Row) -> str:
    """The nodes that are named, of which one cluster's needs no cluster's name."""
    many = len({one["cluster"] for one in row["on"]}) > 1
    names = [f"{one['cluster']}/{one['node']}" if many else one["node"] for one in row["on"]]
    more = row["nodes"] - len(names)
    return ", ".join([*names, *([f"and {more} more"] if more > 0 else [])])


KINDS: dict[str, asking.Columns] = {
    "nodes": [
        ("cluster", _text("cluster")),
        ("node", _text("node")),
        ("seen", _text("seen")),
        ("last seen", _text("last_seen")),
        ("findings", _summary),
    ],
    "retirements": [
        ("at", _text("at")),
        ("cluster", _text("cluster")),
        ("node", _text("node")),
    ],
    "findings": [
        ("status", _status),
        ("severity", _text("severity")),
        ("cluster", _text("cluster")),
        ("node", _text("node")),
        ("check", _text("check")),
        ("since", _text("since")),
        ("because", _because),
    ],
    "changes": [
        ("at", _text("at")),
        ("cluster", _text("cluster")),
        ("node", _text("node")),
        ("check", _text("check")),
        ("old", _value("old")),
        ("new", _value("new")),
    ],
    "checks": [
        ("check", _text("check")),
        ("severity", _text("severity")),
        *((s.value, lambda row, s=s: str(row["nodes"][s.value])) for s in Status),
    ],
    "clusters": [
        ("cluster", _text("cluster")),
        ("nodes", _text("nodes")),
        ("findings", _summary),
    ],
    "waivers": [
        ("id", _text("id")),
        ("state", _text("state")),
        ("check", _text("check")),
        ("node", _text("node")),
        ("owner", _text("owner")),
        ("until", _text("until")),
        ("reason", _text("reason")),
    ],
    "events": [
        ("at", _text("at")),
        ("kind", _text("kind")),
        ("cluster", _text("cluster")),
        ("node", _text("node")),
        ("agent", _text("agent")),
    ],
    "agents": [
        ("agent", _text("agent")),
        ("cluster", _text("cluster")),
        ("node", _text("node")),
        ("status", _text("status")),
        ("expires", _text("expires_at")),
    ],
    "platforms": [
        ("nodes", _text("nodes")),
        ("os", _text("os")),
        ("version", _text("os_version")),
        ("kernel", _text("kernel")),
        ("kubelet", _text("kubelet")),
        ("runtime", _text("runtime")),
        ("cloud", _text("cloud")),
        ("roles", _text("roles")),
        ("agent", _text("agent")),
    ],
    "divergence": [
        ("cluster", _text("cluster")),
        ("check", _text("check")),
        ("nodes", _groups),
    ],
    "tokens": [
        ("id", _text("id")),
        ("cluster", _text("cluster")),
        ("node", _text("node")),
        ("uses", _text("uses")),
        ("expires", _text("expires_at")),
        ("by", _text("created_by")),
    ],
    "access": [
        ("id", _text("id")),
        ("name", _text("name")),
        ("role", _text("role")),
        ("state", _text("state")),
        ("expires", _text("expires_at")),
        ("subject", _text("subject")),
    ],
    "alerts": [
        ("name", _text("name")),
        ("kind", _text("kind")),
        ("check", _text("check")),
        ("cluster", _text("cluster")),
        ("target", _text("target")),
        ("at", _text("at")),
        ("waiting", _text("waiting")),
    ],
    "audit": [
        ("at", _text("at")),
        ("actor", _text("actor")),
        ("act", _text("act")),
        ("object", _text("object")),
    ],
    "shared-keys": [
        ("reading", _text("reading")),
        ("component", _text("component")),
        ("because", _text("because")),
        ("on", _on),
        ("key", _text("key")),
    ],
}

OTHERS = ("junit", "ocsf", "openreports", "oscal")
"""Forms of other programs, made of all the findings that were asked for."""


@click.command("get")
@click.argument("kind", type=click.Choice(list(KINDS)))
@asking.connection_options
@click.option("--status", multiple=True, type=click.Choice([s.value for s in Status]))
@click.option("--severity", multiple=True, type=click.Choice([s.value for s in Severity]))
@click.option("--check", multiple=True, metavar="GLOB")
@click.option("--cluster")
@click.option("--node")
@click.option("--label", multiple=True, metavar="KEY=VALUE", help="Of the cluster.")
@click.option("--since", metavar="TIME", help="RFC 3339, or a span such as 24h.")
@click.option("--until", metavar="TIME")
@click.option("--seen", type=click.Choice(["current", "stale", "retired", "skewed"]))
@click.option("--sort", type=click.Choice(["name", "score"]))
@click.option("--at", metavar="TIME", help="Findings as they were then.")
@click.option("--waived", type=click.Choice(["true", "false"]))
@click.option("--state", type=click.Choice(["pending", "active", "expired", "ended"]))
@click.option(
    "--reading",
    metavar="READING",
    help="Of shared keys: one of two-clusters, clone, signer-on-worker, copied, expected, all.",
)
@click.option("--role", metavar="ROLE", help="Of divergence: among nodes of this role.")
@click.option("--limit", type=click.IntRange(1), help="At most so many rows; default: all.")
@click.option("--output", "-o", type=click.Choice([*asking.FORMS, *OTHERS]), default="table")
def command(
    kind: str,
    collector: str | None,
    ca: str | None,
    token_file: str | None,
    limit: int | None,
    output: str,
    **filters: Any,  # noqa: ANN401  one option each
) -> int:
    """Rows of a collector: nodes, findings (the worst first), changes, checks, clusters, agents,
    keys on more than one node."""
    ask = asking.client(collector, ca, token_file)
    params = [
        (name, value)
        for name, given in filters.items()
        for value in (given if isinstance(given, tuple) else (given,))
        if value is not None
    ]

    if output in OTHERS and kind != "findings":
        raise click.UsageError(f"-o {output} is for findings")

    def run() -> int:
        rows = ask.items(f"/v1/{kind}", params, limit)
        if output in OTHERS or (output == "csv" and kind == "findings"):
            from nodeward.collector.export import FORMS

            click.echo(FORMS[output][0](rows), nl=False)
        else:
            asking.show(rows, KINDS[kind], output)
        return exits.OK

    return asking.answering(run)
