"""``rotate`` as users call it: guards, templates, compressed files, files that are kept or removed."""

from __future__ import annotations

import contextlib
import gzip
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from operating import DAY, ids_in, in_process, item_counts, store_of

NOW = datetime.now(UTC)
MONTHS = [(NOW.replace(day=1) - timedelta(days=28 * back + 14)) for back in (2, 1, 0)]
"""A day in each of the three months before this one, the oldest first."""


def rotate(*arguments: str | Path, status: int = 0) -> Any:
    ran = in_process("rotate", *arguments)
    assert ran.status == status, ran.said
    return ran


def moved(*arguments: str | Path, status: int = 0) -> dict[str, Any]:
    report: dict[str, Any] = rotate(*arguments, "--yes", "--max-share", "1", "-o", "json", status=status).json
    return report


def month(at: datetime) -> str:
    return f"{at:%Y-%m}"


def seconds_ago(at: datetime) -> float:
    return (datetime.now(UTC) - at).total_seconds()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Sessions of the last three months and of today: ``a:0`` and ``b:0`` of the oldest month, and so on."""
    ages = {f"{name}:{number}": seconds_ago(at) for number, at in enumerate(MONTHS) for name in "ab"}
    return store_of(tmp_path / "hot.db", {**ages, "a:now": 3600.0})


@pytest.fixture
def cold(tmp_path: Path) -> Path:
    return tmp_path / "cold"


@pytest.fixture
def template(cold: Path) -> str:
    return str(cold / "{year}-{month}.db")


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir() if not path.name.startswith(".")}


def hold(store: Path, session_id: str) -> None:
    assert in_process("hold", "add", "-s", store, "--id", session_id, "--reason", "court").status == 0


def add(store: Path, *sessions: tuple[str, datetime]) -> None:
    """Sessions of one item each, as an application would have left them."""
    with contextlib.closing(sqlite3.connect(store)) as db, db:
        for name, at in sessions:
            stamp = f"{at:%Y-%m-%d %H:%M:%S}"
            db.execute("INSERT INTO agent_sessions VALUES (?, ?, ?)", (name, stamp, stamp))
            row = (name, '{"role": "user", "content": "hi"}', stamp)
            db.execute("INSERT INTO agent_messages (session_id, message_data, created_at) VALUES (?, ?, ?)", row)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--into", "x.db"], "needs a selector or an id"),
        (["--by", "month", "--into", "{year}.db"], "needs {month}"),
        (["--by-match", "^(a)", "--all", "--into", "x.db"], "go together"),
        (["--by-match", "a", "--all", "--into", "{group}.db"], "captures nothing"),
        (["--all", "--into", "x.db", "--compress", "zstd"], "--by"),
        (["--all", "--into", "x.db", "--include-open"], "--by"),
        (["--by", "year", "--into", "{year}.db"], "--max-share"),
        (["--by", "year", "--into", "{year}.db", "--min-idle", "0"], "--id"),
    ],
)
def test_what_cannot_be_meant_is_refused(store: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    arguments = [
        text.replace("{year}", f"{tmp_path}/{{year}}") if "--max-share" in said else text for text in arguments
    ]
    add(store, *((f"old:{number}", MONTHS[0] - timedelta(days=400)) for number in range(20)))
    before = item_counts(store)
    ran = rotate("-s", store, *arguments, "--yes", status=2)
    assert said in ran.said
    assert item_counts(store) == before


def test_a_dry_run_tells_where_all_would_go_and_makes_nothing(store: Path, cold: Path, template: str) -> None:
    ran = rotate("-s", store, "--by", "month", "--into", template, "--dry-run")
    for at in MONTHS:
        assert f"2 sessions: {cold / month(at)}.db" in ran.text
    report = rotate("-s", store, "--by", "month", "--into", template, "--dry-run", "-o", "json").json
    assert report["removed"] == report["matched"]
    assert report["targets"] == [{"store": str(cold / f"{month(at)}.db"), "sessions": 2} for at in MONTHS]
    assert not cold.exists()
    assert len(ids_in(store)) == 7


def test_the_report_and_the_ledger_say_where_they_are(store: Path, cold: Path, template: str) -> None:
    report = moved("-s", store, "--by", "month", "--into", template)
    assert (report["command"], report["changed"], report["into"]) == ("rotate", {"sessions": 0}, template)
    assert ids_in(store) == {"a:now"}
    assert report["archive"] == str(cold / ".sessionctl" / report["run_id"])
    shown = in_process("runs", "show", report["run_id"]).text
    for at in MONTHS:
        assert f"target     sqlite:///{cold / month(at)}.db: 2 sessions" in shown
    assert in_process("runs", "list", "--id", "b:1", "-o", "name").text.split() == [report["run_id"]]
    shown = in_process("archive", "show", cold / ".sessionctl", "b:1", "--raw").text
    assert in_process("inspect", "-s", cold / f"{month(MONTHS[1])}.db", "b:1", "--raw").text == shown
    again = moved("-s", store, "--by", "month", "--into", template)
    assert again["matched"]["sessions"] == 0


def test_groups_that_would_be_paths_stay_in_the_directory(store: Path, tmp_path: Path, cold: Path) -> None:
    hostile = ["../../etc/x", "/abs", "..", ".", "a/../b", "con", "A", "a" * 300, "ü\n"]
    add(store, *((f"{group}|s", MONTHS[0]) for group in hostile))
    before = set(tmp_path.iterdir())
    report = moved("-s", store, "--older-than", "1d", "--by-match", r"(?s)^(.*)\|", "--into", cold / "{group}" / "s.db")
    assert report["removed"]["sessions"] == len(hostile)
    assert set(tmp_path.iterdir()) - before == {cold}
    assert len({path.parent.name.lower() for path in cold.glob("*/s.db")}) == len(hostile)
    assert {path.parent.parent for path in cold.rglob("*.db")} == {cold}
    assert len(ids_in(store)) == 7  # those without a group


def test_a_fleet_has_a_target_for_each_of_its_files(tmp_path: Path, cold: Path) -> None:
    fleet = tmp_path / "tenants"
    fleet.mkdir()
    for name in ("one", "two"):
        store_of(fleet / f"{name}.db", {"same": 60 * DAY, f"only-{name}": 60 * DAY, "new": 3600.0})
    some = ("-s", fleet, "--older-than", "30d")
    assert "{stem}" in rotate(*some, "--into", cold / "x.db", "--yes", status=2).said
    assert "belong to the fleet" in rotate(*some, "--into", fleet / "{stem}-old.db", "--yes", status=2).said
    report = moved(*some, "--into", cold / "{stem}.db")
    assert (report["removed"]["sessions"], report["store"], len(report["stores"])) == (4, None, 2)
    for name in ("one", "two"):
        assert ids_in(cold / f"{name}.db") == {"same", f"only-{name}"}
        assert ids_in(fleet / f"{name}.db") == {"new"}


def test_the_store_itself_is_no_target(store: Path, tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(store)
    ran = rotate("-s", store, "--id", "a:0", "--into", tmp_path / "link.db", "--yes", "-o", "json", status=2)
    assert "names the store itself" in ran.error["message"]
    assert len(ids_in(store)) == 7


def test_a_file_of_others_is_no_target(store: Path, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "other.db")) as db, db:
        db.execute("CREATE TABLE theirs (x)")
    before = (tmp_path / "other.db").read_bytes()
    ran = rotate("-s", store, "--id", "a:0", "--into", tmp_path / "other.db", "--yes", "-o", "json", status=10)
    assert "other.db" in ran.error["message"]
    nowhere = ("--into", "postgresql://nobody@127.0.0.1:1/x")
    assert "cannot be reached" in rotate("-s", store, "--id", "a:0", *nowhere, "--yes", status=10).said
    assert (tmp_path / "other.db").read_bytes() == before
    assert len(ids_in(store)) == 7


@pytest.mark.parametrize("how", [["--dry-run"], ["--dry-run", "-o", "json"], ["--yes"], ["--yes", "-o", "json"]])
def test_a_password_in_the_target_is_never_shown(store: Path, how: list[str]) -> None:
    status = 0 if "--dry-run" in how else 10
    ran = rotate("-s", store, "--id", "a:0", "--into", "postgresql://u:s3cret@127.0.0.1:1/x", *how, status=status)
    assert "s3cret" not in ran.text + ran.said
    assert "u:***@" in ran.text + ran.said


@pytest.mark.parametrize("how", ["zstd", "gzip"])
def test_compressed_files_are_undone_from_and_take_no_more(store: Path, cold: Path, template: str, how: str) -> None:
    suffix = {"zstd": ".zst", "gzip": ".gz"}[how]
    hold(store, "a:2")
    report = moved("-s", store, "--by", "month", "--into", template, "--compress", how)
    packed = {f"{month(at)}.db{suffix}" for at in MONTHS[:2]}
    # The newest month waits for the session that is held.
    assert names(cold) == packed | {f"{month(MONTHS[2])}.db"}
    assert {Path(file).name for file in report["files"]["compressed"]} == packed
    if how == "gzip":
        (cold / "x.db").write_bytes(gzip.decompress((cold / f"{month(MONTHS[0])}.db.gz").read_bytes()))
        assert ids_in(cold / "x.db") == {"a:0", "b:0"}
        (cold / "x.db").unlink()
    add(store, ("late", MONTHS[0]))
    late = moved("-s", store, "--by", "month", "--into", template)
    assert late["targets"] == [{"store": f"sqlite:///{cold / month(MONTHS[0])}+2.db", "sessions": 1}]
    ran = in_process("undo", report["run_id"], "--yes", "-o", "json")
    assert (ran.status, ran.json["restored"]["sessions"]) == (0, 5)
    assert ids_in(store) == {f"{name}:{number}" for name in "ab" for number in range(3)} | {"a:now"}


def test_a_vacuum_follows_where_something_was_moved(store: Path, template: str) -> None:
    some = ("-s", store, "--by", "month", "--into", template, "--vacuum")
    assert "then        vacuum" in rotate(*some, "--dry-run").text
    report = moved(*some)
    [space] = report["vacuum"]
    assert (space["command"], space["store"]) == ("vacuum", report["store"])
    assert in_process("runs", "list", "-o", "name").text.count("\n") == (2 if space["run_id"] else 1)
    assert moved(*some)["vacuum"] == []


def test_a_file_in_use_is_not_compressed(store: Path, cold: Path, template: str) -> None:
    moved("-s", store, "--by", "month", "--into", template)
    path = cold / f"{month(MONTHS[1])}.db"
    with contextlib.closing(sqlite3.connect(path)) as agent:
        agent.execute("SELECT count(*) FROM agent_messages").fetchall()
        report = moved("-s", store, "--by", "month", "--into", template, "--compress", "zstd", status=3)
        agent.execute("UPDATE agent_sessions SET updated_at = updated_at")
        agent.commit()
    assert [left["file"] for left in report["files"]["left_alone"]] == [str(path)]
    assert "in use" in report["files"]["left_alone"][0]["why"]
    assert len(report["files"]["compressed"]) == 2
    moved("-s", store, "--by", "month", "--into", template, "--compress", "zstd")
    assert names(cold) == {f"{month(at)}.db.zst" for at in MONTHS}


def test_only_the_newest_windows_are_kept_and_those_with_a_held_session(store: Path, cold: Path, template: str) -> None:
    cold.mkdir()
    theirs = cold / f"{month(MONTHS[0] - timedelta(days=800))}.db"
    store_of(theirs, {"s": 1.0})  # named like one of ours
    keep = ("-s", store, "--by", "month", "--into", template, "--compress", "zstd", "--keep", "1")
    moved(*keep)
    mine = [f"{month(at)}.db.zst" for at in MONTHS]
    assert names(cold) == {theirs.name, *mine}, "what this very run made goes only after it was shown"
    hold(store, "a:0")
    ran = rotate(*keep, "--dry-run")
    assert f"{cold / mine[1]}" in ran.text
    assert "its session 'a:0' is held" in ran.said
    report = moved(*keep)
    assert report["files"]["removed"] == [str(cold / mine[1])]
    assert names(cold) == {theirs.name, mine[0], mine[2]}
    run_id = in_process("runs", "list", "-o", "name").text.split()[-1]
    assert "was removed by run" in in_process("undo", run_id, "--yes").said


def test_a_file_that_a_crash_left_in_both_forms(store: Path, cold: Path, template: str) -> None:
    run = ("-s", store, "--by", "month", "--into", template, "--compress", "gzip")
    moved(*run)
    plain, altered = (cold / f"{month(at)}.db" for at in MONTHS[:2])
    for path in (plain, altered):
        path.write_bytes(gzip.decompress(path.with_name(path.name + ".gz").read_bytes()))
    add(altered, ("more", MONTHS[1]))
    report = moved(*run, status=3)
    assert not plain.exists()
    assert [left["file"] for left in report["files"]["left_alone"]] == [str(altered)]
    assert "more" in ids_in(altered)


@pytest.fixture
def locked(store: Path) -> Iterator[Path]:
    with contextlib.closing(sqlite3.connect(store, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield store


def test_a_lock_of_others_ends_it_in_time_with_a_clear_message(
    locked: Path, cold: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessionctl.stores.sqlite.file.BUSY_TIMEOUT_S", 0.5)
    monkeypatch.setattr("sessionctl.core.patience.GIVE_UP_S", 1.0)
    report = moved("-s", locked, "--id", "a:0", "--into", cold / "x.db", status=1)
    assert "stayed locked by another program" in report["why"]
    assert "a:0" in ids_in(locked)
