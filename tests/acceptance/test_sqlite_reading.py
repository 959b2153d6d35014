"""Reading a SQLite file leaves no trace, whoever reads it and whatever state it is in."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from operating import (
    AS_NOBODY,
    COMMAND,
    DAY,
    Ran,
    age,
    ids_in,
    in_process,
    sessionctl,
    store_of,
    wait_for,
    write_sessions,
)
from sdk_process import SdkProcess

from sessionctl.core.address import parse_address
from sessionctl.core.model import Want
from sessionctl.core.selector import Query
from sessionctl.errors import StoreBusy
from sessionctl.stores import open_store
from sessionctl.testing.case import turn, user

READS = (
    ("list", "-o", "json"),
    ("list", "--search", "question", "-o", "json"),
    ("stats", "-o", "json"),
    ("inspect", "s1", "-o", "json"),
    ("purge", "--older-than", "1h", "-n", "-o", "json"),
    ("stores", "ping"),
    ("doctor", "-o", "json"),
)
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can become another user (with setpriv)"
)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that anyone may read and only its owner may write; those of pytest only their owner may enter."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


def traces(directory: Path) -> dict[str, tuple[Any, ...]]:
    """Names, owners and bytes of all files; of ``-shm``, in which readers mark their place, no bytes."""
    return {
        file.name: (
            file.stat().st_uid,
            file.stat().st_mode,
            None if file.name.endswith("-shm") else hashlib.sha256(file.read_bytes()).hexdigest(),
        )
        for file in directory.iterdir()
    }


def read_all(path: Path, *, as_nobody: bool) -> list[Ran]:
    commands = [[*read, "-s", str(path)] for read in READS]
    if not as_nobody:
        return [in_process(*command) for command in commands]
    script = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); from operating import in_process\n"
        "done = [in_process(*command) for command in json.loads(sys.argv[2])]\n"
        "print(json.dumps([[one.status, one.text, one.said] for one in done]))"
    )
    run = [*AS_NOBODY, sys.executable, "-c", script, str(Path(__file__).parents[1]), json.dumps(commands)]
    answers = json.loads(subprocess.run(run, check=True, stdout=subprocess.PIPE).stdout)
    return [Ran(status=status, out=out.encode(), err=err.encode()) for status, out, err in answers]


def assert_reads_leave_no_trace(path: Path, sessions: int, *, as_nobody: bool) -> None:
    before = traces(path.parent)
    done = read_all(path, as_nobody=as_nobody)
    for read, one in zip(READS, done, strict=True):
        assert one.status == 0, (read, one.said)
    assert len(done[0].json["sessions"]) == sessions
    assert len(done[3].json["turns"]) == 1
    assert traces(path.parent) == before


readers = pytest.mark.parametrize(
    "as_nobody", [False, pytest.param(True, marks=needs_root)], ids=["owner", "another user"]
)


@readers
class TestStates:
    def test_a_wal_file_closed_cleanly(self, place: Path, sdk: SdkProcess, as_nobody: bool) -> None:
        path = store_of(place / "store.db", {"s1": DAY, "s2": 2 * DAY})
        assert list(traces(place)) == ["store.db"]
        assert_reads_leave_no_trace(path, 2, as_nobody=as_nobody)
        sdk.add(str(path), "s1", turn(9))
        assert len(sdk.get(str(path), "s1")) == 8

    def test_beside_an_application(self, place: Path, sdk: SdkProcess, as_nobody: bool) -> None:
        path = store_of(place / "store.db", {"s1": DAY})
        main = path.read_bytes()
        sdk.add(str(path), "fresh", [user("only in the log")])
        assert path.read_bytes() == main, "the append must not be in the main file yet"
        assert_reads_leave_no_trace(path, 2, as_nobody=as_nobody)
        found = sessionctl("list", "--search", "only in the log", "-o", "name", "-s", path, as_nobody=as_nobody)
        assert found.out == b"fresh\n"
        sdk.add(str(path), "fresh", [user("and on")])
        assert len(sdk.get(str(path), "fresh")) == 2

    def test_a_rollback_journal_file(self, place: Path, sdk: SdkProcess, as_nobody: bool) -> None:
        path = store_of(place / "store.db", {"s1": DAY, "s2": DAY})
        with contextlib.closing(sqlite3.connect(path)) as db:
            assert db.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
        assert_reads_leave_no_trace(path, 2, as_nobody=as_nobody)
        sdk.add(str(path), "s1", turn(9))
        assert len(sdk.get(str(path), "s1")) == 8

    def test_a_journal_to_be_rolled_back(self, place: Path, as_nobody: bool) -> None:
        """A reader may not roll back; it says so and leaves that to the application."""
        path = store_of(place / "store.db", {"s1": DAY})
        hot = (
            "import sqlite3, os, signal, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None);"
            "db.execute('PRAGMA journal_mode = DELETE'); db.execute('PRAGMA cache_size = 1');"
            "db.execute('BEGIN IMMEDIATE');"
            "db.executemany('INSERT INTO agent_messages (session_id, message_data) VALUES (?, ?)', "
            "[('s1', 'x' * 5000)] * 500); os.kill(os.getpid(), signal.SIGKILL)"
        )
        assert subprocess.run([sys.executable, "-c", hot, path], check=False).returncode == -signal.SIGKILL
        before = traces(place)
        assert "store.db-journal" in before
        done = sessionctl("list", "-s", path, "-o", "json", as_nobody=as_nobody)
        assert done.status in (10, 11), done.said
        assert done.error["message"]
        assert traces(place) == before
        with contextlib.closing(sqlite3.connect(path)) as db:
            assert db.execute("SELECT count(*) FROM agent_messages").fetchone() == (4,)


def test_after_a_writer_was_killed(place: Path, sdk: SdkProcess, sdk_processes: Callable[..., SdkProcess]) -> None:
    """And then with the log alone, as a backup of file and log leaves it."""
    users = [False, True] if os.geteuid() == 0 and shutil.which("setpriv") else [False]
    path = store_of(place / "store.db", {"s1": DAY})
    doomed = sdk_processes()
    doomed.add(str(path), "fresh", [user("committed")])
    doomed.begin_add(str(path), "s1", [user("never committed")], hold="commit").wait_holding()
    doomed.kill()
    assert {"store.db-wal", "store.db-shm"} <= set(traces(place))
    for as_nobody in users:
        assert_reads_leave_no_trace(path, 2, as_nobody=as_nobody)
    (place / "store.db-shm").unlink()
    before = traces(place)
    for as_nobody in reversed(users):
        done = sessionctl("list", "-o", "name", "-s", path, as_nobody=as_nobody)
        after = traces(place)
        index = after.pop("store.db-shm", None)
        assert after == before
        assert index is None or index[:2] == before["store.db"][:2], "the index belongs to the file's owner"
        assert done.status == 10 or set(done.text.split()) == {"s1", "fresh"}, done.said
    sdk.add(str(path), "s1", [user("after")])
    assert len(sdk.get(str(path), "s1")) == 5


@needs_root
def test_a_log_without_its_index_in_a_directory_anyone_may_write(place: Path) -> None:
    path = store_of(place / "store.db", {"s1": DAY})
    with contextlib.closing(sqlite3.connect(path)) as application:
        application.execute("DELETE FROM agent_messages")
        application.commit()
        copy = place / "copy"
        copy.mkdir()
        for name in ("store.db", "store.db-wal"):
            shutil.copy(place / name, copy)
    copy.chmod(0o777)
    before = traces(copy)
    done = sessionctl("list", "-s", copy / "store.db", "-o", "json", as_nobody=True)
    assert (done.status, traces(copy)) == (10, before), done.said
    assert "its owner" in done.error["message"]


class TestAWriterComesMeanwhile:
    """The file is closed when it is opened for reading, and in use before the reading ends."""

    COUNT = 3000

    @pytest.fixture
    def store(self, tmp_path: Path) -> Path:
        path = write_sessions(tmp_path / "store.db", {"s00000": [user("x" * 200)]})
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            rows = [(f"s{n:05}",) for n in range(1, self.COUNT)]
            db.executemany("INSERT INTO agent_sessions (session_id) VALUES (?)", rows)
            db.executemany(
                "INSERT INTO agent_messages (session_id, message_data) "
                "SELECT ?, message_data FROM agent_messages WHERE id = 1",
                rows,
            )
        return path

    @staticmethod
    def rewrite(path: Path) -> None:
        """Another program moves every page: half of the sessions go, the others are written anew."""
        script = (
            "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None);"
            "db.execute('BEGIN');"
            'db.execute("DELETE FROM agent_sessions WHERE CAST(substr(session_id, 2) AS INTEGER) % 2");'
            'db.execute("DELETE FROM agent_messages WHERE session_id NOT IN (SELECT session_id FROM agent_sessions)");'
            'db.execute("UPDATE agent_messages SET message_data = message_data || hex(zeroblob(300))");'
            "db.execute('COMMIT'); db.execute('VACUUM'); db.execute('PRAGMA wal_checkpoint(TRUNCATE)'); db.close()"
        )
        subprocess.run([sys.executable, "-c", script, path], check=True)

    def test_a_stream_ends_in_an_error_or_has_one_state(self, store: Path) -> None:
        old, new = {f"s{n:05}" for n in range(self.COUNT)}, {f"s{n:05}" for n in range(0, self.COUNT, 2)}
        for taken in (0, 1, 999, 1000, 1500, self.COUNT - 1):
            copy = Path(shutil.copy(store, store.with_name(f"copy{taken}.db")))
            with open_store(parse_address(str(copy))) as opened:
                stream = opened.sessions(Query(), want=Want.SIZE)
                seen = [next(stream) for _ in range(taken)]
                self.rewrite(copy)
                told = "nothing to tell"
                try:
                    seen += list(stream)
                except StoreBusy as error:
                    told = error.hint
                    assert {ref.id for ref in seen} <= old
                else:
                    assert {ref.id for ref in seen} in (old, new)
                    assert {ref.bytes for ref in seen} in ({seen[0].bytes}, set())
                assert told
                again = list(opened.sessions(Query(), want=Want.SIZE))
                assert {ref.id for ref in again} == new
                assert len({ref.bytes for ref in again}) == 1

    def test_the_command_beside_a_busy_writer(self, store: Path) -> None:
        """Appends and closes again and again while list reads: every answer is whole or an honest error."""
        script = (
            "import asyncio, sys\nfrom agents import SQLiteSession\nprint('ready', flush=True)\n"
            "async def main():\n    n = 0\n    while True:\n        s = SQLiteSession('new', sys.argv[1])\n"
            "        await s.add_items([{'role': 'user', 'content': str(n)}]); s.close(); n += 1\n"
            "        print(n, flush=True)\n"
            "asyncio.run(main())"
        )
        with subprocess.Popen([sys.executable, "-c", script, store], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            try:
                for _ in range(3):
                    writer.stdout.readline()
                wholes = 0
                for _ in range(8):
                    done = in_process("list", "-s", store, "-o", "jsonl")
                    lines = [json.loads(line) for line in done.text.splitlines()]
                    ids = [line["session_id"] for line in lines]
                    assert len(ids) == len(set(ids))
                    if done.status == 0:
                        assert set(ids) == {f"s{n:05}" for n in range(self.COUNT)} | {"new"}
                        wholes += 1
                    else:
                        assert done.error["code"] == "store_busy"
                assert wholes
            finally:
                writer.kill()


class TestPaths:
    @pytest.mark.parametrize(
        "name",
        ["a b.db", "100%.db", "a%20b.db", "q?.db", "h#.db", "naïve ✓ 日本.db", "a&mode=rw.db", "[x].db", "-x.db"],
    )
    def test_names(self, tmp_path: Path, name: str) -> None:
        path = store_of(tmp_path / name, {"s1": DAY, "s2": 99 * DAY})
        assert set(in_process("list", "-s", path, "-o", "name").text.split()) == {"s1", "s2"}
        assert in_process("purge", "-s", path, "--older-than", "30d", "--yes").status == 0
        assert (ids_in(path), [file.name for file in tmp_path.iterdir()]) == ({"s1"}, [name])

    def test_a_symlink(self, tmp_path: Path) -> None:
        path = store_of(tmp_path / "store.db", {"s1": DAY, "s2": 99 * DAY})
        link = tmp_path / "link.db"
        link.symlink_to(path)
        assert len(in_process("list", "-s", link, "-o", "json").json["sessions"]) == 2
        assert in_process("purge", "-s", link, "--older-than", "30d", "--yes").status == 0
        assert {file.name for file in tmp_path.iterdir()} == {"store.db", "link.db"}
        assert link.is_symlink()

    def test_a_symlink_to_a_file_in_use(self, tmp_path: Path, sdk: SdkProcess) -> None:
        """The log lies beside the file, not beside the link: what is only in it must be seen."""
        (tmp_path / "real").mkdir()
        path = store_of(tmp_path / "real/store.db", {"s1": DAY})
        link = tmp_path / "link.db"
        link.symlink_to(path)
        sdk.add(str(path), "fresh", [user("only in the log")])
        assert set(in_process("list", "-s", link, "-o", "name").text.split()) == {"s1", "fresh"}
        age(path, {"fresh": 99 * DAY})
        assert in_process("purge", "-s", link, "--older-than", "30d", "--yes").status == 0
        assert ids_in(path) == {"s1"}


class TestNotAStore:
    def refused(self, path: Path, status: int, *words: str) -> None:
        before = sorted(path.parent.iterdir())
        for command in (
            ("list",),
            ("stats",),
            ("inspect", "s1"),
            ("purge", "--older-than", "1d", "--yes"),
            ("doctor",),
        ):
            done = in_process(*command, "-s", path, "-o", "json")
            assert (done.status, done.out) == (status, b""), (command, done.said)
            assert all(word in done.error["message"] for word in (*words, path.name)), done.error
            assert "Traceback" not in done.said
        assert sorted(path.parent.iterdir()) == before

    def test_missing(self, tmp_path: Path) -> None:
        self.refused(tmp_path / "missing.db", 10, "no such file")

    def test_empty(self, tmp_path: Path) -> None:
        (tmp_path / "empty.db").touch()
        self.refused(tmp_path / "empty.db", 10, "empty")

    def test_something_else(self, tmp_path: Path) -> None:
        (tmp_path / "text.db").write_text("hello\n" * 1000)
        self.refused(tmp_path / "text.db", 10, "not a SQLite")

    def test_another_database(self, tmp_path: Path) -> None:
        with contextlib.closing(sqlite3.connect(tmp_path / "other.db")) as db, db:
            db.execute("CREATE TABLE customers (id INTEGER)")
        self.refused(tmp_path / "other.db", 10, "customers", "agent_sessions")

    def test_cut_off(self, tmp_path: Path) -> None:
        path = store_of(tmp_path / "cut.db", {f"s{n}": DAY for n in range(40)})
        for octets in (100, 4096, 6000):
            path.write_bytes(path.read_bytes()[:octets] if octets > 100 else path.read_bytes()[:20000])
            done = in_process("list", "-s", path, "-o", "json")
            assert done.status == 10, (octets, done.said)
            assert "Traceback" not in done.said

    def test_a_damaged_page(self, tmp_path: Path) -> None:
        path = store_of(tmp_path / "store.db", {f"s{n}": DAY for n in range(100)})
        with contextlib.closing(sqlite3.connect(path)) as db:
            (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'agent_messages'").fetchone()
            (size,) = db.execute("PRAGMA page_size").fetchone()
        damaged = bytearray(path.read_bytes())
        damaged[(page - 1) * size : page * size] = b"\xff" * size
        path.write_bytes(damaged)
        for command in (
            ("list",),
            ("stats",),
            ("inspect", "s1"),
            ("purge", "--older-than", "1h", "--max-share", "1", "--yes"),
        ):
            done = in_process(*command, "-s", path, "-o", "json")
            assert done.status == 10, (command, done.said)
            assert "damaged" in done.error["message"]
        assert path.read_bytes() == damaged

    @needs_root
    def test_not_readable(self, place: Path) -> None:
        path = store_of(place / "store.db", {"s1": DAY})
        path.chmod(0o600)
        done = sessionctl("list", "-s", path, "-o", "json", as_nobody=True)
        assert (done.status, done.error["code"]) == (11, "access_refused")
        path.chmod(0o644)
        state = {"SESSIONCTL_STATE_DIR": f"/tmp/nobody-{os.getpid()}-{place.name}"}
        try:
            done = sessionctl("purge", "-s", path, "--all", "--yes", "-o", "json", as_nobody=True, env=state)
        finally:
            shutil.rmtree(state["SESSIONCTL_STATE_DIR"], ignore_errors=True)
        assert (done.status, list(traces(place))) == (11, ["store.db"]), done.said
        assert ids_in(path) == {"s1"}


def test_a_pipe_that_is_closed_early_is_no_mishap(tmp_path: Path) -> None:
    path = store_of(tmp_path / "store.db", {f"s{n}": DAY for n in range(300)})
    for form in ("jsonl", "table"):
        arguments = [*COMMAND, "list", "-s", str(path), "-o", form, "--limit", "0"]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stderr is not None
            child.stdout.close()
            said = child.stderr.read()
            wait_for(lambda child=child: child.poll() is not None, "its end")
        assert b"Traceback" not in said
        assert b"unforeseen" not in said
        assert b"Exception ignored" not in said
