"""The SDK's tables made in a SQLite file, which is made too where there is none."""

from __future__ import annotations

import os
import sqlite3
import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from sessionctl.core.address import StoreAddress
from sessionctl.core.finding import Finding
from sessionctl.core.model import Room
from sessionctl.core.selector import Query
from sessionctl.errors import StoreBusy, StoreMissing
from sessionctl.stores.layout import MESSAGES, SESSIONS
from sessionctl.stores.schema import schema_of
from sessionctl.stores.sqlite.errors import BUSY_TIMEOUT_S, sentences
from sessionctl.stores.sqlite.findings import activity_index, findings
from sessionctl.stores.sqlite.holds import HoldsInFile
from sessionctl.stores.sqlite.layout import quoted
from sessionctl.stores.sqlite.values import text

_PRIVATE = 0o600
_BESIDE_WRITERS_S = 3.5


class SchemaInFile(HoldsInFile):
    """The port's part on tables and indexes."""

    @classmethod
    def create(cls, address: StoreAddress) -> None:
        create(address)

    @classmethod
    def complete(cls, address: StoreAddress) -> None:
        complete(address)

    @abstractmethod
    def _in_ranges(self, table: str, sql: str, columns: int, params: list[Any]) -> Iterator[Sequence[Any]]:
        """A pass over ``table``, in ranges of rowids: the last two parameters of ``sql``."""

    def outsized(self, room: Room) -> Iterator[tuple[str, str]]:
        table = self._layout.messages
        size, limits = "length(CAST(message_data AS BLOB))", []
        if room.longest_text is not None:
            limits.append(f"{size} > {room.longest_text}")
        if not room.takes_nul:
            # printf takes what is in front of a NUL: that is shorter only where there is one, and told in half the time
            # of a search.
            limits.append(f"length(CAST(printf('%s', CAST(message_data AS TEXT)) AS BLOB)) < {size}")
        sql = (
            f"SELECT session_id, max({size}) FROM {quoted(table)} NOT INDEXED "
            f"WHERE ({' OR '.join(limits) or 'FALSE'}) AND rowid BETWEEN ? AND ? GROUP BY session_id"
        )
        for session_id, octets in self._in_ranges(table, sql, 2, []):
            yield text(session_id), f"an item of {octets:,} octets or with a NUL in it"

    def findings(self, query: Query) -> Iterator[Finding]:
        return findings(self._file, self._layout, whole=query == Query())

    def activity_index(self) -> str | None:
        return activity_index(self._file, self._layout)

    def make_index(self, statement: str) -> None:
        self._refuse_if_frozen()
        with self._file.transaction(self.spent) as connection:
            deadline = time.monotonic() + _BESIDE_WRITERS_S if self._file.others_seen else None
            with _stopped_at(connection, deadline):
                for each in _statements(statement):
                    connection.execute(each)


def _statements(script: str) -> Iterator[str]:
    """The statements of a script but for those of its transaction; a name may have a semicolon in it."""
    found = ""
    for part in script.split(";"):
        found += f"{part};"
        if sqlite3.complete_statement(found):
            if found.strip() not in ("BEGIN IMMEDIATE;", "COMMIT;"):
                yield found
            found = ""


@contextmanager
def _stopped_at(connection: sqlite3.Connection, deadline: float | None) -> Iterator[None]:
    """Take back what takes until after ``deadline``: writers of the SDK give up after five seconds."""
    if deadline is not None:
        connection.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        raise StoreBusy(
            "the index was not made: it takes longer than writers beside it can wait, and others have the file open",
            hint="run it again while they are stopped",
        ) from error
    finally:
        connection.set_progress_handler(None, 0)


def create(address: StoreAddress) -> None:
    """Make the tables of SQLiteSession that are missing; a new file is in WAL mode, as SQLiteSession has it."""
    schema = schema_of("sqlite", address.options)
    with _writing(address, make=True) as connection:
        there = _tables(connection)
        names = (address.options.get("sessions_table", SESSIONS), address.options.get("messages_table", MESSAGES))
        for name, statement in zip(names, (schema.sessions, schema.messages), strict=True):
            if name.lower() not in there:
                connection.execute(statement)


def complete(address: StoreAddress) -> None:
    """Make the index of items by session where none begins with it."""
    messages = address.options.get("messages_table", MESSAGES)
    with _writing(address, make=False) as connection:
        leading = "SELECT i.name FROM pragma_index_list(?) l, pragma_index_info(l.name) i WHERE i.seqno = 0"
        if ("session_id",) not in connection.execute(leading, (messages,)).fetchall():
            connection.execute(schema_of("sqlite", address.options).index)


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name.lower() for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


@contextmanager
def _writing(address: StoreAddress, *, make: bool) -> Iterator[sqlite3.Connection]:
    if address.path is None:
        raise StoreMissing(f"{address} names no file")
    with sentences(address.path):
        is_new = make and _make_file(address.path)
        how = f"{address.path.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(how, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)) as connection:
            if is_new:
                connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")


def _make_file(path: Path) -> bool:
    """Is there nothing in the file? One that is missing is made, for its owner alone: transcripts will be in it."""
    if not path.parent.is_dir():
        raise StoreMissing(f"there is no directory {path.parent}")
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, _PRIVATE))
    return path.stat().st_size == 0
