"""Holds by the command line: what is held, who says so, and what a purge makes of it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from operating import DAY, Ran, ids_in, in_process, ledger_rows, on_terminal, shown_on_terminal, store_of

STALE = ("--older-than", "10d", "--max-share", "1", "--yes", "-o", "json")
WHY = ("--reason", "complaint 1714")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return store_of(tmp_path / "store.db", {"vip:1": 40 * DAY, "vip:2": 1 * DAY, "mia": 30 * DAY, "tom": 20 * DAY})


def hold(store: Path, *arguments: str) -> Ran:
    verb, *rest = arguments
    return in_process("hold", verb, "-s", store, *rest)


def added(store: Path, *arguments: str) -> dict[str, Any]:
    done = hold(store, "add", *WHY, "-o", "json", *arguments)
    assert done.status == 0, done.said
    return done.json


def listed(store: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = hold(store, "list", "-o", "json").json["holds"]
    return found


def purged(store: Path, *arguments: str) -> Ran:
    return in_process("purge", "-s", store, *arguments)


class TestAdding:
    def test_by_id_and_glob(self, store: Path) -> None:
        done = added(store, "--id", "mia", "--id", "nobody", "--match", "vip:*")
        assert (done["command"], done["missing"], done["until"]) == ("hold add", 1, None)
        kept = {(h["kind"], h["value"]) for h in listed(store)}
        assert kept == {("id", "mia"), ("id", "nobody"), ("glob", "vip:*")}
        assert {h["hold_id"] for h in listed(store)} == {done["hold_id"]}

    def test_by_another_selector_it_is_the_sessions_selected_now(self, store: Path) -> None:
        done = added(store, "--match", "vip:*", "--older-than", "10d")
        assert [(h["kind"], h["value"]) for h in done["holds"]] == [("id", "vip:1")]

    def test_nothing_selected_is_a_success_that_holds_nothing(self, store: Path, home: Path) -> None:
        done = hold(store, "add", *WHY, "--older-than", "1y")
        assert (done.status, "nothing is held" in done.text) == (0, True)
        assert listed(store) == []
        assert ledger_rows(home) == []

    def test_who_why_and_until_when(self, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SESSIONCTL_ACTOR", "mia")
        added(store, "--id", "mia", "--until", "2099-01-01")
        [found] = listed(store)
        assert found["who"].startswith("mia@")
        assert (found["reason"], found["until"], found["origin"]) == ("complaint 1714", "2099-01-01T00:00:00Z", "user")
        assert found["yields"] is False
        shown = hold(store, "list").text
        assert "complaint 1714" in shown
        assert "2099-01-01" in shown

    @pytest.mark.parametrize(
        "arguments",
        [
            ["--id", "mia"],
            ["--reason", "x"],
            ["--reason", " ", "--id", "mia"],
            ["--reason", "x", "--exclude", "m*"],
            ["--reason", "x", "--id", "mia", "--for", "1d", "--until", "2099-01-01"],
            ["--reason", "x", "--id", "mia", "--until", "2020-01-01"],
            ["--reason", "x", "--reason", "y", "--id", "mia"],
        ],
        ids=" ".join,
    )
    def test_what_is_refused(self, store: Path, home: Path, arguments: list[str]) -> None:
        before = store.read_bytes()
        assert hold(store, "add", *arguments).status == 2
        assert store.read_bytes() == before
        assert not (home / ".local/state/sessionctl/ledger.db").exists() or ledger_rows(home) == []

    def test_the_ledger_has_both(self, store: Path, home: Path) -> None:
        hold_id = added(store, "--id", "mia")["hold_id"]
        assert hold(store, "release", hold_id, "--yes", "--reason", "settled").status == 0
        rows = ledger_rows(home)
        told = [(row["command"], row["reason"], row["stopped"]) for row in rows]
        assert told == [("hold add", "complaint 1714", "done"), ("hold release", "settled", "done")]
        assert [json.loads(row["counts"]) for row in rows] == [{"held": {"holds": 1}}, {"released": {"holds": 1}}]


class TestHeld:
    def test_a_purge_leaves_what_is_held_and_says_so(self, store: Path) -> None:
        added(store, "--match", "vip:*")
        dry = purged(store, *STALE, "--dry-run")
        assert (dry.status, dry.json["skipped"]["held"], dry.json["removed"]["sessions"]) == (0, 1, 2)
        done = purged(store, *STALE)
        assert (done.status, done.json["matched"]["sessions"], done.json["skipped"]["held"]) == (0, 3, 1)
        assert ids_in(store) == {"vip:1", "vip:2"}

    def test_the_plan_for_people_says_so(self, store: Path) -> None:
        added(store, "--id", "mia")
        assert "skips       1 held" in purged(store, "--older-than", "10d", "-n").text

    @pytest.mark.parametrize("dry", [["--dry-run"], []], ids=["dry", "real"])
    def test_a_named_session_that_is_held_is_partial(self, store: Path, dry: list[str]) -> None:
        added(store, "--id", "mia")
        done = purged(store, "--id", "mia", "--id", "tom", "--yes", "-o", "json", *dry)
        assert (done.status, done.json["skipped"]["held"], done.json["removed"]["sessions"]) == (3, 1, 1)
        assert "mia" in ids_in(store)

    def test_after_release_it_goes(self, store: Path) -> None:
        added(store, "--id", "mia")
        assert hold(store, "release", "mia", "--yes").status == 0
        assert purged(store, *STALE).json["removed"]["sessions"] == 3

    def test_list_and_inspect_show_it(self, store: Path) -> None:
        added(store, "--id", "mia", "--match", "vip:*", "--for", "30d")
        sessions = in_process("list", "-s", store, "-o", "json").json["sessions"]
        assert {s["session_id"]: s["held"] for s in sessions} == {
            "vip:1": True, "vip:2": True, "mia": True, "tom": False,
        }  # fmt: skip
        assert in_process("inspect", "mia", "-s", store, "-o", "json").json["session"]["held"] is True
        assert in_process("inspect", "tom", "-s", store, "-o", "json").json["session"]["held"] is False
        shown = in_process("inspect", "mia", "-s", store).text
        assert "held      until " in shown
        assert "complaint 1714" in shown
        assert "held" not in in_process("inspect", "tom", "-s", store).text

    def test_of_a_fleet_each_store_holds_its_own(self, tmp_path: Path) -> None:
        fleet = tmp_path / "fleet"
        fleet.mkdir()
        for name in ("a", "b"):
            store_of(fleet / f"{name}.db", {"mia": 30 * DAY, f"only-{name}": 30 * DAY})
        done = hold(fleet, "add", *WHY, "--id", "mia", "-o", "json").json
        assert [len(one["holds"]) for one in done["stores"]] == [1, 1]
        assert hold(fleet / "a.db", "release", "mia", "--yes").status == 0
        assert purged(fleet, *STALE).json["skipped"]["held"] == 1
        assert (ids_in(fleet / "a.db"), ids_in(fleet / "b.db")) == (set(), {"mia"})

    def test_many_that_are_held_together_take_one_line_of_a_table(self, store: Path) -> None:
        names = [part for number in range(20) for part in ("--id", f"s{number:02}")]
        hold_id = added(store, *names)["hold_id"]
        added(store, "--id", "mia", "--match", "vip:*")
        lines = hold(store, "list").text.splitlines()
        assert [hold_id in line for line in lines].count(True) == 1
        assert any("s00 and 19 more" in line for line in lines)
        assert len(lines) == 4
        assert len(hold(store, "list", "-o", "wide").text.splitlines()) == 23
        assert "and 19 more" in hold(store, "release", hold_id).said


class TestReleasing:
    def test_asks_and_has_no_terminal_here(self, store: Path) -> None:
        hold_id = added(store, "--id", "mia")["hold_id"]
        assert hold(store, "release", hold_id).status == 2
        assert len(listed(store)) == 1

    def test_asks_on_a_terminal(self, store: Path) -> None:
        hold_id = added(store, "--id", "mia")["hold_id"]
        child = on_terminal("hold", "release", hold_id, "-s", store)
        child.expect_exact("[y/N]")
        child.sendline("n")
        child.expect_exact("nothing was released")
        child.close()
        assert len(listed(store)) == 1

    def test_one_that_is_not_there_is_said_and_the_others_go(self, store: Path) -> None:
        added(store, "--match", "vip:*", "--id", "mia")
        done = hold(store, "release", "mia", "vip:1", "--yes", "-o", "json")
        assert (done.status, done.json["released"], done.json["missing"]) == (3, 1, ["vip:1"])
        assert "it is held by vip:*" in done.said
        assert [h["value"] for h in listed(store)] == ["vip:*"]

    def test_on_a_screen_a_hostile_reason_does_no_harm(self, store: Path) -> None:
        added_by = hold(store, "add", "--id", "mia", "--reason", "\x1b[31mred\x07")
        assert added_by.status == 0
        screen = shown_on_terminal("hold", "list", "-s", store).out
        assert b"\x07" not in screen
        assert b"\x1b[31mred" not in screen


class TestReturned:
    """What undo puts back."""

    @pytest.fixture
    def run_id(self, store: Path, tmp_path: Path) -> str:
        done = purged(store, *STALE, "--archive", str(tmp_path / "archive"))
        assert done.json["removed"]["sessions"] == 3
        return str(done.json["run_id"])

    def test_is_held_for_a_week_against_policies(self, store: Path, run_id: str) -> None:
        assert in_process("undo", run_id, "--yes").status == 0
        found = listed(store)
        assert {h["value"] for h in found} == {"vip:1", "mia", "tom"}
        assert {(h["origin"], h["yields"]) for h in found} == {("undo", True)}
        assert {datetime.fromisoformat(h["until"]) - datetime.fromisoformat(h["since"]) for h in found} == {
            timedelta(days=7)
        }
        done = purged(store, *STALE)
        assert (done.status, done.json["removed"]["sessions"], done.json["skipped"]["held"]) == (0, 0, 3)

    def test_goes_by_a_run_that_names_it(self, store: Path, run_id: str) -> None:
        assert in_process("undo", run_id, "--yes").status == 0
        done = purged(store, "--id", "mia", "--yes", "-o", "json")
        assert (done.status, done.json["removed"]["sessions"], done.json["skipped"]["held"]) == (0, 1, 0)

    def test_goes_by_name_only_if_nobody_else_holds_it(self, store: Path, run_id: str) -> None:
        assert in_process("undo", run_id, "--yes").status == 0
        added(store, "--id", "mia")
        done = purged(store, "--id", "mia", "--yes", "-o", "json")
        assert (done.status, done.json["skipped"]["held"]) == (3, 1)

    def test_without_a_hold_when_asked_so(self, store: Path, run_id: str) -> None:
        assert in_process("undo", run_id, "--yes", "--hold-for", "0").status == 0
        assert listed(store) == []
