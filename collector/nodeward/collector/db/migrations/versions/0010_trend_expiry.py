"""trend and expiry, for the page"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "trend",
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("cluster", sa.Integer(), nullable=False),
        sa.Column("value", sa.SmallInteger(), nullable=False),
        sa.Column("findings", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", "cluster", "value", name=op.f("pk_trend")),
    )
    op.create_table(
        "expiry",
        sa.Column("node", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("rule", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("node", name=op.f("pk_expiry")),
    )
    op.create_index(op.f("ix_expiry_at_node"), "expiry", ["at", "node"])


def downgrade() -> None:
    op.drop_index(op.f("ix_expiry_at_node"), table_name="expiry")
    op.drop_table("expiry")
    op.drop_table("trend")
