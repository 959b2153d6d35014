"""stats: the totals are SQL's, for one store and for many, whatever the form."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path

import pytest
from operating import DAY, in_process, store_of, write_sessions

from sessionctl.testing.case import turn, user


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    directory = tmp_path / "fleet"
    directory.mkdir()
    store_of(directory / "a.db", {f"a{n}": n * DAY for n in range(30)})
    write_sessions(directory / "b.db", {"big": [user("x" * 50_000)], "small": turn(1)})
    (directory / "notes.txt").write_text("no store")
    return directory


def by_sql(path: Path) -> tuple[int, int, int]:
    sums = "count(*), sum(length(CAST(message_data AS BLOB)))"
    query = f"SELECT (SELECT count(*) FROM agent_sessions), {sums} FROM agent_messages"
    with contextlib.closing(sqlite3.connect(path)) as db:
        sessions, items, size = db.execute(query).fetchone()
        return sessions, items, size


def totals(found: dict[str, object]) -> tuple[object, ...]:
    counted = found.get("totals", found)
    assert isinstance(counted, dict)
    return tuple(counted[key] for key in ("sessions", "items", "bytes"))


def test_one_store(fleet: Path) -> None:
    done = in_process("stats", "-s", fleet / "a.db", "-o", "json")
    assert done.status == 0
    assert next(iter(done.json)) == "schema"
    assert totals(done.json) == by_sql(fleet / "a.db")


def test_a_fleet_is_the_sum_of_its_stores(fleet: Path) -> None:
    done = in_process("stats", "-s", fleet, "-o", "json")
    assert done.status == 0
    assert "1 other files" in done.said
    parts = [by_sql(fleet / name) for name in ("a.db", "b.db")]
    assert totals(done.json) == tuple(map(sum, zip(*parts, strict=True)))
    assert [totals(part) for part in done.json["stores"]] == parts
    lines = in_process("stats", "-s", fleet, "-o", "jsonl").text.splitlines()
    assert [totals(json.loads(line)) for line in lines] == parts


def test_selectors(fleet: Path) -> None:
    done = in_process("stats", "-s", fleet / "a.db", "--older-than", "20d", "-o", "json")
    assert totals(done.json)[:2] == (10, 40)
    none = in_process("stats", "-s", fleet / "a.db", "--match", "nobody", "-o", "json")
    assert (none.status, totals(none.json)) == (0, (0, 0, 0))
    assert in_process("stats", "-s", fleet / "a.db", "--match", "nobody").status == 0


def test_a_broken_store_is_told(fleet: Path) -> None:
    (fleet / "b.db").write_bytes((fleet / "b.db").read_bytes()[:5000])
    done = in_process("stats", "-s", fleet, "-o", "json")
    assert done.status == 3
    assert totals(done.json) == by_sql(fleet / "a.db")
    assert [part["error"]["code"] for part in done.json["stores"] if "error" in part] == ["store_unavailable"]
    assert in_process("stats", "-s", fleet).status == 3


def test_all_broken(fleet: Path) -> None:
    for name in ("a.db", "b.db"):
        (fleet / name).write_bytes((fleet / name).read_bytes()[:5000])
    for form in ("json", "table", "jsonl"):
        done = in_process("stats", "-s", fleet, "-o", form)
        assert done.status == 3, done.said
        assert "unforeseen" not in done.said


def test_an_empty_store(tmp_path: Path) -> None:
    path = write_sessions(tmp_path / "store.db", {"x": turn(1)})
    assert in_process("purge", "-s", path, "--id", "x", "--min-idle", "0", "--yes").status == 0
    done = in_process("stats", "-s", path, "-o", "json")
    assert (done.status, totals(done.json)) == (0, (0, 0, 0))
    assert in_process("stats", "-s", path).status == 0
    assert in_process("list", "-s", path).status == 0


@pytest.mark.parametrize("form", ["csv", "name"])
def test_forms_that_make_no_sense(fleet: Path, form: str) -> None:
    assert in_process("stats", "-s", fleet, "-o", form).status == 2
