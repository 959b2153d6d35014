"""The SDK at work in a process of its own: ``sdk_process`` starts this with whichever Python has the SDK to be used.

It needs nothing but the SDK and its drivers, of any release since 0.19. Commands come in as JSON lines,
answers and events go out as JSON lines:

* ``add``, ``get``, ``pop``, ``clear``: the session's own methods.
* ``run`` appends again and again until ``stop``, and reports each append as an event. With ``aimed`` it
  chooses among those of its ``sessions`` that ``aim`` named last (places ``first`` to ``last``, last
  excluded, of them every ``of``-th), and rests while there are none.
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
from dataclasses import dataclass, field
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
    from sqlalchemy import event, make_url
    from sqlalchemy.ext.asyncio import create_async_engine

    driver = {"postgresql": "asyncpg", "mysql": "aiomysql", "mariadb": "aiomysql", "sqlite": "aiosqlite"}
    scheme, rest = url.split("://", 1)
    plain = scheme.split("+")[0]
    dialect = "mysql" if plain == "mariadb" else plain
    address = make_url(f"{dialect}+{driver[plain]}://{rest}")
    # asyncpg's own setting, as behind a pooler; out of a URL it would come as text, which asyncpg cannot use
    settings = {name: int(address.query[name]) for name in ("statement_cache_size",) if name in address.query}
    engine = create_async_engine(address.difference_update_query(settings), connect_args=settings)
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


@dataclass
class Run:
    """A run of appends under way."""

    command: Command
    pick: random.Random
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    aim: range = range(0)
    aimed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    async def next_session(self, number: int) -> str | None:
        """The session to append to now; None when it is to stop."""
        ids = self.command.get("sessions")
        if not ids:
            return f"live-{self.pick.randrange(self.command['fresh'])}-{self.command['id']}"
        if self.command.get("aimed"):
            await self.aimed.wait()
            return None if self.stop.is_set() else str(ids[self.pick.choice(self.aim)])
        return str(self.pick.choice(ids) if self.command.get("at_random") else ids[number % len(ids)])

    def take_aim(self, aim: range) -> None:
        self.aim = aim
        if aim:
            self.aimed.set()
        else:
            self.aimed.clear()

    async def ended(self) -> None:
        self.stop.set()
        self.aimed.set()
        if self.task is not None:
            await self.task


class Writer:
    """Sessions as an application has them: one object a session, one engine a store, open until ``close``.

    A ``run`` with ``keep`` has objects of its own, and leaves that many open at most, those used last.
    """

    def __init__(self) -> None:
        self._engines: dict[str, Any] = {}
        self._sessions: dict[int, dict[tuple[Any, ...], Any]] = {}
        """By the run that has them, 0 for all others."""
        self._runs: dict[int, Run] = {}

    def session(self, command: Command) -> Any:
        url, session_id = command["url"], command["session"]
        server = url.startswith(("postgresql", "mysql", "mariadb"))
        kind = command.get("class") or ("SQLAlchemySession" if server else "SQLiteSession")
        tables = tuple(command.get("tables") or ("agent_sessions", "agent_messages"))
        key = (kind, url, session_id, tables, command.get("tables_exist", False))
        opened = self._sessions.setdefault(command["id"] if "keep" in command else 0, {})
        opened[key] = opened.pop(key, None) or self._make(*key)
        return opened[key]

    async def _let_go(self, opened: dict[tuple[Any, ...], Any], keep: int) -> None:
        """Close all but ``keep`` of these; the last one is the one used last."""
        while len(opened) > keep:
            session = opened.pop(next(iter(opened)))
            if close := getattr(session, "close", None):
                done = close()
                if asyncio.iscoroutine(done):
                    await done

    def _make(self, kind: str, url: str, session_id: str, tables: tuple[str, ...], tables_exist: bool) -> Any:
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
        create = not tables_exist and not address.startswith(("mysql", "mariadb"))  # the SDK cannot on MySQL
        return memory.SQLAlchemySession(session_id, engine=engine, create_tables=create, **named)

    async def do_add(self, command: Command) -> None:
        session = self.session(command)
        tables = command.get("tables") or ("agent_sessions", "agent_messages")
        HOLDING.arm(command.get("hold"), (tables[0], tables[1]))
        await session.add_items(command["items"])

    async def do_get(self, command: Command) -> Any:
        return await self.session(command).get_items()

    async def do_read(self, command: Command) -> dict[str, Any]:
        own, items = command | {"keep": 0}, {}
        for session_id in command["sessions"]:
            items[session_id] = await self.session(own | {"session": session_id}).get_items()
            await self._let_go(self._sessions[command["id"]], 0)
        return items

    async def do_pop(self, command: Command) -> Any:
        return await self.session(command).pop_item()

    async def do_clear(self, command: Command) -> None:
        await self.session(command).clear_session()

    async def do_version(self, _command: Command) -> str:
        for module in ("agents", "agents.extensions.memory"):  # so that the first append does not pay for it
            import_module(module)
        return version("openai-agents")

    async def do_run(self, command: Command) -> int:
        run = Run(command, random.Random(command.get("seed")))
        run.task = asyncio.create_task(self._run(run))
        self._runs[command["id"]] = run
        return int(command["id"])

    async def do_aim(self, command: Command) -> None:
        self._runs[command["run"]].take_aim(range(command["first"], command["last"], command["of"]))

    async def do_stop(self, command: Command) -> None:
        await self._runs.pop(command["run"]).ended()

    async def _run(self, run: Run) -> None:
        command = run.command
        for number in range(sys.maxsize):
            session_id = await run.next_session(number)
            if session_id is None:
                return
            items = [
                {"role": "user", "content": f"live {number}.{part} {uuid.uuid4().hex}"}
                for part in range(command.get("items_per_append", 1))
            ]
            if command.get("answered"):
                items.append({"role": "assistant", "content": f"so it is, {number}"})
            await self._append(command, session_id, items)
            if "keep" in command:
                await self._let_go(self._sessions[command["id"]], command["keep"])
            if run.stop.is_set():
                return
            try:
                await asyncio.wait_for(run.stop.wait(), command.get("think_s", 0.01))
            except TimeoutError:
                continue
            return

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
        for opened in self._sessions.values():
            await self._let_go(opened, 0)
        for engine in self._engines.values():
            await engine.dispose()
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
