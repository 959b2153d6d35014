"""Archives behind URLs: the same as in directories here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from archives import SMALL, archive, header, item, session
from operating import sessionctl
from s3_server import BUCKET, s3, s3_endpoint

from sessionctl.archive.codecs import Compression
from sessionctl.archive.places import place
from sessionctl.archive.reader import ArchiveReader, verify
from sessionctl.archive.segments import segments
from sessionctl.archive.writer import RunArchive, create_archive
from sessionctl.cli.app import run
from sessionctl.errors import ArchiveMissing, ArchiveUnavailable, UsageError

__all__ = ["s3", "s3_endpoint"]


@pytest.fixture(params=["file", "memory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Somewhere that archives can be put."""
    if request.param == "file":
        yield tmp_path.joinpath("with space").as_uri()
    elif request.param == "s3":
        yield request.getfixturevalue("s3") + "/prod"
    else:
        fsspec = pytest.importorskip("fsspec")
        yield "memory://prod"
        fsspec.filesystem("memory").store.clear()
        fsspec.filesystem("memory").pseudo_dirs[:] = [""]


def write(url: str, run_id: str, days: float = 0, count: int = 2) -> RunArchive:
    archive = RunArchive(url, header(run_id=run_id, created_at=datetime.now(UTC) - timedelta(days=days)))
    for number in range(count):
        with archive.segment() as segment:
            for record, items in SMALL:
                segment.add(session(f"{record.id}-{number}", extras=record.extras), items)
            sealed = segment.seal()
            assert sealed.name == f"00000{number + 1}.jsonl.zst"
    return archive


def test_a_run_archived_there(url: str) -> None:
    archive = write(url, "r1")
    found = segments(url)
    assert [at.name for at in found] == ["000001.jsonl.zst", "000002.jsonl.zst"]
    assert list(map(str, segments(archive.name))) == list(map(str, found))
    for number, at in enumerate(found):
        assert verify(at).counts == (3, 5, 55)
        assert verify(str(at)).size == at.size()
        with ArchiveReader(at) as reader:
            read = [(record.id, list(items)) for record, items in reader.sessions()]
        assert read == [(f"{record.id}-{number}", items) for record, items in SMALL]
    with pytest.raises(ArchiveUnavailable):
        RunArchive(url, header()).segment()
    with pytest.raises(ArchiveUnavailable):
        create_archive(str(found[0]), header())


def test_what_was_not_sealed_is_not_there(url: str) -> None:
    archive = RunArchive(url, header())
    with archive.segment() as segment:
        segment.add(*SMALL[0])
    with pytest.raises(ArchiveMissing):
        segments(url)
    with archive.segment() as segment:
        segment.add(*SMALL[0])
        segment.seal()
    assert [at.name for at in segments(url)] == ["000001.jsonl.zst"]


def test_an_upload_given_up_leaves_no_parts(s3: str) -> None:
    """Storage is paid for parts too, and nobody sees them."""
    import s3fs

    with create_archive(f"{s3}/large.jsonl", header(), Compression.NONE) as writer:
        for number in range(25):
            writer.add(session(f"s{number}"), [item(1, '"' + "a" * 1_000_000 + '"')])
        assert uploads(s3fs.S3FileSystem()) == 1
    assert uploads(s3fs.S3FileSystem()) == 0
    with pytest.raises(ArchiveMissing):
        verify(f"{s3}/large.jsonl")


def uploads(system: Any) -> int:
    """Uploads in parts that were begun and neither finished nor given up."""
    return len(system.call_s3("list_multipart_uploads", Bucket=BUCKET).get("Uploads", []))


def test_more_than_one_part(url: str) -> None:
    """Larger than what is held in memory: an upload in parts."""
    noise = [json.dumps(os.urandom(200_000).hex()) for _ in range(60)]
    with create_archive(f"{url.rstrip('/')}-large.jsonl.zst", header()) as writer:
        for number, text in enumerate(noise):
            writer.add(session(f"s{number}"), [item(1, text)])
        sealed = writer.seal()
    assert sealed.size > 10 << 20
    assert verify(f"{url.rstrip('/')}-large.jsonl.zst").sha256 == sealed.sha256


def test_what_is_not_there(url: str) -> None:
    for missing in (url, f"{url}/r1/000001.jsonl.zst"):
        with pytest.raises(ArchiveMissing):
            verify(missing)
        with pytest.raises(ArchiveMissing):
            segments(missing)


def test_the_commands(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    write(url, "old", days=0)
    assert run(["archive", "list", url, "-o", "json"]) == 0
    listed: Any = json.loads(capsys.readouterr().out)
    assert [(told["run_id"], told["items"]) for told in listed["archives"]] == [("old", 5)] * 2
    assert run(["archive", "verify", listed["archives"][0]["archive"]]) == 0
    assert run(["archive", "show", url, "user-1:help-1"]) == 0
    assert "héllo" in capsys.readouterr().out
    assert run(["archive", "prune", url, "--older-than", "1d", "--yes", "--allow-unknown-holds"]) == 0
    assert len(segments(url)) == 2
    assert run(["archive", "prune", url, "--older-than", "0", "--yes", "--allow-unknown-holds"]) == 0
    assert "removed 1 archive" in capsys.readouterr().out
    with pytest.raises(ArchiveMissing):
        segments(url)


def test_a_bucket_that_is_not_there(s3: str) -> None:
    with (
        pytest.raises((ArchiveMissing, ArchiveUnavailable)),
        RunArchive(f"{s3}-nowhere", header()).segment() as segment,
    ):
        segment.seal()


def test_secrets_in_a_url_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("fsspec")
    assert run(["archive", "list", "nosuchscheme://user:hunter2@host/place"]) == 2
    assert "hunter2" not in "".join(capsys.readouterr())
    with pytest.raises(UsageError) as caught:
        place("nosuchscheme://user:hunter2@host/place")
    assert "nosuchscheme://user:***@host/place" in caught.value.message
    assert "hunter2" not in caught.value.message


def test_without_fsspec_a_url_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "fsspec"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(UsageError) as caught:
        place("s3://bucket/prod")
    assert caught.value.hint == "pip install 'sessionctl[s3]'"


def test_a_place_without_permission() -> None:
    """Root may read everything: then it must be somebody else who tries, in a place open to all."""
    with TemporaryDirectory() as outside:
        Path(outside).chmod(0o755)
        archive(Path(outside) / "a")
        Path(outside, "a").chmod(0)
        done = sessionctl("archive", "verify", Path(outside, "a"), as_nobody=os.getuid() == 0)
    assert done.status == 11, done.said
    assert b"access is refused" in done.err


def test_paths_need_no_fsspec(tmp_path: Path) -> None:
    """Nor does anything of it get loaded for them."""
    code = (
        "import sys; from sessionctl.cli.app import run\n"
        "run(['archive', 'list', sys.argv[1]])\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "assert not loaded & {'fsspec', 's3fs', 'sqlalchemy', 'agents', 'asyncio'}, loaded"
    )
    write(str(tmp_path), "r1")
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True)
