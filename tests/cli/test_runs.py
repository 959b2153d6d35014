"""runs list and show: what was done, by session, time, store and actor; and undo's ways to refuse."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from operating import DAY, ids_in, in_process, sessionctl, store_of

KEYS = ["run_id", "command", "store", "actor", "user", "host", "pid", "started_at", "heartbeat_at", "under_way",
        "ended_at", "stopped", "error", "reason", "criteria", "digest", "archive", "undoes", "counts"]  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return store_of(tmp_path / "store.db", {f"s{n:02}": n * DAY for n in range(12)})


def purged(store: Path, *flags: str | Path) -> str:
    ran = in_process("purge", "-s", store, "--yes", "-o", "json", *flags)
    assert ran.status == 0, ran.said
    return str(ran.json["run_id"])


def listed(*flags: str | Path) -> list[str]:
    return in_process("runs", "list", "-o", "name", *flags).text.split()


def test_by_session_time_store_and_actor(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = store_of(tmp_path / "other.db", {f"s{n:02}": n * DAY for n in range(12)})
    monkeypatch.setenv("SESSIONCTL_ACTOR", "cron")
    first = purged(store, "--id", "s10", "--archive", tmp_path / "a")
    monkeypatch.setenv("SESSIONCTL_ACTOR", "mia")
    second = purged(other, "--id", "s10", "--id", "s11", "--archive", tmp_path / "a", "--reason", "ticket 7")
    third = purged(store, "--id", "s09")
    assert listed() == [third, second, first]
    assert listed("--id", "s10") == [second, first]
    assert (listed("--id", "s11"), listed("--id", "s09")) == ([second], [])
    assert listed("--store", store) == [third, first]
    assert (listed("--actor", "cron"), listed("--actor", "mia", "--id", "s10")) == ([first], [second])
    assert (listed("--since", "2200-01-01"), listed("--limit", "1")) == ([], [third])
    [record] = in_process("runs", "list", "--id", "s11", "-o", "json").json["runs"]
    assert list(record) == KEYS
    assert (record["reason"], record["store"]) == ("ticket 7", f"sqlite:///{other}")
    assert in_process("undo", second, "--yes").status == 0
    assert listed("--id", "s11") == [second]


def test_one_run_with_its_segments(store: Path, tmp_path: Path) -> None:
    run_id = purged(store, "--older-than", "9d", "--archive", tmp_path / "a")
    shown = in_process("runs", "show", run_id, "-o", "json").json["run"]
    assert list(shown) == [*KEYS, "segments"]
    [segment] = shown["segments"]
    assert (segment["sessions"], segment["kept"], segment["returned"]) == (3, [], [])
    in_process("undo", run_id, "--yes")
    assert "3 sessions, dealt with, 0 kept, 3 put back" in in_process("runs", "show", run_id).text
    missing = in_process("runs", "show", "nothing", "-o", "json")
    assert (missing.status, missing.error["code"]) == (1, "failed")


def test_an_archive_that_is_gone_is_said(store: Path, tmp_path: Path) -> None:
    first = purged(store, "--id", "s10", "--archive", tmp_path / "a")
    second = purged(store, "--id", "s11", "--archive", tmp_path / "b")
    shutil.rmtree(tmp_path / "a")
    ran = in_process("runs", "list", "--id", "s11", "-o", "name")
    assert (ran.text.split(), first in ran.said) == ([second], True)
    undo = in_process("undo", first, "--yes", "-o", "json")
    assert (undo.status, undo.error["code"]) == (1, "archive_missing")


def test_undo_from_another_directory_finds_the_same_store(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_id = purged(Path("store.db"), "--id", "s10", "--archive", "archives")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    store_of(elsewhere / "store.db", {"other": DAY})
    monkeypatch.chdir(elsewhere)
    assert in_process("undo", run_id, "--yes").status == 0
    assert ("s10" in ids_in(store), ids_in(elsewhere / "store.db")) == (True, {"other"})
    refused = in_process("undo", run_id, "-s", "store.db", "--yes")
    assert (refused.status, "not the store meant here" in refused.said) == (2, True)


def test_undo_needs_an_archive_and_a_yes(store: Path, tmp_path: Path) -> None:
    bare = purged(store, "--id", "s09")
    assert in_process("undo", bare, "--yes").status == 2
    run_id = purged(store, "--id", "s10", "--archive", tmp_path / "a")
    assert in_process("undo", run_id).status == 2
    dry = in_process("undo", run_id, "-n", "-o", "json").json
    assert (dry["dry_run"], dry["run_id"], dry["restored"]["sessions"], dry["undoes"]) == (True, None, 1, run_id)
    assert "s10" not in ids_in(store)


def test_no_room_for_the_archive(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A floor above what any disk has: the run is refused before it begins."""
    monkeypatch.setattr("sessionctl.operations.archiving._FLOOR", 2**60)
    ran = in_process("purge", "-s", store, "--id", "s10", "--yes", "--archive", tmp_path / "a")
    assert (ran.status, "free" in ran.said, listed()) == (1, True, [])
    assert "s10" in ids_in(store)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("command", [("runs", "list"), ("runs", "show", "x"), ("undo", "x", "--yes")])
def test_a_ledger_that_nobody_may_look_for_is_not_taken_for_an_empty_one(command: tuple[str, ...]) -> None:
    with TemporaryDirectory() as outside:
        Path(outside).chmod(0)
        ran = sessionctl(*command, env={"SESSIONCTL_STATE_DIR": f"{outside}/state"}, as_nobody=os.getuid() == 0)
    assert (ran.status, ran.out) == (1, b"")
    assert "the ledger of runs cannot be used" in ran.said
