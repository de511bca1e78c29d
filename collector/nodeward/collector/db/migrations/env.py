"""Run by Alembic; the connection is given by nodeward.collector.db.migrate."""

from __future__ import annotations

from alembic import context

from nodeward.collector.db.tables import meta

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=meta,
    render_as_batch=True,
)
context.run_migrations()
