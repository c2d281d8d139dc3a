"""what was seen over time: prices, memory of workloads, interruptions of spot machines"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

Json = sa.JSON(none_as_null=True)


def upgrade() -> None:
    _prices()
    op.create_table(
        "memory_peaks",
        sa.Column("workload", sa.String(length=64), nullable=False),
        sa.Column("hour", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workload"],
            ["workloads.id"],
            name=op.f("fk_memory_peaks_workload_workloads"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workload", "hour", name=op.f("pk_memory_peaks")),
    )
    op.create_table(
        "interruptions",
        sa.Column("host", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("told", sa.String(length=64), nullable=False),
        sa.Column("site", sa.String(length=255), nullable=False),
        sa.Column("instance_type", sa.String(length=255), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("host", "kind", "told", name=op.f("pk_interruptions")),
    )
    with op.batch_alter_table("interruptions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_interruptions_at"), ["at"], unique=False)
    _interrupted()


def _prices() -> None:
    op.create_table(
        "price_watches",
        sa.Column("site", sa.String(length=255), nullable=False),
        sa.Column("item", sa.String(length=255), nullable=False),
        sa.Column("terms", sa.String(length=32), nullable=False),
        sa.Column("amount", sa.String(length=64), nullable=False),
        sa.Column("currency", sa.String(length=16), nullable=False),
        sa.Column("looked", sa.Double(), nullable=False),
        sa.Column("asked", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("site", "item", "terms", name=op.f("pk_price_watches")),
    )
    op.create_table(
        "price_points",
        sa.Column("site", sa.String(length=255), nullable=False),
        sa.Column("item", sa.String(length=255), nullable=False),
        sa.Column("terms", sa.String(length=32), nullable=False),
        sa.Column("at", sa.Double(), autoincrement=False, nullable=False),
        sa.Column("amount", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("site", "item", "terms", "at", name=op.f("pk_price_points")),
    )


def _interrupted() -> None:
    """Machines have been seen for longer than this table is there: what was told of them then is
    in the events. Else they would seem never to have been taken away."""
    c = op.get_bind()
    events = sa.table(
        "events", sa.column("kind", sa.String), sa.column("at", sa.Double), sa.column("data", Json)
    )
    instances = sa.table(
        "instances",
        *(sa.column(name, sa.String) for name in ("host", "site", "instance_type")),
        sa.column("quote", Json),
    )
    spot = {
        row.host: row
        for row in c.execute(sa.select(instances))
        if (row.quote or {}).get("terms") == "spot"
    }
    found = {}
    notices = sa.select(events).where(events.c.kind == "host.notice").order_by(events.c.at)
    for row in c.execute(notices):
        machine = spot.get(row.data.get("host"))
        kind, told = str(row.data.get("kind", ""))[:32], str(row.data.get("at", ""))[:64]
        if machine is not None and kind in ("terminate", "stop"):
            found.setdefault((machine.host, kind, told), (machine, row.at))
    table = sa.table(
        "interruptions",
        *map(sa.column, ("host", "kind", "told", "site", "instance_type", "at")),
    )
    for (host, kind, told), (machine, at) in found.items():
        c.execute(
            table.insert().values(
                host=host,
                kind=kind,
                told=told,
                site=machine.site,
                instance_type=machine.instance_type,
                at=at,
            )
        )


def downgrade() -> None:
    op.drop_table("interruptions")
    op.drop_table("memory_peaks")
    op.drop_table("price_points")
    op.drop_table("price_watches")
