"""What purge refuses, what it skips, and how it says so."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from operating import DAY, Ran, age, ids_in, in_process, store_of

STALE = ("--older-than", "10d", "--yes", "-o", "json")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """24 sessions, one a day old, the next two days and so on."""
    return store_of(tmp_path / "store.db", {f"s{n:02}": n * DAY for n in range(1, 25)})


def purge(store: Path | str, *arguments: str, stdin: bytes = b"") -> Ran:
    return in_process("purge", "-s", str(store), *arguments, stdin=stdin)


def execute(store: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(store)) as db, db:
        db.execute(statement)


class TestUsage:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["--yes"],
            ["--exclude", "x*", "--yes"],
            ["--all", "--older-than", "1d"],
            ["--group-by", "(.)"],
            ["--keep-last", "1", "--group-by", "^s"],
            ["--keep-last", "1", "--group-by", "("],
            ["--older-than", "1d", "--older-than", "2d"],
            ["--older-than", "1d", "--idle-for", "2d"],
            ["--min-items", "1", "--min-items", "1"],
            ["--older-than", "5"],
            ["--older-than", "1d", "--max-share", "1.5"],
            ["--older-than", "1d", "--batch-size", "0"],
            ["--older-than", "1d", "--min-idle", "0"],
            ["--match", "*", "--min-idle", "0s"],
            ["--min-tokens", "5"],
            ["--ids-from", "/nonexistent/ids"],
            ["--older-than", "1d", "-o", "name", "--yes"],
            ["--older-than", "1d", "-o", "csv", "-n"],
            ["--older-than", "1d", "-o", "yaml", "-n"],
            ["--bogus"],
            ["surplus"],
        ],
        ids=" ".join,
    )
    def test_is_refused_before_anything_is_read(self, store: Path, arguments: list[str]) -> None:
        done = purge(store, *arguments)
        assert (done.status, done.out) == (2, b""), done.said
        assert done.said.startswith("error: ")
        assert len(ids_in(store)) == 24

    def test_no_selector_names_the_way_out(self, store: Path) -> None:
        assert "--all" in purge(store, "--yes").said

    def test_without_a_terminal_only_yes_confirms(self, store: Path) -> None:
        done = purge(store, "--older-than", "20d", stdin=b"y\n")
        assert (done.status, len(ids_in(store))) == (2, 24)
        assert "--yes" in done.said
        assert purge(store, "--older-than", "20d", "-o", "json").error["code"] == "confirmation_required"

    def test_nothing_selected_needs_no_confirmation(self, store: Path) -> None:
        done = purge(store, "--older-than", "99d", "-o", "json")
        assert (done.status, done.json["stopped"], done.json["removed"]["sessions"]) == (0, "done", 0)


class TestShare:
    def test_more_than_half(self, store: Path) -> None:
        done = purge(store, *STALE)  # 15 of 24
        assert (done.status, done.error["code"], len(ids_in(store))) == (2, "guard", 24)
        assert "15 of 24 sessions (62%)" in done.error["message"]
        assert purge(store, *STALE, "--max-share", "0.63").json["removed"]["sessions"] == 15

    def test_a_dry_run_warns_and_shows_the_plan(self, store: Path) -> None:
        done = purge(store, "--older-than", "10d", "-n", "-o", "json")
        assert (done.status, done.json["removed"]["sessions"]) == (0, 15)
        assert "a real run would refuse" in done.said
        assert done.json["plan"]["refused"]

    def test_is_counted_before_max_sessions(self, store: Path) -> None:
        assert purge(store, *STALE, "--max-sessions", "1").status == 2

    def test_all_is_no_exception(self, store: Path) -> None:
        assert purge(store, "--all", "--yes").status == 2
        assert purge(store, "--all", "--max-share", "1.0", "--yes", "-o", "json").json["removed"]["sessions"] == 24

    def test_from_20_sessions_up(self, tmp_path: Path) -> None:
        for sessions, status in ((20, 2), (19, 0)):
            small = store_of(tmp_path / f"{sessions}.db", {f"s{n}": 9 * DAY for n in range(sessions)})
            assert purge(small, "--older-than", "1d", "--yes").status == status
            assert len(ids_in(small)) == (20 if status else 0)

    def test_named_ids_do_not_count(self, store: Path) -> None:
        named = [word for n in range(2, 24) for word in ("--id", f"s{n:02}")]
        assert purge(store, *named, "--yes", "-o", "json").json["removed"]["sessions"] == 22

    def test_a_glob_beside_named_ids_does(self, store: Path) -> None:
        assert purge(store, "--id", "s01", "--match", "s*", "--yes").status == 2

    def test_each_file_of_a_fleet_and_all_together(self, tmp_path: Path) -> None:
        fleet = tmp_path / "fleet"
        fleet.mkdir()
        store_of(fleet / "a.db", {f"s{n}": (9 if n < 15 else 1) * DAY for n in range(20)})
        store_of(fleet / "b.db", {f"s{n}": (9 if n < 2 else 1) * DAY for n in range(40)})
        done = purge(fleet, "--older-than", "5d", "--yes")
        assert (done.status, len(ids_in(fleet / "b.db"))) == (2, 40)
        assert "15 of 20" in done.said
        small = tmp_path / "small"
        small.mkdir()
        for n in range(4):  # too small for a guard of their own
            store_of(small / f"{n}.db", {f"s{m}": 9 * DAY for m in range(6)})
        done = purge(small, "--older-than", "5d", "--yes")
        assert (done.status, len(ids_in(small / "0.db"))) == (2, 6)
        assert "all stores together" in done.said


class TestActivity:
    def test_active_sessions_are_skipped(self, store: Path) -> None:
        age(store, {"s01": 60, "s02": 14 * 60, "s03": 16 * 60})
        done = purge(store, "--match", "s01", "--match", "s02", "--match", "s03", "--yes", "-o", "json")
        assert (done.status, done.json["skipped"]["active"], done.json["removed"]["sessions"]) == (0, 2, 1)
        assert {"s01", "s02"} <= ids_in(store)

    def test_a_named_one_that_is_active_makes_it_partial(self, store: Path) -> None:
        age(store, {"s01": 60})
        done = purge(store, "--id", "s01", "--id", "s02", "--yes", "-o", "json")
        assert (done.status, done.json["skipped"]["active"], done.json["removed"]["sessions"]) == (3, 1, 1)
        assert purge(store, "--id", "s01", "--yes").status == 3  # with nothing else to do too
        assert purge(store, "--id", "s01", "-n").status == 3

    def test_a_named_one_that_is_missing_does_not(self, store: Path) -> None:
        done = purge(store, "--id", "nobody", "--id", "s02", "--yes", "-o", "json")
        assert (done.status, done.json["skipped"]["missing"], done.json["removed"]["sessions"]) == (0, 1, 1)
        assert done.json["matched"]["sessions"] == 1

    def test_a_named_one_that_other_selectors_leave_out_is_not_missing(self, store: Path) -> None:
        done = purge(store, "--id", "s02", "--older-than", "9d", "--yes", "-o", "json")
        assert (done.status, done.json["skipped"]["missing"], done.json["matched"]["sessions"]) == (0, 0, 0)

    def test_min_idle_0_takes_the_named_whatever_its_age(self, store: Path) -> None:
        age(store, {"s01": 1})
        assert purge(store, "--id", "s01", "--min-idle", "0", "--yes").status == 0
        assert "s01" not in ids_in(store)

    def test_min_idle_0_does_not_take_the_future(self, store: Path) -> None:
        age(store, {"s01": -120})
        done = purge(store, "--id", "s01", "--min-idle", "0", "--yes", "-o", "json")
        assert (done.status, done.json["skipped"]["active"]) == (3, 1)
        assert "s01" in ids_in(store)

    @pytest.mark.parametrize(("ahead_s", "status"), [(240, 0), (400, 2)])
    def test_more_than_a_hundredth_ahead_and_nothing_is_changed(self, store: Path, ahead_s: int, status: int) -> None:
        age(store, {"s01": -ahead_s})
        done = purge(store, "--id", "s20", "--yes")
        assert done.status == status, done.said
        assert ("s20" in ids_in(store)) is bool(status)
        assert ("in the future" in done.said) is bool(status)


TRIGGERS = {
    "plain": "CREATE TRIGGER log_it AFTER DELETE ON agent_sessions BEGIN DELETE FROM audit; END",
    "items": 'create trigger "begin x" before delete on "agent_messages" begin delete from audit; end',
    "upper": "CREATE TRIGGER begin_now AFTER /* BEGIN */ DELETE\nON AGENT_SESSIONS BEGIN DELETE FROM audit; END",
}


class TestHangingOn:
    @pytest.mark.parametrize("trigger", sorted(TRIGGERS))
    def test_triggers_that_deletions_set_off(self, store: Path, trigger: str) -> None:
        execute(store, "CREATE TABLE audit (id INTEGER)")
        execute(store, "INSERT INTO audit VALUES (1)")
        execute(store, TRIGGERS[trigger])
        done = purge(store, "--older-than", "20d", "--yes", "-o", "json")
        assert (done.status, done.error["code"], len(ids_in(store))) == (2, "guard", 24)
        assert "--allow-cascade" in done.error["message"]
        assert purge(store, "--older-than", "20d", "--yes", "--allow-cascade").status == 0
        assert len(ids_in(store)) == 19

    @pytest.mark.parametrize(
        "statement",
        [
            "CREATE TRIGGER delete_on_x AFTER INSERT ON agent_sessions BEGIN SELECT 1; END",
            "CREATE TRIGGER t AFTER UPDATE OF updated_at ON agent_sessions BEGIN DELETE FROM audit; END",
            "CREATE TRIGGER t AFTER DELETE ON audit BEGIN SELECT 1; END",
        ],
    )
    def test_other_triggers_are_no_obstacle(self, store: Path, statement: str) -> None:
        execute(store, "CREATE TABLE audit (id INTEGER)")
        execute(store, statement)
        assert purge(store, "--older-than", "20d", "--yes").status == 0

    @pytest.mark.parametrize("target", ["agent_sessions", "AGENT_SESSIONS"])
    def test_foreign_keys_of_others_are_named(self, store: Path, target: str) -> None:
        execute(store, f"CREATE TABLE notes (id INTEGER, session TEXT REFERENCES {target} (session_id))")
        done = purge(store, "--older-than", "20d", "-n", "-o", "json")
        (hazard,) = done.json["plan"]["hazards"]
        assert hazard["what"] == "table notes refers to agent_sessions"
        assert purge(store, "--older-than", "20d", "--yes").status == 0  # SQLite does not enforce it here

    def test_a_layout_newer_than_known_is_read_and_never_changed(self, store: Path) -> None:
        execute(store, "ALTER TABLE agent_sessions ADD COLUMN tenant TEXT")
        done = in_process("list", "-s", store, "-o", "json")
        assert (done.status, len(done.json["sessions"])) == (0, 24)
        for allowed in ((), ("--allow-cascade", "--max-share", "1")):
            done = purge(store, "--older-than", "20d", "--yes", *allowed)
            assert (done.status, len(ids_in(store))) == (2, 24)
            assert "agent_sessions.tenant" in done.said


class TestIds:
    @pytest.mark.parametrize(
        ("data", "flags"),
        [(b"s02\ns03\r\n\nnobody\ns02\n", []), (b"s02\0s03\0nobody", ["--null"])],
        ids=["lines", "nul"],
    )
    def test_from_stdin_and_from_a_file(self, store: Path, tmp_path: Path, data: bytes, flags: list[str]) -> None:
        file = tmp_path / "ids"
        file.write_bytes(data)
        for done in (
            purge(store, "--ids-from", "-", *flags, "-n", "-o", "json", stdin=data),
            purge(store, "--ids-from", str(file), *flags, "--yes", "-o", "json"),
        ):
            assert (done.status, done.json["removed"]["sessions"], done.json["skipped"]["missing"]) == (0, 2, 1)
        assert len(ids_in(store)) == 22

    def test_an_empty_list_selects_nothing(self, store: Path) -> None:
        done = purge(store, "--ids-from", "-", "--yes", "-o", "json", stdin=b"")
        assert (done.status, done.json["matched"]["sessions"], len(ids_in(store))) == (0, 0, 24)

    def test_several_sources_mean_any_of_them(self, store: Path) -> None:
        done = purge(
            store,
            "--id",
            "s02",
            "--match",
            "s1?",
            "--ids-from",
            "-",
            "--exclude",
            "s11",
            "-n",
            "-o",
            "json",
            stdin=b"s05\n",
        )
        assert done.json["matched"]["sessions"] == 11


def test_keep_last_by_group(tmp_path: Path) -> None:
    ages = {f"{tenant}:{n}": (n + 1) * DAY for tenant in ("a", "b") for n in range(4)} | {"nobody": 99 * DAY}
    store = store_of(tmp_path / "store.db", ages)
    done = purge(store, "--keep-last", "3", "--group-by", "^(.+):", "--yes", "-o", "json")
    assert done.json["removed"]["sessions"] == 2
    assert ids_in(store) == set(ages) - {"a:3", "b:3"}


class TestLimits:
    @pytest.mark.parametrize(
        ("flags", "status", "removed"),
        [(["--max-sessions", "3"], 4, 3), (["--max-sessions", "5"], 0, 5), (["--max-sessions", "9"], 0, 5)],
        ids=["some", "just enough", "more"],
    )
    def test_max_sessions(self, store: Path, flags: list[str], status: int, removed: int) -> None:
        dry = purge(store, "--older-than", "20d", "-n", "-o", "json", *flags)
        assert (dry.status, dry.json["removed"]["sessions"]) == (0, removed)
        done = purge(store, "--older-than", "20d", "--yes", "-o", "json", *flags)
        assert (done.status, done.json["removed"]["sessions"]) == (status, removed)
        assert done.json["remaining"]["sessions"] == 5 - removed
        assert done.json["stopped"] == ("limit" if status else "done")
        assert done.json["removed"] == dry.json["removed"]

    def test_max_sessions_counts_over_all_stores(self, tmp_path: Path) -> None:
        stores = [store_of(tmp_path / f"{name}.db", dict.fromkeys("pqr", 9 * DAY)) for name in "ab"]
        where = ["-s", str(tmp_path / "*.db"), "--older-than", "1d", "--max-sessions", "4", "-o", "json"]
        foreseen = in_process("purge", *where, "-n").json
        done = in_process("purge", *where, "--yes")
        assert done.status == 4
        for json in (foreseen, done.json):
            assert [part["removed"]["sessions"] for part in json["stores"]] == [3, 1]
            assert json["remaining"]["sessions"] == 2
        assert [len(ids_in(store)) for store in stores] == [0, 2]

    def test_max_runtime(self, store: Path) -> None:
        flags: list[Any] = ["--rate", "10", "--batch-size", "1", "--max-runtime", "0.2s"]
        done = purge(store, "--older-than", "20d", "--yes", "-o", "json", *flags)
        assert (done.status, done.json["stopped"]) == (4, "limit")
        assert 1 <= done.json["removed"]["sessions"] < 5
        assert len(ids_in(store)) == 24 - done.json["removed"]["sessions"]
