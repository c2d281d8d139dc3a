"""webhooks are sent: leases, pauses, tries"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("webhooks", schema=None) as batch_op:
        batch_op.add_column(sa.Column("failures", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("failing_since", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("paused_until", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("lease_token", sa.String(length=32), nullable=True))
        batch_op.add_column(sa.Column("lease_until", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("rotated", sa.Double(), nullable=True))
        batch_op.create_index("ix_webhooks_project", ["project"], unique=False)
    # Whoever sends has the lease of the whole webhook, so that its events keep their order.
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.add_column(sa.Column("tries", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("attempted", sa.Double(), nullable=True))
        batch_op.drop_column("lease_until")


def downgrade() -> None:
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.add_column(sa.Column("lease_until", sa.Double(), nullable=True))
        batch_op.drop_column("attempted")
        batch_op.drop_column("tries")
    with op.batch_alter_table("webhooks", schema=None) as batch_op:
        batch_op.drop_index("ix_webhooks_project")
        for name in (
            "rotated",
            "lease_until",
            "lease_token",
            "paused_until",
            "failing_since",
            "failures",
        ):
            batch_op.drop_column(name)
