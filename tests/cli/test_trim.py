"""trim from the plan to the report: what is shown and asked, what goes, what is refused."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pexpect
import pytest
from operating import DAY, Ran, age, in_process, item_counts, ledger_rows, on_terminal, write_sessions

from sessionctl.core.units import format_second
from sessionctl.testing.case import assistant, turn, user

KEYS = ["schema", "command", "store", "dry_run", "run_id", "matched", "removed", "changed", "elided", "skipped",
        "tokens", "obstacles", "remaining", "archive", "stopped", "elapsed_s", "why", "time", "retries"]  # fmt: skip
TURNS = 10
PENDING = {"type": "function_call", "call_id": "waits", "name": "pay", "arguments": "{}"}


def turns(*numbers: int) -> list[dict[str, Any]]:
    return [item for number in numbers for item in turn(number)]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Long sessions last active a day and two days ago, a short one, and one that waits for an approval."""
    long = turns(*range(TURNS))
    sessions = {"day": long, "two days": long, "short": turns(1), "waits": [*long, user("pay it"), PENDING]}
    path = write_sessions(tmp_path / "store.db", sessions)
    age(path, {"day": DAY, "two days": 2 * DAY, "short": 3 * DAY, "waits": 4 * DAY})
    return path


def trim(store: Path, *arguments: str | Path) -> Ran:
    return in_process("trim", "-s", store, *arguments)


def read(store: Path, session_id: str) -> list[Any]:
    found = in_process("inspect", session_id, "-s", store, "-o", "json").json
    return [item["data"] for turn in found["turns"] for item in turn["items"]]


class TestReport:
    def test_json(self, store: Path, home: Path) -> None:
        done = trim(store, "--older-than", "1d", "--keep-turns", "3", "--yes", "--reason", "cost", "-o", "json")
        report = done.json
        assert (done.status, list(report)) == (0, KEYS)
        assert (report["command"], report["dry_run"], report["stopped"]) == ("trim", False, "done")
        assert report["matched"]["sessions"] == 4
        assert (report["changed"], report["removed"]["sessions"]) == ({"sessions": 3}, 0)
        assert report["removed"]["items"] == (7 + 7 + 8) * 4
        assert report["tokens"]["estimate"] is True
        assert report["tokens"]["removed"] > 0
        assert report["skipped"] == {"active": 0, "held": 0, "changed": 0, "failed": 0, "missing": 0}
        assert item_counts(store) == {"day": 12, "two days": 12, "short": 4, "waits": 10}
        assert read(store, "day") == turns(7, 8, 9)
        assert read(store, "waits") == [*turns(8, 9), user("pay it"), PENDING]
        (row,) = ledger_rows(home)
        assert (row["command"], row["reason"], row["run_id"]) == ("trim", "cost", report["run_id"])
        counts = ("matched", "removed", "changed", "elided", "skipped", "elapsed_s")
        assert json.loads(row["counts"]) == {key: report[key] for key in counts}
        assert "at most 3 turns" in json.loads(row["criteria"])

    def test_a_dry_run_foresees_it_and_changes_nothing(self, store: Path) -> None:
        before, wanted = store.read_bytes(), ("--all", "--max-items", "9")
        dry = trim(store, *wanted, "-n", "-o", "json").json
        assert store.read_bytes() == before
        assert list(dry) == [*KEYS, "plan"]
        assert dry["plan"]["terms"][0] == "at most 9 items"
        assert dry["plan"]["unchanged"] == 1
        done = trim(store, *wanted, "--yes", "-o", "json").json
        foreseen = ("matched", "removed", "changed", "elided", "skipped", "tokens", "obstacles")
        assert [done[key] for key in foreseen] == [dry[key] for key in foreseen]

    def test_a_plan_for_people(self, store: Path) -> None:
        said = trim(store, "--all", "--max-bytes", "1000", "-n").text
        assert re.search(r"^  leaves      at most 1000 B$", said, re.MULTILINE)
        assert "in any case the instructions at the beginning and the 2 newest turns" in said
        assert re.search(r"^  fits        1 session already$", said, re.MULTILINE)
        assert re.search(r"^  removes     \d+ items, .*, ~[\d,]+ tokens from 3 sessions$", said, re.MULTILINE)
        assert re.search(r"^two days ", said, re.MULTILINE)

    def test_a_report_for_people(self, store: Path) -> None:
        done = trim(store, "--all", "--max-items", "1", "--yes")
        assert "from 3 sessions in " in done.text
        assert "beyond      4 sessions: the newest turns are never touched" in done.text

    def test_names_and_records_of_a_dry_run(self, store: Path) -> None:
        wanted = ("--all", "--keep-turns", "5", "-n", "-o")
        assert sorted(trim(store, *wanted, "name").text.splitlines()) == ["day", "two days", "waits"]
        records = [json.loads(line) for line in trim(store, *wanted, "jsonl").text.splitlines()]
        assert {record["session_id"]: record["items"] for record in records} == {"day": 20, "two days": 20, "waits": 24}

    def test_several_stores(self, store: Path, tmp_path: Path) -> None:
        other = write_sessions(tmp_path / "other.db", {"other": turns(*range(TURNS))})
        age(other, {"other": DAY})
        report = in_process(
            "trim", "-s", store, "-s", other, "--all", "--max-share", "1", "--keep-turns", "5", "--yes", "-o", "json"
        ).json
        assert (report["changed"], report["removed"]["items"]) == ({"sessions": 4}, 84)
        assert [each["changed"]["sessions"] for each in report["stores"]] == [3, 1]
        assert report["tokens"]["removed"] > 0

    def test_runs_tell_it(self, store: Path) -> None:
        report = trim(store, "--id", "day", "--keep-turns", "3", "--yes", "-o", "json").json
        listed = in_process("runs", "list").text
        assert re.search(rf"{report['run_id']} .* trim .* ~1 ", listed)
        assert "changed    1 sessions" in in_process("runs", "show", report["run_id"]).text


class TestQuestion:
    def test_names_what_goes(self, store: Path) -> None:
        child = on_terminal("trim", "-s", store, "--id", "day", "--keep-turns", "4", columns=300)
        child.expect(r"Remove 24 items from 1 session in .*store.db\? This cannot be undone. \[y/N\] ")
        child.sendline("n")
        child.expect(pexpect.EOF)
        child.close()
        assert (child.exitstatus, item_counts(store)["day"]) == (2, 40)

    def test_needs_yes_without_a_terminal(self, store: Path) -> None:
        done = trim(store, "--id", "day", "--keep-turns", "4")
        assert (done.status, item_counts(store)["day"]) == (2, 40)


class TestRefused:
    @pytest.mark.parametrize(
        ("arguments", "why"),
        [
            (["--all"], "no limit is set"),
            (["--keep-turns", "5"], "needs a selector or an id"),
            (["--all", "--min-turns", "5"], "no limit is set"),
            (["--all", "--keep-turns", "0"], "keep-turns"),
            (["--all", "--keep-turns", "5", "--min-turns", "0"], "min-turns"),
            (["--all", "--max-bytes", "much"], "is not a size"),
            (["--all", "--keep-turns", "5", "--drop-after", "2026-01-01"], "does not go with what is for the oldest"),
            (["--all", "--min-turns", "5", "--drop-after", "2026-01-01"], "does not go with what is for the oldest"),
            (["--all", "--drop-after", "2026-13-01"], "is not a time"),
            (["--match", "*", "--drop-after", "17"], "name it with --id"),
            (["--all", "--keep-turns", "5", "--include-pending"], "goes with --drop-after"),
            (["--match", "*", "--keep-turns", "5", "--min-idle", "0"], "needs --id"),
            (["--id", "day", "--keep-turns", "5", "--archive", "x", "--no-archive"], "exclude each other"),
            (["--id", "day", "--keep-turns", "5", "-o", "csv"], "is not for this command"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_before_anything_is_read(self, store: Path, arguments: list[str], why: str) -> None:
        before = store.read_bytes()
        done = trim(store, *arguments, "--yes")
        assert (done.status, done.out) == (2, b""), done.said
        assert why in " ".join(done.said.split())
        assert store.read_bytes() == before

    def test_more_than_half_of_a_store(self, tmp_path: Path) -> None:
        path = write_sessions(tmp_path / "many.db", {f"s{n}": turns(*range(4)) for n in range(20)})
        age(path, {f"s{n}": DAY for n in range(20)})
        assert trim(path, "--match", "s1*", "--match", "s2", "--keep-turns", "2", "--yes").status == 2
        done = trim(path, "--all", "--max-share", "1", "--keep-turns", "2", "--yes", "-o", "json")
        assert (done.status, done.json["changed"]) == (0, {"sessions": 20})


class TestSkipped:
    def test_active_sessions(self, store: Path) -> None:
        age(store, {"day": 60})
        done = trim(store, "--all", "--keep-turns", "3", "--yes", "-o", "json")
        assert (done.status, done.json["skipped"]["active"], item_counts(store)["day"]) == (0, 1, 40)
        assert trim(store, "--id", "day", "--keep-turns", "3", "--yes").status == 3
        assert trim(store, "--id", "day", "--keep-turns", "3", "--min-idle", "0", "--yes").status == 0
        assert item_counts(store)["day"] == 12

    def test_held_sessions(self, store: Path) -> None:
        in_process("hold", "add", "-s", store, "--id", "day", "--reason", "court")
        done = trim(store, "--all", "--keep-turns", "3", "--yes", "-o", "json")
        assert (done.status, done.json["skipped"]["held"], item_counts(store)["day"]) == (0, 1, 40)

    def test_missing_ones(self, store: Path) -> None:
        done = trim(store, "--id", "nobody", "--id", "day", "--keep-turns", "3", "--yes", "-o", "json")
        assert (done.status, done.json["skipped"]["missing"], done.json["changed"]["sessions"]) == (0, 1, 1)


class TestShorter:
    def test_large_outputs_of_old_turns(self, store: Path) -> None:
        large = [{**item, "output": "rain " * 1000} if "output" in item else item for item in turns(*range(TURNS))]
        write_sessions(store, {"large": large})
        age(store, {"large": DAY})
        done = trim(store, "--all", "--elide-tool-output", "1KiB", "--yes", "-o", "json")
        report = done.json
        assert (done.status, report["removed"]["items"]) == (0, 0)
        assert (report["changed"], report["elided"]) == ({"sessions": 1}, {"items": 8})
        assert report["removed"]["bytes"] > 8 * 4800
        after = read(store, "large")
        outputs = [item["output"] for item in after if "output" in item]
        assert all(
            re.fullmatch(r"\[removed by sessionctl: .*4.88 KiB, sha256 [0-9a-f]{64}\]", said) for said in outputs[:8]
        )
        assert outputs[8:] == ["rain " * 1000] * 2
        assert [{**item, "output": ""} if "output" in item else item for item in after] == [
            {**item, "output": ""} if "output" in item else item for item in large
        ]
        again = trim(store, "--all", "--elide-tool-output", "1KiB", "--yes", "-o", "json").json
        assert again["changed"] == {"sessions": 0}

    def test_with_limits_in_one_go(self, store: Path) -> None:
        large = [{**item, "output": "rain " * 1000} if "output" in item else item for item in turns(*range(TURNS))]
        write_sessions(store, {"large": large})
        age(store, {"large": DAY})
        wanted = ("--id", "large", "--keep-turns", "5", "--min-turns", "3", "--elide-tool-output", "1KiB")
        said = trim(store, *wanted, "-n").text
        assert "no output, image or file larger than 1 KiB" in said
        assert "removes     20 items, 2 items elided, " in said
        report = trim(store, *wanted, "--yes", "-o", "json").json
        assert (report["removed"]["items"], report["changed"], report["elided"]) == (20, {"sessions": 1}, {"items": 2})
        outputs = [item["output"] for item in read(store, "large") if "output" in item]
        assert [len(said) > 1000 for said in outputs] == [False, False, True, True, True]


class TestNewestTurns:
    def test_behind_an_item(self, store: Path) -> None:
        found = in_process("inspect", "day", "-s", store, "-o", "json").json
        item = found["turns"][6]["items"][1]["id"]
        done = trim(store, "--id", "day", "--drop-after", str(item), "--yes", "-o", "json")
        assert (done.status, done.json["removed"]["items"]) == (0, 12)
        assert read(store, "day") == turns(*range(7))

    def test_from_a_time_on(self, store: Path) -> None:
        write_sessions(store, {"day": [user("late"), assistant("later")]})
        an_hour_ago = format_second(datetime.now(UTC) - timedelta(hours=1))
        done = trim(store, "--id", "day", "--drop-after", an_hour_ago, "--min-idle", "0", "--yes", "-o", "json")
        assert (done.status, done.json["removed"]["items"]) == (0, 2)
        assert read(store, "day") == turns(*range(TURNS))

    def test_a_pending_approval(self, store: Path) -> None:
        item = str(in_process("inspect", "waits", "-s", store, "-o", "json").json["turns"][-2]["items"][-1]["id"])
        done = trim(store, "--id", "waits", "--drop-after", item, "--yes")
        assert (done.status, item_counts(store)["waits"]) == (3, 42)
        assert "a call waits for its approval or its output" in done.text
        assert trim(store, "--id", "waits", "--drop-after", item, "--include-pending", "--yes").status == 0
        assert read(store, "waits") == turns(*range(TURNS))

    def test_no_such_item(self, store: Path) -> None:
        done = trim(store, "--id", "day", "--drop-after", "99999", "--yes")
        assert (done.status, "no such item" in done.text) == (3, True)
