"""The schema brought to this version, by Alembic."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

_LOCK = 0x6E6F6465  # "node": replicas that start together migrate one after the other


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def migrate(engine: Engine, to: str = "head") -> None:
    """Upgrade (or, to an older revision, downgrade) the schema in one transaction."""
    with engine.execution_options(writes=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            if to != "head" or current(connection) != head():
                connection.exec_driver_sql("DROP SCHEMA IF EXISTS ask CASCADE")
        config = _config()
        config.attributes["connection"] = connection
        if to == "head" or _is_ahead(connection, to):
            command.upgrade(config, to)
        else:
            command.downgrade(config, to)
        if connection.dialect.name == "postgresql" and to == "head":
            from nodeward.collector.store.query_postgresql import make_views

            make_views(connection)


def _is_ahead(connection: Connection, revision: str) -> bool:
    here = current(connection)
    if revision == "base":
        return False
    chain = [s.revision for s in ScriptDirectory.from_config(_config()).walk_revisions()]
    return here is None or chain.index(revision) < chain.index(here)  # the newest comes first


def current(connection: Connection) -> str | None:
    """The revision that the database is at; None when it is empty."""
    return MigrationContext.configure(connection).get_current_revision()


def head() -> str:
    """The revision that this program wants."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None
    return revision


def is_known(revision: str) -> bool:
    """Whether this program can bring that revision to its own."""
    steps = ScriptDirectory.from_config(_config()).walk_revisions()
    return revision in {step.revision for step in steps}
