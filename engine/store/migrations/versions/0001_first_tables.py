"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Makes them."""
    op.create_table(
        "keys",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("owner", sa.String(255), nullable=False),
        sa.Column("team", sa.String(255), nullable=True),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.Column("last_used_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="keys_key"),
        sa.UniqueConstraint("digest", name="keys_one_digest"),
    )
    op.create_index("keys_by_owner", "keys", ["owner"])
    if op.get_bind().dialect.name == "postgresql":
        op.create_table(
            "quotas",
            sa.Column("day", sa.BigInteger(), autoincrement=False, nullable=False),
            sa.Column("kind", sa.String(5), nullable=False),
            sa.Column("name", sa.String(255), nullable=False),
            sa.Column("used", sa.BigInteger(), nullable=False),
            sa.PrimaryKeyConstraint("day", "kind", "name", name="quotas_key"),
        )
    op.create_table(
        "audit",
        sa.Column("number", NUMBER, autoincrement=False, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("action", sa.String(255), nullable=False),
        sa.Column("target", sa.String(255), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.PrimaryKeyConstraint("number", name="audit_key"),
    )
    op.create_index("audit_by_action_number", "audit", ["action", "number"])
    op.create_index("audit_by_actor_number", "audit", ["actor", "number"])
    op.create_index("audit_by_at", "audit", ["at"])
    op.create_index("audit_by_target_number", "audit", ["target", "number"])
    op.create_table(
        "traces",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("source", sa.String(255), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("stored_at", sa.Double(), nullable=False),
        sa.Column("owner", sa.String(255), nullable=False),
        sa.Column("team", sa.String(255), nullable=True),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="traces_key"),
    )
    op.create_index("traces_by_stored_at_id", "traces", ["stored_at", "id"])
    op.create_table(
        "calls",
        sa.Column("number", NUMBER, autoincrement=True, nullable=False),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(255), nullable=False),
        sa.Column("state", sa.String(255), nullable=False),
        sa.Column("outcome", sa.String(255), nullable=False),
        sa.Column("from_user", sa.String(255), nullable=False),
        sa.Column("from_host", sa.String(255), nullable=False),
        sa.Column("to_user", sa.String(255), nullable=False),
        sa.Column("to_host", sa.String(255), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("answered_at", sa.Double(), nullable=True),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("duration_ms", sa.BigInteger(), nullable=True),
        sa.Column("pdd_ms", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("released_by", sa.String(255), nullable=False),
        sa.Column("codec", sa.String(255), nullable=False),
        sa.Column("source", sa.String(255), nullable=False),
        sa.Column("trace_id", sa.String(36), nullable=True),
        sa.Column("severity_counts", sa.Text(), nullable=False),
        sa.Column("severity_rank", sa.SmallInteger(), nullable=True),
        sa.Column("message_count", sa.BigInteger(), nullable=False),
        sa.Column("stream_count", sa.BigInteger(), nullable=False),
        sa.Column("worst_mos", sa.Double(), nullable=True),
        sa.Column("loss_percent", sa.Double(), nullable=True),
        sa.Column("owner", sa.String(255), nullable=False),
        sa.Column("team", sa.String(255), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["trace_id"], ["traces.id"], name="calls_to_traces", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("number", name="calls_key"),
        sa.UniqueConstraint("uuid", name="calls_one_uuid"),
        sqlite_autoincrement=True,
    )
    op.create_index("calls_by_duration_ms", "calls", ["duration_ms"])
    op.create_index("calls_by_outcome_number", "calls", ["outcome", "number"])
    op.create_index("calls_by_owner_number", "calls", ["owner", "number"])
    op.create_index("calls_by_severity_rank_number", "calls", ["severity_rank", "number"])
    op.create_index("calls_by_source_number", "calls", ["source", "number"])
    op.create_index("calls_by_started_at", "calls", ["started_at"])
    op.create_index("calls_by_team_number", "calls", ["team", "number"])
    op.create_index("calls_by_trace_id_number", "calls", ["trace_id", "number"])
    op.create_table(
        "call_ids",
        sa.Column("call", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(16), nullable=False),
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["call"], ["calls.number"], name="call_ids_to_calls", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("call", "place", name="call_ids_key"),
    )
    op.create_index("call_ids_by_digest_call", "call_ids", ["digest", "call"])
    op.create_table(
        "messages",
        sa.Column("call", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("part", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("packed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["call"], ["calls.number"], name="messages_to_calls", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("call", "part", name="messages_key"),
    )
    op.create_table(
        "findings",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("trace_id", sa.String(36), nullable=True),
        sa.Column("call", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("rule", sa.String(255), nullable=False),
        sa.Column("severity", sa.String(255), nullable=False),
        sa.Column("category", sa.String(255), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("recommendation", sa.Text(), nullable=False),
        sa.Column("rfc", sa.Text(), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["call"], ["calls.number"], name="findings_to_calls", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["trace_id"], ["traces.id"], name="findings_to_traces", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="findings_key"),
    )
    op.create_index("findings_by_call", "findings", ["call"])
    op.create_index("findings_by_trace_id", "findings", ["trace_id"])
    op.create_table(
        "streams",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("trace_id", sa.String(36), nullable=True),
        sa.Column("call", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("ssrc", sa.BigInteger(), nullable=False),
        sa.Column("codec", sa.Text(), nullable=False),
        sa.Column("payload_type", sa.Integer(), nullable=True),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("duration_ms", sa.BigInteger(), nullable=False),
        sa.Column("packets", sa.BigInteger(), nullable=False),
        sa.Column("lost", sa.BigInteger(), nullable=False),
        sa.Column("loss_percent", sa.Double(), nullable=False),
        sa.Column("jitter_ms", sa.Double(), nullable=False),
        sa.Column("jitter_max_ms", sa.Double(), nullable=False),
        sa.Column("delta_max_ms", sa.Double(), nullable=False),
        sa.Column("mos", sa.Double(), nullable=True),
        sa.Column("mos_worst_10s", sa.Double(), nullable=True),
        sa.Column("rtt_ms", sa.Double(), nullable=True),
        sa.Column("encrypted", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["call"], ["calls.number"], name="streams_to_calls", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["trace_id"], ["traces.id"], name="streams_to_traces", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="streams_key"),
    )
    op.create_index("streams_by_call", "streams", ["call"])
    op.create_index("streams_by_trace_id", "streams", ["trace_id"])
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("events", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("owner", sa.String(255), nullable=False),
        sa.Column("team", sa.String(255), nullable=True),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.Column("last_success_at", sa.Double(), nullable=True),
        sa.Column("last_failure_at", sa.Double(), nullable=True),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="webhooks_key"),
    )
    op.create_index("webhooks_by_owner", "webhooks", ["owner"])
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(255), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("owner", sa.String(255), nullable=False),
        sa.Column("team", sa.String(255), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.Column("run_at", sa.Double(), nullable=False),
        sa.Column("call", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(255), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["call"], ["calls.number"], name="jobs_to_calls", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="jobs_key"),
    )
    op.create_index("jobs_by_call", "jobs", ["call"])
    op.create_index("jobs_by_created_at_id", "jobs", ["created_at", "id"])
    op.create_index("jobs_by_state_run_at", "jobs", ["state", "run_at"])
    op.create_table(
        "recordings",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("call", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(255), nullable=False),
        sa.Column("format", sa.String(255), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("state", sa.String(255), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("duration_ms", sa.BigInteger(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["call"], ["calls.number"], name="recordings_to_calls", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="recordings_key"),
    )
    op.create_index("recordings_by_call", "recordings", ["call"])
    op.create_table(
        "transcripts",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("call", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(255), nullable=False),
        sa.Column("format", sa.String(255), nullable=False),
        sa.Column("state", sa.String(255), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("segments", sa.Text(), nullable=False),
        sa.Column("language", sa.String(255), nullable=False),
        sa.Column("duration_ms", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["call"], ["calls.number"], name="transcripts_to_calls", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="transcripts_key"),
    )
    op.create_index("transcripts_by_call", "transcripts", ["call"])
    op.create_table(
        "summaries",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("call", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(255), nullable=False),
        sa.Column("format", sa.String(255), nullable=False),
        sa.Column("state", sa.String(255), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("duration_ms", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["call"], ["calls.number"], name="summaries_to_calls", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="summaries_key"),
    )
    op.create_index("summaries_by_call", "summaries", ["call"])


def downgrade() -> None:
    """Drops them, with everything in them."""
    op.drop_table("summaries")
    op.drop_table("transcripts")
    op.drop_table("recordings")
    op.drop_table("jobs")
    op.drop_table("webhooks")
    op.drop_table("streams")
    op.drop_table("findings")
    op.drop_table("messages")
    op.drop_table("call_ids")
    op.drop_table("calls")
    op.drop_table("traces")
    op.drop_table("audit")
    if op.get_bind().dialect.name == "postgresql":
        op.drop_table("quotas")
    op.drop_table("keys")
