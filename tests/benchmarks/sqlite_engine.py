"""SQLite under measurement."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks import shapes, trims
from benchmarks.engines import CHUNK, NEWEST, Engine, utc
from benchmarks.generator import Scale

from sessionctl.core.address import StoreAddress, parse_address


class Sqlite(Engine):
    """A WAL file of SQLiteSession, closed cleanly."""

    name = "sqlite"
    shapes = shapes.SQLITE
    trims = trims.SQLITE
    octet_length = "length"  # as the issue has it; counting characters costs what counting octets does

    def __init__(self, scale: Scale, directory: Path) -> None:
        super().__init__(scale, compact=False)
        self._directory = directory
        self._path = directory / f"store-{scale.sessions}x{scale.items}.db"
        self._load()

    def _load(self) -> None:
        from agents import SQLiteSession

        SQLiteSession("schema", self._path).close()
        with closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            for first in ("PRAGMA synchronous = OFF", "PRAGMA cache_size = -1000000", "BEGIN"):
                connection.execute(first)
            rows = ((s.id, utc(s.created_at), utc(s.updated_at)) for s in self.generated.sessions())
            connection.executemany("INSERT INTO agent_sessions VALUES (?, ?, ?)", rows)
            sql = "INSERT INTO agent_messages (session_id, message_data, created_at) VALUES (?, ?, ?)"
            items = ((item.session_id, item.text, utc(item.created_at)) for item in self.generated.items())
            while chunk := list(islice(items, CHUNK)):
                connection.executemany(sql, chunk)
                connection.execute("COMMIT")
                connection.execute("BEGIN")
            connection.execute("COMMIT")

    @property
    def address(self) -> StoreAddress:
        return parse_address(str(self._path))

    @property
    def dump(self) -> list[str]:
        return ["sqlite3", str(self._path), ".dump"]

    @contextmanager
    def copy(self) -> Iterator[StoreAddress]:
        path = self._directory / "copy.db"
        try:
            shutil.copyfile(self._path, path)
            with path.open("rb") as file:
                os.fsync(file.fileno())  # else its writing out would be somebody's disturbance
            yield parse_address(str(path))
        finally:
            for end in ("", "-wal", "-shm"):
                Path(f"{path}{end}").unlink(missing_ok=True)

    @contextmanager
    def raw(self, address: StoreAddress, *, writes: bool = False) -> Iterator[Callable[..., list[Any]]]:
        how = "mode=rw" if writes or Path(f"{address.path}-wal").exists() else "immutable=1"
        with closing(sqlite3.connect(f"file:{address.path}?{how}", uri=True, isolation_level=None)) as connection:
            yield lambda sql, *params: connection.execute(sql, params).fetchall()

    def log_size(self, address: StoreAddress) -> int:
        log = Path(f"{address.path}-wal")
        return log.stat().st_size if log.exists() else 0

    async def _clear(self, address: StoreAddress, ids: Sequence[str]) -> float:
        from agents import SQLiteSession

        assert address.path is not None
        started = time.perf_counter()
        for session_id in ids:
            session = SQLiteSession(session_id, address.path)
            await session.clear_session()
            session.close()
        return time.perf_counter() - started

    def work_on_items(self, call: Callable[[StoreAddress], object]) -> tuple[float, float, str]:
        """SQLite counts no rows for us, but its machine's instructions: reading an item takes some."""
        with watched_sqlite() as here:
            call(self.address)
        with self.copy() as address:
            self._keep_items_of_newest(address)
            with watched_sqlite() as there:
                call(address)
        return here.instructions, there.instructions, "instructions"

    def _keep_items_of_newest(self, address: StoreAddress) -> None:
        with self.raw(address, writes=True) as run:
            newest = [session_id for session_id, _ in run(NEWEST)]
            places = ", ".join("?" * len(newest))
            kept = run(f"SELECT * FROM agent_messages WHERE session_id IN ({places}) ORDER BY id", *newest)
            run("DELETE FROM agent_messages")
            for row in kept:
                run("INSERT INTO agent_messages VALUES (?, ?, ?, ?)", *row)


@dataclass(slots=True)
class SqliteWatch:
    """About how many instructions SQLite's machine carried out."""

    instructions: int = 0


@contextmanager
def watched_sqlite(every: int = 10) -> Iterator[SqliteWatch]:
    """Watch every connection made in the block; ``every``: the grain of the instruction counter."""
    seen, connect = SqliteWatch(), sqlite3.connect

    def tick() -> int:
        seen.instructions += every
        return 0

    def watched(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = connect(*args, **kwargs)
        connection.set_progress_handler(tick, every)
        return connection

    sqlite3.connect = watched  # type: ignore[assignment]
    try:
        yield seen
    finally:
        sqlite3.connect = connect
