"""what an asker of SQL may see, while it is asked"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0041"
down_revision = "0062"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "query_scope",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("clusters", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_query_scope")),
    )


def downgrade() -> None:
    op.drop_table("query_scope")
