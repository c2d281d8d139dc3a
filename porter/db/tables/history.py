"""What was seen over time: prices, memory, interruptions."""

from __future__ import annotations

import sqlalchemy as sa

from porter.db.tables.base import Id, metadata

Place = sa.String(255)
Terms = sa.String(32)

price_watches = sa.Table(
    "price_watches",
    metadata,
    sa.Column("site", Place, primary_key=True),
    sa.Column("item", Place, primary_key=True),
    sa.Column("terms", Terms, primary_key=True),
    sa.Column("amount", sa.String(64), nullable=False),
    sa.Column("currency", sa.String(16), nullable=False),
    sa.Column("looked", sa.Double, nullable=False),
    sa.Column("asked", sa.Double, nullable=False),
)

price_points = sa.Table(
    "price_points",
    metadata,
    sa.Column("site", Place, primary_key=True),
    sa.Column("item", Place, primary_key=True),
    sa.Column("terms", Terms, primary_key=True),
    sa.Column("at", sa.Double, primary_key=True, autoincrement=False),
    sa.Column("amount", sa.String(64), nullable=False),
)

memory_peaks = sa.Table(
    "memory_peaks",
    metadata,
    sa.Column("workload", Id, sa.ForeignKey("workloads.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("hour", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
)

interruptions = sa.Table(
    "interruptions",
    metadata,
    sa.Column("host", Id, primary_key=True),
    sa.Column("kind", sa.String(32), primary_key=True),
    sa.Column("told", sa.String(64), primary_key=True),
    sa.Column("site", Place, nullable=False),
    sa.Column("instance_type", Place, nullable=False),
    sa.Column("at", sa.Double, nullable=False, index=True),
)
