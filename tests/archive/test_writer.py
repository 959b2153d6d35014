"""Archives come into being whole or not at all."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from pathlib import Path

import pytest
from archives import SMALL, archive, content_of, header, item, session

from sessionctl.archive import format as form
from sessionctl.archive.codecs import Compression
from sessionctl.archive.reader import verify
from sessionctl.archive.segments import segments
from sessionctl.archive.writer import Pipe, RunArchive, SegmentWriter, create_archive
from sessionctl.errors import ArchiveDamaged, ArchiveMissing, ArchiveUnavailable, ItemTooLarge


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_archive_of_a_run(tmp_path: Path) -> None:
    place = tmp_path / "not" / "there"
    run = RunArchive(str(place), header())
    assert not place.exists()
    for number in (1, 2):
        with run.segment() as segment:
            counts = segment.add(session(f"s{number}"), [item(1, "{}"), item(2, "é")])
            assert counts == (1, 2, 4)
            assert max(path.name for path in (place / "r1").iterdir()) == f"00000{number}.jsonl.zst.part"
            sealed = segment.seal()
        path = place / "r1" / sealed.name
        assert sealed.name == f"00000{number}.jsonl.zst"
        assert (sealed.counts, sealed.size) == ((1, 2, 4), path.stat().st_size)
        assert sealed.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() == verify(str(path)).sha256
        assert verify(str(path)).header.segment == number
        assert mode(path) == 0o600
    assert mode(place / "r1") == mode(place) == 0o700
    assert run.name == str(place / "r1")
    assert [str(found) for found in segments(str(place))] == [str(found) for found in segments(run.name)]
    assert [found.name for found in segments(run.name)] == ["000001.jsonl.zst", "000002.jsonl.zst"]


def test_a_segment_that_was_not_sealed_leaves_nothing_and_no_gap(tmp_path: Path) -> None:
    run = RunArchive(str(tmp_path), header(), Compression.GZIP)
    with run.segment() as segment:
        segment.add(*SMALL[0])
    assert list((tmp_path / "r1").iterdir()) == []
    with pytest.raises(ArchiveMissing):
        segments(run.name)
    with run.segment() as segment:
        segment.add(*SMALL[0])
        assert segment.seal().name == "000001.jsonl.gz"


def test_a_run_has_one_archive(tmp_path: Path) -> None:
    RunArchive(str(tmp_path), header()).segment().discard()
    with pytest.raises(ArchiveUnavailable, match="r1"):
        RunArchive(str(tmp_path), header()).segment()


@pytest.mark.parametrize("run_id", ["", ".", "..", "../up", "a/b", ".hidden", "a\0b", "a\nb", "x" * 200, "ü"])
def test_only_a_plain_run_id_names_a_directory(tmp_path: Path, run_id: str) -> None:
    with pytest.raises(ValueError, match="cannot name a directory"):
        RunArchive(str(tmp_path), header(run_id=run_id))


@pytest.mark.parametrize("name", ["/etc/passwd", "../../up", "a\0b", "two\nlines", "\udcff", "", " ", "a" * 9999])
def test_no_id_reaches_the_file_system(tmp_path: Path, name: str) -> None:
    run = RunArchive(str(tmp_path / "a"), header())
    with run.segment() as segment:
        segment.add(session(name), [item(1, "{}")])
        segment.seal()
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "a",
        "a/r1",
        "a/r1/000001.jsonl.zst",
    ]
    assert content_of(tmp_path / "a/r1/000001.jsonl.zst")[0][0].id == name


def test_nothing_is_written_over(tmp_path: Path) -> None:
    archive(tmp_path / "a")
    before = (tmp_path / "a").read_bytes()
    with pytest.raises(ArchiveUnavailable, match="exists already"):
        create_archive(str(tmp_path / "a"), header())
    assert (tmp_path / "a").read_bytes() == before
    (tmp_path / "b.part").symlink_to(tmp_path / "a")
    with pytest.raises(ArchiveUnavailable):
        create_archive(str(tmp_path / "b"), header())
    assert (tmp_path / "a").read_bytes() == before


def test_a_session_is_added_once(tmp_path: Path) -> None:
    with create_archive(str(tmp_path / "a"), header()) as writer:
        writer.add(*SMALL[0])
        with pytest.raises(ValueError, match="already"):
            writer.add(*SMALL[0])
    assert not any(tmp_path.iterdir())


def test_an_error_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    def items() -> object:
        yield item(1, "{}")
        raise ConnectionError

    with pytest.raises(ConnectionError), create_archive(str(tmp_path / "a"), header()) as writer:
        writer.add(session(), items())  # type: ignore[arg-type]
    assert not any(tmp_path.iterdir())


def test_what_cannot_be_read_back_is_not_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that lies: the bytes that come back are not those that were written."""
    honest = os.fsync

    def lying(handle: int) -> None:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            os.pwrite(handle, b"\0", os.fstat(handle).st_size // 2)
        honest(handle)

    monkeypatch.setattr(os, "fsync", lying)
    for compression in Compression:
        writer = create_archive(str(tmp_path / "a"), header(), compression)
        writer.add(*SMALL[0])
        with pytest.raises(ArchiveDamaged):
            writer.seal()
        assert not any(tmp_path.iterdir())


def test_a_full_disk_is_told() -> None:
    """/dev/full takes nothing."""
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(ArchiveUnavailable, match="No space left"):
        SegmentWriter(Pipe(full), header(), Compression.NONE).seal()


def test_an_archive_in_a_pipe(tmp_path: Path) -> None:
    stream = io.BytesIO()
    writer = SegmentWriter(Pipe(stream), header(), Compression.ZSTD)
    for record, items in SMALL:
        writer.add(record, items)
    sealed = writer.seal()
    (tmp_path / "a").write_bytes(stream.getvalue())
    assert content_of(tmp_path / "a") == SMALL
    assert verify(str(tmp_path / "a")).sha256 == sealed.sha256


def test_an_item_too_large_for_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "MAX_LINE", 1 << 20)
    items = [item(1, '"' + "a" * 900_000 + '"'), item(2, '"' + "a" * 900_000 + '"')]
    archive(tmp_path / "fits", [(session(), items)])
    with pytest.raises(ItemTooLarge), create_archive(str(tmp_path / "a"), header()) as writer:
        writer.add(session(), [item(1, '"' + "é" * 600_000 + '"')])


def test_segments_fill_up(tmp_path: Path) -> None:
    """By what is stored, not by what it was made of."""
    with create_archive(str(tmp_path / "a"), header(), Compression.NONE) as writer:
        piece = '"' + "a" * 1_000_000 + '"'
        for number in range(70):
            assert writer.is_full == (number > 64 * 1.048576)
            writer.add(session(f"s{number}"), [item(1, piece)])
        assert writer.is_full
        assert writer.size - 300_000 < writer.stored <= writer.size


def test_a_missing_segment_is_told(tmp_path: Path) -> None:
    run = RunArchive(str(tmp_path), header())
    for number in range(3):
        with run.segment() as segment:
            segment.add(session(f"s{number}"), [])
            segment.seal()
    (tmp_path / "r1" / "000002.jsonl.zst").unlink()
    with pytest.raises(ArchiveDamaged, match="segment 2 is missing"):
        segments(str(tmp_path))
