"""What all tables share: names of keys and indexes, and types of columns."""

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
Project = sa.String(63)
Serial = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""SQLite numbers rows by itself only in a column of type INTEGER."""
ACTIVE_ONLY = sa.text("state IN (" + ", ".join(f"'{state}'" for state in ACTIVE) + ")")
