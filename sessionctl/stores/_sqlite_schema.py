"""The SDK's tables made in a SQLite file, which is made too where there is none."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from sessionctl.core.address import StoreAddress
from sessionctl.errors import StoreMissing
from sessionctl.stores._sqlite_file import BUSY_TIMEOUT_S, sentences
from sessionctl.stores.layout import MESSAGES, SESSIONS
from sessionctl.stores.schema import schema_of

_PRIVATE = 0o600


def create(address: StoreAddress, *, bare: bool) -> None:
    """Make the tables of SQLiteSession that are missing; a new file is in WAL mode, as SQLiteSession has it."""
    schema = schema_of("sqlite", address.options)
    with _writing(address, make=True) as connection:
        there = _tables(connection)
        names = (address.options.get("sessions_table", SESSIONS), address.options.get("messages_table", MESSAGES))
        for name, statement in zip(names, (schema.sessions, schema.messages), strict=True):
            if name.lower() not in there:
                connection.execute(statement)
    if not bare:
        complete(address)


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
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, _PRIVATE))
    return path.stat().st_size == 0
