"""Giving space of InnoDB tables back: OPTIMIZE, which writes a table anew beside writers, and compression.

Either needs the table for itself for a moment at its beginning and its end. While it waits for that, all that
comes later waits behind it, so it does not wait long; it is tried again for a while.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from sessionctl.core.model import Usage
from sessionctl.core.space import Need, Part, Space, Step, Task, Wish
from sessionctl.core.units import format_size
from sessionctl.errors import SessionctlError, StepEnded, StoreBusy
from sessionctl.stores.holds_table import TABLE as HOLDS
from sessionctl.stores.interruptible import interruptibly
from sessionctl.stores.mysql.layout import is_mariadb
from sessionctl.stores.sql.apply import SqlStore
from sessionctl.stores.sql.layout import TableFacts

_PATIENCE_S, _PAUSE_S, _WAIT_S = 10.0, 0.5, 1
_SAMPLED = 2000
_ROW = 40
"""Octets of a row beside its texts: header, key, stamp, transaction."""
_FULLNESS = 0.93
_REBUILT_A_S = 80 * 2**20
_PAGE = 16 * 1024
_HALF = 0.5
"""A compressed page is half of one, whatever is in it."""
_FAILURES = 1.1
"""Pages that do not fit into half are split."""
_FORMATS = {True: "ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=8", False: "ROW_FORMAT=DYNAMIC KEY_BLOCK_SIZE=0"}
_TABLES = text("""
    SELECT data_length AS rows_, index_length AS indexes, data_free AS free, upper(row_format) AS format
    FROM information_schema.tables WHERE table_schema = coalesce(:schema, database()) AND table_name = :name
""")
_LONGEST = text("""
    SELECT trx_mysql_thread_id AS connection, timestampdiff(SECOND, trx_started, now()) AS seconds
    FROM information_schema.innodb_trx WHERE trx_mysql_thread_id <> connection_id() ORDER BY trx_started LIMIT 1
""")
_READ_ONLY = "SHOW VARIABLES LIKE 'innodb_read_only_compressed'"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpace:
    """A table in its file, in octets: all of it, and what its rows and indexes would take without gaps."""

    name: str
    total: int
    live: int
    is_compressed: bool

    @property
    def gain(self) -> int:
        return max(0, self.total - self.live)


class VacuumedTables(SqlStore):
    """The part of the adapter that is about space."""

    def space(self, wish: Wish) -> Space:
        usage = self.usage()
        if self._info.frozen:
            return Space(usage=usage, refused=(f"{self.address} is not changed: {self._info.frozen}",))
        if wish.via or wish.incremental:
            return Space(usage=usage, refused=("--via and --incremental are for SQLite files",))
        texts = [item.text for item in self.sample(_SAMPLED)]
        with self._reading() as connection:
            tables = [self._space_of(connection, facts, texts) for facts in self._vacuumed(connection)]
            read_only = (connection.exec_driver_sql(_READ_ONLY).first() or ("", "OFF"))[1] == "ON"
        if wish.compress is None:
            return Space(usage=usage, steps=tuple(_steps(tables, wish)), notes=tuple(_notes(tables, wish)))
        if wish.compress and read_only:
            return Space(
                usage=usage, refused=("this server only reads compressed tables: innodb_read_only_compressed",)
            )
        return _compressing(Space(usage=usage), tables[0], texts, compress=wish.compress)

    def vacuum(self, step: Step, wish: Wish, enough: Callable[[], bool]) -> Part:
        until = time.monotonic() + _PATIENCE_S
        while True:
            try:
                self._maintain(_statement(step, wish), enough)
            except StoreBusy as error:
                if time.monotonic() > until or enough():
                    raise StoreBusy(
                        f"{step.table} of {self.address} stayed in use{self._user()}: {error.message}", hint=error.hint
                    ) from error
                time.sleep(_PAUSE_S)
            else:
                return Part()

    # --- looking ------------------------------------------------------------------------------

    def _vacuumed(self, connection: Connection) -> list[TableFacts]:
        schema, has_holds = self._place_of_holds(connection)
        holds = [TableFacts(schema=schema, name=HOLDS, columns={})] if has_holds else []
        return [self._layout.messages, self._layout.sessions, *holds]

    def usage(self) -> Usage:
        with self._reading() as connection:
            tables = [self._layout.sessions, self._layout.messages]
            rows = [connection.execute(_TABLES, {"schema": t.schema, "name": t.name}).one() for t in tables]
            size = self._file_size(connection, tables)
        free = sum(int(row.free or 0) for row in rows)
        told = sum(int(row.rows_ or 0) + int(row.indexes or 0) for row in rows) + free
        return Usage(total=size or told, free=free)

    def _file_size(self, connection: Connection, tables: Sequence[TableFacts]) -> int | None:
        """Octets of the tables' own files; None for who may not know, and tables that have no file of that name.

        The catalog's other sizes are as old as InnoDB's statistics.
        """
        view = "innodb_sys_tablespaces" if is_mariadb(connection) else "innodb_tablespaces"
        database = connection.exec_driver_sql("SELECT database()").scalar_one()
        names = [f"{facts.schema or database}/{facts.name}" for facts in tables]
        try:
            found = connection.execute(
                text(f"SELECT file_size FROM information_schema.{view} WHERE name IN :names"), {"names": names}
            )
            sizes = [int(size) for (size,) in found]
        except DBAPIError:
            return None
        return sum(sizes) if len(sizes) == len(names) else None

    def _space_of(self, connection: Connection, facts: TableFacts, texts: list[str]) -> TableSpace:
        row = connection.execute(_TABLES, {"schema": facts.schema, "name": facts.name}).one()
        indexes, free = int(row.indexes or 0), int(row.free or 0)
        total = self._file_size(connection, [facts]) or int(row.rows_ or 0) + indexes + free
        name, live = _name(facts), max(0, total - indexes - free)
        used = live
        if facts is self._layout.messages and texts:
            count = int(connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one())
            mean = sum(len(text.encode("utf-8", "surrogateescape")) for text in texts) / len(texts) + _ROW
            live = round(count * mean / _FULLNESS)
        # Indexes shrink about as their table does.
        indexed = round(indexes * min(1, live / used)) if used else indexes
        return TableSpace(
            name=name, total=total, live=min(total, live + indexed), is_compressed=row.format == "COMPRESSED"
        )

    # --- taking steps -------------------------------------------------------------------------

    def _maintain(self, statement: str, enough: Callable[[], bool]) -> None:
        with self._translated(), self._engine.connect() as opened:
            connection = opened.execution_options(isolation_level="AUTOCOMMIT")
            connection.exec_driver_sql("SET SESSION TRANSACTION READ WRITE")
            connection.exec_driver_sql(f"SET SESSION lock_wait_timeout = {_WAIT_S}")
            number = connection.exec_driver_sql("SELECT connection_id()").scalar_one()

            def run() -> list[tuple[str, str]]:
                result = connection.exec_driver_sql(statement)
                return [(row[2], row[3]) for row in result] if result.returns_rows else []

            try:
                said = interruptibly(run, lambda: self._kill(int(number)), enough)
            finally:
                connection.invalidate()  # its settings are not for others
        for kind, words in said:
            if kind.lower() == "error":
                if "interrupted" in words.lower() and enough():
                    raise StepEnded
                if "timeout" in words.lower():
                    raise StoreBusy(words)
                raise SessionctlError(f"{self.address} reported an error: {words}")

    def _kill(self, number: int) -> None:
        with self._engine.connect() as connection:
            connection.exec_driver_sql(f"KILL QUERY {number}")

    def _user(self) -> str:
        try:
            with self._engine.connect() as connection:
                row = connection.execute(_LONGEST).first()
        except DBAPIError:  # who may not see processes
            return ""
        return f" (connection {row.connection} has a transaction open for {row.seconds}s)" if row else ""


def _name(facts: TableFacts) -> str:
    parts = [facts.schema, facts.name] if facts.schema else [facts.name]
    return ".".join("`" + part.replace("`", "``") + "`" for part in parts if part)


def _statement(step: Step, wish: Wish) -> str:
    if wish.compress is None:
        return f"{step.what} {step.table}"
    return f"ALTER TABLE {step.table} {_FORMATS[wish.compress]}, ALGORITHM=INPLACE, LOCK=NONE"


def _steps(tables: list[TableSpace], wish: Wish) -> Iterator[Step]:
    for number, table in enumerate(tables):
        if wish.full and not number:
            # The items only: where the sessions, to which their foreign key leads, are written anew beside SDK
            # writers, MariaDB tells these of deadlocks. It would gain next to nothing.
            yield _rebuilding("OPTIMIZE NO_WRITE_TO_BINLOG TABLE", table, table.gain)
        else:
            yield Step(task=Task.STATISTICS, what="ANALYZE NO_WRITE_TO_BINLOG TABLE", table=table.name)


def _rebuilding(what: str, table: TableSpace, gain: int | None) -> Step:
    return Step(
        task=Task.REBUILD, what=what, table=table.name, gain=gain, seconds=table.live / _REBUILT_A_S,
        blocks="everyone for a moment at its beginning and its end, behind transactions that are open then",
        needs=(Need("the server's disk", table.live),),
    )  # fmt: skip


def _notes(tables: list[TableSpace], wish: Wish) -> Iterator[str]:
    if not wish.full:
        gain = format_size(sum(table.gain for table in tables))
        yield (
            f"about {gain} are free inside the tables, and new items fill them: they have stopped growing; --full "
            "gives them back beside writers, which wait for a moment at its beginning and its end"
        )


def _compressing(space: Space, table: TableSpace, texts: list[str], *, compress: bool) -> Space:
    if table.is_compressed is compress:
        said = "is compressed already" if compress else "is not compressed"
        return Space(usage=space.usage, notes=(f"{table.name} {said}",))
    ratio = compressed_share(texts)
    left = round(table.live * (ratio if compress else 1 / ratio))
    gain = table.total - left if compress else None  # the way back is not taken for what it gains
    step = _rebuilding(f"ALTER TABLE … {_FORMATS[compress]}:", table, gain)
    note = (
        f"of a sample of items compressed pages would take about {ratio:.0%}; they take the "
        "server's processor when they are read and written, and memory in both forms"
    )
    return Space(usage=space.usage, steps=(step,), notes=(note,))


def compressed_share(texts: Iterable[str]) -> float:
    """About what share of its size a table of such texts keeps in compressed pages of half the size, by zlib."""
    whole = "".join(texts).encode("utf-8", "surrogateescape")
    pages = [whole[start : start + _PAGE] for start in range(0, len(whole), _PAGE)]
    if not pages:
        return 1.0
    packed = sum(len(zlib.compress(page, 6)) for page in pages) / len(whole)
    return min(1.0, max(_HALF, packed * _FAILURES))
