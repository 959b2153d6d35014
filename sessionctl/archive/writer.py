"""Writing archives: nothing counts as written before it was read back from where it lies.

A run's archive is a directory named after the run, of numbered segments; each is a file of its own with
header and manifest, sealed before what it covers is deleted.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO, Self

from sessionctl.archive import format as form
from sessionctl.archive.codecs import Compression, compressor
from sessionctl.archive.format import Counts, End, Header, Manifest
from sessionctl.archive.items import encode_items
from sessionctl.archive.places import Place, Sink, place, reported
from sessionctl.archive.reader import verify
from sessionctl.core.record import SessionRecord, StoredItem
from sessionctl.errors import ArchiveDamaged, SessionctlError

_CHUNK = 64 * 1024
_FULL_STORED = 64 * 1024 * 1024
_FULL = 512 * 1024 * 1024
_RUN_ID = re.compile(r"[0-9A-Za-z_-][0-9A-Za-z_.-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A finished archive file: its ``name`` within the archive, and ``sha256`` and ``size`` of the file as stored."""

    name: str
    counts: Counts
    sha256: str
    size: int


class SegmentWriter:
    """One archive file in the making: sessions are added, then it is sealed or discarded.

    After any error the file cannot be finished any more: discard it, which leaving the context does. Sealed
    it lies at ``target``, and was read back from there; without a target (a pipe) nobody can read it back.
    """

    def __init__(self, sink: Sink, header: Header, compression: Compression, target: Place | None = None) -> None:
        self._sink, self._target = sink, target
        self._compression, self._header = compression, header
        self._frame = compressor(compression)
        self._file = hashlib.sha256()
        self._ids: set[str] = set()
        self._counts = Counts()
        self._is_over = False
        self.is_sealed = False
        self._waiting: list[bytes] = []
        self._compressed = 0
        self.size = 0
        self.stored = 0
        line = form.encode_header(header)
        self._ends = hashlib.sha256(line)
        self._write(line)

    @property
    def counts(self) -> Counts:
        """What was added so far."""
        return self._counts

    @property
    def is_full(self) -> bool:
        """Time for the next segment: about 64 MiB stored, or very much that compressed very well."""
        return self.stored >= _FULL_STORED or self.size >= _FULL

    def add(self, session: SessionRecord, items: Iterable[StoredItem]) -> Counts:
        """Add one session; ``items`` in the order of their keys. Returns what it counts.

        Raises ItemTooLarge, ArchiveUnavailable, and ValueError for a session added twice, and for a part or one whose
        texts are elsewhere where the header does not say that there may be some.
        """
        if session.part is not None and not self._header.parts:
            raise ValueError("this archive is one of whole sessions")
        if session.elsewhere is not None and not self._header.elsewhere:
            raise ValueError("this archive is one of sessions with their texts")
        self.begin(session.id)
        added = Counts()
        for lines, counts in lines_of(session, items):
            self.take(lines, counts)
            added = counts or added
        return added

    def begin(self, session_id: str) -> None:
        """The lines of this session are to come (``lines_of``). Raises ValueError where it is there already."""
        if session_id in self._ids:
            raise ValueError(f"the session {session_id!r} is in this archive already")
        self._ids.add(session_id)

    def take(self, lines: bytes, counts: Counts | None) -> None:
        """Some more lines; ``counts`` where the session ends with them. Raises ArchiveUnavailable."""
        self._write(lines)
        if counts is not None:
            self._ends.update(lines[lines.rfind(b"\n", 0, -1) + 1 :])
            self._counts = self._counts.plus(counts)

    def seal(self) -> Sealed:
        """Finish the file, make it durable, read it back and check it. Raises ArchiveDamaged, ArchiveUnavailable."""
        self._end_frame()
        self._frame = compressor(self._compression)  # the manifest is a frame of its own
        self._write(form.encode_manifest(Manifest(self._counts, self._ends.hexdigest())))
        self._end_frame()
        self._sink.commit()
        self._is_over = True
        sealed = Sealed(
            name=self._target.name if self._target else "-",
            counts=self._counts,
            sha256=self._file.hexdigest(),
            size=self.stored,
        )
        if self._target is not None:
            _read_back(self._target, sealed)
        self.is_sealed = True
        return sealed

    def discard(self) -> None:
        """Leave nothing of it. Harmless after the file was sealed."""
        if not self._is_over:
            self._is_over = True
            self._sink.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def _write(self, data: bytes) -> None:
        self.size += len(data)
        self._waiting.append(data)
        if self.size - self._compressed >= _CHUNK:
            self._compress()

    def _compress(self) -> None:
        """In large pieces: each call costs more than a small session is worth."""
        self._store(self._frame.compress(b"".join(self._waiting)))
        self._waiting, self._compressed = [], self.size

    def _end_frame(self) -> None:
        self._compress()
        self._store(self._frame.flush())

    def _store(self, data: bytes) -> None:
        if data:
            self._file.update(data)
            self.stored += len(data)
            self._sink.write(data)


def lines_of(session: SessionRecord, items: Iterable[StoredItem]) -> Iterator[tuple[bytes, Counts | None]]:
    """All lines of a session in blocks; with the last one, which closes it, come its counts. Raises ItemTooLarge."""
    line = form.encode_session(session)
    digest = hashlib.sha256(line)
    yield line, None
    count = size = 0
    for block in encode_items(items):
        digest.update(block.data)
        yield block.data, None
        count, size = count + block.items, size + block.bytes
    yield form.encode_end(End(session.id, count, size, digest.hexdigest())), Counts(1, count, size)


def _read_back(target: Place, sealed: Sealed) -> None:
    try:
        found = verify(target, trusting=True)  # each line was checked as it was made
    except ArchiveDamaged:
        _withdraw(target)
        raise
    if (found.sha256, found.size, found.counts) != (sealed.sha256, sealed.size, sealed.counts):
        _withdraw(target)
        raise ArchiveDamaged(f"{target} is not what was written there")


def _withdraw(target: Place) -> None:
    """Remove what is no archive of anything, so that nobody takes it for one."""
    with suppress(SessionctlError):
        target.remove()


class RunArchive:
    """The archive of one run: a directory of its own under ``address``, made with its first segment.

    ``name`` is where it lies, fit for users and the ledger. A segment is sealed or
    discarded before the next one starts.
    """

    def __init__(self, address: str, header: Header, compression: Compression = Compression.ZSTD) -> None:
        if not _RUN_ID.fullmatch(header.run_id):
            raise ValueError(f"{header.run_id!r} cannot name a directory")
        self._directory = place(address).child(header.run_id)
        self._header, self._compression = header, compression
        self._segments = 0
        self._current: SegmentWriter | None = None

    @property
    def name(self) -> str:
        return str(self._directory)

    def segment(self) -> SegmentWriter:
        """Start the next segment, in place of the last one where that was discarded.

        Raises ArchiveUnavailable, the first time also where the run has an archive already.
        """
        if self._current is None:
            self._directory.make_directory()
        if self._current is None or self._current.is_sealed:
            self._segments += 1
        target = self._directory.child(f"{self._segments:06}.jsonl{self._compression.suffix}")
        header = self._header.numbered(self._segments, datetime.now(UTC))
        self._current = SegmentWriter(target.create(), header, self._compression, target)
        return self._current

    def withdraw(self, sealed: Sealed) -> None:
        """Take a sealed segment away again, and the directory where it was the only one, as far as they let."""
        _withdraw(self._directory.child(sealed.name))
        _withdraw(self._directory)


def create_archive(address: str, header: Header, compression: Compression = Compression.ZSTD) -> SegmentWriter:
    """One archive in one file at ``address``. Raises ArchiveUnavailable, also where something is there already."""
    target = place(address)
    return SegmentWriter(target.create(), header, compression, target)


class Pipe:
    """A sink that is a stream: what was written cannot be taken back."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, data: bytes, /) -> None:
        with reported("the output"):
            self._stream.write(data)

    def commit(self) -> None:
        with reported("the output"):
            self._stream.flush()

    def discard(self) -> None:
        """What is out is out; without a manifest nobody takes it for whole."""
