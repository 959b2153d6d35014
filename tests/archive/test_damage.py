"""Archives that are damaged, cut off or made with ill intent: refused with the place named."""

from __future__ import annotations

import gzip
import json
import os
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from archives import SMALL, Content, archive, bomb, endless, header, item, session

from sessionctl.archive import codecs
from sessionctl.archive import format as form
from sessionctl.archive.codecs import Compression
from sessionctl.archive.reader import ArchiveReader, glance, verify
from sessionctl.errors import ArchiveDamaged, ArchiveMissing, ArchiveUnavailable

ALL = [*Compression]


def handed_out(path: Path) -> tuple[Content, bool]:
    """The sessions handed out, and whether damage was met behind them."""
    out: Content = []
    met: ArchiveDamaged | None = None
    try:
        with ArchiveReader(str(path)) as reader:
            out.extend((record, list(items)) for record, items in reader.sessions())
    except ArchiveDamaged as error:
        met = error
    assert met is None or (str(path) in met.message and "line" in met.message)
    return out, met is not None


def yielded(path: Path) -> Content:
    """The sessions handed out before the damage, which is met."""
    out, damaged = handed_out(path)
    assert damaged
    return out


@pytest.mark.parametrize("compression", ALL)
def test_cut_off_at_any_byte(tmp_path: Path, compression: str) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    archive(whole, compression=compression)
    raw = whole.read_bytes()
    for length in range(len(raw)):
        cut.write_bytes(raw[:length])
        handed = yielded(cut)
        assert handed == SMALL[: len(handed)]
    assert verify(str(whole)).counts.items == 5


@pytest.mark.parametrize("compression", ALL)
def test_any_flipped_bit(tmp_path: Path, compression: str) -> None:
    """Every bit that matters: what is handed out is what was put in, or nothing.

    A codec may have bits that mean nothing (gzip's header has a time and an operating system).
    """
    whole, flipped = tmp_path / "whole", tmp_path / "flipped"
    archive(whole, compression=compression)
    raw = whole.read_bytes()
    refused = 0
    for bit in random.Random(4).sample(range(len(raw) * 8), 1000):
        damaged = bytearray(raw)
        damaged[bit // 8] ^= 1 << bit % 8
        flipped.write_bytes(damaged)
        handed, was_refused = handed_out(flipped)
        refused += was_refused
        assert handed == (SMALL[: len(handed)] if was_refused else SMALL)
    assert refused > 900


def test_noise(tmp_path: Path) -> None:
    noise = random.Random(1)
    for start in (b"", Compression.ZSTD.magic, Compression.GZIP.magic, b'{"sessionctl_archive":1,'):
        (tmp_path / "noise").write_bytes(start + noise.randbytes(5000))
        assert yielded(tmp_path / "noise") == []


def _swap(rows: list[bytes]) -> None:
    rows[2], rows[3] = rows[3], rows[2]


def _drop_item(rows: list[bytes]) -> None:
    del rows[2]


def _drop_end(rows: list[bytes]) -> None:
    del rows[5]


def _drop_session_line(rows: list[bytes]) -> None:
    del rows[1]


def _drop_session(rows: list[bytes]) -> None:
    del rows[6:8]


def _repeat_session(rows: list[bytes]) -> None:
    rows[6:6] = rows[1:6]


def _repeat_end(rows: list[bytes]) -> None:
    rows.insert(6, rows[5])


def _manifest_first(rows: list[bytes]) -> None:
    rows.insert(1, rows[-1])


def _manifest_twice(rows: list[bytes]) -> None:
    rows.append(rows[-1])


def _second_header(rows: list[bytes]) -> None:
    rows.insert(1, rows[0])


def _other_header(rows: list[bytes]) -> None:
    rows[0] = form.encode_header(header(store="sqlite:///elsewhere.db"))


def _other_session(rows: list[bytes]) -> None:
    rows[1] = form.encode_session(session("user-1:help", version="v2"))


def _other_text(rows: list[bytes]) -> None:
    rows[4] = rows[4].replace(b"{}", b"[]")


def _not_json(rows: list[bytes]) -> None:
    rows[4] = rows[4].replace(b'"data":{}', b'"data":{]')


def _two_values(rows: list[bytes]) -> None:
    rows[4] = rows[4].replace(b'"data":{}', b'"data":{},"data":{}')


def _unknown_key(rows: list[bytes]) -> None:
    rows[4] = rows[4].replace(b'"key":5', b'"key":5,"more":1')


def _key_of_another_kind(rows: list[bytes]) -> None:
    rows[4] = rows[4].replace(b'"key":5', b'"key":[5]')


def _blank_line(rows: list[bytes]) -> None:
    rows.insert(3, b"\n")


def _crlf(rows: list[bytes]) -> None:
    rows[4] = rows[4].replace(b"\n", b"\r\n")


def _surrogates_in_the_head(rows: list[bytes]) -> None:
    rows[4] = rows[4].replace(b'"key":5', rb'"key":"\ud800","at":1')


TAMPERING = [
    (_swap, 6),
    (_drop_item, 5),
    (_drop_end, 6),
    (_drop_session_line, 2),
    (_drop_session, 11),
    (_repeat_session, 7),
    (_repeat_end, 7),
    (_manifest_first, 2),
    (_manifest_twice, 14),
    (_second_header, 2),
    (_other_header, 13),
    (_other_session, 6),
    (_other_text, 6),
    (_not_json, 5),
    (_two_values, 5),
    (_unknown_key, 5),
    (_key_of_another_kind, 5),
    (_blank_line, 4),
    (_crlf, 5),
    (_surrogates_in_the_head, 5),
]


@pytest.mark.parametrize(("tamper", "line"), TAMPERING, ids=lambda value: getattr(value, "__name__", ""))
def test_lines_out_of_place(tmp_path: Path, tamper: Callable[[list[bytes]], None], line: int) -> None:
    path = tmp_path / "a"
    archive(path, compression="none")
    rows = path.read_bytes().splitlines(keepends=True)
    tamper(rows)
    path.write_bytes(b"".join(rows))
    assert all(pair in SMALL for pair in yielded(path))
    with pytest.raises(ArchiveDamaged, match=rf"{path}, line {line}: "):
        verify(str(path))


def test_the_manifest_of_another_archive(tmp_path: Path) -> None:
    for name, text in (("a", "{}"), ("b", "[]")):
        archive(tmp_path / name, [(session(), [item(1, text)])], "none")
    mixed = (tmp_path / "a").read_bytes().splitlines(keepends=True)
    mixed[-1] = (tmp_path / "b").read_bytes().splitlines(keepends=True)[-1]
    (tmp_path / "a").write_bytes(b"".join(mixed))
    with pytest.raises(ArchiveDamaged, match="the manifest does not agree"):
        verify(str(tmp_path / "a"))


@pytest.mark.parametrize("compression", [Compression.ZSTD, Compression.GZIP])
@pytest.mark.parametrize("rest", [b"x", b"\x00" * 8, b'{"manifest":{}}\n'], ids=repr)
def test_something_behind_the_compressed_data(tmp_path: Path, compression: str, rest: bytes) -> None:
    archive(tmp_path / "a", compression=compression)
    with (tmp_path / "a").open("ab") as file:
        file.write(rest)
    with pytest.raises(ArchiveDamaged):
        verify(str(tmp_path / "a"))


def test_what_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for text in ("", "hello\n", "{}\n", "[]\n", '{"session":"a"}\n', "SQLite format 3\0"):
        path.write_text(text)
        with pytest.raises(ArchiveDamaged, match="line 1"):
            verify(str(path))
    newer = json.loads(form.encode_header(header())) | {"sessionctl_archive": 4}
    path.write_text(json.dumps(newer) + "\n")
    with pytest.raises(ArchiveDamaged, match="version 4"):
        verify(str(path))
    for missing in ("run_id", "created_at", "selectors", "segment"):
        record = json.loads(form.encode_header(header()))
        for wrong in ({**record, missing: {"a": 1}}, {k: v for k, v in record.items() if k != missing}):
            path.write_text(json.dumps(wrong) + "\n")
            with pytest.raises(ArchiveDamaged, match="line 1: the header"):
                verify(str(path))
    with pytest.raises(ArchiveMissing):
        verify(str(tmp_path / "nowhere"))
    os.mkfifo(tmp_path / "pipe")
    writing = os.open(tmp_path / "pipe", os.O_RDWR)  # so that opening it for reading does not wait
    with pytest.raises(ArchiveUnavailable):
        verify(str(tmp_path / "pipe"))
    os.close(writing)


# -- bombs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [Compression.ZSTD, Compression.GZIP])
def test_a_line_without_end_is_not_put_together(
    tmp_path: Path, compression: Compression, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(form, "MAX_LINE", 4 << 20)
    bomb(tmp_path / "a", compression, endless(b"", 64))
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveDamaged, match="line 3: it is longer than 4 MiB"):
            verify(str(tmp_path / "a"))
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("compression", [Compression.ZSTD, Compression.GZIP])
def test_what_unfolds_out_of_all_proportion(
    tmp_path: Path, compression: Compression, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codecs, "_FREE", 16 << 20)
    monkeypatch.setattr(codecs, "_RATIO", 100)
    bomb(tmp_path / "a", compression, endless(b"\n", 64))
    assert (tmp_path / "a").stat().st_size < 1 << 20
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveDamaged, match="100 times its size"):
            verify(str(tmp_path / "a"))
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()


def test_gzip_within_gzip_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(gzip.compress(gzip.compress(b"{}")))
    with pytest.raises(ArchiveDamaged):
        verify(str(tmp_path / "a"))


@pytest.mark.parametrize("compression", ALL)
def test_a_glance_tells_what_verifying_confirms(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "a"
    sealed = archive(path, compression=compression)
    found = glance(str(path))
    assert found.header == header()
    assert found.manifest is not None
    assert found.manifest.counts == sealed.counts == verify(str(path)).counts
    assert found.size == sealed.size == path.stat().st_size
    path.write_bytes(path.read_bytes()[:-1])
    assert glance(str(path)).manifest is None
