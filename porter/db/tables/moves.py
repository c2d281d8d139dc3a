"""Migrations, their steps, what agents are told, and what happened."""

from __future__ import annotations

import sqlalchemy as sa

from porter.db.tables.base import ACTIVE_ONLY, Id, Json, Project, Serial, metadata
from porter.domain.identity import DEFAULT_PROJECT

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
