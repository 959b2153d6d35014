"""Reading archives: every line checked on the way, and no session handed out before its digest was.

What is wrong is raised as ArchiveDamaged, naming file and line. Memory stays bounded whatever the file
holds: items of a large session wait on disk for their end line.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import IO, BinaryIO, Self

from sessionctl.archive import format as form
from sessionctl.archive import items, texts
from sessionctl.archive.codecs import Compression, Unsound, decompressed, recognised, unfold
from sessionctl.archive.format import Counts, End, Header, Malformed, Manifest
from sessionctl.archive.lines import Lines
from sessionctl.archive.places import Place, place
from sessionctl.core.record import SessionRecord, StoredItem, WholeSession
from sessionctl.errors import ArchiveDamaged

_IN_MEMORY = 8 * 1024 * 1024
"""Octets of one session's texts kept in memory."""
_TAIL = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A sound archive. ``sha256`` and ``size`` are those of the file as it lies there."""

    header: Header
    counts: Counts
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """What an archive says of itself, unverified; ``manifest`` None: it is truncated or damaged."""

    header: Header
    manifest: Manifest | None
    size: int


class ArchiveReader:
    """One archive file, opened; ``header`` is read. Close it, or use it as a context manager.

    ``manifest`` is there once all sessions were read and it agreed with them. Who must not act on half of
    a file calls ``verify`` first. Raises ArchiveMissing, ArchiveUnavailable, ArchiveDamaged.
    """

    def __init__(self, address: str | Place, *, trusting: bool = False) -> None:
        """``trusting``: of items only the digests are checked, and none is read. For who wrote them just now."""
        self._trusting = trusting
        self._place = place(address) if isinstance(address, str) else address
        self._source = _Hashed(self._place.open())
        self._lines = Lines(decompressed(self._source))  # type: ignore[arg-type] # it reads, and that is all
        self.manifest: Manifest | None = None
        try:
            with self._placed():
                first = self._next() or b""
                self.header = form.decode_header(first)
        except BaseException:
            self.close()
            raise
        self._ends = hashlib.sha256(first + b"\n")

    def sessions(self, wanted: Callable[[SessionRecord], bool] = lambda _: True) -> Iterator[WholeSession]:
        """The sessions that are ``wanted``, in order, each checked whole.

        The items of one can be read, more than once too, until the next is asked for.
        """
        for session, kept, _ in self._checked(wanted):
            with closing(kept):
                if wanted(session):
                    yield WholeSession(session, kept)

    def measured(self) -> Iterator[tuple[SessionRecord, Counts]]:
        """All sessions in order and what each counts, checked whole as well, but without their items."""
        for session, _, counts in self._checked(lambda _: False):
            yield session, counts

    def verified(self) -> Verified:
        """Read and check all that was not read yet; nothing is kept."""
        deque(self._checked(lambda _: False), maxlen=0)
        counts = self.manifest.counts if self.manifest else Counts()
        return Verified(
            header=self.header, counts=counts, sha256=self._source.digest.hexdigest(), size=self._source.size
        )

    def close(self) -> None:
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _checked(self, wanted: Callable[[SessionRecord], bool]) -> Iterator[tuple[SessionRecord, _Kept, Counts]]:
        seen: set[str] = set()
        counts = Counts()
        with self._placed():
            while (line := self._next()) is not None:
                if form.is_manifest(line):
                    self._finish(form.decode_manifest(line), counts)
                    return
                if not form.is_session(line):
                    raise Malformed("a session should begin here")
                session = form.decode_session(line)
                if session.id in seen:
                    raise Malformed(f"the session {session.id!r} is here a second time")
                seen.add(session.id)
                kept, read = self._session(session, line, keep=wanted(session))
                counts = counts.plus(read)
                yield session, kept, read
            raise Malformed("it ends without a manifest: it is truncated or was never finished")

    def _session(self, session: SessionRecord, first: bytes, *, keep: bool) -> tuple[_Kept, Counts]:
        digest = hashlib.sha256(first + b"\n")
        kept, count, size = _Kept(), 0, 0
        read = items.decode_items if keep else items.count_items if self._trusting else items.measure_items
        try:
            for number, octets, some in self._items(digest.update, read):
                count, size = count + number, size + octets
                if keep:
                    kept.add(some, octets)
            end = self._end(self._next(), End(session.id, count, size, digest.hexdigest()))
        except BaseException:
            kept.close()
            raise
        return kept, Counts(1, end.items, end.bytes)

    def _items(self, hash_lines: Callable[[bytes], object], read: items.Read) -> Iterator[items.Found]:
        """The items of a session, some at a time."""
        singly = 0
        while self._lines.begins(items.START):
            lines = b"" if singly else self._lines.at_hand()
            found = read(lines) if lines else None
            if found is not None:
                self._lines.pass_over(lines, found.number)
                hash_lines(lines)
                yield found
                continue
            singly = max(singly or lines.count(b"\n"), 1) - 1
            line = self._next() or b""
            hash_lines(line + b"\n")
            item = items.decode_item(line)
            yield items.Found(1, texts.octets(item.text), [item])

    def _end(self, line: bytes | None, expected: End) -> End:
        if line is None:
            raise Malformed(f"the session {expected.id!r} does not end")
        if not form.is_end(line):
            raise Malformed(f"an item of the session {expected.id!r}, or its end, belongs here")
        self._ends.update(line + b"\n")
        if line + b"\n" == form.encode_end(expected):
            return expected
        end = form.decode_end(line)
        if end != (expected._replace(bytes=end.bytes) if self._trusting else expected):
            raise Malformed(f"the session {expected.id!r} is not what was archived")
        return end

    def _finish(self, manifest: Manifest, counts: Counts) -> None:
        if manifest != Manifest(counts, self._ends.hexdigest()):
            raise Malformed("the manifest does not agree with what is here")
        if self._next() is not None:
            raise Malformed("something follows the manifest")
        self.manifest = manifest

    def _next(self) -> bytes | None:
        return self._lines.next()

    @contextmanager
    def _placed(self) -> Iterator[None]:
        try:
            yield
        except Unsound as error:
            raise ArchiveDamaged(f"{self._place}, near line {self._lines.number}: {error}") from error
        except Malformed as error:
            raise ArchiveDamaged(f"{self._place}, line {self._lines.number}: {error}") from error


def verify(address: str | Place, *, trusting: bool = False) -> Verified:
    """Read one archive file from end to end and check all of it. Raises as ``ArchiveReader`` does."""
    with ArchiveReader(address, trusting=trusting) as reader:
        return reader.verified()


def glance(address: str | Place) -> Glance:
    """What a file says of itself, from its two ends: quick at any size, and nothing between is checked."""
    at = place(address) if isinstance(address, str) else address
    with ArchiveReader(at) as reader:
        header = reader.header
    size = at.size()
    with closing(at.open()) as file:
        start = file.read(4)
        file.seek(max(size - _TAIL, 0))
        tail = file.read(_TAIL)
    return Glance(header=header, manifest=_last_manifest(tail, recognised(start)), size=size)


def _last_manifest(tail: bytes, compression: Compression) -> Manifest | None:
    """The manifest is a frame of its own, and its line the only one that can begin so."""
    magic = compression.magic or b'{"manifest":'
    at = tail.rfind(magic)
    while at >= 0:
        try:
            line = unfold(tail[at:], compression)
            if form.is_manifest(line) and line.endswith(b"\n"):
                return form.decode_manifest(line[:-1])
        except (Malformed, Unsound):
            pass  # these bytes only look like the start of a frame
        at = tail.rfind(magic, 0, at)
    return None


class _Hashed:
    """A source that hashes and counts what is read of it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        self.size += len(data)
        return data

    def close(self) -> None:
        self._file.close()


class _Kept:
    """Items that wait for their session's end line: in memory, and beyond a size in a file without a name."""

    def __init__(self) -> None:
        self._items: list[StoredItem] = []
        self._octets = 0
        self._file: IO[bytes] | None = None

    def add(self, items: list[StoredItem], octets: int) -> None:
        self._items += items
        self._octets += octets
        if self._octets > _IN_MEMORY:
            self._spill()

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with this
        for block in items.encode_items(self._items):
            self._file.write(block.data)
        self._items, self._octets = [], 0

    def __iter__(self) -> Iterator[StoredItem]:
        if self._file is not None:
            self._file.seek(0)
            for line in self._file:
                yield items.decode_item(line[:-1])
        yield from self._items

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
