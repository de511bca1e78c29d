"""the keys that each node names"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0050"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "node_key",
        sa.Column("node", sa.Integer(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("cluster", sa.Integer(), nullable=False),
        sa.Column("component", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("sort", sa.SmallInteger(), nullable=False),
        sa.Column("private", sa.SmallInteger(), nullable=False),
        sa.Column("plane", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("node", "key", name=op.f("pk_node_key")),
    )
    columns = ["key", "private", "plane", "sort", "node", "cluster"]
    op.create_index("ix_node_key_key", "node_key", columns)


def downgrade() -> None:
    op.drop_index("ix_node_key_key", table_name="node_key")
    op.drop_table("node_key")
