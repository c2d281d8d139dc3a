"""SQL tables and queries. SQLAlchemy lives here only."""
