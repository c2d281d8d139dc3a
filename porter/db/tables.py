"""The tables. `migrations/` holds the schema revisions that make them."""

from __future__ import annotations

import sqlalchemy as sa

from porter.db.base import ACTIVE
from porter.domain.identity import DEFAULT_PROJECT

NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = sa.MetaData(naming_convention=NAMING)

Id = sa.String(64)
Json = sa.JSON(none_as_null=True)
Project = sa.String(63)
Serial = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""SQLite numbers rows by itself only in a column of type INTEGER."""
ACTIVE_ONLY = sa.text("state IN (" + ", ".join(f"'{state}'" for state in ACTIVE) + ")")

hosts = sa.Table(
    "hosts",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", sa.String(255), nullable=False, unique=True),
    sa.Column("site", sa.String(255), nullable=False),
    sa.Column("range", sa.String(64), nullable=False, unique=True),
    sa.Column("serial", sa.String(64), nullable=False),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("facts", Json),
    sa.Column("last_seen", sa.Double),
    sa.Column("joined_at", sa.Double, nullable=False),
    sa.Column("certificate", sa.Text),
    sa.Column("notices", Json),
)

join_tokens = sa.Table(
    "join_tokens",
    metadata,
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(255)),
    sa.Column("site", sa.String(255)),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
    sa.Column("used_at", sa.Double),
    sa.Column("used_key", sa.String(64)),
    sa.Column("used_by", Id),
)

workloads = sa.Table(
    "workloads",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", sa.String(255), nullable=False, unique=True),
    sa.Column("host", Id, sa.ForeignKey("hosts.id", ondelete="SET NULL"), index=True),
    sa.Column("container", sa.String(255), nullable=False),
    sa.Column("container_name", sa.String(255), nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("address", sa.String(64), nullable=False),
    sa.Column("image", sa.String(255), nullable=False),
    sa.Column("memory_bytes", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(32), nullable=False),
    sa.Column("rival", Id),
    sa.Column("seen_at", sa.Double, nullable=False),
    sa.Column("endpoints", Json),
    sa.Column("project", Project, nullable=False, server_default=DEFAULT_PROJECT, index=True),
    sa.Column("policies", Json),
)

sites = sa.Table(
    "sites",
    metadata,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("region", sa.String(64), nullable=False),
    sa.Column("settings", Json, nullable=False),
    sa.Column("sealed", sa.Text, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("verified", sa.Double),
    sa.Column("rights", Json),
)

stores = sa.Table(
    "stores",
    metadata,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("settings", Json, nullable=False),
    sa.Column("sealed", sa.Text, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
)

instances = sa.Table(
    "instances",
    metadata,
    sa.Column("key", Id, primary_key=True),
    sa.Column("host", Id, nullable=False, index=True),
    sa.Column("host_name", sa.String(255), nullable=False),
    sa.Column("site", sa.String(255), nullable=False, index=True),
    sa.Column("migration", Id, index=True),
    sa.Column("instance_type", sa.String(255), nullable=False),
    sa.Column("instance", sa.String(512), nullable=False),
    sa.Column("public_address", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("token", sa.Text, nullable=False),
    sa.Column("quote", Json),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("launched", sa.Double),
    sa.Column("empty_since", sa.Double),
    sa.Column("gone", sa.Double),
    sa.Column("wake_at", sa.Double, nullable=False),
    sa.Column("launched_at", sa.Double),
    sa.Column("ended_at", sa.Double),
)

CHECKPOINT_BUSY = sa.text("state IN ('creating', 'restoring')")
checkpoints = sa.Table(
    "checkpoints",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("workload", sa.String(255), nullable=False),
    sa.Column("host", Id, nullable=False),
    sa.Column("host_name", sa.String(255), nullable=False),
    sa.Column("store", sa.String(255), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("recipients", Json, nullable=False),
    sa.Column("result", Json),
    sa.Column("task", Json, nullable=False),
    sa.Column("progress", Json),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("finished", sa.Double),
    sa.Column("restored", sa.Double),
    sa.Column("lease_token", sa.String(32)),
    sa.Column("lease_until", sa.Double),
    sa.Column("wake_at", sa.Double),
    sa.Column("news", sa.Integer, nullable=False),
    sa.Column("project", Project, nullable=False, server_default=DEFAULT_PROJECT),
    sa.Index("ix_checkpoints_state", "state", "wake_at"),
    sa.Index(
        "uq_checkpoints_busy",
        "workload",
        unique=True,
        sqlite_where=CHECKPOINT_BUSY,
        postgresql_where=CHECKPOINT_BUSY,
    ),
)

migrations = sa.Table(
    "migrations",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("workload_id", Id, sa.ForeignKey("workloads.id"), nullable=False),
    sa.Column("workload", sa.String(255), nullable=False),
    sa.Column("source", Id, nullable=False),
    sa.Column("source_name", sa.String(255), nullable=False),
    sa.Column("target", Id, nullable=False),
    sa.Column("target_name", sa.String(255), nullable=False),
    sa.Column("mode", sa.String(16), nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("plan", Json, nullable=False),
    sa.Column("plan_hash", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("lease_token", sa.String(32)),
    sa.Column("lease_until", sa.Double),
    sa.Column("wake_at", sa.Double),
    sa.Column("news", sa.Integer, nullable=False),
    sa.Column("idempotency_key", sa.String(255), unique=True),
    sa.Column("request_hash", sa.String(64), nullable=False),
    sa.Column("cancel_requested", sa.Boolean, nullable=False),
    sa.Column("receipt", Json),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("started", sa.Double),
    sa.Column("finished", sa.Double),
    sa.Column("project", Project, nullable=False, server_default=DEFAULT_PROJECT),
    sa.Column("plan_id", Id, index=True),
    sa.Column("created_by", sa.String(255), nullable=False, server_default=""),
    sa.Column("request", sa.String(64), nullable=False, server_default=""),
    sa.Column("forecast", Json),
    sa.Index(
        "uq_migrations_active",
        "workload_id",
        unique=True,
        sqlite_where=ACTIVE_ONLY,
        postgresql_where=ACTIVE_ONLY,
    ),
    sa.Index("ix_migrations_state", "state", "wake_at"),
    sa.Index("ix_migrations_created", "created"),
    sa.Index("ix_migrations_workload", "workload", "created"),
    sa.Index("ix_migrations_pair", "source", "target", "created"),
)

steps = sa.Table(
    "steps",
    metadata,
    sa.Column("migration", Id, sa.ForeignKey("migrations.id"), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("memory", Json, nullable=False),
    sa.Column("output", Json),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("started", sa.Double),
    sa.Column("ended", sa.Double),
)

commands = sa.Table(
    "commands",
    metadata,
    sa.Column("seq", Serial, primary_key=True),
    sa.Column("id", sa.String(128), nullable=False, unique=True),
    sa.Column("host", Id, nullable=False),
    sa.Column("migration", Id, sa.ForeignKey("migrations.id"), index=True),
    sa.Column("step", sa.String(16), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("payload", Json, nullable=False),
    sa.Column("state", sa.String(8), nullable=False),
    sa.Column("result", Json),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("sent", sa.Double),
    sa.Column("done", sa.Double),
    sa.Index("ix_commands_host_state", "host", "state"),
    sqlite_autoincrement=True,
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", Serial, primary_key=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("migration", Id),
    sa.Column("workload", sa.String(255), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("data", Json, nullable=False),
    sa.Column("project", Project, nullable=False, server_default=""),
    sa.Column("request", sa.String(64), nullable=False, server_default=""),
    sa.Index("ix_events_migration", "migration", "id"),
    sqlite_autoincrement=True,
)

settings = sa.Table(
    "settings",
    metadata,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)

users = sa.Table(
    "users",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("issuer", sa.String(512), nullable=False),
    sa.Column("subject", sa.String(255), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("email", sa.String(255), nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("seen", sa.Double),
    sa.Column("disabled", sa.Double),
    sa.UniqueConstraint("issuer", "subject"),
)

grants = sa.Table(
    "grants",
    metadata,
    sa.Column("user", Id, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("project", Project, primary_key=True),
    sa.Column("role", sa.String(16), primary_key=True),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("created_by", sa.String(255), nullable=False),
)

api_tokens = sa.Table(
    "api_tokens",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("hash", sa.String(64), nullable=False, unique=True),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("owner", Id, sa.ForeignKey("users.id", ondelete="CASCADE"), index=True),
    sa.Column("parent", Id),
    sa.Column("project", Project, nullable=False),
    sa.Column("scopes", Json, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("expires", sa.Double, nullable=False),
    sa.Column("revoked", sa.Double),
    sa.Column("used", sa.Double),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("user", Id, sa.ForeignKey("users.id", ondelete="CASCADE"), index=True),
    sa.Column("csrf", sa.String(64), nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("expires", sa.Double, nullable=False),
)

logins = sa.Table(
    "logins",
    metadata,
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("next", sa.Text, nullable=False),
    sa.Column("expires", sa.Double, nullable=False),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("actor", sa.String(255), nullable=False),
    sa.Column("actor_kind", sa.String(16), nullable=False),
    sa.Column("origin", sa.String(255), nullable=False),
    sa.Column("action", sa.String(255), nullable=False),
    sa.Column("target", sa.String(1024), nullable=False),
    sa.Column("project", Project, nullable=False),
    sa.Column("outcome", sa.String(64), nullable=False),
    sa.Column("request", sa.String(64), nullable=False),
    sa.Column("details", Json, nullable=False),
    sa.Column("previous", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
)

answers = sa.Table(
    "answers",
    metadata,
    sa.Column("principal", sa.String(255), primary_key=True),
    sa.Column("key", sa.String(255), primary_key=True),
    sa.Column("request_hash", sa.String(64), nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("headers", Json),
    sa.Column("body", sa.LargeBinary),
    sa.Column("created", sa.Double, nullable=False, index=True),
)

webhooks = sa.Table(
    "webhooks",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("sealed", sa.Text, nullable=False),
    sa.Column("project", Project, nullable=False),
    sa.Column("types", Json, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("created_by", sa.String(255), nullable=False),
    sa.Column("disabled", sa.Double),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("cursor", sa.BigInteger, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("failing_since", sa.Double),
    sa.Column("paused_until", sa.Double),
    sa.Column("lease_token", sa.String(32)),
    sa.Column("lease_until", sa.Double),
    sa.Column("rotated", sa.Double),
    sa.Index("ix_webhooks_project", "project"),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("webhook", Id, sa.ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    sa.Column("event", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("next_at", sa.Double),
    sa.Column("attempted", sa.Double),
    sa.Column("status", sa.Integer),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("ended", sa.Double),
    sa.UniqueConstraint("webhook", "event"),
    sa.Index("ix_deliveries_due", "state", "next_at"),
)

policies = sa.Table(
    "policies",
    metadata,
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("project", Project, nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("updated", sa.Double, nullable=False),
    sa.Column("updated_by", sa.String(255), nullable=False),
)

decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("migration", Id, primary_key=True),
    sa.Column("run_on", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("proof", sa.String(16), nullable=False),
    sa.Column("by", sa.String(255), nullable=False),
    sa.Column("by_name", sa.String(255), nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)

plans = sa.Table(
    "plans",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("content", Json, nullable=False),
    sa.Column("basis", Json, nullable=False),
    sa.Column("workload", sa.String(255), nullable=False, index=True),
    sa.Column("project", Project, nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("demands", Json, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("created_by", sa.String(255), nullable=False),
    sa.Column("decided", sa.Double),
    sa.Column("decided_by", sa.String(255), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("expires", sa.Double, nullable=False),
    sa.Column("migration", Id),
)

schedules = sa.Table(
    "schedules",
    metadata,
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("project", Project, nullable=False),
    sa.Column("cron", sa.String(200), nullable=False),
    sa.Column("zone", sa.String(64), nullable=False),
    sa.Column("spec", Json, nullable=False),
    sa.Column("prices", Json),
    sa.Column("looked", sa.Double),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("updated", sa.Double, nullable=False),
    sa.Column("updated_by", sa.String(255), nullable=False),
)

rebalances = sa.Table(
    "rebalances",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("trigger", sa.String(16), nullable=False),
    sa.Column("schedule", sa.String(63)),
    sa.Column("due_at", sa.Double),
    sa.Column("project", Project, nullable=False),
    sa.Column("spec", Json, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("problem", Json),
    sa.Column("answer", Json),
    sa.Column("stays", Json),
    sa.Column("prices", Json),
    sa.Column("created_by", sa.String(255), nullable=False),
    sa.Column("started", sa.Double, nullable=False),
    sa.Column("finished", sa.Double),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("lease_token", sa.String(32)),
    sa.Column("lease_until", sa.Double),
    sa.UniqueConstraint("schedule", "due_at"),
    sa.Index("ix_rebalances_state", "state", "lease_until"),
    sa.Index("ix_rebalances_started", "started"),
)

proposals = sa.Table(
    "proposals",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("rebalance", Id, nullable=False, index=True),
    sa.Column("project", Project, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("content", Json, nullable=False),
    sa.Column("basis", Json, nullable=False),
    sa.Column("demands", Json, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("created_by", sa.String(255), nullable=False),
    sa.Column("decided", sa.Double),
    sa.Column("decided_by", sa.String(255), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("expires", sa.Double, nullable=False),
    sa.Column("checked", sa.Double, nullable=False),
    sa.Column("started", sa.Double),
    sa.Column("started_by", sa.String(255), nullable=False),
    sa.Column("ended", sa.Double),
    sa.Column("stopping", sa.Text, nullable=False),
    sa.Column("lease_token", sa.String(32)),
    sa.Column("lease_until", sa.Double),
    sa.Column("wake_at", sa.Double),
    sa.Index("ix_proposals_state", "state", "wake_at"),
)

proposal_moves = sa.Table(
    "proposal_moves",
    metadata,
    sa.Column("proposal", Id, sa.ForeignKey("proposals.id"), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("workload", sa.String(255), nullable=False),
    sa.Column("migration", Id, index=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("begun", sa.Double),
    sa.Column("ended", sa.Double),
    sa.Index("ix_proposal_moves_workload", "workload", "begun"),
)

import porter.db.tables_history  # noqa: E402, F401 - its tables belong to the metadata
