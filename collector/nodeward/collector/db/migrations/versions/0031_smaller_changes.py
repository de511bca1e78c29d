"""smaller indexes of changes"""

from __future__ import annotations

from alembic import op

revision = "0031"
down_revision = "0061"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_change_node_at", "change")
    op.drop_index("ix_change_at", "change")
    op.create_index("ix_change_node", "change", ["node"])
    op.create_index(
        "ix_change_at",
        "change",
        ["at"],
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 32, "autosummarize": "on"},
    )


def downgrade() -> None:
    op.drop_index("ix_change_at", "change")
    op.drop_index("ix_change_node", "change")
    op.create_index("ix_change_at", "change", ["at"])
    op.create_index("ix_change_node_at", "change", ["node", "at"])
