"""The tables that SQLAlchemySession needs on MySQL, where the SDK cannot make them and users do it by hand."""

from __future__ import annotations

import contextlib
from typing import Any

from servers import mysql_connect


def mysql_ddl(
    *,
    tables: tuple[str, str] = ("agent_sessions", "agent_messages"),
    id_type: str = "VARCHAR(255)",
    text_type: str = "LONGTEXT",
    time_type: str = "TIMESTAMP",
    collation: str | None = None,
    foreign_key: str | None = "ON DELETE CASCADE",
    index: bool = True,
    engine: str = "InnoDB",
) -> list[str]:
    """The statements, in order.

    ``time_type`` may be ``TIMESTAMP(6)``, ``DATETIME``, …; ``collation`` None is the database's default;
    ``foreign_key`` is the action of the messages' key, None for no key at all.
    """
    sessions, messages = tables
    stamp = (
        f"{time_type} NOT NULL DEFAULT CURRENT_TIMESTAMP" + time_type.partition("(")[1] + time_type.partition("(")[2]
    )
    session_id = f"session_id {id_type} NOT NULL"
    key = f"FOREIGN KEY (session_id) REFERENCES `{sessions}` (session_id) {foreign_key}"
    columns = [
        "id INT NOT NULL AUTO_INCREMENT PRIMARY KEY",
        session_id,
        f"message_data {text_type} NOT NULL",
        f"created_at {stamp}",
        *([f"INDEX `idx_{messages}_session_time` (session_id, created_at)"] if index else []),
        *([key] if foreign_key is not None else []),
    ]
    end = f"ENGINE={engine}" + (f" COLLATE {collation}" if collation else "")
    return [
        f"CREATE TABLE `{sessions}` ({session_id} PRIMARY KEY, created_at {stamp}, updated_at {stamp}) {end}",
        f"CREATE TABLE `{messages}` ({', '.join(columns)}) {end}",
    ]


def create_mysql_tables(url: str, **variant: Any) -> None:
    """Run ``mysql_ddl(**variant)`` in the database at ``url``."""
    with contextlib.closing(mysql_connect(url)) as connection, connection.cursor() as cursor:
        for statement in mysql_ddl(**variant):
            cursor.execute(statement)
