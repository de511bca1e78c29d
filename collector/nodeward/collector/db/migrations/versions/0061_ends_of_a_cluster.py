"""certificates' ends by cluster, for those who may see one"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0061"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.rename_table("expiry", "expiry_before")
    op.drop_index(op.f("ix_expiry_at_node_rule"), table_name="expiry_before")
    op.create_table(
        "expiry",
        sa.Column("node", sa.Integer(), nullable=False),
        sa.Column("rule", sa.Integer(), nullable=False),
        sa.Column("cluster", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("renewer", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("node", "rule", name=op.f("pk_expiry_of_cluster")),
    )
    op.execute(
        "INSERT INTO expiry (node, rule, cluster, at, renewer)"
        " SELECT e.node, e.rule, n.cluster, e.at, e.renewer FROM expiry_before e"
        " JOIN node n ON n.id = e.node"
    )
    op.drop_table("expiry_before")
    op.create_index(op.f("ix_expiry_at_node_rule"), "expiry", ["at", "node", "rule"])
    op.create_index(
        op.f("ix_expiry_cluster_at_node_rule"), "expiry", ["cluster", "at", "node", "rule"]
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_expiry_cluster_at_node_rule"), table_name="expiry")
    op.rename_table("expiry", "expiry_after")
    op.drop_index(op.f("ix_expiry_at_node_rule"), table_name="expiry_after")
    op.create_table(
        "expiry",
        sa.Column("node", sa.Integer(), nullable=False),
        sa.Column("rule", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("renewer", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("node", "rule", name=op.f("pk_expiry_node_rule")),
    )
    op.execute(
        "INSERT INTO expiry (node, rule, at, renewer)"
        " SELECT node, rule, at, renewer FROM expiry_after"
    )
    op.drop_table("expiry_after")
    op.create_index(op.f("ix_expiry_at_node_rule"), "expiry", ["at", "node", "rule"])
