"""every certificate's end, and saved questions"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0060"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "question",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sql", sa.Text(), nullable=False),
        sa.Column("shared", sa.SmallInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_question")),
        sa.UniqueConstraint("owner", "scope", "name", name=op.f("uq_question_owner_scope_name")),
    )
    op.rename_table("expiry", "expiry_first")
    op.drop_index(op.f("ix_expiry_at_node"), table_name="expiry_first")
    op.create_table(
        "expiry",
        sa.Column("node", sa.Integer(), nullable=False),
        sa.Column("rule", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("renewer", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("node", "rule", name=op.f("pk_expiry_node_rule")),
    )
    # The others come with the next full report of each node.
    op.execute(
        "INSERT INTO expiry (node, rule, at, renewer) SELECT node, rule, at, '' FROM expiry_first"
    )
    op.drop_table("expiry_first")
    op.create_index(op.f("ix_expiry_at_node_rule"), "expiry", ["at", "node", "rule"])


def downgrade() -> None:
    op.rename_table("expiry", "expiry_each")
    op.drop_index(op.f("ix_expiry_at_node_rule"), table_name="expiry_each")
    op.create_table(
        "expiry",
        sa.Column("node", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("rule", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("node", name=op.f("pk_expiry_node")),
    )
    op.execute(
        "INSERT INTO expiry (node, rule, at) SELECT node, min(rule), at FROM expiry_each x"
        " WHERE at = (SELECT min(at) FROM expiry_each y WHERE y.node = x.node) GROUP BY node, at"
    )
    op.drop_table("expiry_each")
    op.create_index(op.f("ix_expiry_at_node"), "expiry", ["at", "node"])
    op.drop_table("question")
