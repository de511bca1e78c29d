"""nodes of one posture and platform are counted from an index alone"""

from __future__ import annotations

from alembic import op

revision = "0062"
down_revision = "0050"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_posture_set_node_platform"), "posture", ["set", "node", "platform"])
    op.drop_index(op.f("ix_posture_set_node"), table_name="posture")


def downgrade() -> None:
    op.create_index(op.f("ix_posture_set_node"), "posture", ["set", "node"])
    op.drop_index(op.f("ix_posture_set_node_platform"), table_name="posture")
