"""`nodeward collector`: run and manage the centre."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nodeward.cli import departed, exits, openreports
from nodeward.cli.collector_rights import access, alert, token
from nodeward.cli.store import act, done, labels_of, settings_of, span, usage, who, write

if TYPE_CHECKING:
    from sqlalchemy import Connection


@click.group("collector")
@click.option("--config", type=click.Path(exists=True, dir_okay=False), help="collector.yaml")
@click.pass_context
def command(context: click.Context, config: str | None) -> None:
    """Run and manage the centre."""
    context.obj = config


command.add_command(openreports.command)
command.add_command(departed.command)


@command.command("init")
@click.option("--name", "names", multiple=True, help="Host name or address agents will use.")
@click.pass_context
def init(context: click.Context, names: tuple[str, ...]) -> int:
    """Make the state folder, a CA, a server certificate and the database. What is there stays."""
    settings = settings_of(context)
    from nodeward.collector import pki
    from nodeward.collector.db.engine import open_engine
    from nodeward.collector.db.migrate import migrate

    state = Path(settings.state)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (state / "ca.crt").exists() and not settings.tls_cert:
        pki.write_ca(state)
    if not settings.cert_path.exists() and not settings.tls_cert:
        pki.write_server(state, list(names) or ["localhost", "127.0.0.1", socket.gethostname()])
    engine = open_engine(settings.database_url)
    migrate(engine)
    engine.dispose()
    click.echo(f"CA for agents and askers: {state / 'ca.crt'}")
    return exits.OK


@command.command("serve")
@click.pass_context
def serve(context: click.Context) -> int:
    """Serve until told to stop. SIGHUP: read the settings and the certificate anew."""
    settings = settings_of(context)
    from nodeward.collector.serve import serve as run
    from nodeward.collector.settings import load

    given: str | None = context.obj
    with usage():
        run(settings, lambda: load(Path(given) if given else None))
    return exits.OK


@command.command("ca")
@click.argument("step", type=click.Choice(["begin", "switch", "finish", "renew"]))
@click.pass_context
def ca(context: click.Context, step: str) -> int:
    """Change the CA while everything runs: begin (hand out the bundle), switch, finish. `renew`
    makes a new server certificate by the CA that there is."""
    settings = settings_of(context)
    from nodeward.collector import authority

    with usage():
        bundle = getattr(authority, step)(Path(settings.state))
    done(context, f"ca.{step}", "ca")
    if bundle is not None:
        click.echo(f"for agents and askers to trust now: {bundle}")
    return exits.OK


for _group in (token, access, alert):
    command.add_command(_group)


@command.group("agents")
def agents() -> None:
    """Enrolled keys."""


def _agent_command(name: str, text: str) -> None:
    @agents.command(name, help=text)
    @click.argument("agent")
    @click.pass_context
    def run(context: click.Context, agent: str) -> int:
        settings_of(context)
        from nodeward.collector.store import lifecycle
        from nodeward.collector.store.access import EVERYTHING

        do = getattr(lifecycle, name)
        act(context, f"agent.{name}", agent, lambda c, _now: do(c, agent, EVERYTHING))
        return exits.OK


_agent_command("approve", "Let a pending key speak; the one before it there is superseded.")
_agent_command("release", "Let a quarantined key speak again.")
_agent_command("revoke", "The key speaks for nobody from now on (within five seconds).")


@command.command("waive")
@click.argument("check", metavar="CHECK-GLOB")
@click.option("--node", default="*", show_default=True, metavar="GLOB")
@click.option("--label", multiple=True, metavar="KEY=VALUE", help="Only clusters labelled so.")
@click.option("--reason", required=True)
@click.option("--owner", required=True, help="Who answers for it.")
@click.option("--until", required=True, metavar="TIME", help="RFC 3339, or a span such as 30d.")
@click.pass_context
def waive(
    context: click.Context,
    check: str,
    node: str,
    label: tuple[str, ...],
    reason: str,
    owner: str,
    until: str,
) -> int:
    """A dated exception, in force at once: whoever may write the store needs nobody's approval."""
    labels = labels_of(label)
    settings_of(context)
    from nodeward.collector.clock import moment_ms, span_ms
    from nodeward.collector.db.engine import clock_of
    from nodeward.collector.store.access import EVERYTHING
    from nodeward.collector.store.audit import note
    from nodeward.collector.store.waivers import make_waiver

    def waived(connection: Connection) -> str:
        now = clock_of(connection)
        try:
            expires_at = now + span_ms(until)
        except ValueError:
            expires_at = moment_ms(until, "until", now)
        made = make_waiver(
            connection,
            check=check,
            node=node,
            labels=labels,
            reason=reason,
            owner=owner,
            expires_at=expires_at,
            scope=EVERYTHING,
            by=who(),
            approved=True,
            now=now,
        )
        given = {"check": check, "node": node, "labels": labels, "owner": owner, "until": until}
        note(connection, who(), "waiver.create", made, now, given)
        return made

    click.echo(write(context, waived))
    return exits.OK


@command.command("label")
@click.argument("cluster")
@click.argument("labels", nargs=-1, required=True, metavar="KEY=VALUE|KEY-...")
@click.pass_context
def label_cluster(context: click.Context, cluster: str, labels: tuple[str, ...]) -> int:
    """Label a cluster: filters and the scope of tokens go by labels. KEY- takes one away."""
    dropped = [text[:-1] for text in labels if text.endswith("-") and "=" not in text]
    wanted = labels_of(tuple(text for text in labels if text[:-1] not in dropped))
    settings_of(context)
    from nodeward.collector.db import tables as t
    from nodeward.collector.db.engine import clock_of, insert
    from nodeward.collector.store.audit import note
    from nodeward.collector.store.enrol import cluster_id

    def labelled(connection: Connection) -> None:
        now = clock_of(connection)
        number = cluster_id(connection, cluster, now)
        statement = insert(connection, t.cluster_label)
        statement = statement.on_conflict_do_update(
            index_elements=["cluster", "key"], set_={"value": statement.excluded.value}
        )
        rows = [{"cluster": number, "key": k, "value": v} for k, v in wanted.items()]
        if rows:
            connection.execute(statement, rows)
        label = t.cluster_label.c
        gone = t.cluster_label.delete().where(label.cluster == number, label.key.in_(dropped))
        connection.execute(gone)
        given = wanted | dict.fromkeys(dropped)
        note(connection, who(), "cluster.label", cluster, now, given)

    write(context, labelled)
    return exits.OK


@command.command("recount")
@click.pass_context
def recount_nodes(context: click.Context) -> int:
    """Count anew how many nodes have each check at each status; says how many counts were wrong."""
    settings_of(context)
    from nodeward.collector.store.names import Names
    from nodeward.collector.store.recount import recount

    wrong = act(context, "recount", "counters", lambda c, _now: recount(c, Names()))
    click.echo(f"{wrong} counts were wrong" if wrong else "every count was right")
    return exits.OK


@command.command("backup")
@click.argument("file", type=click.Path(dir_okay=False))
@click.pass_context
def backup(context: click.Context, file: str) -> int:
    """Copy the store into FILE, while the collector runs."""
    settings = settings_of(context)
    from nodeward.collector import keep

    with usage():
        keep.backup(settings.database_url, Path(file))
    done(context, "store.backup", file)
    return exits.OK


@command.command("restore")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--replace", is_flag=True, help="Also where there is a store already.")
@click.pass_context
def restore(context: click.Context, file: str, replace: bool) -> int:
    """Bring back a backup. The collector must not run."""
    settings = settings_of(context)
    from nodeward.collector import keep

    with usage():
        keep.restore(settings.database_url, Path(file), replace=replace)
    done(context, "store.restore", file)
    return exits.OK


@command.command("prune")
@click.option("--older-than", "age_ms", required=True, metavar="SPAN", callback=span)
@click.option("--archive", type=click.Path(file_okay=False), help="Only what is in this folder.")
@click.pass_context
def prune(context: click.Context, age_ms: int, archive: str | None) -> int:
    """Changes of days older than SPAN leave the store; questions about that time are refused."""
    settings = settings_of(context)
    from nodeward.collector.archive import let_go
    from nodeward.collector.db.engine import clock_of, open_engine

    engine = open_engine(settings.database_url)
    try:
        with engine.connect() as connection:
            before = clock_of(connection) - age_ms
        gone = let_go(engine, Path(archive) if archive else None, before)
    finally:
        engine.dispose()
    done(context, "store.prune", "change", older_than_ms=age_ms, changes=gone)
    click.echo(f"{gone} changes left the store")
    return exits.OK


@command.command("archive")
@click.argument("folder", type=click.Path(file_okay=False))
@click.pass_context
def archive(context: click.Context, folder: str) -> int:
    """Write the changes of each closed day into FOLDER as Parquet; days that are there stay."""
    settings = settings_of(context)
    from nodeward.collector.archive import archive_closed, available
    from nodeward.collector.db.engine import clock_of, open_engine

    engine = open_engine(settings.database_url)
    try:
        with usage():
            available()
            with engine.connect() as connection:
                now = clock_of(connection)
            made = archive_closed(engine, Path(folder), now)
    except OSError as exc:
        raise click.UsageError(f"{folder}: {exc.strerror}") from None
    finally:
        engine.dispose()
    done(context, "store.archive", folder, days=made)
    click.echo(f"{made} days were written")
    return exits.OK


@command.group("config")
def config() -> None:
    """The configuration."""


@config.command("check")
@click.pass_context
def config_check(context: click.Context) -> int:
    """Say whether the configuration is right, and the files that it names are there."""
    settings = settings_of(context)
    from nodeward.collector.settings import missing_files

    missing = missing_files(settings)
    if missing:
        raise click.UsageError("; ".join(missing))
    click.echo("the configuration is right")
    return exits.OK
