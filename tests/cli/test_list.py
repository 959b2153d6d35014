"""list: forms, order, pages, searches, and fleets as if they were one store."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from operating import DAY, age, in_process, store_of, write_sessions

from sessionctl.testing.case import assistant, turn, user

KEYS = ["store", "session_id", "created_at", "updated_at", "last_activity", "items", "bytes", "tokens", "held"]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return store_of(tmp_path / "store.db", {f"s{n:02}": (n + 1) * DAY for n in range(60)})


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """Three stores whose sessions follow each other in turn, some in the same second, and files that are no stores."""
    directory = tmp_path / "fleet"
    directory.mkdir()
    for number, name in enumerate("abc"):
        path = store_of(directory / f"{name}.db", {f"{name}{n:02}": (3 * n + number) * 60 + 60 for n in range(15)})
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            db.execute(
                "UPDATE agent_sessions SET updated_at = '2026-01-01 00:00:00' WHERE substr(session_id, 2) > '09'"
            )
            db.execute("UPDATE agent_sessions SET updated_at = NULL WHERE substr(session_id, 2) > '12'")
    (directory / "notes.txt").write_text("not a store")
    (directory / "empty.db").touch()
    with contextlib.closing(sqlite3.connect(directory / "other.db")) as db, db:
        db.execute("CREATE TABLE customers (id INTEGER)")
    return directory


def names(*arguments: str | Path) -> list[str]:
    return in_process("list", *arguments, "-o", "name").text.split()


class TestForms:
    def test_json(self, store: Path) -> None:
        done = in_process("list", "-s", store, "-o", "json")
        assert (done.status, list(done.json), done.json["more"]) == (0, ["schema", "sessions", "more"], False)
        assert all(list(session) == KEYS for session in done.json["sessions"])
        first = done.json["sessions"][0]
        assert (first["session_id"], first["items"], first["held"]) == ("s00", 4, False)
        assert first["last_activity"] == first["updated_at"]
        assert first["updated_at"].endswith("Z")

    def test_all_forms_have_the_same_sessions(self, store: Path) -> None:
        wanted = [f"s{n:02}" for n in range(60)]
        found = in_process("list", "-s", store, "-o", "json").json["sessions"]
        lines = in_process("list", "-s", store, "-o", "jsonl").text.splitlines()
        assert [json.loads(line) for line in lines] == found
        assert [one["session_id"] for one in found] == wanted == names("-s", store)
        rows = in_process("list", "-s", store, "-o", "csv").text.splitlines()
        assert rows[0].split(",") == KEYS
        assert [row.split(",")[1] for row in rows[1:]] == wanted
        for form in ("table", "wide"):
            table = in_process("list", "-s", store, "-o", form, "--limit", "0").text
            assert [line.split()[form == "wide"] for line in table.splitlines()[1:61]] == wanted

    def test_tables_show_50_and_say_so(self, store: Path) -> None:
        done = in_process("list", "-s", store)
        assert len(done.text.splitlines()) == 51
        assert "--limit" in done.said
        assert "--limit" not in in_process("list", "-s", store, "--limit", "60").said

    def test_a_limit_says_that_there_is_more(self, store: Path) -> None:
        done = in_process("list", "-s", store, "--limit", "59", "-o", "json").json
        assert (len(done["sessions"]), done["more"]) == (59, True)
        assert in_process("list", "-s", store, "--limit", "60", "-o", "json").json["more"] is False

    def test_an_empty_list_is_well_formed(self, store: Path) -> None:
        assert in_process("list", "-s", store, "--match", "x*", "-o", "json").json["sessions"] == []
        for form in ("jsonl", "name"):
            assert in_process("list", "-s", store, "--match", "x*", "-o", form).out == b""

    @pytest.mark.parametrize("cursor", ["x", "", "bnVsbA", "WzEsMiwzXQ", "é", "W251bGxd"])
    def test_a_foreign_cursor(self, store: Path, cursor: str) -> None:
        done = in_process("list", "-s", store, "--cursor", cursor, "-o", "json")
        assert (done.status, done.error["code"]) == (2, "usage")

    def test_nothing_is_on_stdout_where_nothing_could_be_read(self, tmp_path: Path) -> None:
        (tmp_path / "x.db").write_text("x" * 1000)
        for form in ("table", "json", "jsonl", "csv", "name"):
            done = in_process("list", "-s", tmp_path / "x.db", "-o", form)
            assert (done.status, done.out) == (10, b"")


class TestFleet:
    def test_every_session_once_and_other_files_counted(self, fleet: Path) -> None:
        for address in (fleet, f"{fleet}/*.db"):
            done = in_process("list", "-s", str(address), "-o", "json")
            assert (done.status, len(done.json["sessions"])) == (0, 45)
            assert f"{3 if address == fleet else 2} other files" in done.said
        assert len(set(names("-s", fleet))) == 45

    @pytest.mark.parametrize("size", [1, 2, 7, 44, 45])
    def test_pages_are_one_order_over_all_stores(self, fleet: Path, size: int) -> None:
        seen: list[dict[str, Any]] = []
        cursor: list[str] = []
        for _ in range(46):
            page = in_process("list", "-s", fleet, "--limit", str(size), "-o", "json", *cursor).json
            seen += page["sessions"]
            if not page["more"]:
                break
            cursor = ["--cursor", page["cursor"]]
        assert len(seen) == len({one["session_id"] for one in seen}) == 45

        def place(one: dict[str, Any]) -> tuple[bool, str, str, str]:
            at = one["last_activity"]
            return at is None, "".join(chr(255 - ord(c)) for c in at or ""), one["store"], one["session_id"]

        assert seen == sorted(seen, key=place)

    def test_a_broken_member_is_told_and_the_others_listed(self, fleet: Path) -> None:
        broken = fleet / "b.db"
        broken.write_bytes(broken.read_bytes()[:6000])
        done = in_process("list", "-s", fleet, "-o", "json")
        assert (done.status, len(done.json["sessions"])) == (3, 30)
        (failed,) = done.json["failed"]
        assert (failed["store"][-4:], failed["error"]["code"]) == ("b.db", "store_unavailable")
        assert in_process("list", "-s", fleet).status == 3

    def test_a_member_damaged_where_only_reading_finds_it(self, fleet: Path) -> None:
        path = fleet / "b.db"
        with contextlib.closing(sqlite3.connect(path)) as db:
            (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'agent_sessions'").fetchone()
            (size,) = db.execute("PRAGMA page_size").fetchone()
        damaged = bytearray(path.read_bytes())
        damaged[(page - 1) * size : page * size] = b"\xff" * size
        path.write_bytes(damaged)
        done = in_process("list", "-s", fleet, "-o", "json")
        assert (done.status, len(done.json["sessions"]), len(done.json["failed"])) == (3, 30, 1)

    def test_no_store_at_all(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("not a store")
        for address in (str(tmp_path), f"{tmp_path}/*.sqlite"):
            for command in (["list"], ["stats"], ["purge", "--all", "--yes"]):
                done = in_process(*command, "-s", address, "-o", "json")
                assert (done.status, done.error["code"]) == (10, "store_missing"), (address, command)

    def test_stores_named_one_by_one(self, fleet: Path) -> None:
        done = in_process("list", "-s", fleet / "a.db", "-s", fleet / "c.db", "-o", "json")
        assert len(done.json["sessions"]) == 30
        done = in_process("list", "-s", fleet / "a.db", "-s", fleet / "gone.db", "-o", "json")
        assert done.status in (3, 10)


class TestSearch:
    @pytest.fixture
    def said(self, tmp_path: Path) -> Path:
        call = {"type": "function_call", "call_id": "1", "name": "refund_order", "arguments": '{"order": "A-77"}'}
        result = {"type": "function_call_output", "call_id": "1", "output": 'Rückerstattung "erledigt" 100% \\o/ 日本'}
        path = write_sessions(
            tmp_path / "store.db",
            {
                "a": [user("Where is my REFUND?"), assistant("On its way.")],
                "b": [user("x"), call, result],
                "c": turn(1),
            },
        )
        age(path, {"a": 60, "b": 120, "c": 180})
        return path

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("refund", ["a", "b"]), ("on its way", ["a"]), ("A-77", ["b"]), ("rückERSTATTUNG", ["b"]),
            ('"erledigt"', ["b"]),
            ("100%", ["b"]), ("_", ["b", "c"]),
            ("日本", ["b"]), ("\\o/", ["b"]), ("role", []), ("call_id", []),
            ("nowhere", []),
        ],
    )  # fmt: skip
    def test_by_what_was_said(self, said: Path, text: str, found: list[str]) -> None:
        assert names("-s", said, "--search", text) == found

    def test_goes_with_a_limit(self, said: Path) -> None:
        done = in_process("list", "-s", said, "--search", "refund", "--limit", "1", "-o", "json").json
        assert ([one["session_id"] for one in done["sessions"]], done["more"]) == (["a"], True)
        assert "REFUND" in done["sessions"][0]["match"]
        rest = in_process(
            "list", "-s", said, "--search", "refund", "--limit", "1", "-o", "json", "--cursor", done["cursor"]
        )
        assert [one["session_id"] for one in rest.json["sessions"]] == ["b"]


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        (["--older-than", "59d"], ["s58", "s59"]),
        (["--newer-than", "36h"], ["s00"]),
        (["--id", "s05", "--id", "nobody"], ["s05"]),
        (["--match", "s0?", "--exclude", "*[0-8]", "--exclude", "s0[0-8]", "--older-than", "9d"], ["s08", "s09"]),
        (["--match", "S0*"], []),
        (["--min-items", "5"], []),
        (["--empty"], []),
        (["--keep-last", "58"], ["s58", "s59"]),
        (["--min-tokens", "100000"], []),
        (["--min-items", "4", "--older-than", "60d"], ["s59"]),
        (["--created-before", "2020-01-01"], []),
    ],
    ids=" ".join,
)
def test_selectors(store: Path, flags: list[str], found: list[str]) -> None:
    assert names("-s", store, *flags) == found


def test_stamps_with_a_fraction_are_not_lost_between_pages(tmp_path: Path) -> None:
    """As migrations through SQLAlchemy leave them."""
    path = store_of(tmp_path / "store.db", {f"s{n}": DAY for n in range(6)})
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE agent_sessions SET updated_at = '2026-01-01 01:01:01.000000'")
        db.execute("UPDATE agent_sessions SET updated_at = '2026-01-01 01:01:01' WHERE session_id IN ('s0', 's3')")
    seen: list[str] = []
    cursor: list[str] = []
    for _ in range(6):
        page = in_process("list", "-s", path, "--limit", "2", "-o", "json", *cursor).json
        seen += [one["session_id"] for one in page["sessions"]]
        if not page["more"]:
            break
        cursor = ["--cursor", page["cursor"]]
    assert sorted(seen) == [f"s{n}" for n in range(6)]
