"""Archives for tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sessionctl.archive import format as form
from sessionctl.archive.codecs import Compression, compressor
from sessionctl.archive.format import Header
from sessionctl.archive.reader import ArchiveReader
from sessionctl.archive.writer import Sealed, SegmentWriter, create_archive
from sessionctl.core.record import SessionRecord, Stamps, StoredItem

Content = list[tuple[SessionRecord, list[StoredItem]]]


def header(**changes: Any) -> Header:
    facts: dict[str, Any] = {
        "run_id": "r1",
        "created_at": datetime(2026, 11, 23, 12, tzinfo=UTC),
        "tool": "0.1.0",
        "sdk": None,
        "command": "purge",
        "store": "postgresql://app:***@db/agents",
        "kind": "postgresql",
        "flavour": "SQLAlchemySession",
        "zone": "Europe/Berlin",
        "selectors": ("last activity at or before 2026-10-24",),
        "reason": "retention",
    }
    return Header(**facts | changes)


def session(name: str = "user-1:help", **changes: Any) -> SessionRecord:
    stamps = Stamps(created="2026-01-01 10:00:00", updated="2026-01-02 10:00:00")
    return SessionRecord(**{"id": name, "version": "v1", "stamps": stamps, "extras": {}} | changes)


def item(key: int | str | None, text: str, stored_at: str | None = "2026-01-01 10:00:00") -> StoredItem:
    return StoredItem(key, stored_at, None, text)


SMALL: Content = [
    (session("user-1:help"), [item(1, '{"role": "user", "content": "héllo"}'), item(2, "not JSON"), item(5, "{}")]),
    (session("empty"), []),
    (session("user-2", extras={"ttl": 60, "rows": [{"turn": 1}]}), [item(9, '{"n":1}'), item(None, "\udcff", None)]),
]


def archive(
    path: Path, content: Iterable[tuple[SessionRecord, Sequence[StoredItem]]] = SMALL, compression: str = "zstd"
) -> Sealed:
    content = list(content)
    parts = any(record.part is not None for record, _ in content)
    with create_archive(str(path), header(parts=parts), Compression(compression)) as writer:
        for record, items in content:
            writer.add(record, items)
        return writer.seal()


def content_of(path: Path) -> Content:
    with ArchiveReader(str(path)) as reader:
        return [(record, list(items)) for record, items in reader.sessions()]


def run_archive(place: Path, run_id: str, days: float = 0, segments: int = 1, **changes: Any) -> Path:
    """The archive of a run some days ago; ``changes`` to its header."""
    directory = place / run_id
    directory.mkdir(parents=True)
    at = datetime.now(UTC) - timedelta(days=days)
    for number in range(1, segments + 1):
        path = directory / f"{number:06}.jsonl.zst"
        with create_archive(str(path), header(run_id=run_id, segment=number, created_at=at, **changes)) as writer:
            _fill(writer, f"-{number}" if number > 1 else "")
            writer.seal()
    return directory


def _fill(writer: SegmentWriter, suffix: str) -> None:
    for record, items in SMALL:
        writer.add(session(record.id + suffix), items)


def endless(line_end: bytes, megabytes: int) -> Iterator[bytes]:
    """An archive that goes on and on: one item without end, or one behind the other."""
    yield form.encode_header(header())
    yield form.encode_session(session())
    chunk = b'{"key":1,"stored_at":null,"data":"' + b" " * (1 << 20) + b'"}'
    for _ in range(megabytes):
        yield (chunk if line_end else b" " * (1 << 20)) + line_end


def bomb(path: Path, compression: Compression, chunks: Iterator[bytes]) -> None:
    """``chunks`` in one frame, which may be tiny."""
    frame = compressor(compression)
    with path.open("wb") as file:
        for chunk in chunks:
            file.write(frame.compress(chunk))
        file.write(frame.flush())
