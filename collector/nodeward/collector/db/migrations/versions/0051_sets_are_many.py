"""PostgreSQL is told that a tenth of the nodes have a posture of their own

Its sample sees the few postures that most nodes share, and takes each for one of some hundred: a
check that 690 of 1,000,000 nodes fail made it read them all, 290 ms where the index takes one.
"""

from __future__ import annotations

from alembic import op

revision = "0051"
down_revision = "0063"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _alter("SET (n_distinct = -0.1)")


def downgrade() -> None:
    _alter("RESET (n_distinct)")


def _alter(what: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f'ALTER TABLE posture ALTER COLUMN "set" {what}')
