"""PostgreSQL and MariaDB under measurement."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from benchmarks import shapes, trims
from benchmarks.engines import CHUNK, Engine, utc
from benchmarks.generator import Scale
from mysql_tables import create_mysql_tables
from servers import fresh_mysql, fresh_postgres, mysql_connect, mysql_execute, postgres_connect, postgres_execute

from sessionctl.core.address import StoreAddress, parse_address

_SETTLE_S = 300


class Server(Engine):
    """What PostgreSQL and MariaDB share: databases of their own, and SQLAlchemySession."""

    driver: str
    url: str

    @property
    def address(self) -> StoreAddress:
        return parse_address(self.url)

    def work_on_items(self, call: Callable[[StoreAddress], object]) -> tuple[float, float, str]:
        scale = self.generated.scale
        return self._items_read(call), min(50, scale.sessions) * scale.items, "rows"

    @abstractmethod
    def _items_read(self, call: Callable[[StoreAddress], object]) -> int:
        """How many rows or index entries of the messages table the server read for ``call``."""

    async def _clear(self, address: StoreAddress, ids: Sequence[str]) -> float:
        from agents.extensions.memory import SQLAlchemySession
        from sqlalchemy.ext.asyncio import create_async_engine

        engine = create_async_engine(f"{address.scheme}+{self.driver}://{address.url.split('://', 1)[1]}")
        try:
            await SQLAlchemySession("nobody", engine=engine).get_items()  # connects
            started = time.perf_counter()
            for session_id in ids:
                await SQLAlchemySession(session_id, engine=engine).clear_session()
            return time.perf_counter() - started
        finally:
            await engine.dispose()


class Postgresql(Server):
    """A database whose tables the SDK made, vacuumed and analysed, in time zone UTC."""

    name = "postgresql"
    shapes = shapes.POSTGRESQL
    trims = trims.POSTGRESQL
    driver = "asyncpg"

    def __init__(self, scale: Scale, admin_url: str, stack: ExitStack) -> None:
        super().__init__(scale, compact=True)
        self._admin_url = admin_url
        self.url = stack.enter_context(fresh_postgres(admin_url))
        self._inutc(self.url)
        asyncio.run(self._create_tables(self.url))
        self._load()

    def _inutc(self, url: str) -> None:
        database = url.rsplit("/", 1)[1]
        postgres_execute(self._admin_url, f"ALTER DATABASE \"{database}\" SET timezone = 'UTC'")

    @staticmethod
    async def _create_tables(url: str) -> None:
        from agents.extensions.memory import SQLAlchemySession

        url = "postgresql+asyncpg" + url.removeprefix("postgresql")
        session = SQLAlchemySession.from_url("schema", url=url, create_tables=True)
        await session.get_items()
        await session.engine.dispose()

    def _load(self) -> None:
        sessions = (f"{s.id}\t{utc(s.created_at)}\t{utc(s.updated_at)}\n" for s in self.generated.sessions())
        items = (
            f"{item.session_id}\t{_escaped(item.text)}\t{utc(item.created_at)}\n" for item in self.generated.items()
        )
        with closing(postgres_connect(self.url)) as connection, connection.cursor() as cursor:
            for into, lines in (
                ("agent_sessions (session_id, created_at, updated_at)", sessions),
                ("agent_messages (session_id, message_data, created_at)", items),
            ):
                with cursor.copy(f"COPY {into} FROM STDIN") as copy:
                    while chunk := "".join(islice(lines, 1000)):
                        copy.write(chunk)
            connection.execute("VACUUM (ANALYZE)")
            connection.execute("CHECKPOINT")

    @property
    def dump(self) -> list[str]:
        return ["psql", "-q", self.url, "-c", r"\copy agent_messages TO STDOUT"]

    @contextmanager
    def nothing(self) -> Iterator[str]:
        """A database without tables."""
        with fresh_postgres(self._admin_url) as url:
            self._inutc(url)
            yield url

    @contextmanager
    def empty(self) -> Iterator[StoreAddress]:
        """The same tables in a database of their own, without a row."""
        with self.nothing() as url:
            asyncio.run(self._create_tables(url))
            yield parse_address(url)

    @contextmanager
    def copy(self) -> Iterator[StoreAddress]:
        database = self.url.rsplit("/", 1)[1]
        with fresh_postgres(self._admin_url, f'TEMPLATE "{database}" STRATEGY FILE_COPY') as url:
            self._inutc(url)
            yield parse_address(url)

    @contextmanager
    def raw(self, address: StoreAddress, *, writes: bool = False) -> Iterator[Callable[..., list[Any]]]:
        del writes
        with closing(postgres_connect(address.url)) as connection:

            def run(sql: str, *params: Any) -> list[Any]:
                cursor = connection.execute(sql, params or None)
                return list(cursor.fetchall()) if cursor.description else []

            yield run

    def _items_read(self, call: Callable[[StoreAddress], object]) -> int:
        before = self._counted(self.address)
        call(self.address)
        return self._counted(self.address) - before

    def _counted(self, address: StoreAddress) -> int:
        """A connection's counts are in the statistics once it has gone."""
        deadline = time.monotonic() + 30
        others = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        with self.raw(address) as run:
            while run(others) != [(0,)]:
                assert time.monotonic() < deadline, "somebody else is connected to the store"
                time.sleep(0.02)
            rows = run(
                "SELECT t.seq_tup_read, t.idx_tup_fetch, (SELECT sum(i.idx_tup_read) FROM pg_stat_user_indexes i "
                "WHERE i.relid = t.relid) FROM pg_stat_user_tables t WHERE t.relname = 'agent_messages'"
            )
        scanned, fetched, entries = (int(value or 0) for value in rows[0])
        return scanned + max(fetched, entries)


class Mariadb(Server):
    """A database with the tables that users make by hand there, analysed."""

    name = "mariadb"
    shapes = shapes.MARIADB
    trims = trims.MARIADB
    driver = "aiomysql"

    def __init__(self, scale: Scale, admin_url: str, stack: ExitStack) -> None:
        super().__init__(scale, compact=True)
        self._admin_url = admin_url
        self.url = stack.enter_context(fresh_mysql(admin_url))
        create_mysql_tables(self.url, collation="utf8mb4_bin")
        self._load()

    def _load(self) -> None:
        sessions = ((s.id, utc(s.created_at), utc(s.updated_at)) for s in self.generated.sessions())
        items = ((item.session_id, item.text, utc(item.created_at)) for item in self.generated.items())
        with closing(mysql_connect(self.url)) as connection, connection.cursor() as cursor:
            cursor.execute("SET time_zone = '+00:00', foreign_key_checks = 0, unique_checks = 0, autocommit = 0")
            for into, rows in (
                ("agent_sessions (session_id, created_at, updated_at)", sessions),
                ("agent_messages (session_id, message_data, created_at)", items),
            ):
                while chunk := list(islice(rows, CHUNK)):
                    cursor.executemany(f"INSERT INTO {into} VALUES (%s, %s, %s)", chunk)
                    connection.commit()
        self._analyse(self.url)

    @staticmethod
    def _analyse(url: str) -> None:
        mysql_execute(url, "ANALYZE TABLE agent_sessions, agent_messages")

    @property
    def dump(self) -> list[str]:
        at = urlsplit(self.url)
        login = [f"--host={at.hostname}", f"--port={at.port or 3306}", f"--user={at.username}"]
        login += [f"--password={at.password}"] if at.password else []
        return ["mariadb-dump", *login, "--single-transaction", at.path.lstrip("/"), "agent_messages"]

    @contextmanager
    def copy(self) -> Iterator[StoreAddress]:
        source = self.url.rsplit("/", 1)[1]
        with fresh_mysql(self._admin_url) as url:
            create_mysql_tables(url, collation="utf8mb4_bin")
            with closing(mysql_connect(url)) as connection, connection.cursor() as cursor:
                cursor.execute("SET foreign_key_checks = 0, unique_checks = 0")
                for table in ("agent_sessions", "agent_messages"):
                    cursor.execute(f"INSERT INTO {table} SELECT * FROM `{source}`.{table} ORDER BY 1")
            self._analyse(url)
            self._settle()
            yield parse_address(url)

    def _settle(self) -> None:
        """Wait until the server has cleaned up behind earlier deletions: it would do so at the next one's cost."""
        deadline = time.monotonic() + _SETTLE_S
        pending = "SHOW GLOBAL STATUS LIKE 'Innodb_history_list_length'"
        while int(mysql_execute(self._admin_url, pending)[0][1]) > 100 and time.monotonic() < deadline:
            time.sleep(0.2)

    @contextmanager
    def raw(self, address: StoreAddress, *, writes: bool = False) -> Iterator[Callable[..., list[Any]]]:
        del writes
        with closing(mysql_connect(address.url)) as connection, connection.cursor() as cursor:
            cursor.execute("SET time_zone = '+00:00'")

            def run(sql: str, *params: Any) -> list[Any]:
                cursor.execute(sql, params or None)
                return list(cursor.fetchall())

            yield run

    def _items_read(self, call: Callable[[StoreAddress], object]) -> int:
        """MariaDB's own statistics of rows read from a table, which are switched on for the moment."""
        where = "table_schema = database() AND table_name = 'agent_messages'"
        with self.raw(self.address) as run:
            was_on = run("SELECT @@GLOBAL.userstat")[0][0]
            run("SET GLOBAL userstat = 1")
            run("FLUSH TABLE_STATISTICS")
            try:
                call(self.address)
                rows = run(f"SELECT rows_read FROM information_schema.table_statistics WHERE {where}")
            finally:
                run(f"SET GLOBAL userstat = {was_on}")
        return int(rows[0][0]) if rows else 0


def _escaped(text: str) -> str:
    """For COPY's text format; JSON has no raw tabs or newlines."""
    return text.replace("\\", "\\\\")
