"""The shelf: what bears the name of an export is whole, and nothing else is left behind."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from exporting import session

from sessionctl.archive.codecs import Compression, compressor, decompressed
from sessionctl.errors import UsageError
from sessionctl.export.compression import Packed
from sessionctl.export.formats import Format
from sessionctl.export.shelf import Layout, Shelf, Split
from sessionctl.testing.case import user


def layout(place: Path, split: Split | None = None) -> Layout:
    return Layout(place=place, format=Format.JSONL, split=split)


@pytest.mark.parametrize("ending", [SystemExit, KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("split", [None, Split.SESSION])
def test_what_is_unfinished_goes(tmp_path: Path, ending: type[BaseException], split: Split | None) -> None:
    def add_two(shelf: Shelf) -> None:
        shelf.add(session("one", [user("hi")]))
        shelf.add(session("two", [user("hi")]))
        assert any(path.suffix == ".part" for path in tmp_path.iterdir())
        raise ending

    with pytest.raises(ending), Shelf(layout(tmp_path if split else tmp_path / "x.jsonl", split)) as shelf:
        add_two(shelf)
    assert [path.name for path in tmp_path.iterdir()] == (["one.jsonl"] if split else [])


def test_a_format_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match="pyarrow"):
        Shelf(Layout(place=tmp_path / "x.parquet", format=Format.PARQUET))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", Format)
def test_every_format_lets_go_of_what_was_begun(tmp_path: Path, form: Format) -> None:
    shelf = Shelf(Layout(place=tmp_path, format=form, split=Split.SESSION))
    shelf.add(session("one", [user("hi")]))
    shelf.__exit__(ValueError)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_the_same_run_is_never_overwritten(tmp_path: Path) -> None:
    with Shelf(layout(tmp_path, Split.SESSION)) as shelf:
        for each in ("one", "two"):
            shelf.add(session(each, [user(each)]))
        with pytest.raises(UsageError):
            shelf.add(session("one", [user("again")]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.jsonl", "two.jsonl"]


@pytest.mark.parametrize("compression", Compression)
def test_frames_from_elsewhere_stand_between_those_of_its_own(compression: Compression) -> None:
    file, frame = io.BytesIO(), compressor(compression, alone=True)
    packed = Packed(file, compression)
    packed.write(b"one")
    packed.write_frames(frame.compress(b"two"))
    packed.write_frames(frame.flush())
    packed.write(b"three")
    packed.end()
    assert b"".join(decompressed(io.BytesIO(file.getvalue()))) == b"onetwothree"
