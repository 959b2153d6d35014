"""JSON Lines: every record is strict JSON, and the item in it is the stored one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, cast

import pytest
from exporting import session, written
from hypothesis import given
from hypothesis import strategies as st

from sessionctl.core.joined import JoinedItems, joined
from sessionctl.core.payload import read_item
from sessionctl.export.formats import Format
from sessionctl.export.jsonl import record_of
from sessionctl.testing.case import BROKEN_TEXTS, HOSTILE_IDS, HOSTILE_ITEMS, assistant, turn, user

KEYS = ["session_id", "position", "id", "created_at", "type", "role"]


def strict(line: bytes) -> Any:
    def refuse(constant: str) -> Any:
        raise AssertionError(constant)

    return json.loads(line, parse_constant=refuse)


def records(*texts: Any) -> list[Any]:
    data = written(Format.JSONL, session("s", texts))
    assert data.endswith(b"\n")
    lines = data[:-1].split(b"\n")
    assert len(lines) == len(texts)
    return [strict(line) for line in lines]


def test_records() -> None:
    found = records(*turn(3))
    assert [list(record) for record in found] == [[*KEYS, "data"]] * 4
    assert [record["data"] for record in found] == turn(3)
    assert [record["position"] for record in found] == [0, 1, 2, 3]
    assert [record["id"] for record in found] == [1, 2, 3, 4]
    assert {record["created_at"] for record in found} == {"2026-01-01T10:00:00Z"}
    assert [(record["type"], record["role"]) for record in found] == [
        ("message", "user"),
        ("function_call", None),
        ("function_call_output", None),
        ("message", "assistant"),
    ]


@pytest.mark.parametrize("name", HOSTILE_ITEMS)
def test_hostile_items(name: str) -> None:
    text = json.dumps(HOSTILE_ITEMS[name])
    [record] = records(text)
    if name == "nan":  # only Python reads it
        assert record["text"] == text
        assert "data" not in record
    else:
        assert record["data"] == HOSTILE_ITEMS[name]


@pytest.mark.parametrize(
    ("name", "place"), {"broken": "text", "number": "data", "array": "data", "empty": "text"}.items()
)
def test_broken_texts(name: str, place: str) -> None:
    text = BROKEN_TEXTS[name]
    [record] = records(text)
    assert record[place] == (text if place == "text" else json.loads(text))
    assert len(record) == len(KEYS) + 1


@pytest.mark.parametrize(
    "text",
    [
        '{"role": "user", "content": "bytes \udcff that are no UTF-8"}',
        '{"n": ' + "9" * 5000 + "}",
        "[" * 5000 + "]" * 5000,
        '{"n": -Infinity}',
        '{"type": "message", "type": 5, "role": [], "x": NaN}',
    ],
)
def test_what_others_cannot_read_stands_as_a_string(text: str) -> None:
    [record] = records(text)
    assert record["text"] == text


def test_line_breaks_between_tokens() -> None:
    item = user("one\ntwo")
    [record] = records(json.dumps(item, indent=2).replace("\n", "\r\n"))
    assert record["data"] == item


@pytest.mark.parametrize("session_id", HOSTILE_IDS.values())
def test_ids_and_stores(session_id: str) -> None:
    [line] = written(Format.JSONL, session(session_id, [user("hi")], several=True)).splitlines()
    assert list(strict(line)) == ["store", *KEYS, "data"]
    assert strict(line)["session_id"] == session_id


def test_a_session_without_items_has_no_records() -> None:
    assert written(Format.JSONL, session("s", [])) == b""


def test_more_than_one_write() -> None:
    items = [assistant("x" * 100_000) for _ in range(30)]
    assert [record["data"] for record in records(*items)] == items


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["type", "role", "content"]), inner),
)


@given(_JSON, st.booleans())
def test_any_json(value: Any, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    [record] = records(text)
    kept = record["data"] if "data" in record else json.loads(record["text"])
    assert json.dumps(kept) == json.dumps(json.loads(text))
    assert (record["type"], record["role"]) == (read_item(text).type, read_item(text).role)


@given(st.text(st.characters(codec="utf-8")) | st.text('{}[]":,\\ueE0.-\n tf'))
def test_any_text(text: str) -> None:
    head, data = record_of(text)
    record = strict(f"{{{head[1:]}{data}}}".encode())
    assert "\n" not in data
    assert record["text"] == text if "text" in record else record["data"] == json.loads(text)


FOOLING = [
    '{"role":"user","content":1}', '{"type":"x","a":[1', "2]}", '{"type":"x"} {"type":"y"}',
    '{"type":"x"},{"type":"y"}',
    "", " ", '{"type":"x"}\r', '{"a":1}', '{"type":"","role":"","content":1}', '{"type":"x","é":"\u2028\\ud800"}',
    '{"type":"x","n":' + "1" * 4301 + "}", '{"type":"x","type":"y"}', '{"type":"x","a":NaN}', '\ufeff{"type":"x"}',
    '{"type":"x","a":' + "[" * 3000 + "]" * 3000 + "}", '{"type":"x","a":"\x01"}', '{"type":"\\ud800"}', "null", "[]",
    *(json.dumps(item) for item in HOSTILE_ITEMS.values()), *BROKEN_TEXTS.values(),
]  # fmt: skip
"""Texts that must be looked at one by one, or only seem so, without a line break of their own."""


def at_once(texts: list[str]) -> bytes:
    """A document of items that came together, of which the records are made together where that can be."""
    keys, stamps = (
        b",".join(b"%d" % n for n in range(1, len(texts) + 1)),
        b"\n".join([b"2026-01-01 10:00:00"] * len(texts)),
    )
    items = joined(keys, stamps, "\n".join(texts).encode())
    assert isinstance(items, JoinedItems)
    return written(Format.JSONL, replace(session("s", []), items=cast("Any", items)))


@given(st.lists(st.sampled_from(FOOLING), min_size=1, max_size=5))
def test_records_are_the_same_of_items_that_came_together(texts: list[str]) -> None:
    assert at_once(texts) == written(Format.JSONL, session("s", texts))


def test_a_number_too_long_for_python_is_found_wherever_it_stands() -> None:
    for before in (*range(440), 100_000):
        text = f'{{"type":"x","{"k" * before}":{"1" * 4301}}}'
        assert json.loads(record_of(text)[1]) == text
        [record] = map(strict, at_once([text]).splitlines())
        assert record["text"] == text
        assert record_of(text.replace("1" * 4301, "1" * 4300))[1].startswith("{")


def test_two_broken_texts_that_complete_each_other_stay_broken() -> None:
    texts = ['{"type":"x"}{"type":', '"y"}']
    assert at_once(texts) == written(Format.JSONL, session("s", texts))
    assert [record["text"] for record in map(strict, at_once(texts).splitlines())] == texts


@pytest.mark.parametrize("text", FOOLING)
def test_records_are_the_same_beside_usual_ones(text: str) -> None:
    usual = [json.dumps(item, ensure_ascii=False) for item in turn(3)]
    assert at_once([*usual, text, *usual]) == written(Format.JSONL, session("s", [*usual, text, *usual]))
