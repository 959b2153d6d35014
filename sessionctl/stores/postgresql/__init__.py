"""PostgreSQL databases of SQLAlchemySession."""
