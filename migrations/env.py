"""How Alembic reaches Porter's database: through the connection it is handed, or the settings."""

from __future__ import annotations

from alembic import context

from porter.db.database import Database
from porter.db.tables import metadata


def run(connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    from porter.settings import load

    database = Database(load().database_url)
    try:
        with database.schema_lock() as connection:
            run(connection)
    finally:
        database.close()
