"""Ids and texts that attack the terminal, the shell or the parser: shown safely, counted, passed on exactly."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sqlite3
from pathlib import Path

import pytest
from operating import DAY, age, in_process, sessionctl, shown_on_terminal, stray_controls, write_sessions

from sessionctl.testing.case import BROKEN_TEXTS, HOSTILE_IDS, HOSTILE_ITEMS, turn

IDS = {
    **HOSTILE_IDS,
    "title": "\x1b]0;pwned\x07",
    "csi": "a\x1b[2J\x1b[31mb",
    "c1": "c\x9b31md\x90e\x9c",
    "c1-osc": "\x9d0;t\x9c",
    "del": "x\x7fy",
    "bell": "\x07\x08\x0b\x0c\x0e",
    "cr": "overwritten\rshown",
    "dashes": "--help",
    "dash": "-o",
    "long": "長い" * 500,
    "link": "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "spaces": "  padded  ",
    "comma": 'a,b;"c"\td',
    "markup": "[red]not red[/red] [link=x]",
    "zwj": "a\u200bb\u2066c\ufeff",
}
TOOL = "\x1b]0;tool\x07\x9b2J"
BAD_TEXT = {"role": "user", "content": "said \x1b]0;title\x07 \x9b31m \x1b[2J \x7f \u202e hostile"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hostile") / "store.db"
    sessions = {session_id: turn(number) for number, session_id in enumerate(IDS.values())}
    call = {"type": "function_call", "call_id": "\x1b[5mc", "name": TOOL, "arguments": '{"x": "\x1b[2J"'}
    output = {"type": "function_call_output", "call_id": "\x1b[5mc", "output": "\x9b2J\x1b]0;x\x07 Error: \x1bc"}
    sessions |= {"texts": [BAD_TEXT, call, output], "all": list(HOSTILE_ITEMS.values())}
    write_sessions(path, sessions)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        broken = [
            *BROKEN_TEXTS.values(),
            "\x1b]0;raw\x07",
            "\x00",
            '{"role": "\x9b", "content": {"a": [1]}}',
            "NaN",
            "{}",
        ]
        rows = [("broken", text) for text in broken] + [("broken", b'{"role": "user", "content": "\xff\xfe"}')]
        db.execute("INSERT INTO agent_sessions (session_id) VALUES ('broken')")
        db.executemany("INSERT INTO agent_messages (session_id, message_data) VALUES (?, ?)", rows)
        db.execute("INSERT INTO agent_sessions (session_id) VALUES (CAST(? AS TEXT))", (b"bytes \xff\x9b",))
    age(path, dict.fromkeys((*sessions, "broken"), 40 * DAY))
    return path


COUNT = len(IDS) + 4
TERMINAL = [
    *(("list", "-o", form, "--limit", "0") for form in ("table", "wide", "json", "jsonl", "csv", "name")),
    ("list", "--search", "hostile"),
    ("list", "--search", "title", "-o", "csv"),
    *(("stats", "-o", form) for form in ("table", "wide", "json")),
    *(("doctor", *flags) for flags in ((), ("-o", "json"), ("-o", "jsonl"), ("--fix", "unreadable", "-n"))),
    *(("purge", "--all", "--max-share", "1", "-n", "-o", form) for form in ("table", "json", "jsonl", "name")),
    *(("inspect", name, *flags) for name in ("texts", "all", "broken") for flags in ((), ("-o", "json"), ("--raw",))),
    ("inspect", IDS["title"]),
    ("inspect", "no\x1b]0;such\x07\x9bsession"),
    ("purge", "--match", "\x1b]0;*\x07", "--exclude", "\x9b*", "-n"),
    ("list", "-s", "no\x1b]0;such\x07\x9bfile.db"),
]


@pytest.mark.parametrize("command", TERMINAL, ids=lambda command: ascii(" ".join(command))[:60])
def test_nothing_stored_acts_on_a_terminal(store: Path, command: tuple[str, ...]) -> None:
    where = () if "-s" in command else ("-s", store)
    done = shown_on_terminal(*command, *where)
    assert done.out
    assert stray_controls(done.out) == [], done.out
    assert "\u202e" not in done.out.decode()
    assert b"Traceback" not in done.out
    assert b"unforeseen" not in done.out


def test_the_check_itself_sees_what_it_must() -> None:
    assert stray_controls(b"\x1b[1mbold\x1b[0m\r\n") == []
    for bad in (b"\x1b]0;t\x07", b"\x1b[2J", b"\xc2\x9b", b"\x07", b"\x7f", b"\x1bc", b"\x1b[5;1H"):
        assert stray_controls(b"x" + bad), bad


class TestInAPipe:
    def test_json_has_every_id_exactly(self, store: Path) -> None:
        listed = in_process("list", "-s", store, "-o", "json")
        assert listed.status == 0
        ids = {session["session_id"] for session in listed.json["sessions"]}
        assert ids == {*IDS.values(), "texts", "all", "broken", "bytes \udcff\udc9b"}
        assert listed.out.isascii()
        assert stray_controls(listed.out) == []

    def test_csv_keeps_bytes(self, store: Path) -> None:
        text = in_process("list", "-s", store, "-o", "csv").out.decode(errors="surrogateescape")
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        assert len(rows) == COUNT
        assert {row["session_id"] for row in rows} >= set(IDS.values())

    def test_names_survive_the_way_from_list_to_purge(self, store: Path) -> None:
        names = sessionctl("list", "-s", store, "-o", "name", "--null")
        assert names.out.count(b"\0") == COUNT
        again = sessionctl(
            "purge", "-s", store, "--ids-from", "-", "--null", "--dry-run", "-o", "name", stdin=names.out
        )
        wanted = set(names.out.split(b"\0")) - {b"bytes \xff\x9b"}  # never aged: it is active
        assert set(again.out.split(b"\0")) == wanted
        assert again.status == 3

    @pytest.mark.parametrize("name", sorted(IDS))
    def test_each_id_can_be_named(self, store: Path, name: str) -> None:
        done = in_process("purge", "-s", store, f"--id={IDS[name]}", "-n", "-o", "json")
        assert (done.status, done.json["matched"]["sessions"]) == (0, 1)
        shown = in_process("inspect", "-s", store, "-o", "json", "--", IDS[name])
        assert (shown.status, shown.json["session"]["session_id"]) == (0, IDS[name])
        literal = "".join("?" if c in "*?" else c for c in IDS[name])
        assert (
            in_process("purge", "-s", store, f"--match={literal}", "-n", "-o", "json").json["matched"]["sessions"] >= 1
        )

    def test_an_id_after_its_option_may_begin_with_dashes(self, store: Path) -> None:
        done = in_process("purge", "-s", store, "--id", "--help", "-n", "-o", "name", "--null")
        assert done.out == b"--help\0"


class TestTexts:
    def test_are_counted_to_the_byte(self, store: Path) -> None:
        with contextlib.closing(sqlite3.connect(store)) as db:
            query = (
                "SELECT session_id, count(*), sum(length(CAST(message_data AS BLOB))) FROM agent_messages GROUP BY 1"
            )
            counts = {session_id: (items, size) for session_id, items, size in db.execute(query)}
        listed = in_process("list", "-s", store, "-o", "json").json["sessions"]
        found = {one["session_id"]: (one["items"], one["bytes"]) for one in listed if one["items"]}
        assert found == counts
        totals = in_process("stats", "-s", store, "-o", "json").json
        assert json.dumps(totals)

    def test_inspect_tells_them_all(self, store: Path) -> None:
        for name, count in (("all", len(HOSTILE_ITEMS)), ("broken", 10)):
            shown = in_process("inspect", "-s", store, name, "-o", "json")
            assert shown.status == 0, shown.said
            assert sum(len(turn["items"]) for turn in shown.json["turns"]) == count
            assert shown.out.isascii()

    def test_are_found_by_what_was_said(self, store: Path) -> None:
        found = in_process("list", "-s", store, "--search", "\x1b]0;title", "-o", "json").json["sessions"]
        assert [one["session_id"] for one in found] == ["texts"]


def test_deleted_for_good(tmp_path: Path) -> None:
    path = write_sessions(tmp_path / "store.db", {session_id: turn(1) for session_id in IDS.values()})
    age(path, dict.fromkeys(IDS.values(), 40 * DAY))
    keep = min(IDS.values())
    done = in_process(
        "purge", "-s", path, "--older-than", "30d", f"--exclude={keep}", "--max-share", "1", "--yes", "-o", "json"
    )
    assert (done.status, done.json["removed"]["sessions"]) == (0, len(IDS) - 1), done.said
    with contextlib.closing(sqlite3.connect(path)) as db:
        for table in ("agent_sessions", "agent_messages"):
            assert db.execute(f"SELECT DISTINCT session_id FROM {table}").fetchall() == [(keep,)]
