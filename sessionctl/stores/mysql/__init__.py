"""MySQL and MariaDB databases of SQLAlchemySession."""
