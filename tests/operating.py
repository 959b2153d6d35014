"""Operating sessionctl from tests: stores of known ages written by the SDK, command lines, terminals."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pexpect

from sessionctl.testing.case import turn

WAIT_S = 30
COMMAND = (sys.executable, "-m", "sessionctl")
DAY = 86400.0
AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a command came to; ``out`` and ``err`` as the bytes they were."""

    status: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def said(self) -> str:
        return self.err.decode()

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def error(self) -> dict[str, Any]:
        """The error of a JSON mode: the last line of stderr."""
        found: dict[str, Any] = json.loads(self.err.splitlines()[-1])
        assert list(found) == ["schema", "error"]
        assert list(found["error"]) == ["code", "message", "hint"]
        return dict(found["error"])


def sessionctl(
    *arguments: str | Path, stdin: bytes = b"", env: Mapping[str, str] | None = None, as_nobody: bool = False
) -> Ran:
    """Run the program in a process of its own, without a terminal."""
    command = [*COMMAND, *map(str, arguments)]
    prefix = AS_NOBODY if as_nobody else ()
    done = subprocess.run(
        [*prefix, *command],
        input=stdin,
        capture_output=True,
        env={**os.environ, **(env or {})},
        timeout=WAIT_S * 2,
        check=False,
    )
    return Ran(status=done.returncode, out=done.stdout, err=done.stderr)


def in_process(*arguments: str | Path, stdin: bytes = b"") -> Ran:
    """The same within this process, which is faster; no terminal either."""
    from sessionctl.cli.app import run

    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(stdin))
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = run([*map(str, arguments)])
    finally:
        sys.stdin = before
    return Ran(status=status, out=out.buffer.getvalue(), err=err.buffer.getvalue())  # type: ignore[attr-defined]


def on_terminal(
    *arguments: str | Path, columns: int = 80, rows: int = 24, env: Mapping[str, str] | None = None
) -> pexpect.spawn[bytes]:
    """Start the program on a terminal of its own, coloured, without a pager."""
    surroundings = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    surroundings |= {"TERM": "xterm-256color", "PAGER": "cat", **(env or {})}
    return pexpect.spawn(
        COMMAND[0], [*COMMAND[1:], *map(str, arguments)], dimensions=(rows, columns), timeout=WAIT_S,
        env=surroundings,  # type: ignore[arg-type]
    )  # fmt: skip


def shown_on_terminal(*arguments: str | Path, **how: Any) -> Ran:
    """All that a command sends to a terminal, stdout and stderr together."""
    child = on_terminal(*arguments, **how)
    child.expect(pexpect.EOF)
    child.close()
    return Ran(status=child.exitstatus or 0, out=child.before or b"", err=b"")


def wait_for(ready: Callable[[], Any], what: str, timeout: float = WAIT_S, *, every: float = 0.002) -> Any:
    """Until ``ready()`` is truthy; its value. Looking opens and closes a SQLite file, which keeps others from it."""
    deadline = time.monotonic() + timeout
    while not (found := ready()):
        assert time.monotonic() < deadline, f"{what} did not come about within {timeout} s"
        time.sleep(every)
    return found


Items = Sequence[Mapping[str, Any]]


def write_sessions(path: Path, sessions: Mapping[str, Items]) -> Path:
    """Append to each session through the SDK's SQLiteSession; everything is closed when this returns."""
    from agents import SQLiteSession

    async def write() -> None:
        for session_id, items in sessions.items():
            session = SQLiteSession(session_id, path)
            await session.add_items([dict(item) for item in items])  # type: ignore[misc]
            session.close()

    asyncio.run(write())
    return path


def age(path: Path, ages: Mapping[str, float]) -> None:
    """Set how many seconds ago each session was last active; negative: in the future."""
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        for session_id, seconds in ages.items():
            at = (f"{-seconds} seconds", session_id)
            db.execute("UPDATE agent_sessions SET updated_at = datetime('now', ?) WHERE session_id = ?", at)
            db.execute("UPDATE agent_messages SET created_at = datetime('now', ?) WHERE session_id = ?", at)


def store_of(path: Path, ages: Mapping[str, float]) -> Path:
    """A store with one turn of four items in each session, last active so many seconds ago (or a little more)."""
    path.write_bytes(_written_once(tuple(ages.items())))
    return path


_BY_SDK = 60


def _multiply(path: Path, names: Sequence[str]) -> None:
    """Sessions beyond the first are copies, row by row, of what the SDK wrote: that is a hundred times faster."""
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        for number, name in enumerate(names[_BY_SDK:]):
            pair = (name, names[number % _BY_SDK])
            db.execute("INSERT INTO agent_sessions (session_id) VALUES (?)", pair[:1])
            db.execute(
                "INSERT INTO agent_messages (session_id, message_data) "
                "SELECT ?, message_data FROM agent_messages WHERE session_id = ? ORDER BY id",
                pair,
            )


@functools.cache
def _written_once(ages: tuple[tuple[str, float], ...]) -> bytes:
    """Tests that want the same store get copies of one file."""
    memory = Path("/dev/shm")  # where the SDK's commits wait for no disk
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as directory:
        path = Path(directory, "store.db")
        names = [session_id for session_id, _ in ages]
        write_sessions(path, {session_id: turn(number) for number, session_id in enumerate(names[:_BY_SDK])})
        _multiply(path, names)
        age(path, dict(ages))
        assert [file.name for file in path.parent.iterdir()] == ["store.db"]  # closed, nothing left in a log
        return path.read_bytes()


def ids_in(path: Path) -> set[str]:
    """The session ids, past sessionctl."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        return {session_id for (session_id,) in db.execute("SELECT session_id FROM agent_sessions")}


def item_counts(path: Path) -> dict[str, int]:
    """Items by session, past sessionctl; those without a session row too."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        return dict(db.execute("SELECT session_id, count(*) FROM agent_messages GROUP BY 1"))


def assert_whole(path: Path, items: int = 4) -> None:
    """Every session is there with all its items, or gone with all of them."""
    assert item_counts(path) == dict.fromkeys(ids_in(path), items)


def ledger_rows(home: Path) -> list[dict[str, Any]]:
    """The runs in the local ledger, oldest first, past sessionctl."""
    with contextlib.closing(sqlite3.connect(ledger_file(home))) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute("SELECT * FROM runs ORDER BY run_id")]


def ledger_file(home: Path) -> Path:
    return home / ".local/state/sessionctl/ledger.db"


_ALLOWED = re.compile(
    rb"\x1b\[[0-9;]*m"  # colours
    rb"|\x1b\[\?25[lh]|\x1b\[2K|\x1b\[1A|\x1b\[K"  # the progress bar hides the cursor and draws its line anew
    rb"|\r?\n|\r"
)


def stray_controls(screen: bytes) -> list[bytes]:
    """Control characters that no drawing of our own explains: C0, DEL, C1 and bytes that are no UTF-8."""
    rest = _ALLOWED.sub(b"", screen).decode("utf-8", "backslashreplace")
    assert "\\x" not in rest or b"\\x" in screen, "bytes that are no UTF-8"
    return [char.encode() for char in rest if ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0]


def plain_lines(screen: bytes) -> list[str]:
    """The lines of a screen without colours."""
    return re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", screen).decode("utf-8", "replace").replace("\r", "").split("\n")


@contextlib.contextmanager
def running(*arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """The program at work in a process group of its own, ended with the block."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
