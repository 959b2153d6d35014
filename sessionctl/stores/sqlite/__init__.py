"""SQLite files of SQLiteSession, AsyncSQLiteSession, AdvancedSQLiteSession and SQLAlchemySession."""
