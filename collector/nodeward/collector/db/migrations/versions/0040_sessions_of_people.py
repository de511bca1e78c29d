"""sessions of people who logged in elsewhere"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0040"
down_revision = "0070"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("access", sa.Column("subject", sa.Text()))


def downgrade() -> None:
    op.drop_column("access", "subject")
