"""sites, stores and machines that Porter makes"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

Json = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.create_table(
        "sites",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("region", sa.String(length=64), nullable=False),
        sa.Column("settings", Json, nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("verified", sa.Double(), nullable=True),
        sa.Column("rights", Json, nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_sites")),
    )
    op.create_table(
        "stores",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("settings", Json, nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_stores")),
    )
    op.create_table(
        "instances",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("host", sa.String(length=64), nullable=False),
        sa.Column("host_name", sa.String(length=255), nullable=False),
        sa.Column("site", sa.String(length=255), nullable=False),
        sa.Column("migration", sa.String(length=64), nullable=True),
        sa.Column("instance_type", sa.String(length=255), nullable=False),
        sa.Column("instance", sa.String(length=512), nullable=False),
        sa.Column("public_address", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("quote", Json, nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("launched", sa.Double(), nullable=True),
        sa.Column("empty_since", sa.Double(), nullable=True),
        sa.Column("gone", sa.Double(), nullable=True),
        sa.Column("wake_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_instances")),
    )
    with op.batch_alter_table("instances", schema=None) as batch_op:
        for column in ("host", "migration", "site"):
            batch_op.create_index(batch_op.f(f"ix_instances_{column}"), [column], unique=False)
    with op.batch_alter_table("workloads", schema=None) as batch_op:
        batch_op.add_column(sa.Column("endpoints", Json, nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("workloads", schema=None) as batch_op:
        batch_op.drop_column("endpoints")
    op.drop_table("instances")
    op.drop_table("stores")
    op.drop_table("sites")
