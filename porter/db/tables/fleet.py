"""Hosts, what runs on them, and where hosts and checkpoints may be."""

from __future__ import annotations

import sqlalchemy as sa

from porter.db.tables.base import Id, Json, Project, metadata
from porter.domain.identity import DEFAULT_PROJECT

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
