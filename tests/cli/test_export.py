"""export: what lands where, what is never overwritten, and what is reported and recorded."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import signal
import sqlite3
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from operating import (
    DAY,
    ids_in,
    in_process,
    item_counts,
    ledger_rows,
    running,
    sessionctl,
    shown_on_terminal,
    store_of,
    stray_controls,
    wait_for,
    write_sessions,
)

from sessionctl.archive.reader import ArchiveReader, verify
from sessionctl.ledger import Ledger
from sessionctl.testing.case import HOSTILE_IDS, turn, user


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return store_of(tmp_path / "store.db", {f"s{n:02}": (n + 1) * DAY for n in range(10)})


def records(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def sessions_in(path: Path) -> list[str]:
    return list(dict.fromkeys(record["session_id"] for record in records(path.read_bytes())))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestOneFile:
    def test_all_items_of_the_selected_sessions(self, store: Path, tmp_path: Path) -> None:
        done = in_process("export", "-s", store, "--newer-than", "3d12h", "--out", tmp_path / "x.jsonl", "-o", "json")
        assert done.status == 0
        assert done.json["exported"]["sessions"] == 3
        found = records((tmp_path / "x.jsonl").read_bytes())
        assert [r["data"] for r in found] == [item for number in (2, 1, 0) for item in turn(number)]
        assert [r["position"] for r in found] == [0, 1, 2, 3] * 3
        assert done.json["exported"]["bytes"] == sum(len(json.dumps(r["data"])) for r in found)
        assert done.json["written"] == {"files": 1, "bytes": (tmp_path / "x.jsonl").stat().st_size}
        assert mode(tmp_path / "x.jsonl") == 0o600

    def test_the_same_twice(self, store: Path) -> None:
        first, second = (in_process("export", "-s", store, "--out", "-") for _ in range(2))
        assert first.out == second.out

    def test_stdout_is_the_data_alone(self, store: Path) -> None:
        done = sessionctl("export", "-s", store, "--id", "s03", "--out", "-")
        assert [r["session_id"] for r in records(done.out)] == ["s03"] * 4
        assert "1 session, 4 items" in done.said

    def test_nothing_selected_is_an_empty_file(self, store: Path, tmp_path: Path) -> None:
        done = in_process("export", "-s", store, "--match", "none*", "--out", tmp_path / "x.jsonl")
        assert (done.status, (tmp_path / "x.jsonl").read_bytes()) == (0, b"")

    @pytest.mark.parametrize(("name", "opened"), [("x.jsonl.gz", gzip.decompress), ("x.jsonl.zst", None)])
    def test_compressed_by_name(self, store: Path, tmp_path: Path, name: str, opened: Any) -> None:
        plain = in_process("export", "-s", store, "--out", "-").out
        assert in_process("export", "-s", store, "--out", tmp_path / name).status == 0
        assert (opened or unpacked)((tmp_path / name).read_bytes()) == plain

    def test_nothing_is_overwritten(self, store: Path, tmp_path: Path) -> None:
        path = tmp_path / "x.jsonl"
        path.write_text("mine")
        refused = in_process("export", "-s", store, "--out", path)
        assert (refused.status, path.read_text()) == (2, "mine")
        assert "--force" in refused.said
        assert in_process("export", "-s", store, "--out", path, "--force").status == 0
        assert len(sessions_in(path)) == 10

    def test_an_error_leaves_no_file(self, tmp_path: Path) -> None:
        (tmp_path / "bad.db").write_text("not a store")
        assert in_process("export", "-s", tmp_path / "bad.db", "--out", tmp_path / "x.jsonl").status == 10
        assert [path.name for path in tmp_path.iterdir()] == ["bad.db"]

    def test_what_the_disk_refuses(self, store: Path) -> None:
        refused = in_process("export", "-s", store, "--out", store / "x.jsonl")
        assert refused.status == 1
        assert "not a directory" in refused.said

    def test_a_ledger_that_cannot_be_written_is_said(
        self, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SESSIONCTL_STATE_DIR", str(store))
        done = in_process("export", "-s", store, "--out", tmp_path / "x.jsonl")
        assert (done.status, len(sessions_in(tmp_path / "x.jsonl"))) == (0, 10)
        assert "not recorded" in done.said

    def test_a_terminal_is_spared(self, store: Path) -> None:
        with contextlib.closing(sqlite3.connect(store)) as db, db:
            db.execute("UPDATE agent_messages SET message_data = ? WHERE session_id = 's01'", ('{"a": "\x9b2J"}',))
        shown = shown_on_terminal("export", "-s", store, "--id", "s01", "--out", "-")
        assert (shown.status, stray_controls(shown.out)) == (0, [])
        assert b"\\x9b2J" in shown.out
        packed = shown_on_terminal("export", "-s", store, "--out", "-", "--compress", "gzip")
        assert packed.status == 2
        assert b"not written to a terminal" in packed.out

    def test_a_pipe_is_written_as_it_is(self, store: Path, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        got: list[bytes] = []
        reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
        reader.start()
        assert in_process("export", "-s", store, "--out", tmp_path / "pipe").status == 0
        reader.join(30)
        assert len(records(got[0])) == 40

    def test_stopped_by_sigterm(self, store: Path, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        keeper = os.open(tmp_path / "pipe", os.O_RDWR)  # nobody reads: the command waits for room
        try:
            write_sessions(store, {f"big{n}": [user("x" * 400_000)] for n in range(4)})
            with running("export", "-s", store, "--out", tmp_path / "pipe") as process:
                wait_for(lambda: _blocked(process.pid), "waiting for the reader")
                process.send_signal(signal.SIGTERM)
                assert process.wait(30) == 143
        finally:
            os.close(keeper)


def _blocked(pid: int) -> bool:
    return "pipe" in Path(f"/proc/{pid}/wchan").read_text()


class TestSplit:
    def test_by_session(self, store: Path, tmp_path: Path) -> None:
        done = in_process("export", "-s", store, "--out", tmp_path / "d", "--split", "session", "-o", "json")
        files = sorted((tmp_path / "d").iterdir())
        assert [path.name for path in files] == [f"s{n:02}.jsonl" for n in range(10)]
        assert all(sessions_in(path) == [path.stem] for path in files)
        assert (mode(tmp_path / "d"), {mode(path) for path in files}) == (0o700, {0o600})
        assert done.json["written"]["files"] == 10
        assert sorted(done.json["files"]) == [str(path) for path in files]

    def test_by_day(self, store: Path, tmp_path: Path) -> None:
        write_sessions(store, {"new1": [user("a")], "new2": [user("b")]})
        assert in_process("export", "-s", store, "--out", tmp_path, "--split", "day").status == 0
        days = {path.stem: sessions_in(path) for path in tmp_path.glob("*.jsonl")}
        assert sorted(s for found in days.values() for s in found) == ["new1", "new2", *(f"s{n:02}" for n in range(10))]
        for day, found in days.items():
            for number in (int(s[1:]) for s in found if s.startswith("s")):
                assert abs(datetime.now(UTC) - timedelta(days=number + 1) - datetime.fromisoformat(f"{day}T12:00Z")) < (
                    timedelta(hours=13)
                )

    def test_by_size(self, store: Path, tmp_path: Path) -> None:
        arguments = ("--out", tmp_path / "d", "--split", "size", "--split-size", "1KiB", "--compress", "gzip")
        assert in_process("export", "-s", store, *arguments).status == 0
        files = sorted((tmp_path / "d").iterdir())
        assert [path.name for path in files] == [f"sessions-{n:05}.jsonl.gz" for n in range(1, len(files) + 1)]
        assert len(files) > 1
        found = [records(gzip.decompress(path.read_bytes())) for path in files]
        assert sum(map(len, found)) == 40
        assert not {r["session_id"] for r in found[0]} & {r["session_id"] for r in found[1]}  # none is torn

    def test_hostile_ids_stay_in_their_directory(self, tmp_path: Path) -> None:
        ids = [*HOSTILE_IDS.values(), "A", "a", "..", "x" * 900]
        write_sessions(tmp_path / "s.db", {each: [user(each)] for each in ids})
        (tmp_path / "deep").mkdir()
        done = in_process("export", "-s", tmp_path / "s.db", "--out", tmp_path / "deep/d", "--split", "session")
        assert done.status == 0
        assert {path.name for path in tmp_path.iterdir()} == {"s.db", "deep"}
        assert [path.name for path in (tmp_path / "deep").iterdir()] == ["d"]
        files = list((tmp_path / "deep/d").iterdir())
        assert len({path.name.casefold() for path in files}) == len(ids)
        assert {sessions_in(path)[0] for path in files} == set(ids)

    def test_a_fleet_has_a_directory_for_each_store(self, tmp_path: Path) -> None:
        (tmp_path / "fleet").mkdir()
        for name in "ab":
            store_of(tmp_path / f"fleet/{name}.db", {"same": DAY})
        assert in_process("export", "-s", tmp_path / "fleet", "--out", tmp_path / "d", "--split", "session").status == 0
        assert len(list((tmp_path / "d").glob("*/same.jsonl"))) == 2
        done = in_process("export", "-s", tmp_path / "fleet", "--out", "-")
        assert {r["store"].rpartition("/")[2] for r in records(done.out)} == {"a.db", "b.db"}


class TestForPeople:
    def test_pages_and_an_index_newest_first(self, store: Path, tmp_path: Path) -> None:
        done = in_process("export", "-s", store, "--format", "html", "--out", tmp_path / "pages", "-o", "json")
        assert done.json["written"]["files"] == 11
        index = (tmp_path / "pages/index.html").read_text()
        assert re.findall(r'href="\./(\w+)\.html"', index) == [f"s{n:02}" for n in range(10)]
        again = in_process("export", "-s", store, "--format", "html", "--out", tmp_path / "pages", "--id", "s01")
        assert (again.status, "index.html is there already" in again.said) == (2, True)

    def test_one_page(self, store: Path, tmp_path: Path) -> None:
        assert in_process("export", "-s", store, "--id", "s03", "--out", tmp_path / "x.html").status == 0
        assert "question 3" in (tmp_path / "x.html").read_text()
        refused = in_process("export", "-s", store, "--out", tmp_path / "y.html")
        assert (refused.status, "one session" in refused.said) == (2, True)
        assert [path.name for path in tmp_path.glob("y*")] == []

    def test_markdown(self, store: Path, tmp_path: Path) -> None:
        assert in_process("export", "-s", store, "--out", tmp_path / "x.md").status == 0
        assert (tmp_path / "x.md").read_text().count("\n## Turn 1\n") == 10
        assert in_process("export", "-s", store, "--out", f"{tmp_path}/d/", "--format", "markdown").status == 0
        assert len(list((tmp_path / "d").glob("*.md"))) == 10


class TestWholeStores:
    def test_an_archive(self, store: Path, tmp_path: Path) -> None:
        path = tmp_path / "x.jsonl.zst"
        arguments = ("--newer-than", "3d12h", "--format", "archive", "--reason", "audit")
        done = in_process("export", "-s", store, *arguments, "--out", path, "-o", "json")
        assert (done.status, done.json["compression"]) == (0, "zstd")
        verified = verify(str(path))
        assert (verified.header.command, verified.header.kind, verified.header.reason) == ("export", "sqlite", "audit")
        assert verified.counts == (3, 12, done.json["exported"]["bytes"])
        with ArchiveReader(str(path)) as reader:
            found = {whole.session.id: [json.loads(item.text) for item in whole.items] for whole in reader.sessions()}
        assert found == {f"s{n:02}": turn(n) for n in range(3)}
        assert mode(path) == 0o600

    def test_archives_by_session(self, store: Path, tmp_path: Path) -> None:
        arguments = ("--format", "archive", "--compress", "gzip", "--split", "session", "--out", tmp_path / "d")
        assert in_process("export", "-s", store, *arguments).status == 0
        assert len(list((tmp_path / "d").iterdir())) == 10
        assert all(verify(str(path)).counts.sessions == 1 for path in (tmp_path / "d").glob("*.jsonl.gz"))

    def test_archives_in_one_directory_are_restored_together(self, store: Path, tmp_path: Path) -> None:
        write_sessions(store, {"000001": turn(0)})  # the name of its file is one that a run's archive may have
        directory = tmp_path / "d"
        in_process("export", "-s", store, "--format", "archive", "--split", "session", "--out", directory)
        into = store_of(tmp_path / "into.db", {"own": DAY})
        assert in_process("archive", "verify", directory, "-o", "jsonl").text.count('"sound": true') == 11
        assert in_process("restore", directory, "-s", into, "--yes").status == 0
        assert ids_in(into) == {"own", "000001", *(f"s{n:02}" for n in range(10))}

    def test_an_archive_of_nothing_or_of_two_stores_is_refused(self, store: Path, tmp_path: Path) -> None:
        nothing = in_process("export", "-s", store, "--match", "x*", "--format", "archive", "--out", tmp_path / "x")
        assert (nothing.status, "no session matches" in nothing.said) == (1, True)
        other = store_of(tmp_path / "other.db", {"o": DAY})
        both = in_process("export", "-s", store, "-s", other, "--format", "archive", "--out", tmp_path / "x")
        assert (both.status, "of one store" in both.said) == (2, True)

    def test_selected_sessions_as_a_store(self, store: Path, tmp_path: Path) -> None:
        path = tmp_path / "x.db"
        assert in_process("export", "-s", store, "--newer-than", "3d12h", "--out", path).status == 0
        assert item_counts(path) == {f"s{n:02}": 4 for n in range(3)}
        plain = [in_process("export", "-s", each, "--id", "s01", "--out", "-").out for each in (store, path)]
        assert [r["data"] for r in records(plain[0])] == [r["data"] for r in records(plain[1])]
        assert [r["created_at"] for r in records(plain[0])] == [r["created_at"] for r in records(plain[1])]

    def test_a_copy_of_a_store_that_is_being_written(self, store: Path, tmp_path: Path) -> None:
        with contextlib.closing(sqlite3.connect(store)) as db:
            db.execute("CREATE TABLE mine (id INTEGER)")  # a copy is all of the file
            db.execute("PRAGMA wal_autocheckpoint = 0")
            db.execute("INSERT INTO mine VALUES (1)")
            db.commit()  # in the log alone
            db.execute("INSERT INTO mine VALUES (2)")  # and not committed
            done = in_process("export", "-s", store, "--out", tmp_path / "copy.db", "-o", "json")
        assert done.json["exported"]["sessions"] == 10
        with contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
            assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert copy.execute("SELECT id FROM mine").fetchall() == [(1,)]
        assert item_counts(tmp_path / "copy.db") == item_counts(store)

    def test_nothing_selected_is_an_empty_store(self, store: Path, tmp_path: Path) -> None:
        assert in_process("export", "-s", store, "--match", "x*", "--out", tmp_path / "x.db").status == 0
        assert in_process("list", "-s", tmp_path / "x.db", "-o", "json").json["sessions"] == []


class TestRedaction:
    @pytest.fixture
    def told(self, tmp_path: Path) -> Path:
        secret = user("write to mia@example.com or call +49 171 2345678, TCK-7")
        return write_sessions(tmp_path / "told.db", {"mia@example.com": [secret, *turn(1)], "other": [secret]})

    @pytest.mark.parametrize("form", ["jsonl", "markdown", "html"])
    def test_what_was_said_is_not_in_the_files(self, told: Path, tmp_path: Path, form: str) -> None:
        arguments = ("--id", "other", "--format", form, "--redact", "all", "--redact-pattern", r"ticket=TCK-\d+")
        done = in_process("export", "-s", told, *arguments, "--out", tmp_path / f"x.{form}", "-o", "json")
        written = (tmp_path / f"x.{form}").read_text()
        assert done.json["redacted"] == {"email": 1, "phone": 1, "ticket": 1}
        assert not re.search("mia@|2345678|TCK-7", written + done.text)
        assert written.replace("\\", "").count("[redacted:") == 3

    def test_ids_are_kept_and_that_is_said(self, told: Path) -> None:
        done = in_process("export", "-s", told, "--redact", "email", "--redact", "phone", "--out", "-")
        assert {r["session_id"] for r in records(done.out)} == {"mia@example.com", "other"}
        assert [r["data"] for r in records(done.out) if r["session_id"] != "other"][1:] == turn(1)
        assert "redacted: 2 email" in done.said
        assert "ids of 1 session hold" in done.said

    def test_the_help_shows_what_stands_in_its_place(self) -> None:
        told = in_process("export", "--help").text
        assert "[redacted:email]" in told
        assert "[redacted:NAME]" in told

    def test_it_is_recorded(self, told: Path, home: Path) -> None:
        in_process("export", "-s", told, "--redact", "email", "--out", os.devnull)
        [row] = ledger_rows(home)
        assert json.loads(row["counts"])["redacted"] == {"email": 2}
        assert "mia" not in json.dumps(row)


class TestReport:
    def test_named_sessions_that_do_not_exist(self, store: Path) -> None:
        ids = ("--id", "s01", "--id", "nobody", "--id", "s02", "--older-than", "2d12h")
        done = in_process("export", "-s", store, *ids, "--out", os.devnull, "-o", "json")
        assert (done.status, done.json["skipped"], done.json["exported"]["sessions"]) == (0, {"missing": 1}, 1)

    def test_it_is_recorded(self, store: Path, tmp_path: Path, home: Path) -> None:
        in_process("export", "-s", store, "--id", "s01", "--out", tmp_path / "x.jsonl", "--reason", "ticket 5")
        [row] = ledger_rows(home)
        assert (row["command"], row["stopped"], row["reason"]) == ("export", "done", "ticket 5")
        assert json.loads(row["counts"])["exported"]["items"] == 4
        assert json.loads(row["counts"])["out"] == str(tmp_path / "x.jsonl")

    @pytest.mark.parametrize("form", ["archive", "html", "sqlite"])
    def test_where_it_went_is_recorded_from_the_start(
        self, store: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, form: str
    ) -> None:
        """And by a path that means the same from everywhere."""
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(Ledger, "finish", lambda *_: None)
        assert in_process("export", "-s", store, "--id", "s01", "--format", form, "--out", "x.out").status == 0
        [row] = ledger_rows(home)
        assert (json.loads(row["counts"]), row["stopped"]) == ({"out": str(tmp_path / "x.out")}, None)
        assert str(tmp_path / "x.out") in in_process("runs", "show", row["run_id"]).text

    def test_a_failing_store_of_several(self, store: Path, tmp_path: Path) -> None:
        (tmp_path / "bad.db").write_text("no database")
        done = in_process("export", "-s", store, "-s", tmp_path / "bad.db", "--out", os.devnull, "-o", "json")
        assert (done.status, done.json["store"], done.json["exported"]["sessions"]) == (3, None, 10)
        assert done.json["stores"][1]["error"]["code"] == "store_not_understood"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--out", "x", "--redact", "names"], "'--redact': 'names' is not one of 'secrets', "),
        (["--out", "x", "--redact-pattern", "x"], "NAME=REGEX"),
        (["--out", "-", "--split", "day"], "several files"),
        (["--out", "-", "-o", "json"], "stdout"),
        (["--out", "x", "--split-size", "1MiB"], "--split size"),
        (["--out", "x", "-o", "csv"], "not for this command"),
        (["--out", "."], "is a directory"),
        (["--out", "s3://user:hunter2@bucket/x"], "s3://user:***@bucket/x is a URL"),
        ([], "--out"),
    ],
)
def test_what_makes_no_sense_is_refused(store: Path, arguments: list[str], says: str) -> None:
    done = in_process("export", "-s", store, *arguments)
    assert done.status == 2
    assert says in done.said


def unpacked(data: bytes) -> bytes:
    from backports import zstd  # with Python 3.14 the standard library has it

    return bytes(zstd.decompress(data))
