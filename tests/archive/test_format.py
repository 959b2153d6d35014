"""What goes into an archive comes out of it, whatever it is."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from archives import SMALL, archive, content_of, header, item, session
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionctl.archive import format as form
from sessionctl.archive.codecs import Compression
from sessionctl.archive.items import decode_item, encode_items
from sessionctl.archive.reader import ArchiveReader, verify
from sessionctl.archive.writer import create_archive
from sessionctl.core.record import SessionRecord, Stamps, StoredItem

ANY_TEXT = st.text(st.characters(exclude_categories=()))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=8,
)
STORED = st.one_of(
    ANY_TEXT,
    st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")),
    st.builds(lambda value, ascii_only: json.dumps(value, ensure_ascii=ascii_only), JSON, st.booleans()),
    st.builds(lambda value, blank: blank + json.dumps(value, indent=1) + blank, JSON, st.sampled_from(" \t\r\n")),
    st.sampled_from(
        ["", " ", "1,", '1,"data":2', '},"data":{', '{"a":1}}', '"\\ud83d"', "[1", '{"x":NaN}', "1e999", "-0", "\x00"]
    ),
)
STAMP = st.none() | ANY_TEXT
ITEMS = st.lists(
    st.builds(StoredItem, st.none() | st.integers() | ANY_TEXT, STAMP, STAMP, STORED),
    max_size=6,
)
SESSIONS = st.builds(
    SessionRecord,
    id=ANY_TEXT,
    version=ANY_TEXT,
    stamps=st.builds(Stamps, created=STAMP, updated=STAMP, created_at=STAMP, updated_at=STAMP),
    extras=st.dictionaries(ANY_TEXT, st.lists(st.none() | st.integers() | ANY_TEXT, max_size=2), max_size=2),
    part=st.none() | st.dictionaries(st.integers(), ANY_TEXT, max_size=2),
)


@settings(max_examples=150, deadline=None)
@given(content=st.lists(st.tuples(SESSIONS, ITEMS), max_size=4, unique_by=lambda pair: pair[0].id), how=st.data())
def test_a_round_trip_keeps_everything(
    tmp_path_factory: pytest.TempPathFactory,
    content: Sequence[tuple[SessionRecord, list[StoredItem]]],
    how: st.DataObject,
) -> None:
    compression = how.draw(st.sampled_from(list(Compression)))
    path = tmp_path_factory.mktemp("archive") / "a"
    sealed = archive(path, content, compression)
    assert content_of(path) == list(content)
    assert sealed.counts.items == sum(len(items) for _, items in content)


@given(text=STORED)
@settings(max_examples=300)
def test_a_line_shows_the_text_as_a_slice_or_as_a_string(text: str) -> None:
    """Any JSON parser reads every line, and finds the stored text in one of three places."""
    (block,) = encode_items([item(1, text)])
    line = block.data.decode().removesuffix("\n")
    assert "\n" not in line
    record = json.loads(line, parse_constant=pytest.fail)
    assert list(record)[-1] in ("data", "text", "b64")
    if "data" in record:
        assert line[line.index(',"data":') + 8 : -1] == text
    elif "text" in record:
        assert record["text"] == text
    assert decode_item(block.data[:-1]) == item(1, text)
    if all(not "\ud800" <= char <= "\udfff" or "\udc80" <= char <= "\udcff" for char in text):
        assert block.bytes == len(text.encode("utf-8", "surrogateescape"))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"a": 1}', "data"),
        (' {"a" : 1} ', "data"),
        ('{"a": 1, "a": 2}', "data"),
        (r'{"half": "\ud83d"}', "data"),
        ("1e999", "data"),
        ('"\u2028"', "data"),
        ('{"a": NaN}', "text"),
        ("-Infinity", "text"),
        ('{"a":\n1}', "text"),
        ('{"a":\r1}', "text"),
        (r'{"half": "\ud83d", "b": NaN}', "text"),
        ("", "text"),
        ("{} {}", "text"),
        ('{"a": 1', "text"),
        ("[" * 100_000 + "]" * 100_000, "text"),
        ("\ufeff{}", "text"),
        ("\udcff", "b64"),
        ('{"a": "\udcc3"}', "b64"),
    ],
    ids=repr,
)
def test_where_a_text_stands(text: str, place: str) -> None:
    (block,) = encode_items([item(1, text)])
    assert list(json.loads(block.data)) == ["key", "stored_at", place]
    assert decode_item(block.data[:-1]).text == text


def test_parts_make_a_file_of_the_second_version(tmp_path: Path) -> None:
    """Older releases then say what they cannot read; all else of the file is as it always was."""
    path = tmp_path / "a.jsonl"
    archive(path, [(session("s", part={7: "a \ud83d stub"}), [item(5, "{}"), item(7, "[]")])], compression="none")
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert lines[0]["sessionctl_archive"] == 2
    assert "parts" not in lines[0]
    assert list(lines[1]) == ["session", "version", "stamps", "extras", "part"]
    assert lines[1]["part"] == [[7, "a \ud83d stub"]]
    for part in ("1", "[7]", "[[7,8]]", '[["7","x"]]', '[[true,"x"]]', "null", '{"7":"x"}', '[["ab"]]'):
        line = form.encode_session(session("s"))[:-2] + f',"part":{part}}}'.encode()
        with pytest.raises(form.Malformed):
            form.decode_session(line)


def test_an_archive_of_whole_sessions_takes_no_part(tmp_path: Path) -> None:
    with create_archive(str(tmp_path / "a"), header()) as writer, pytest.raises(ValueError, match="whole"):
        writer.add(session("s", part={}), [])


def test_the_lines_of_a_file(tmp_path: Path) -> None:
    """The format as it is documented, taken apart with nothing but the standard library."""
    path = tmp_path / "a.jsonl"
    archive(path, compression="none")
    lines = path.read_bytes().splitlines(keepends=True)
    first = json.loads(lines[0])
    assert first["sessionctl_archive"] == 1
    assert first["created_at"] == "2026-11-23T12:00:00Z"
    assert first["selectors"] == ["last activity at or before 2026-10-24"]
    assert [next(iter(json.loads(line))) for line in lines[1:]] == [
        *("session", "key", "key", "key", "end"),
        *("session", "end"),
        *("session", "key", "key", "end"),
        "manifest",
    ]
    ends = [line for line in lines if line.startswith(b'{"end":')]
    texts = ['{"role": "user", "content": "héllo"}', "not JSON", "{}"]
    assert json.loads(ends[0]) == {
        "end": "user-1:help",
        "items": 3,
        "bytes": sum(len(text.encode()) for text in texts),
        "sha256": hashlib.sha256(b"".join(lines[1:5])).hexdigest(),
    }
    assert json.loads(lines[-1]) == {
        "manifest": {
            "sessions": 3,
            "items": 5,
            "bytes": json.loads(ends[0])["bytes"] + len('{"n":1}') + 1,
            "sha256": hashlib.sha256(lines[0] + b"".join(ends)).hexdigest(),
        }
    }


@pytest.mark.parametrize(("compression", "program"), [("zstd", "zstd"), ("gzip", "gzip"), ("none", "cat")])
def test_the_usual_tools_unpack_it(tmp_path: Path, compression: str, program: str) -> None:
    path = tmp_path / "a.jsonl"
    archive(path, compression=compression)
    flags = ["-dc"] if program != "cat" else []
    try:
        with path.open("rb") as file:
            unpacked = subprocess.run([program, *flags], stdin=file, capture_output=True, check=True).stdout
    except FileNotFoundError:
        pytest.skip(f"{program} is not installed")
    assert len(unpacked.splitlines()) == 13
    assert b'{"manifest":' in unpacked.splitlines()[-1]


def test_the_header_comes_back(tmp_path: Path) -> None:
    archive(tmp_path / "a")
    with ArchiveReader(str(tmp_path / "a")) as reader:
        assert reader.header == header()


def test_a_text_deeper_than_the_parser_goes_is_read_from_any_depth_of_calls(tmp_path: Path) -> None:
    """How deep a parser gets depends on its caller; what was written near the top is read further down."""
    deep = "[" * 900 + "]" * 900
    archive(tmp_path / "a", [(session(), [item(1, deep)])], "none")

    def further_down(calls: int) -> int:
        return further_down(calls - 1) if calls else verify(tmp_path.joinpath("a").as_posix()).counts.items

    assert further_down(sys.getrecursionlimit() // 2) == 1


def test_many_items_of_one_session_wait_on_disk(tmp_path: Path) -> None:
    """Beyond what is kept in memory, in the same order and to the byte."""
    items = [item(number, json.dumps({"n": number, "pad": "é" * 100_000}, ensure_ascii=False)) for number in range(60)]
    items[30] = item(30, "\udcff" * 100_000)
    archive(tmp_path / "a", [(session("large"), items), *SMALL])
    assert content_of(tmp_path / "a") == [(session("large"), items), *SMALL]
