"""purge from the plan to the report: what is shown, what is asked, what is deleted, what is recorded."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from pathlib import Path

import pexpect
import pytest
from operating import DAY, assert_whole, ids_in, in_process, ledger_file, ledger_rows, on_terminal, store_of

KEYS = ["schema", "command", "store", "dry_run", "run_id", "matched", "removed", "skipped", "remaining", "archive",
        "stopped", "elapsed_s", "why", "time", "retries"]  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return store_of(tmp_path / "store.db", {f"s{n:02}": n * DAY for n in range(12)})


class TestReport:
    def test_json(self, store: Path) -> None:
        done = in_process("purge", "-s", store, "--older-than", "6d", "--yes", "-o", "json")
        report = done.json
        assert (done.status, list(report)) == (0, KEYS)
        assert (report["schema"], report["command"], report["dry_run"]) == ("sessionctl/v1", "purge", False)
        assert report["store"] == f"sqlite:///{store}"
        assert report["matched"] == report["removed"]
        assert (report["removed"]["sessions"], report["removed"]["items"]) == (6, 24)
        assert report["skipped"] == {"active": 0, "held": 0, "changed": 0, "failed": 0, "missing": 0}
        assert (report["remaining"], report["archive"], report["stopped"]) == ({"sessions": 0}, None, "done")
        assert ids_in(store) == {f"s{n:02}" for n in range(6)}
        assert_whole(store)

    def test_a_dry_run_foresees_it_and_changes_nothing(self, store: Path) -> None:
        before = store.read_bytes()
        dry = in_process("purge", "-s", store, "--older-than", "6d", "-n", "-o", "json").json
        assert store.read_bytes() == before
        assert [*list(dry)[: len(KEYS)], "plan"] == [*KEYS, "plan"]
        assert (dry["dry_run"], dry["run_id"]) == (True, None)
        done = in_process("purge", "-s", store, "--older-than", "6d", "--yes", "-o", "json").json
        assert [done[key] for key in ("matched", "removed", "skipped")] == [
            dry[key] for key in ("matched", "removed", "skipped")
        ]

    def test_a_dry_run_makes_no_ledger(self, store: Path, home: Path) -> None:
        in_process("purge", "-s", store, "--older-than", "6d", "-n")
        assert not ledger_file(home).exists()

    def test_names_and_records_of_a_dry_run(self, store: Path) -> None:
        names = in_process("purge", "-s", store, "--older-than", "9d", "-n", "-o", "name").text
        assert names.splitlines() == ["s09", "s10", "s11"]
        lines = in_process("purge", "-s", store, "--older-than", "9d", "-n", "-o", "jsonl").text.splitlines()
        assert [list(json.loads(line)) for line in lines] == [["store", "session_id", "items", "bytes"]] * 3

    @pytest.mark.parametrize("form", ["table", "json"])
    def test_what_no_archive_can_hold_is_told(
        self, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
    ) -> None:
        import sessionctl.archive.format

        monkeypatch.setattr(sessionctl.archive.format, "MAX_LINE", 9_000)
        with contextlib.closing(sqlite3.connect(store)) as db, db:
            db.execute(
                "UPDATE agent_messages SET message_data = ? WHERE session_id = 's09'", ('"' + "x" * 9_000 + '"',)
            )
        done = in_process(
            "purge", "-s", store, "--older-than", "6d", "--yes", "--archive", tmp_path / "archive", "-o", form
        )
        assert done.status == 3, done.said
        why = "an item is larger than the 8.79 KiB that a line of an archive can hold"
        if form == "json":
            assert done.json["failed"] == [{"session_id": "s09", "why": why}]
            assert (done.json["removed"]["sessions"], done.json["skipped"]["failed"]) == (5, 1)
        else:
            assert "skipped     1 failed" in done.text
            assert f"failed      s09: {why}" in done.text
        assert ids_in(store) == {"s09", *(f"s{n:02}" for n in range(6))}
        assert in_process("export", "-s", store, "--out", tmp_path / "x.jsonl", "--format", "archive").status == 1
        told = in_process("export", "-s", store, "--out", tmp_path / "x.jsonl", "--format", "archive").said
        assert "session 's09'" in told
        assert why in told

    def test_the_table_says_the_same(self, store: Path) -> None:
        done = in_process("purge", "-s", store, "--older-than", "6d", "--yes")
        assert "removed     6 sessions, 24 items" in done.text
        assert "free pages" in done.said

    def test_the_ledger_has_it_all(self, store: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SESSIONCTL_ACTOR", "cron")
        done = in_process("purge", "-s", store, "--older-than", "6d", "--reason", "GDPR 7", "--yes", "-o", "json").json
        (row,) = ledger_rows(home)
        assert (row["run_id"], row["actor"], row["reason"]) == (done["run_id"], "cron", "GDPR 7")
        assert (row["command"], row["store"], row["stopped"]) == ("purge", f"sqlite:///{store}", "done")
        assert json.loads(row["counts"]) == {key: done[key] for key in ("matched", "removed", "skipped", "elapsed_s")}
        assert row["ended_at"]

    def test_a_ledger_that_cannot_be_written_stops_it_before_the_first_change(self, store: Path, home: Path) -> None:
        ledger_file(home).parent.parent.mkdir(parents=True)
        ledger_file(home).parent.write_text("in the way")
        done = in_process("purge", "-s", store, "--older-than", "6d", "--yes", "-o", "json")
        assert (done.status, done.error["code"], len(ids_in(store))) == (1, "ledger_unavailable", 12)


class TestFleet:
    @pytest.fixture
    def fleet(self, tmp_path: Path) -> Path:
        directory = tmp_path / "fleet"
        directory.mkdir()
        for name in "abc":
            store_of(directory / f"{name}.db", {f"{name}{n}": n * DAY for n in range(6)})
        return directory

    def test_totals_and_each_store(self, fleet: Path) -> None:
        done = in_process("purge", "-s", fleet, "--older-than", "3d", "--yes", "-o", "json")
        assert (done.status, list(done.json)) == (0, [*KEYS, "stores"])
        assert (done.json["store"], done.json["removed"]["sessions"]) == (None, 9)
        assert [part["removed"]["sessions"] for part in done.json["stores"]] == [3, 3, 3]
        assert all(list(part) == KEYS[1:] for part in done.json["stores"])

    def test_one_broken_store_does_not_stop_the_others(self, fleet: Path) -> None:
        broken = fleet / "b.db"
        broken.write_bytes(broken.read_bytes()[:5000])
        done = in_process("purge", "-s", fleet, "--older-than", "3d", "--yes", "-o", "json")
        assert (done.status, done.json["removed"]["sessions"]) == (3, 6)
        (failed,) = [part for part in done.json["stores"] if "error" in part]
        assert failed["store"].endswith("b.db")
        assert (len(ids_in(fleet / "a.db")), len(ids_in(fleet / "c.db"))) == (3, 3)

    @pytest.mark.parametrize("flag", ["--yes", "-n"])
    def test_all_broken(self, fleet: Path, flag: str) -> None:
        for path in fleet.iterdir():
            path.write_bytes(path.read_bytes()[:5000])
        done = in_process("purge", "-s", fleet, "--older-than", "3d", flag, "-o", "json")
        assert (done.status, len(done.json["stores"]), done.json["stopped"]) == (3, 3, "error")
        assert in_process("purge", "-s", fleet, "--older-than", "3d", flag).status == 3

    def test_a_store_that_goes_away_behind_its_plan(self, fleet: Path) -> None:
        child = on_terminal("purge", "-s", fleet, "--older-than", "3d", "-o", "json")
        child.expect_exact("[y/N]")
        (fleet / "b.db").rename(fleet / "elsewhere")
        child.sendline("y")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 3
        report = json.loads(re.findall(rb'{"schema".*}', child.before)[-1])
        assert [part["stopped"] for part in report["stores"]] == ["done", "error", "done"]
        assert (len(ids_in(fleet / "a.db")), len(ids_in(fleet / "c.db"))) == (3, 3)
        assert not (fleet / "b.db").exists()


class TestPrompt:
    @pytest.mark.parametrize(("answer", "status", "left"), [("y", 0, 6), ("yes", 0, 6), ("n", 2, 12), ("", 2, 12)])
    def test_answers(self, store: Path, answer: str, status: int, left: int) -> None:
        child = on_terminal("purge", "-s", store, "--older-than", "6d", columns=200)
        child.expect_exact("[y/N]")
        shown = child.before
        assert f"sqlite:///{store}".encode() in shown
        assert b"--store" in shown
        assert b"6 sessions, 24 items" in shown
        assert shown.index(b"Plan: purge") < shown.index(b"Delete 6 sessions from")
        assert len(ids_in(store)) == 12
        child.sendline(answer)
        child.expect(pexpect.EOF)
        child.close()
        assert (child.exitstatus, len(ids_in(store))) == (status, left)

    def test_the_origin_of_the_choice(self, store: Path, tmp_path: Path) -> None:
        config = tmp_path / "config.toml"
        config.write_text(f'default_store = "prod"\n[stores.prod]\nurl = "{store}"\n')
        for arguments, env, origin in (
            (["--config", str(config)], {}, b"default_store"),
            ([], {"SESSIONCTL_STORE": str(store)}, b"SESSIONCTL_STORE"),
        ):
            child = on_terminal(*arguments, "purge", "--older-than", "6d", columns=250, env=env)
            child.expect_exact("[y/N]")
            assert origin in child.before
            child.sendeof()
            child.expect(pexpect.EOF)
            child.close()
            assert (child.exitstatus, len(ids_in(store))) == (2, 12)

    def test_ctrl_c_at_the_prompt(self, store: Path) -> None:
        child = on_terminal("purge", "-s", store, "--older-than", "6d")
        child.expect_exact("[y/N]")
        child.sendintr()
        child.expect(pexpect.EOF)
        child.close()
        assert (child.exitstatus, len(ids_in(store))) == (130, 12)
        assert b"unforeseen" not in child.before
        assert b"Traceback" not in child.before
