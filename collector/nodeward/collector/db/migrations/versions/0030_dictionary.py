"""dictionaries of evidence"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0040"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "dictionary",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dictionary")),
    )


def downgrade() -> None:
    # What was compressed against a dictionary cannot be read without it. A node whose posture has
    # no digest is asked for a full report, which brings its evidence back.
    mark = "X'01'" if op.get_bind().dialect.name == "sqlite" else "'\\x01'::bytea"
    lost = f"SELECT node FROM evidence WHERE substr(blob, 1, 1) = {mark}"  # noqa: S608
    op.execute(f"UPDATE posture SET digest = NULL WHERE node IN ({lost})")  # noqa: S608
    op.execute(f"DELETE FROM evidence WHERE substr(blob, 1, 1) = {mark}")  # noqa: S608
    op.drop_table("dictionary")
