"""The contract suite's cases: each kind of store that the SDK's own classes write, and the same for other tests.

``with made(CASES[0], request) as case`` gives an empty store of that kind.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from mysql_tables import create_mysql_tables
from printed_schema import apply_printed
from servers import mysql_connect, postgres_connect

from sessionctl.core.address import StoreAddress, parse_address
from sessionctl.stores import open_store
from sessionctl.stores.base import Store
from sessionctl.testing.case import Appender, JsonObject

FOREIGN = "CREATE TABLE customers (id INTEGER PRIMARY KEY, name VARCHAR(80))"


class SdkCase(ABC):
    """What all kinds share: the SDK's four methods, each on an object made for the call."""

    flavour = "SQLAlchemySession"
    longest_id = 1000
    distinct: Collection[str] = ("case", "space")
    residue: frozenset[str] = frozenset()
    address: StoreAddress

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    @abstractmethod
    async def _session(self, session_id: str) -> Any:
        """An SDK session object on this store."""

    async def _let_go(self, session: Any) -> None:
        done = session.close() if hasattr(session, "close") else None
        if asyncio.iscoroutine(done):
            await done

    @abstractmethod
    def execute(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Raw: one statement with ``?`` for its parameters, committed; its rows."""

    def close(self) -> None:
        self._runner.close()

    def _call(self, session_id: str, *calls: Callable[[Any], Any]) -> Any:
        async def run() -> Any:
            session = await self._session(session_id)
            try:
                return [await call(session) for call in calls]
            finally:
                await self._let_go(session)

        return self._runner.run(run())

    def open(self) -> Store:
        return open_store(self.address)

    def write(self, session_id: str, *batches: Sequence[JsonObject]) -> None:
        self._call(session_id, *(lambda session, batch=batch: session.add_items(list(batch)) for batch in batches))

    def multiply(self, session_id: str, copies: Sequence[str]) -> None:
        """Copy a session row by row, which is a hundred times faster than appending to each."""
        for start in range(0, len(copies), 400):  # SQLite takes 500 terms
            names = " UNION ALL ".join(f"SELECT '{name}' AS name" for name in copies[start : start + 400])
            for table, columns in (
                ("agent_sessions", "created_at, updated_at"),
                ("agent_messages", "message_data, created_at"),
            ):
                own = "s.session_id" if table == "agent_sessions" else "s.id"
                self.execute(
                    f"INSERT INTO {table} (session_id, {columns}) SELECT n.name, {columns} FROM ({names}) n, {table} s "
                    f"WHERE s.session_id = ? ORDER BY n.name, {own}",
                    session_id,
                )

    def read(self, session_id: str) -> list[Any]:
        return list(self._call(session_id, lambda session: session.get_items())[0])

    def pop(self, session_id: str) -> Any:
        return self._call(session_id, lambda session: session.pop_item())[0]

    @contextlib.contextmanager
    def live(self, session_id: str) -> Iterator[Appender]:
        session = self._runner.run(self._session(session_id))
        try:
            self._runner.run(session.get_items())
            yield lambda batch: self._runner.run(session.add_items(list(batch)))
        finally:
            self._runner.run(self._let_go(session))

    _stamp_form = "?"
    _stamp: Callable[[datetime], Any]
    _same = "session_id = ?"
    _order = "created_at, id"

    def stamp(
        self,
        session_id: str,
        *,
        updated_at: datetime | None = None,
        created_at: datetime | None = None,
        items_at: datetime | None = None,
    ) -> None:
        for table, column, at in (
            ("agent_sessions", "updated_at", updated_at),
            ("agent_sessions", "created_at", created_at),
            ("agent_messages", "created_at", items_at or updated_at),
        ):
            if at is not None:
                statement = f"UPDATE {table} SET {column} = {self._stamp_form} WHERE {self._same}"
                self.execute(statement, type(self)._stamp(at), session_id)

    def unstamp(self, session_id: str) -> bool:
        del session_id
        return False

    def put_raw(self, session_id: str, text: str) -> None:
        self.execute("INSERT INTO agent_messages (session_id, message_data) VALUES (?, ?)", session_id, text)

    def texts(self, session_id: str) -> list[str]:
        statement = f"SELECT message_data FROM agent_messages WHERE {self._same} ORDER BY {self._order}"
        return [text for (text,) in self.execute(statement, session_id)]

    _tables: tuple[str, ...] = ("agent_sessions", "agent_messages")

    def remains(self, session_id: str) -> set[str]:
        statement = f"SELECT count(*) FROM {{}} WHERE {self._same}"
        return {table for table in self._tables if self.execute(statement.format(table), session_id) != [(0,)]}

    @abstractmethod
    def fingerprint(self) -> object: ...

    @abstractmethod
    def connections(self) -> int: ...


class SqliteCase(SdkCase):
    """A file, by one of the four classes that write SQLite."""

    _stamp = staticmethod(lambda at: at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S"))

    def __init__(self, directory: Path, session_class: str) -> None:
        super().__init__()
        directory.mkdir()
        self.path = directory / "store.db"
        self.address = parse_address(str(self.path))
        self._class = session_class
        self.flavour = "SQLiteSession" if session_class == "AsyncSQLiteSession" else session_class
        self._order = "created_at, id" if session_class == "SQLAlchemySession" else "id"
        if session_class == "AdvancedSQLiteSession":
            own = ("message_structure", "turn_usage", "branch_reservations", "session_clear_generations")
            self._tables += own
            self.residue = frozenset({"session_clear_generations"})

    async def _session(self, session_id: str) -> Any:
        if self._class == "SQLiteSession":
            from agents import SQLiteSession

            return SQLiteSession(session_id, self.path)
        from agents.extensions import memory

        if self._class == "AsyncSQLiteSession":
            return memory.AsyncSQLiteSession(session_id, self.path)
        if self._class == "AdvancedSQLiteSession":
            return memory.AdvancedSQLiteSession(session_id=session_id, db_path=self.path, create_tables=True)
        return memory.SQLAlchemySession.from_url(
            session_id, url=f"sqlite+aiosqlite:///{self.path}", create_tables=not self.path.exists()
        )

    async def _let_go(self, session: Any) -> None:
        await super()._let_go(session)
        if self._class == "SQLAlchemySession":
            await session.engine.dispose()

    def execute(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.path)) as connection, connection:
            connection.text_factory = lambda octets: octets.decode("utf-8", "surrogateescape")
            return connection.execute(statement, parameters).fetchall()

    def unstamp(self, session_id: str) -> bool:
        if self._class == "SQLAlchemySession":  # NOT NULL
            return False
        self.execute("UPDATE agent_sessions SET updated_at = NULL, created_at = NULL WHERE session_id = ?", session_id)
        return True

    def multiply(self, session_id: str, copies: Sequence[str]) -> None:
        super().multiply(session_id, copies)
        if self._class != "AdvancedSQLiteSession":
            return
        self.execute(
            "INSERT INTO message_structure (session_id, message_id, branch_id, message_type, sequence_number, "
            "user_turn_number, branch_turn_number, tool_name, created_at) "
            "SELECT m.session_id, m.id, v.branch_id, v.message_type, v.sequence_number, "
            "v.user_turn_number, v.branch_turn_number, v.tool_name, v.created_at FROM "
            "(SELECT *, row_number() OVER (PARTITION BY session_id ORDER BY id) AS place FROM agent_messages) m "
            "JOIN message_structure v ON v.sequence_number = m.place "
            "WHERE v.session_id = ? AND m.session_id NOT IN (SELECT session_id FROM message_structure) ORDER BY m.id",
            session_id,
        )
        for table, column in (("branch_reservations", "branch_id"), ("session_clear_generations", "generation")):
            self.execute(
                f"INSERT OR IGNORE INTO {table} (session_id, {column}) "
                f"SELECT s.session_id, v.{column} FROM agent_sessions s, {table} v WHERE v.session_id = ?",
                session_id,
            )

    def fingerprint(self) -> object:
        """All files by name and bytes; ``-shm`` by name only: readers beside a writer mark their place in it."""
        return {
            path.name: "" if path.name.endswith("-shm") else hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.path.parent.iterdir()
        }

    def connections(self) -> int:
        open_files = [_link(entry) for entry in Path("/proc/self/fd").iterdir()]
        return sum(name.startswith(str(self.path)) for name in open_files)

    def absent(self) -> StoreAddress:
        return parse_address(str(self.path.with_name("absent.db")))

    def foreign(self) -> StoreAddress:
        self.execute(FOREIGN)
        return self.address


class ServerCase(SdkCase):
    """A database on a server, by SQLAlchemySession."""

    def __init__(self, url: str, driver: str) -> None:
        super().__init__()
        self.url = url
        self.address = parse_address(url)
        self._async_url = f"{self.address.scheme}+{driver}://{url.split('://', 1)[1]}"
        self._engine: Any = None  # the application's, with its idle connections
        self._raw = self._connect()
        self._others = self._sockets()

    def close(self) -> None:
        self._raw.close()
        if self._engine is not None:
            self._runner.run(self._engine.dispose())
        super().close()

    def _create_tables(self) -> bool:
        """Should the SDK make its tables on the first use? Called once."""
        return True

    async def _session(self, session_id: str) -> Any:
        from agents.extensions.memory import SQLAlchemySession
        from sqlalchemy.ext.asyncio import create_async_engine

        create = False
        if self._engine is None:
            self._engine = create_async_engine(self._async_url)
            create = self._create_tables()
        return SQLAlchemySession(session_id, engine=self._engine, create_tables=create)

    @abstractmethod
    def _connect(self) -> Any:
        """A raw autocommit connection."""

    def execute(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with self._raw.cursor() as cursor:
            cursor.execute(statement.replace("?", "%s"), parameters or None)
            return list(cursor.fetchall()) if cursor.description else []

    def fingerprint(self) -> object:
        tables = sorted(
            self.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = " + self._schema)
        )
        rows = [self.execute(f"SELECT * FROM {table} ORDER BY 1") for table in self._tables]
        return tables, rows

    _schema: str

    def connections(self) -> int:
        application = self._engine.pool.checkedin() if self._engine is not None else 0
        return len(self._sockets() - self._others) - application

    def _sockets(self) -> set[str]:
        """This process's sockets to the server's port, as the kernel lists them."""
        mine = {_link(entry) for entry in Path("/proc/self/fd").iterdir()}
        port = f":{urlsplit(self.url).port or 0:04X}"
        lines = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
        return {f"socket:[{line[9]}]" for line in lines if line[2].endswith(port)} & mine

    def absent(self) -> StoreAddress:
        return parse_address(self.url + "_absent")

    def foreign(self) -> StoreAddress:
        self.execute(FOREIGN)
        return self.address


class PostgresCase(ServerCase):
    _stamp = staticmethod(lambda at: at)
    _stamp_form = "(?::timestamptz AT TIME ZONE current_setting('TimeZone'))"
    _schema = "'public'"

    def __init__(self, url: str, *, printed: bool = False) -> None:
        super().__init__(url, "asyncpg")
        self._printed = printed

    def _create_tables(self) -> bool:
        if self._printed:
            apply_printed("postgresql", self.url)
        return not self._printed

    def _connect(self) -> Any:
        return postgres_connect(self.url)


class MariadbCase(ServerCase):
    _stamp = staticmethod(lambda at: at.timestamp())
    _stamp_form = "FROM_UNIXTIME(?)"
    _same = "BINARY session_id = ?"
    _schema = "database()"
    longest_id = 250

    def __init__(self, url: str, distinct: Collection[str], **variant: Any) -> None:
        """On the tables that sessionctl prints; with a ``variant``, on some made by hand."""
        super().__init__(url, "aiomysql")
        self.distinct = distinct
        self._variant = variant

    def _create_tables(self) -> bool:
        if self._variant:
            create_mysql_tables(self.url, **self._variant)
        else:
            apply_printed("mysql", self.url)
        return False

    def _connect(self) -> Any:
        return mysql_connect(self.url)


def _link(entry: Path) -> str:
    """What a file descriptor refers to; nothing where it has just been closed."""
    try:
        return str(entry.readlink())
    except OSError:
        return ""


class Fixtures(Protocol):
    """Where a case gets its directory or database: a test's request, or whatever stands for it outside of pytest."""

    def getfixturevalue(self, argname: str) -> Any: ...


@dataclass(frozen=True)
class CaseMaker:
    """A named kind of store; ``--stores`` chooses by the name."""

    name: str
    make: Callable[[Fixtures], SdkCase]


def _sqlite(session_class: str) -> Callable[[Fixtures], SdkCase]:
    return lambda request: SqliteCase(request.getfixturevalue("tmp_path") / "store", session_class)


def _mariadb(distinct: Collection[str], **variant: Any) -> Callable[[Fixtures], SdkCase]:
    return lambda request: MariadbCase(request.getfixturevalue("mysql_url"), distinct, **variant)


CASES = [
    CaseMaker("sqlite", _sqlite("SQLiteSession")),
    CaseMaker("sqlite-async", _sqlite("AsyncSQLiteSession")),
    CaseMaker("sqlite-sqlalchemy", _sqlite("SQLAlchemySession")),
    CaseMaker("sqlite-advanced", _sqlite("AdvancedSQLiteSession")),
    CaseMaker("postgresql", lambda request: PostgresCase(request.getfixturevalue("postgres_url"))),
    CaseMaker("mariadb", _mariadb(("case",))),
    CaseMaker("mariadb-no-fk", _mariadb((), foreign_key=None, time_type="DATETIME")),
]
"""A new backend adds one line here."""

POSTGRES_PRINTED = CaseMaker(
    "postgresql-printed", lambda request: PostgresCase(request.getfixturevalue("postgres_url"), printed=True)
)
"""On the tables that sessionctl prints, as those of the case ``mariadb`` are."""


@contextlib.contextmanager
def made(maker: CaseMaker, request: Fixtures) -> Iterator[SdkCase]:
    """The case, which lets go of everything at the end of the block."""
    case = maker.make(request)
    try:
        yield case
    finally:
        case.close()


def fill(case: SdkCase, ids: Sequence[str], items: Sequence[JsonObject], *, idle: timedelta) -> None:
    """Many equal sessions."""
    ago = datetime.now(UTC).replace(microsecond=0) - idle
    case.write(ids[0], items)
    case.stamp(ids[0], updated_at=ago, created_at=ago)
    case.multiply(ids[0], ids[1:])
