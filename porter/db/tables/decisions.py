"""What is allowed, what is planned, and what is proposed."""

from __future__ import annotations

import sqlalchemy as sa

from porter.db.tables.base import Id, Json, Project, metadata

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
