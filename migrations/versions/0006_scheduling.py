"""rebalances, proposals, schedules; notices of hosts; when providers began and ended machines"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

Json = sa.JSON(none_as_null=True)


def upgrade() -> None:
    _schedules()
    _rebalances()
    _proposals()
    with op.batch_alter_table("hosts", schema=None) as batch_op:
        batch_op.add_column(sa.Column("notices", Json, nullable=True))
    with op.batch_alter_table("instances", schema=None) as batch_op:
        batch_op.add_column(sa.Column("launched_at", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("ended_at", sa.Double(), nullable=True))


def _schedules() -> None:
    op.create_table(
        "schedules",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("cron", sa.String(length=200), nullable=False),
        sa.Column("zone", sa.String(length=64), nullable=False),
        sa.Column("spec", Json, nullable=False),
        sa.Column("prices", Json, nullable=True),
        sa.Column("looked", sa.Double(), nullable=True),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("updated", sa.Double(), nullable=False),
        sa.Column("updated_by", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_schedules")),
    )


def _rebalances() -> None:
    op.create_table(
        "rebalances",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("trigger", sa.String(length=16), nullable=False),
        sa.Column("schedule", sa.String(length=63), nullable=True),
        sa.Column("due_at", sa.Double(), nullable=True),
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("spec", Json, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("problem", Json, nullable=True),
        sa.Column("answer", Json, nullable=True),
        sa.Column("stays", Json, nullable=True),
        sa.Column("prices", Json, nullable=True),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.Column("started", sa.Double(), nullable=False),
        sa.Column("finished", sa.Double(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("lease_token", sa.String(length=32), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rebalances")),
        sa.UniqueConstraint("schedule", "due_at", name=op.f("uq_rebalances_schedule")),
    )
    with op.batch_alter_table("rebalances", schema=None) as batch_op:
        batch_op.create_index("ix_rebalances_state", ["state", "lease_until"], unique=False)
        batch_op.create_index("ix_rebalances_started", ["started"], unique=False)


def _proposals() -> None:
    op.create_table(
        "proposals",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("rebalance", sa.String(length=64), nullable=False),
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("content", Json, nullable=False),
        sa.Column("basis", Json, nullable=False),
        sa.Column("demands", Json, nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.Column("decided", sa.Double(), nullable=True),
        sa.Column("decided_by", sa.String(length=255), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.Column("checked", sa.Double(), nullable=False),
        sa.Column("started", sa.Double(), nullable=True),
        sa.Column("started_by", sa.String(length=255), nullable=False),
        sa.Column("ended", sa.Double(), nullable=True),
        sa.Column("stopping", sa.Text(), nullable=False),
        sa.Column("lease_token", sa.String(length=32), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("wake_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proposals")),
    )
    with op.batch_alter_table("proposals", schema=None) as batch_op:
        batch_op.create_index("ix_proposals_state", ["state", "wake_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_proposals_rebalance"), ["rebalance"], unique=False)
    op.create_table(
        "proposal_moves",
        sa.Column("proposal", sa.String(length=64), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("workload", sa.String(length=255), nullable=False),
        sa.Column("migration", sa.String(length=64), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("begun", sa.Double(), nullable=True),
        sa.Column("ended", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["proposal"], ["proposals.id"], name=op.f("fk_proposal_moves_proposal_proposals")
        ),
        sa.PrimaryKeyConstraint("proposal", "seq", name=op.f("pk_proposal_moves")),
    )
    with op.batch_alter_table("proposal_moves", schema=None) as batch_op:
        batch_op.create_index("ix_proposal_moves_workload", ["workload", "begun"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_proposal_moves_migration"), ["migration"], unique=False
        )


def downgrade() -> None:
    with op.batch_alter_table("instances", schema=None) as batch_op:
        batch_op.drop_column("ended_at")
        batch_op.drop_column("launched_at")
    with op.batch_alter_table("hosts", schema=None) as batch_op:
        batch_op.drop_column("notices")
    op.drop_table("proposal_moves")
    op.drop_table("proposals")
    op.drop_table("rebalances")
    op.drop_table("schedules")
