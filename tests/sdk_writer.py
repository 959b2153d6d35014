"""The SDK at work in a process of its own: ``sdk_process`` starts this with whichever Python has the SDK to be used.

It needs nothing but the SDK and its drivers, of any release since 0.19. Commands come in as JSON lines,
answers and events go out as JSON lines:

* ``add``, ``get``, ``pop``, ``clear``: the session's own methods.
* ``run`` appends again and again until ``stop``, and reports each append as an event.
* An ``add`` with ``hold`` stops inside its transaction at that point, says so by an event, and goes on
  after ``go``: ``begin`` (before its first statement), ``parent`` (its session row was looked for, its
  items are not yet inserted), ``items`` (they are, its session row not yet touched for the last
  time), ``commit`` (before COMMIT). The point it passes first, ``begin``, is always reported.

SQLite is held in a connection class of our own, servers by SQLAlchemy's events. A held append may hold
the whole process: only ``go`` and ``stop`` are obeyed meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import random
import re
import sqlite3
import sys
import threading
import time
import uuid
from importlib import import_module
from importlib.metadata import version
from typing import Any

Command = dict[str, Any]

_OUT = threading.Lock()
_REAL_STDOUT = os.fdopen(os.dup(1), "w", encoding="ascii", buffering=1)


def say(**message: Any) -> None:
    with _OUT:
        _REAL_STDOUT.write(json.dumps(message) + "\n")
        _REAL_STDOUT.flush()


class Holding:
    """Where the append under way is to be held; what the connections ask at each statement."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.point: str | None = None
        self.watching = False
        self._begun = self._inserted = False
        self._sessions = self._messages = self._first = re.compile("")

    def arm(self, point: str | None, tables: tuple[str, str]) -> None:
        self.go.clear()
        self._sessions, self._messages = (re.compile(rf"\b{re.escape(name)}\b") for name in tables)
        self._first = re.compile(rf"{self._sessions.pattern}|session_clear_generations|^BEGIN")
        self._begun = self._inserted = False
        self.point, self.watching = point, True

    def statement(self, sql: str) -> None:
        """Called before each statement."""
        verb = sql.lstrip()[:6].upper()
        if not self.watching or verb not in ("BEGIN ", "SELECT", "INSERT", "UPDATE", "DELETE"):
            return
        if not self._begun and self._first.search(sql):
            self._begun = True
            say(event="begin")
            self._stop_at("begin")
        if self._inserted and verb == "UPDATE" and self._sessions.search(sql):
            self._stop_at("items")
        if verb == "INSERT" and self._messages.search(sql):
            self._stop_at("parent")
            self._inserted = True

    def commit(self) -> None:
        """Called before each COMMIT; those of table creation do not count."""
        if self.watching and self._inserted:
            self._stop_at("commit")
            self.watching = False

    def _stop_at(self, point: str) -> None:
        if self.point == point:
            self.point = None
            say(event="holding", point=point)
            self.go.wait()


HOLDING = Holding()


class HeldConnection(sqlite3.Connection):
    """What ``sqlite3.connect`` returns in this process."""

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        HOLDING.statement(sql)
        return super().execute(sql, *parameters)

    def executemany(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        HOLDING.statement(sql)
        return super().executemany(sql, *parameters)

    def cursor(self, factory: Any = None) -> Any:
        return super().cursor(factory or HeldCursor)

    def commit(self) -> None:
        HOLDING.commit()
        super().commit()


class HeldCursor(sqlite3.Cursor):
    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        HOLDING.statement(sql)
        return super().execute(sql, *parameters)

    def executemany(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        HOLDING.statement(sql)
        return super().executemany(sql, *parameters)


_connect = sqlite3.connect


def _held_connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
    return _connect(*arguments, **({"factory": HeldConnection} | options))


sqlite3.connect = _held_connect  # type: ignore[assignment]


def make_engine(url: str) -> Any:
    """An async engine for an application's plain URL, with the hooks that can hold it."""
    from sqlalchemy import event
    from sqlalchemy.ext.asyncio import create_async_engine

    driver = {"postgresql": "asyncpg", "mysql": "aiomysql", "mariadb": "aiomysql", "sqlite": "aiosqlite"}
    scheme, rest = url.split("://", 1)
    plain = scheme.split("+")[0]
    dialect = "mysql" if plain == "mariadb" else plain
    engine = create_async_engine(f"{dialect}+{driver[plain]}://{rest}")
    if plain != "sqlite":  # SQLite is held in its connection

        @event.listens_for(engine.sync_engine, "before_cursor_execute")
        def _statement(_c: Any, _cursor: Any, sql: str, *_: Any) -> None:
            HOLDING.statement(sql)

        @event.listens_for(engine.sync_engine, "commit")
        def _commit(_connection: Any) -> None:
            HOLDING.commit()

    return engine


def sqlite_path(url: str) -> str:
    return url.split("://", 1)[1].removeprefix("/") if "://" in url else url


class Writer:
    """Sessions as an application has them: one object a session, one engine a store, open until ``close``."""

    def __init__(self) -> None:
        self._engines: dict[str, Any] = {}
        self._sessions: dict[tuple[Any, ...], Any] = {}
        self._runs: dict[int, tuple[asyncio.Event, asyncio.Task[None]]] = {}

    def session(self, command: Command) -> Any:
        url, session_id = command["url"], command["session"]
        server = url.startswith(("postgresql", "mysql", "mariadb"))
        kind = command.get("class") or ("SQLAlchemySession" if server else "SQLiteSession")
        tables = tuple(command.get("tables") or ("agent_sessions", "agent_messages"))
        key = (kind, url, session_id, tables)
        if key not in self._sessions:
            self._sessions[key] = self._make(kind, url, session_id, tables)
        return self._sessions[key]

    def _make(self, kind: str, url: str, session_id: str, tables: tuple[str, ...]) -> Any:
        named = {"sessions_table": tables[0], "messages_table": tables[1]}
        if kind == "SQLiteSession":
            from agents import SQLiteSession

            return SQLiteSession(session_id, sqlite_path(url), **named)
        from agents.extensions import memory

        if kind == "AsyncSQLiteSession":
            return memory.AsyncSQLiteSession(session_id, sqlite_path(url), **named)
        if kind == "AdvancedSQLiteSession":
            return memory.AdvancedSQLiteSession(
                session_id=session_id, db_path=sqlite_path(url), create_tables=True, **named
            )
        if kind != "SQLAlchemySession":
            raise ValueError(f"no such session class: {kind}")
        address = url if "://" in url else f"sqlite:///{url}"
        engine = self._engines.get(address) or make_engine(address)
        self._engines[address] = engine
        # the SDK cannot create its tables on MySQL
        return memory.SQLAlchemySession(
            session_id, engine=engine, create_tables=not address.startswith(("mysql", "mariadb")), **named
        )

    async def do_add(self, command: Command) -> None:
        session = self.session(command)
        tables = command.get("tables") or ("agent_sessions", "agent_messages")
        HOLDING.arm(command.get("hold"), (tables[0], tables[1]))
        await session.add_items(command["items"])

    async def do_get(self, command: Command) -> Any:
        return await self.session(command).get_items()

    async def do_pop(self, command: Command) -> Any:
        return await self.session(command).pop_item()

    async def do_clear(self, command: Command) -> None:
        await self.session(command).clear_session()

    async def do_version(self, _command: Command) -> str:
        for module in ("agents", "agents.extensions.memory"):  # so that the first append does not pay for it
            import_module(module)
        return version("openai-agents")

    async def do_run(self, command: Command) -> int:
        stop = asyncio.Event()
        task = asyncio.create_task(self._run(command, stop))
        self._runs[command["id"]] = (stop, task)
        return int(command["id"])

    async def do_stop(self, command: Command) -> None:
        stop, task = self._runs.pop(command["run"])
        stop.set()
        await task

    async def _run(self, command: Command, stop: asyncio.Event) -> None:
        for number in range(sys.maxsize):
            session_id = self._next_session(command, number)
            items = [
                {"role": "user", "content": f"live {number}.{part} {uuid.uuid4().hex}"}
                for part in range(command.get("items_per_append", 1))
            ]
            await self._append(command, session_id, items)
            if stop.is_set():
                return
            try:
                await asyncio.wait_for(stop.wait(), command.get("think_s", 0.01))
            except TimeoutError:
                continue
            return

    def _next_session(self, command: Command, number: int) -> str:
        ids = command.get("sessions")
        if not ids:
            return f"live-{random.randrange(command['fresh'])}-{command['id']}"
        return str(random.choice(ids) if command.get("at_random") else ids[number % len(ids)])

    async def _append(self, command: Command, session_id: str, items: list[Command]) -> None:
        at, start, error = time.time(), time.perf_counter(), None
        try:
            await self.session(command | {"session": session_id}).add_items(items)
        except Exception as failure:  # noqa: BLE001 -- any failure of an append is a result here
            error = f"{type(failure).__name__}: {failure}"
        latency = time.perf_counter() - start
        say(event="append", run=command["id"], session=session_id, items=items, at=at, latency=latency, error=error)

    async def do_close(self, _command: Command) -> None:
        for run in list(self._runs):
            await self.do_stop({"run": run})
        for session in self._sessions.values():
            if close := getattr(session, "close", None):
                done = close()
                if asyncio.iscoroutine(done):
                    await done
        for engine in self._engines.values():
            await engine.dispose()
        self._sessions.clear()
        self._engines.clear()


async def serve(commands: queue.Queue[Command | None]) -> None:
    writer, loop = Writer(), asyncio.get_running_loop()

    async def answer(command: Command) -> None:
        try:
            result = await getattr(writer, f"do_{command['do']}")(command)
        except Exception as error:  # noqa: BLE001 -- the caller judges it
            say(answer=command["id"], error=f"{type(error).__name__}: {error}")
        else:
            say(answer=command["id"], result=result)

    tasks: set[asyncio.Task[None]] = set()
    while (command := await loop.run_in_executor(None, commands.get)) is not None:
        task = asyncio.create_task(answer(command))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    HOLDING.go.set()
    await asyncio.gather(*tasks)
    await writer.do_close({})


def read_commands(commands: queue.Queue[Command | None]) -> None:
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "go":  # obeyed here: the held append may be holding the event loop
            HOLDING.go.set()
        else:
            commands.put(command)
    HOLDING.go.set()
    commands.put(None)


if __name__ == "__main__":
    os.dup2(2, 1)  # nothing but messages may reach standard output
    line: queue.Queue[Command | None] = queue.Queue()
    threading.Thread(target=read_commands, args=(line,), daemon=True).start()
    asyncio.run(serve(line))
