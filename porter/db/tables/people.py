"""Who may what, who did what, and what was answered."""

from __future__ import annotations

import sqlalchemy as sa

from porter.db.tables.base import Id, Json, Project, metadata

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
