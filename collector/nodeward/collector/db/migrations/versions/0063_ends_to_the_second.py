"""of certificates' ends the second, or the last millisecond of a day"""

from __future__ import annotations

from alembic import op

revision = "0063"
down_revision = "0041"
branch_labels = None
depends_on = None

DAY_MS = 86_400_000


def upgrade() -> None:
    op.execute(f"UPDATE expiry SET at = at + {DAY_MS - 1} WHERE at % {DAY_MS} = 0")  # noqa: S608


def downgrade() -> None:
    op.execute(f"UPDATE expiry SET at = at - at % {DAY_MS}")  # noqa: S608
