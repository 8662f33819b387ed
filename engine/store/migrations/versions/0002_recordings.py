"""Recorded sessions: what is found by what correlates it, who took part, and which files belong to which recording."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the tables and columns."""
    op.create_table(
        "recorded",
        sa.Column("id", sa.String(255), nullable=False),
        sa.Column("call", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("machine", sa.String(255), nullable=False),
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("state", sa.String(255), nullable=False),
        sa.Column("stage", sa.String(255), nullable=False),
        sa.Column("vendor", sa.String(255), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("duration_ms", sa.BigInteger(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.Column("holds", sa.Integer(), nullable=False),
        sa.Column("duplicate_of", sa.String(255), nullable=False),
        sa.Column("channels", sa.Text(), nullable=False),
        sa.Column("warnings", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["call"], ["calls.number"], name="recorded_to_calls", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="recorded_key"),
    )
    op.create_index("recorded_by_call", "recorded", ["call"])
    op.create_index("recorded_by_started_at_id", "recorded", ["started_at", "id"])
    op.create_table(
        "correlations",
        sa.Column("recording", sa.String(255), nullable=False),
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("call", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(255), nullable=False),
        sa.Column("value", sa.String(255), nullable=False),
        sa.ForeignKeyConstraint(["call"], ["calls.number"], name="correlations_to_calls", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("recording", "place", name="correlations_key"),
    )
    op.create_index("correlations_by_call", "correlations", ["call"])
    op.create_index("correlations_by_value_kind", "correlations", ["value", "kind"])
    op.create_table(
        "parties",
        sa.Column("recording", sa.String(255), nullable=False),
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("call", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("participant_id", sa.Text(), nullable=False),
        sa.Column("aor", sa.String(255), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("role", sa.String(255), nullable=False),
        sa.Column("joined", sa.Text(), nullable=False),
        sa.Column("left", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["call"], ["calls.number"], name="parties_to_calls", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("recording", "place", name="parties_key"),
    )
    op.create_index("parties_by_aor", "parties", ["aor"])
    op.create_index("parties_by_call", "parties", ["call"])
    for table in ("recordings", "streams", "transcripts"):
        op.add_column(table, sa.Column("recording", sa.String(255), nullable=True))
        op.create_index(f"{table}_by_recording", table, ["recording"])


def downgrade() -> None:
    """Takes them away."""
    for table in ("recordings", "streams", "transcripts"):
        op.drop_index(f"{table}_by_recording", table)
        op.drop_column(table, "recording")
    for table in ("parties", "correlations", "recorded"):
        op.drop_table(table)


__all__ = ["downgrade", "upgrade"]
