"""vacuum of SQLite files from the plan to the report: what is shown and asked, what goes, what is refused."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from operating import Ran, in_process, ledger_rows, sessionctl, write_sessions

from sessionctl.testing.case import turn, user

KEYS = ["schema", "command", "store", "dry_run", "run_id", "before", "after", "freed", "steps", "others", "refused",
        "notes", "stopped", "why", "elapsed_s"]  # fmt: skip
MANY = 3000


def made(path: Path, *, mode: int = 0, rows: int = MANY) -> Path:
    """A store of which most has been deleted; ``mode`` is its ``auto_vacuum``."""
    write_sessions(path, {"stays": turn(1)})
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA auto_vacuum = {mode}")
        db.execute("VACUUM")
        text = json.dumps(user("x" * 900))
        db.execute("BEGIN")
        db.executemany("INSERT INTO agent_messages (session_id, message_data) VALUES ('goes', ?)", [(text,)] * rows)
        db.execute("DELETE FROM agent_messages WHERE session_id = 'goes'")
        db.execute("COMMIT")
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return made(tmp_path / "store.db")


def vacuum(store: Path, *arguments: str | Path) -> Ran:
    return in_process("vacuum", "-s", store, *arguments)


def pragma(path: Path, name: str) -> Any:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute(f"PRAGMA {name}").fetchone()[0]


def is_whole(path: Path) -> bool:
    found = in_process("inspect", "stays", "-s", path, "-o", "json").json
    items = [item["data"] for each in found["turns"] for item in each["items"]]
    return items == turn(1) and pragma(path, "integrity_check") == "ok"


@contextlib.contextmanager
def opened(path: Path) -> Iterator[None]:
    """Another connection of another process, idle."""
    import subprocess
    import sys

    code = f"import sqlite3, sys; c = sqlite3.connect({str(path)!r}); c.execute('SELECT * FROM agent_sessions'); "
    code += "print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        yield
        other.communicate()


class TestReport:
    def test_json(self, store: Path, home: Path) -> None:
        size = store.stat().st_size
        report = vacuum(store, "--yes", "-o", "json", "--reason", "disk").json
        assert list(report) == KEYS
        assert (report["command"], report["dry_run"], report["stopped"]) == ("vacuum", False, "done")
        assert report["before"]["total"] == size
        assert report["after"]["total"] == store.stat().st_size == size - report["freed"]
        assert report["freed"] > 0.8 * size
        assert [(step["task"], step["done"]) for step in report["steps"]] == [
            ("rebuild", True), ("statistics", True), ("log", True),
        ]  # fmt: skip
        assert is_whole(store)
        assert pragma(store, "journal_mode") == "wal"
        (run,) = ledger_rows(home)
        assert (run["command"], run["reason"], run["stopped"]) == ("vacuum", "disk", "done")
        assert json.loads(run["counts"])["space"]["freed"] == report["freed"]

    def test_a_dry_run_shows_it_and_changes_nothing(self, store: Path) -> None:
        before = store.read_bytes()
        shown = vacuum(store, "--dry-run")
        assert shown.status == 0
        assert "step        VACUUM" in shown.text
        assert "blocks writers" in shown.text
        assert store.read_bytes() == before
        assert not list(store.parent.glob("*-wal"))
        foreseen = vacuum(store, "--dry-run", "-o", "json").json
        done = vacuum(store, "--yes", "-o", "json").json
        assert abs(foreseen["freed"] - done["freed"]) < 0.05 * done["before"]["total"]

    def test_without_a_terminal_it_needs_yes(self, store: Path) -> None:
        assert vacuum(store).status == 2
        assert pragma(store, "freelist_count") > 0

    def test_what_is_not_worth_it_is_left_out(self, tmp_path: Path) -> None:
        store = made(tmp_path / "little.db", rows=10)
        report = vacuum(store, "--full", "--yes", "-o", "json").json
        assert [step["task"] for step in report["steps"]] == ["statistics", "log"]
        assert "--force" in report["notes"][0]
        assert vacuum(store, "--full", "--force", "--yes", "-o", "json").json["steps"][0]["task"] == "rebuild"

    def test_a_fleet(self, tmp_path: Path) -> None:
        for name in ("a.db", "b.db"):
            made(tmp_path / name)
        report = vacuum(tmp_path, "--yes", "-o", "json").json
        assert (report["store"], len(report["stores"])) == (None, 2)
        assert report["freed"] == sum(store["freed"] for store in report["stores"]) > 0

    def test_max_runtime_ends_it(self, tmp_path: Path) -> None:
        store = made(tmp_path / "movable.db", mode=2)
        done = vacuum(store, "--yes", "--max-runtime", "0.001s", "-o", "json")
        assert (done.status, done.json["stopped"], done.json["why"]) == (4, "limit", "--max-runtime")
        assert is_whole(store)
        assert vacuum(store, "--yes").status == 0
        assert pragma(store, "freelist_count") == 0


class TestModes:
    def test_a_movable_file_gives_space_back_beside_others(self, tmp_path: Path) -> None:
        store = made(tmp_path / "movable.db", mode=2)
        with opened(store):
            report = vacuum(store, "--yes", "-o", "json").json
            assert report["steps"][0]["task"] == "shrink"
            assert report["freed"] > 0.8 * report["before"]["total"]
            assert len(report["others"]) == 1
        assert is_whole(store)

    def test_switching_to_it(self, store: Path) -> None:
        assert vacuum(store, "--incremental", "--yes").status == 0
        assert pragma(store, "auto_vacuum") == 2
        assert is_whole(store)

    def test_sqlite_does_not_compress(self, store: Path) -> None:
        refused = vacuum(store, "--compress", "--yes", "-o", "json")
        assert (refused.status, refused.error["code"]) == (2, "guard")
        assert "rotate" in refused.error["message"]

    @pytest.mark.parametrize(
        "wrong",
        [
            ["--via", "."],
            ["--full", "--via", "nowhere"],
            ["--compress", "--decompress"],
            ["--compress", "--incremental"],
        ],
    )
    def test_options_that_do_not_go_together(self, store: Path, wrong: list[str]) -> None:
        assert vacuum(store, *wrong, "--yes").status == 2

    def test_one_that_is_open_is_not_written_over(self, store: Path, tmp_path: Path) -> None:
        with opened(store):
            refused = sessionctl("vacuum", "-s", store, "--full", "--via", tmp_path, "--yes", "-o", "json")
        assert (refused.status, refused.error["code"]) == (2, "guard")
        assert "open in process" in refused.error["message"]
        assert is_whole(store)
