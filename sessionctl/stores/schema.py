"""The SDK's two tables as statements: what sessionctl makes itself, and what ``schema print`` gives to migration tools.

SQLite's are SQLiteSession's own, to the letter of the catalog. On servers they are SQLAlchemySession's, made to
last: keys of eight octets, and on MySQL, where the SDK's own cannot be made, ids that are told apart by case, texts
beyond 64 KiB, and times to the microsecond, by which the SDK sorts before it looks at keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sessionctl.stores.layout import MESSAGES, SESSIONS

_SQLITE = (
    """\
CREATE TABLE {sessions} (
    session_id TEXT PRIMARY KEY,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
)""",
    """\
CREATE TABLE {messages} (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id TEXT NOT NULL,
    message_data TEXT NOT NULL,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (session_id) REFERENCES {sessions} (session_id)
        ON DELETE CASCADE
)""",
    None,
    "CREATE INDEX {index} ON {messages} (session_id, id)",
    None,
)
_POSTGRESQL = (
    """\
CREATE TABLE {sessions} (
    session_id VARCHAR NOT NULL PRIMARY KEY,
    created_at TIMESTAMP WITHOUT TIME ZONE NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP WITHOUT TIME ZONE NOT NULL DEFAULT CURRENT_TIMESTAMP
)""",
    """\
CREATE TABLE {messages} (
    id BIGSERIAL NOT NULL,
    session_id VARCHAR NOT NULL,
    message_data TEXT NOT NULL,
    created_at TIMESTAMP WITHOUT TIME ZONE NOT NULL DEFAULT CURRENT_TIMESTAMP
)""",
    "ALTER TABLE {messages} ADD PRIMARY KEY (id)",
    "CREATE INDEX {index} ON {messages} (session_id, created_at)",
    """\
ALTER TABLE {messages} ADD CONSTRAINT {key}
    FOREIGN KEY (session_id) REFERENCES {sessions} (session_id) ON DELETE CASCADE""",
)
_ENGINE = "ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
_MYSQL = (
    f"""\
CREATE TABLE {{sessions}} (
    session_id VARCHAR(255) NOT NULL PRIMARY KEY,
    created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    updated_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
) {_ENGINE}""",
    f"""\
CREATE TABLE {{messages}} (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    session_id VARCHAR(255) NOT NULL,
    message_data LONGTEXT NOT NULL,
    created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
) {_ENGINE}""",
    None,
    "CREATE INDEX {index} ON {messages} (session_id, created_at)",
    _POSTGRESQL[4],
)
_STATEMENTS = {"sqlite": _SQLITE, "postgresql": _POSTGRESQL, "mysql": _MYSQL}
LONGEST_IDS = {"mysql": 255, "mariadb": 255, "postgresql": 2600}
"""Characters of a session id that these tables, or their indexes, take at most; by scheme of the address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """The statements of one pair of tables, in the order in which they are run.

    The items' primary key, the index and the foreign key may come after the rows, which is faster; None for what
    stands in the table.
    """

    sessions: str
    messages: str
    primary_key: str | None
    index: str
    foreign_key: str | None

    @property
    def statements(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.sessions, self.messages, self.primary_key, self.index, self.foreign_key)))


def schema_of(dialect: str, options: Mapping[str, str]) -> Schema:
    """The statements for the tables that ``options`` (``StoreAddress.options``) name, the SDK's own by default.

    A name with a dot means a table of another schema.
    """
    sessions, messages = options.get("sessions_table", SESSIONS), options.get("messages_table", MESSAGES)
    plain = messages if dialect == "sqlite" else messages.rpartition(".")[2]
    quoted = {
        "sessions": _quoted(dialect, sessions),
        "messages": _quoted(dialect, messages),
        "index": _name(dialect, index_name(dialect, plain)),
        "key": _name(dialect, f"{plain}_session_id_fkey"),
    }
    made = [template and template.format(**quoted) for template in _STATEMENTS[dialect]]
    of_sessions, of_messages, primary_key, index, foreign_key = made
    return Schema(
        sessions=of_sessions or "",
        messages=of_messages or "",
        primary_key=primary_key,
        index=index or "",
        foreign_key=foreign_key,
    )


def index_name(dialect: str, messages: str) -> str:
    """What the SDK calls the index of items by session."""
    return f"idx_{messages}_session_id" if dialect == "sqlite" else f"idx_{messages}_session_time"


def _quoted(dialect: str, name: str) -> str:
    schema, dot, table = name.partition(".")
    if dialect == "sqlite" or not (dot and schema and table):
        return _name(dialect, name)
    return f"{_name(dialect, schema)}.{_name(dialect, table)}"


def _name(dialect: str, name: str) -> str:
    mark = "`" if dialect == "mysql" else '"'
    return mark + name.replace(mark, mark * 2) + mark
