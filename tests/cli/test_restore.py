"""restore from the look at the archive to the report: what comes back, what is refused, what is recorded."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import pytest
from archives import SMALL, archive, bomb, endless, item, run_archive, session
from operating import DAY, Ran, age, ids_in, in_process, item_counts, ledger_rows, on_terminal, store_of, write_sessions

from sessionctl.archive import codecs
from sessionctl.archive import format as form
from sessionctl.cli.views import tally
from sessionctl.testing.case import turn, user

AGES = {f"s{n:02}": n * DAY for n in range(12)}
ANEW = [user("begun anew")]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return store_of(tmp_path / "store.db", AGES)


@pytest.fixture
def removed(store: Path, tmp_path: Path) -> str:
    """The archive of a run that removed s06 and older ones."""
    done = in_process("purge", "-s", store, "--older-than", "6d", "--archive", tmp_path / "a", "--yes", "-o", "json")
    assert done.json["removed"]["sessions"] == 6
    return str(done.json["archive"])


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A store with the SDK's tables and nothing in them but one session of its own."""
    return store_of(tmp_path / "other.db", {"own": 100 * DAY})


def restore(source: str | Path, into: Path, *more: str | Path) -> Ran:
    return in_process("restore", source, "-s", into, "--yes", "-o", "json", *more)


def rows(path: Path, what: str = "*", where: str = "TRUE") -> list[Any]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return [
            *db.execute(f"SELECT * FROM agent_sessions WHERE {where} ORDER BY session_id"),
            *db.execute(f"SELECT {what} FROM agent_messages WHERE {where} ORDER BY session_id, id"),
        ]


def sessions(count: int) -> dict[str, int]:
    return {"sessions": count, "items": 4 * count}


def without_bytes(totals: dict[str, int]) -> dict[str, int]:
    return {key: value for key, value in totals.items() if key != "bytes"}


class TestBack:
    def test_into_the_same_store_every_byte_comes_back(self, tmp_path: Path, store: Path) -> None:
        before = rows(store)
        source = tmp_path / "a"
        in_process("purge", "-s", store, "--older-than", "6d", "--archive", source, "--yes")
        assert rows(store) != before
        report = restore(source, store)
        assert report.status == 0
        assert rows(store) == before
        assert without_bytes(report.json["restored"]) == without_bytes(report.json["matched"]) == sessions(6)
        assert report.json["removed"]["sessions"] == 0
        assert report.json["from"] == str(source)

    def test_into_another_store_it_is_the_same_but_for_keys(self, store: Path, removed: str, other: Path) -> None:
        shutil.copy(store, store.with_name("kept.db"))
        assert restore(removed, store).status == 0
        assert restore(removed, other).status == 0
        columns = "session_id, message_data, created_at"
        gone = f"session_id IN ({', '.join(repr(name) for name in AGES if name >= 's06')})"
        assert rows(other, columns, gone) == rows(store, columns, gone)
        assert item_counts(other)["own"] == 4

    def test_where_keys_are_taken_by_others_it_gets_new_ones(self, store: Path, removed: str, other: Path) -> None:
        """A store that was lost and made anew under its old name."""
        shutil.copy(other, store)
        write_sessions(store, {f"new-{n}": turn(n) for n in range(13)})
        taken = rows(store, where="session_id LIKE 'new-%'")
        assert restore(removed, store).json["restored"]["sessions"] == 6
        assert rows(store, where="session_id LIKE 'new-%'") == taken
        assert set(item_counts(store).values()) == {4}

    def test_again_it_is_there_already(self, store: Path, removed: str) -> None:
        restore(removed, store)
        before = rows(store)
        report = restore(removed, store)
        assert (report.status, report.json["restored"]["sessions"]) == (0, 0)
        assert without_bytes(report.json["already"]) == sessions(6)
        assert rows(store) == before

    def test_what_was_appended_to_since_counts_as_there(self, store: Path, removed: str) -> None:
        restore(removed, store)
        write_sessions(store, {"s07": ANEW})
        report = restore(removed, store)
        assert (report.status, report.json["already"]["sessions"]) == (0, 6)
        assert item_counts(store)["s07"] == 5

    def test_selectors_choose_among_the_archived(self, store: Path, removed: str) -> None:
        for selectors, chosen in (
            (("--id", "s06", "--id", "s01"), {"s06"}),
            (("--match", "s0?", "--exclude", "s09", "--older-than", "7d12h"), {"s08"}),
            (("--keep-last", "4", "--min-items", "4"), {"s10", "s11"}),
        ):
            before = ids_in(store)
            report = restore(removed, store, *selectors)
            assert ids_in(store) - before == chosen
            assert report.json["skipped"]["missing"] == ("s01" in selectors)

    def test_under_another_id(self, store: Path, removed: str) -> None:
        refused = restore(removed, store, "--as", "copy")
        assert (refused.status, refused.error["code"]) == (2, "usage")
        report = restore(removed, store, "--as", "copy", "--id", "s06")
        assert (report.status, report.json["restored"]["sessions"]) == (0, 1)
        assert ids_in(store) == {*list(AGES)[:6], "copy"}

    def test_a_dry_run_says_it_and_changes_nothing(self, store: Path, removed: str, home: Path) -> None:
        before, runs = store.read_bytes(), ledger_rows(home)
        dry = restore(removed, store, "--dry-run")
        assert (store.read_bytes(), ledger_rows(home)) == (before, runs)
        assert (dry.json["dry_run"], dry.json["run_id"]) == (True, None)
        done = restore(removed, store)
        assert [done.json[key] for key in ("matched", "restored", "skipped", "already")] == [
            dry.json[key] for key in ("matched", "restored", "skipped", "already")
        ]

    def test_the_table_says_it(self, store: Path, removed: str) -> None:
        planned = in_process("restore", removed, "-s", store, "--dry-run").text
        assert "puts back   6 sessions, 24 items" in planned
        told = in_process("restore", removed, "-s", store, "--yes").text
        assert "put back    6 sessions, 24 items" in told
        assert "run         " in told

    def test_it_is_a_run_in_the_ledger(self, store: Path, removed: str, home: Path) -> None:
        report = restore(removed, store, "--reason", "wrong cutoff", "--exclude", "s11")
        run = ledger_rows(home)[-1]
        assert (run["run_id"], run["command"], run["reason"]) == (report.json["run_id"], "restore", "wrong cutoff")
        assert json.loads(run["criteria"]) == [f"from {removed}", "id does not match s11"]
        assert json.loads(run["counts"])["restored"] == report.json["restored"]
        assert run["stopped"] == "done"

    def test_it_asks(self, store: Path, removed: str) -> None:
        assert in_process("restore", removed, "-s", store).status == 2
        child = on_terminal("restore", removed, "-s", store)
        child.expect_exact("Put 6 sessions into")
        child.sendline("n")
        child.expect(pexpect.EOF)
        assert len(ids_in(store)) == 6
        child = on_terminal("restore", removed, "-s", store)
        child.expect_exact("Put 6 sessions into")
        child.sendline("y")
        child.expect(pexpect.EOF)
        assert ids_in(store) == set(AGES)


class TestConflicts:
    @pytest.fixture
    def begun_anew(self, store: Path, removed: str) -> Path:
        """Two of the archived sessions are there with other items, one of them active."""
        write_sessions(store, {"s06": ANEW, "s07": ANEW})
        age(store, {"s06": DAY})
        assert removed
        return store

    def test_are_skipped_unless_one_says_otherwise(self, begun_anew: Path, removed: str) -> None:
        report = restore(removed, begun_anew)
        assert (report.status, report.json["skipped"]["changed"], report.json["refused"]) == (3, 2, ["s06", "s07"])
        assert report.json["restored"]["sessions"] == 4
        assert {name: item_counts(begun_anew)[name] for name in ("s06", "s07", "s08")} == {"s06": 1, "s07": 1, "s08": 4}

    def test_the_first_are_named_and_the_others_counted(
        self, begun_anew: Path, removed: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tally, "_NAMED", 1)
        told = in_process("restore", removed, "-s", begun_anew, "--dry-run").text
        assert "refused     2 sessions, 8 items" in told
        assert "  s06\n              … and 1 more\n" in told
        assert "s07" not in told

    def test_may_fail_it_before_anything_is_written(self, begun_anew: Path, removed: str) -> None:
        before = rows(begun_anew)
        report = restore(removed, begun_anew, "--on-conflict", "fail")
        assert (report.status, report.error["code"]) == (2, "guard")
        assert "s06" in report.error["message"]
        assert rows(begun_anew) == before
        assert "a real run would refuse" in restore(removed, begun_anew, "--on-conflict", "fail", "-n").said

    def test_may_be_replaced_but_for_active_ones(self, begun_anew: Path, removed: str, tmp_path: Path) -> None:
        dry = restore(removed, begun_anew, "--on-conflict", "replace", "-n").json
        report = restore(removed, begun_anew, "--on-conflict", "replace", "--archive", tmp_path / "b")
        assert report.status == 3
        for told in (dry, report.json):
            assert (told["removed"]["sessions"], told["restored"]["sessions"]) == (1, 5)
            assert (told["skipped"]["active"], told["skipped"]["changed"], told["refused"]) == (1, 0, ["s07"])
        assert {name: item_counts(begun_anew)[name] for name in ("s06", "s07")} == {"s06": 4, "s07": 1}
        # What was replaced is not lost.
        again = restore(report.json["archive"], begun_anew, "--as", "was-s06")
        assert again.json["restored"]["items"] == 1

    def test_what_was_only_appended_to_is_replaced_too(self, store: Path, removed: str) -> None:
        restore(removed, store, "--hold-for", "0")
        write_sessions(store, {"s06": ANEW})
        age(store, {"s06": DAY})
        assert restore(removed, store, "--on-conflict", "replace").json["removed"]["sessions"] == 1
        assert item_counts(store)["s06"] == 4

    def test_what_a_restore_put_in_is_held_against_the_next_that_does_not_name_it(
        self, store: Path, removed: str
    ) -> None:
        restore(removed, store)
        write_sessions(store, {"s06": ANEW})
        age(store, {"s06": DAY})
        replace = ("--on-conflict", "replace")
        for told in (restore(removed, store, *replace, "-n"), restore(removed, store, *replace)):
            assert (told.status, told.json["skipped"]["held"], told.json["refused"]) == (3, 1, ["s06"])
        assert restore(removed, store, *replace, "--id", "s06").json["removed"]["sessions"] == 1


class TestArchivesOfSeveralRuns:
    """A directory of archives may have a session twice: purged, begun anew, and purged again."""

    @pytest.fixture
    def twice(self, store: Path, removed: str) -> Path:
        write_sessions(store, {"s06": ANEW})
        age(store, {"s06": DAY})
        directory = Path(removed).parent
        assert in_process("purge", "-s", store, "--id", "s06", "--archive", directory, "--yes").status == 0
        return directory

    def test_the_first_goes_in_and_a_dry_run_knows(self, twice: Path, other: Path) -> None:
        dry, report = restore(twice, other, "-n"), restore(twice, other)
        for told in (dry, report):
            assert (told.status, told.json["matched"]["sessions"], told.json["restored"]["sessions"]) == (3, 7, 6)
            assert told.json["refused"] == ["s06"]
            assert "archives of several runs have 1 session with different items, such as s06" in told.said
        assert item_counts(other)["s06"] == 4

    @pytest.mark.parametrize("conflict", ["fail", "replace"])
    @pytest.mark.parametrize("there", [{}, {"s06": ANEW}, {"s06": [user("hello"), *ANEW]}])
    def test_nothing_is_written_where_one_of_them_would_be_chosen(
        self, twice: Path, other: Path, conflict: str, there: dict[str, Any]
    ) -> None:
        write_sessions(other, there)
        age(other, dict.fromkeys(there, DAY))
        before = rows(other)
        refused = restore(twice, other, "--on-conflict", conflict)
        assert (refused.status, refused.error["code"]) == (2, "guard")
        assert rows(other) == before
        assert "a real run would refuse" in restore(twice, other, "--on-conflict", conflict, "-n").said
        assert restore(twice, other, "--on-conflict", conflict, "--exclude", "s06").status == 0

    def test_alike_it_is_put_in_once(self, store: Path, removed: str, other: Path) -> None:
        restore(removed, store, "--hold-for", "0")
        directory = Path(removed).parent
        in_process("purge", "-s", store, "--id", "s06", "--id", "s07", "--archive", directory, "--yes")
        for flags in (("-n",), ("--on-conflict", "fail")):
            told = restore(directory, other, *flags).json
            assert (told["restored"]["sessions"], told["already"]["sessions"]) == (6, 2)


class TestRefused:
    def test_a_store_whose_tables_were_changed_since(self, store: Path, removed: str, home: Path) -> None:
        with contextlib.closing(sqlite3.connect(store)) as db:
            db.execute("ALTER TABLE agent_messages ADD COLUMN added TEXT")
        before, runs = rows(store), len(ledger_rows(home))
        for command in (["restore", removed, "-s", store], ["undo", Path(removed).name]):
            refused = in_process(*command, "--yes", "-o", "json")
            assert (refused.status, refused.error["code"]) == (2, "guard")
            assert "agent_messages.added" in refused.error["message"]
            dry = in_process(*command, "-n", "-o", "json")
            assert "a real run would refuse" in dry.said
            assert dry.json["restored"]["sessions"] == 6
        assert rows(store) == before
        assert len(ledger_rows(home)) == runs

    @pytest.mark.parametrize(
        "damage",
        [lambda data: data[:-30], lambda data: data[: len(data) // 2] + b"\0\0\0" + data[len(data) // 2 + 3 :]],
        ids=["truncated", "bytes changed"],
    )
    def test_a_damaged_archive_with_nothing_written(
        self, store: Path, removed: str, damage: Callable[[bytes], bytes]
    ) -> None:
        file = Path(removed, "000001.jsonl.zst")
        file.write_bytes(damage(file.read_bytes()))
        before = rows(store)
        report = restore(removed, store)
        assert (report.status, report.error["code"]) == (1, "archive_damaged")
        assert str(file) in report.error["message"]
        assert rows(store) == before

    def test_any_flipped_bit_of_any_file_with_nothing_written(self, other: Path, tmp_path: Path) -> None:
        """But for the bits of a codec that mean nothing, with which all of it is there."""
        run = run_archive(tmp_path / "archives", "r1", segments=2)
        sound = {file: file.read_bytes() for file in run.iterdir()}
        before, into, refused, pick = rows(other), tmp_path / "into.db", 0, random.Random(4)
        for _ in range(30):
            shutil.copy(other, into)
            file, data = pick.choice(sorted(sound.items()))
            bit = pick.randrange(len(data) * 8)
            file.write_bytes(data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :])
            report = restore(run, into)
            file.write_bytes(data)
            if report.status == 0:
                assert report.json["restored"]["sessions"] == 2 * len(SMALL)
                continue
            refused += 1
            assert (report.status, report.error["code"]) == (1, "archive_damaged")
            assert f"{file}, " in report.error["message"]
            assert rows(into) == before
        assert refused > 25

    @pytest.mark.parametrize("line_end", [b"", b"\n"], ids=["one line", "lines"])
    def test_a_bomb_behind_a_sound_file_with_nothing_written(
        self, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line_end: bytes
    ) -> None:
        monkeypatch.setattr(codecs, "_FREE", 16 << 20)
        monkeypatch.setattr(codecs, "_RATIO", 100)
        monkeypatch.setattr(form, "MAX_LINE", 8 << 20)
        run = run_archive(tmp_path / "archives", "r1")
        second = run / "000002.jsonl.zst"
        bomb(second, codecs.Compression.ZSTD, endless(line_end, 64))
        before = rows(other)
        report = restore(run, other)
        assert (report.status, report.error["code"]) == (1, "archive_damaged")
        assert f"{second}, " in report.error["message"]
        assert rows(other) == before

    def test_stores_that_are_missing_or_several(self, store: Path, removed: str) -> None:
        assert restore(removed, store.with_name("absent.db")).status == 10
        assert not store.with_name("absent.db").exists()
        assert restore(removed, store.parent).error["message"].endswith("a restore goes into one")

    def test_flags_that_mean_nothing(self, store: Path, removed: str) -> None:
        assert restore(removed, store, "--archive", "x").status == 2
        assert restore(removed, store, "--on-conflict", "replace", "--min-idle", "0").status == 2

    def test_the_archive_is_missing(self, store: Path, tmp_path: Path) -> None:
        assert restore(tmp_path / "none", store).error["code"] == "archive_missing"


def test_only_the_main_branch_goes_where_there_are_no_branches(tmp_path: Path, other: Path) -> None:
    structure = [
        {"message_id": key, "branch_id": branch, "sequence_number": place, "message_type": "user"}
        for place, (key, branch) in enumerate([(1, "main"), (2, "main"), (1, "b"), (3, "b"), (4, "main")])
    ]
    branched = session("branched", extras={"message_structure": structure})
    archive(tmp_path / "a.jsonl.zst", [(branched, [item(key, json.dumps({"n": key})) for key in (1, 2, 3, 4)])])
    report = restore(tmp_path / "a.jsonl.zst", other)
    assert (report.status, report.json["restored"]["items"], report.json["left_out"]) == (0, 3, {"items": 1})
    found = rows(other, "message_data", "session_id = 'branched'")[1:]
    assert [json.loads(text)["n"] for (text,) in found] == [1, 2, 4]
    assert restore(tmp_path / "a.jsonl.zst", other).json["already"]["sessions"] == 1
