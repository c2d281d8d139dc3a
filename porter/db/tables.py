"""The tables. `migrations/` holds the schema revisions that make them."""

from __future__ import annotations

import sqlalchemy as sa

from porter.db.base import ACTIVE

NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = sa.MetaData(naming_convention=NAMING)

Id = sa.String(64)
Json = sa.JSON(none_as_null=True)
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
    sa.Index(
        "uq_migrations_active",
        "workload_id",
        unique=True,
        sqlite_where=ACTIVE_ONLY,
        postgresql_where=ACTIVE_ONLY,
    ),
    sa.Index("ix_migrations_state", "state", "wake_at"),
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
    sa.Index("ix_events_migration", "migration", "id"),
    sqlite_autoincrement=True,
)

settings = sa.Table(
    "settings",
    metadata,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)
