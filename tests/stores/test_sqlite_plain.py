"""Items of a SQLite file come as such and, at less cost, as plain rows: an export is the same of both, to the byte."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from acceptance.transcripts import read_transcripts
from exporting import written
from hypothesis import given
from hypothesis import strategies as st
from operating import DAY, store_of

from sessionctl.core.address import parse_address
from sessionctl.core.joined import JoinedItems
from sessionctl.core.model import Order, Room
from sessionctl.core.record import ItemsInStore, rfc3339
from sessionctl.core.selector import Query
from sessionctl.export.base import Exported
from sessionctl.export.formats import Format
from sessionctl.operations.rendering import only_named
from sessionctl.stores import open_store
from sessionctl.stores.sqlite.whole import stored_stamp
from sessionctl.testing.case import BROKEN_TEXTS, HOSTILE_IDS, HOSTILE_ITEMS

STAMP = "2026-01-01 10:00:00"
STAMPS = [
    STAMP, STAMP, "2026-01-01 10:00:00.000120", "2026-01-01T10:00:00", "2026-01-01T10:00:00+02:00",
    "2026-02-30 10:00:00", "2026-01-01 24:00:00", "0001-01-01T00:00:00+05:00", "9999-12-31 23:59:59",
    "2026-W05-1 10:00:00", "yesterday", "", None, 1767261600, 1.5, b"2026-01-01 10:00:00", b"\xff",
]  # fmt: skip
TEXTS: list[Any] = [
    *(json.dumps(item) for item in HOSTILE_ITEMS.values()),
    *(json.dumps(item, ensure_ascii=False).encode("utf-8", "replace") for item in HOSTILE_ITEMS.values()),
    *BROKEN_TEXTS.values(),
    *('{"role": "user",\n "content": "é"}', '{"role":"user","content":"\x00"}', "\x00", "", " ", "[]", "12", "null"),
    *(b'{"type": "message", "content": "\xff"}', b"\xf0\x9f\x98", 17, 1.5, '{"type": "", "role": "", "content": 1}'),
]


def put(path: Path, rows: Iterable[tuple[str, Any, Any]]) -> Path:
    """A file of SQLiteSession with these items (session, stamp, text), of whatever kind."""
    store_of(path, {"s": DAY})
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("DELETE FROM agent_messages")
        for session_id, stamp, text in rows:
            me = session_id.encode("utf-8", "surrogateescape")
            db.execute("INSERT OR IGNORE INTO agent_sessions (session_id) VALUES (CAST(? AS TEXT))", (me,))
            item = "INSERT INTO agent_messages (session_id, created_at, message_data) VALUES (CAST(? AS TEXT), ?, {})"
            # Octets are what no application's text could be; every other one stays a BLOB.
            cast = isinstance(text, bytes) and len(text) % 2
            db.execute(item.format("CAST(? AS TEXT)" if cast else "?"), (me, stamp, text))
    return path


def both(path: Path) -> tuple[bytes, bytes, int]:
    """The export from plain rows, of either way to have them, the one from items, and how many items these were."""
    plain, usual, count = [], [], 0
    with open_store(parse_address(str(path))) as store:
        ids = [ref.id for ref in store.sessions(Query(), order=Order.PHYSICAL)]
        contents = [
            written(Format.JSONL, Exported(store=str(store.address), session=only_named(session_id), items=items))  # type: ignore[arg-type]
            for session_id, items in store.contents(ids)
        ]
        for session, items in store.whole(ids):
            exported = Exported(store=str(store.address), session=session, items=items)
            assert isinstance(items, ItemsInStore)
            plain.append(written(Format.JSONL, exported))
            listed = list(items)
            count += len(listed)
            usual.append(written(Format.JSONL, replace(exported, items=listed)))
    assert contents == plain
    return b"".join(plain), b"".join(usual), count


def test_hostile_items_are_the_same_either_way(tmp_path: Path) -> None:
    rows = [("hostile", STAMPS[number % len(STAMPS)], text) for number, text in enumerate(TEXTS)]
    rows += [(session_id, STAMP, TEXTS[0]) for session_id in HOSTILE_IDS]
    rows += [("stamps", stamp, TEXTS[0]) for stamp in STAMPS]
    plain, usual, count = both(put(tmp_path / "store.db", rows))
    assert plain == usual
    assert count == plain.count(b"\n") == len(rows)


def test_each_hostile_item_is_the_same_beside_usual_ones(tmp_path: Path) -> None:
    usual = json.dumps(next(iter(HOSTILE_ITEMS.values())))
    rows = [
        (f"{kind}{number}", *item)
        for kind, hostile in (("text", [(STAMP, text) for text in TEXTS]), ("stamp", [(at, usual) for at in STAMPS]))
        for number, odd in enumerate(hostile)
        for item in ((STAMP, usual), odd, (STAMP, usual))
    ]
    plain, usual_ones, count = both(put(tmp_path / "store.db", rows))
    assert plain == usual_ones
    assert count == len(rows)


def test_usual_items_come_together(tmp_path: Path) -> None:
    odd = {
        "several": (STAMP, '{"a":\n1}'), "fraction": ("2026-01-01 10:00:00.5", "{}"),
        "thirtieth": ("2026-02-30 10:00:00", "{}"), "unstamped": (None, "{}"), "octets": (STAMP, b'{"a":"\xff"}'),
    }  # fmt: skip
    rows = [(name, *item) for name, item in odd.items()]
    rows += [("usual", STAMP, '{"role": "user", "content": "é"}'), ("usual", "2026-01-01 09:00:00", "{"), *many("many")]
    with open_store(parse_address(str(put(tmp_path / "store.db", rows)))) as store:
        found = dict(store.contents(["usual", "many", *odd, "s"]))
        together = {name for name, items in found.items() if isinstance(items, JoinedItems)}
    assert together == {"usual", "s"}


def many(session_id: str) -> list[tuple[str, Any, Any]]:
    return [(session_id, STAMP, "{}")] * 200


def test_what_stands_behind_many_others_is_the_same_either_way(tmp_path: Path) -> None:
    rows: list[tuple[str, Any, Any]] = [("s", STAMP, json.dumps({"role": "user", "content": n})) for n in range(450)]
    rows[210:210] = rows[400:400] = [("s", STAMP, b'{"role": "user", "content": "\xff"}')]
    plain, usual, count = both(put(tmp_path / "store.db", rows))
    assert plain == usual
    assert count == len(rows)


def test_real_transcripts_are_the_same_either_way(tmp_path: Path) -> None:
    rows = [(one.session_id, STAMP, json.dumps(item)) for one in read_transcripts() for item in one.items]
    plain, usual, count = both(put(tmp_path / "store.db", rows))
    assert plain == usual
    assert count == len(rows)


def octets(text: Any) -> bytes:
    """What is stored of one of ``TEXTS``."""
    return text if isinstance(text, bytes) else str(text).encode("utf-8", "surrogateescape")


def test_texts_with_a_nul_are_found_and_no_others(tmp_path: Path) -> None:
    texts = [*TEXTS, b"\x00", b"a\x00b", b"ab\x00", b"\xff\x00\xff", b"\xc3"]
    path = put(tmp_path / "store.db", [(f"of text {number}", STAMP, text) for number, text in enumerate(texts)])
    with open_store(parse_address(str(path))) as store:
        found = {session_id for session_id, _ in store.outsized(Room(takes_nul=False))}
    assert found == {f"of text {number}" for number, text in enumerate(texts) if b"\0" in octets(text)}


def test_in_a_file_of_utf_16_too(tmp_path: Path) -> None:
    path, texts = tmp_path / "store.db", {"plain": '{"content": "é😀"}', "not": '{"content": "\x00"}'}
    usual = put(tmp_path / "usual.db", [])
    with contextlib.closing(sqlite3.connect(usual)) as made, contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA encoding = 'UTF-16'")
        for (statement,) in made.execute("SELECT sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite%'"):
            db.execute(statement)
        db.executemany("INSERT INTO agent_sessions (session_id) VALUES (?)", [(name,) for name in texts])
        db.executemany("INSERT INTO agent_messages (session_id, message_data) VALUES (?, ?)", texts.items())
    with open_store(parse_address(str(path))) as store:
        assert [session_id for session_id, _ in store.outsized(Room(takes_nul=False))] == ["not"]


@given(st.datetimes().map(str) | st.text("0123456789-: .TW+Z", max_size=26) | st.text())
def test_a_stamp_tells_alone_what_it_tells_with_its_instant(stored: str) -> None:
    assert rfc3339(stored, None) == rfc3339(*stored_stamp(stored.encode("utf-8", "surrogatepass")))


@pytest.mark.parametrize("stored", STAMPS)
def test_so_do_stamps_of_other_kinds(stored: Any) -> None:
    text, at = stored_stamp(stored)
    assert rfc3339(text, None) == rfc3339(text, at)
