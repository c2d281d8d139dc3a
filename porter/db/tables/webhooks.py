"""Who is told of events, and whether it arrived."""

from __future__ import annotations

import sqlalchemy as sa

from porter.db.tables.base import Id, Json, Project, metadata

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
