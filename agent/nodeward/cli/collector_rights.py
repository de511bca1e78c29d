"""`nodeward collector token|access|alert`: who may join, who may ask, who is told."""

from __future__ import annotations

import json

import click

from nodeward.cli import exits
from nodeward.cli.store import act, labels_of, settings_of, span, usage, who, write


def _print(items: list[dict[str, object]]) -> int:
    for item in items:
        click.echo(json.dumps(item, default=str))
    return exits.OK


@click.group("token")
def token() -> None:
    """Join tokens, by which agents enrol."""


@token.command("create")
@click.option("--cluster", required=True)
@click.option("--node", metavar="GLOB", help="Without it, each agent waits for approval.")
@click.option("--uses", type=click.IntRange(1, 1_000_000), default=1, show_default=True)
@click.option("--ttl", "ttl_ms", default="1h", show_default=True, callback=span)
@click.option("--approve", is_flag=True, help="Each agent waits for `agents approve`.")
@click.pass_context
def token_create(
    context: click.Context,
    /,
    approve: bool,
    node: str | None,
    cluster: str,
    uses: int,
    ttl_ms: int,
) -> int:
    """Print a new join token. It is shown only now."""
    settings_of(context)
    from nodeward.collector.store.enrol import make_join_token

    made = act(
        context,
        "token.create",
        cluster,
        lambda connection, now: make_join_token(
            connection,
            node=node,
            approve=approve or node is None,
            by=who(),
            now=now,
            cluster=cluster,
            uses=uses,
            ttl_ms=ttl_ms,
        ),
        node=node,
        uses=uses,
        approve=approve or node is None,
    )
    click.echo(made)
    return exits.OK


@token.command("list")
@click.pass_context
def token_list(context: click.Context) -> int:
    """Those by which somebody can still join, one JSON object a line."""
    settings_of(context)
    from nodeward.collector.db.engine import clock_of
    from nodeward.collector.store.access import EVERYTHING
    from nodeward.collector.store.enrol import join_tokens_json

    return _print(write(context, lambda c: join_tokens_json(c, EVERYTHING, clock_of(c))))


@token.command("revoke")
@click.argument("token_id", metavar="ID")
@click.pass_context
def token_revoke(context: click.Context, token_id: str) -> int:
    """Nobody joins by it any more; who did stays."""
    settings_of(context)
    from nodeward.collector.store.access import EVERYTHING
    from nodeward.collector.store.enrol import revoke_join_token

    act(context, "token.revoke", token_id, lambda c, _: revoke_join_token(c, token_id, EVERYTHING))
    return exits.OK


@click.group("access")
def access() -> None:
    """API tokens of people and programs."""


@access.command("create")
@click.argument("name")
@click.option("--role", type=click.Choice(["viewer", "operator", "admin"]), default="viewer")
@click.option("--label", multiple=True, metavar="KEY=VALUE", help="Only clusters labelled so.")
@click.option("--ttl", "ttl_ms", default="365d", show_default=True, callback=span)
@click.pass_context
def access_create(
    context: click.Context, name: str, role: str, label: tuple[str, ...], ttl_ms: int
) -> int:
    """Print a new API token. It is shown only now."""
    labels = labels_of(label)
    settings_of(context)
    from nodeward.collector.store.access import Role, make_access

    made = act(
        context,
        "access.create",
        name,
        lambda connection, now: make_access(
            connection, name=name, role=Role.named(role), labels=labels, ttl_ms=ttl_ms, now=now
        ),
        role=role,
        labels=labels,
    )
    click.echo(made)
    return exits.OK


@access.command("list")
@click.pass_context
def access_list(context: click.Context) -> int:
    """Tokens and sessions, one JSON object a line."""
    settings_of(context)
    from nodeward.collector.db.engine import clock_of
    from nodeward.collector.store.access import access_json

    return _print(write(context, lambda c: [dict(row) for row in access_json(c, clock_of(c))]))


@access.command("revoke")
@click.argument("access_id", metavar="ID")
@click.pass_context
def access_revoke(context: click.Context, access_id: str) -> int:
    """The token, or the session of somebody who logged in, is good for nothing from now on."""
    settings_of(context)
    from nodeward.collector.store.access import revoke_access

    act(context, "access.revoke", access_id, lambda c, now: revoke_access(c, access_id, now))
    return exits.OK


@click.group("alert")
def alert() -> None:
    """Rules that tell Alertmanager, a webhook or whatever apprise reaches."""


@alert.command("create")
@click.argument("name")
@click.argument("url")
@click.option("--kind", type=click.Choice(["change", "silence", "threshold", "unknown", "rise"]),
              required=True)  # fmt: skip
@click.option("--target", type=click.Choice(["alertmanager", "webhook", "apprise"]), required=True)
@click.option("--check", default="*", show_default=True, metavar="GLOB")
@click.option("--severity", default="high", show_default=True)
@click.option("--cluster", default="*", show_default=True, metavar="GLOB")
@click.option("--more-than", type=click.IntRange(0), default=0, show_default=True)
@click.pass_context
def alert_create(
    context: click.Context,
    /,
    name: str,
    url: str,
    kind: str,
    target: str,
    check: str,
    severity: str,
    cluster: str,
    more_than: int,
) -> int:
    """Print the secret that signs its webhook. It is shown only now."""
    settings_of(context)
    from nodeward.collector.store.alerts import Rule, make_rule

    with usage():
        rule = Rule(kind, target, url, check, severity, cluster, more_than).checked()
    made = act(
        context,
        "alert.create",
        name,
        lambda connection, now: make_rule(connection, name=name, rule=rule, by=who(), now=now),
        kind=kind,
        target=target,
        check=check,
        severity=severity,
        cluster=cluster,
        more_than=more_than,
    )
    click.echo(made)
    return exits.OK


@alert.command("list")
@click.pass_context
def alert_list(context: click.Context) -> int:
    """The rules, one JSON object a line; of a target only where it is."""
    settings_of(context)
    from nodeward.collector.db.engine import clock_of
    from nodeward.collector.store.alerts import rules_json

    return _print(write(context, lambda c: rules_json(c, clock_of(c))))


@alert.command("delete")
@click.argument("name")
@click.pass_context
def alert_delete(context: click.Context, name: str) -> int:
    """The rule, and what it had still to tell."""
    settings_of(context)
    from nodeward.collector.store.alerts import delete_rule

    act(context, "alert.delete", name, lambda c, _now: delete_rule(c, name))
    return exits.OK
