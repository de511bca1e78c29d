"""former lives of nodes that came back, and when a collector was there to hear them"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0080"
down_revision = "0051"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "life",
        sa.Column("node", sa.Integer(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("set", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("node", "ended_at", name=op.f("pk_life")),
    )
    op.create_index(op.f("ix_life_set"), "life", ["set"])
    op.create_table(
        "listening",
        sa.Column("since", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("since", name=op.f("pk_listening")),
    )


def downgrade() -> None:
    op.drop_table("listening")
    op.drop_table("life")
