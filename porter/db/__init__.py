"""The truth in SQL: engine, tables, journal and queries. SQLAlchemy lives in this room only."""
