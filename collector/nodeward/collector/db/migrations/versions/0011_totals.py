"""totals of the counters"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "total",
        sa.Column("rule", sa.Integer(), nullable=False),
        sa.Column("cluster", sa.Integer(), nullable=False),
        sa.Column("value", sa.SmallInteger(), nullable=False),
        sa.Column("nodes", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("rule", "cluster", "value", name=op.f("pk_total")),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO total (rule, cluster, value, nodes)"
        " SELECT 0, cluster, value, sum(nodes) FROM counter GROUP BY cluster, value"
    )
    op.execute(
        "INSERT INTO total (rule, cluster, value, nodes)"
        " SELECT rule, 0, value, sum(nodes) FROM counter GROUP BY rule, value"
    )
    op.execute(
        "INSERT INTO total (rule, cluster, value, nodes)"
        " SELECT 0, p.cluster, 0, count(*) FROM posture p JOIN node n ON n.id = p.node"
        ' WHERE p."set" IS NOT NULL AND n.retired_at IS NULL GROUP BY p.cluster'
    )


def downgrade() -> None:
    op.drop_table("total")
