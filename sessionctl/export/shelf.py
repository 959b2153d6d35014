"""Where an export's documents go: one file, one a session, a day or a size, or a stream that is open already."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self, TypeVar, cast

from sessionctl.archive.codecs import Compression
from sessionctl.core.names import file_name
from sessionctl.core.plan import Totals
from sessionctl.export.base import Document, Exported, Piece, Rendered
from sessionctl.export.files import Unfinished
from sessionctl.export.formats import Format

if TYPE_CHECKING:
    from sessionctl.export.html import HtmlIndex

T = TypeVar("T")
SPLIT_BYTES = 256 << 20


class Split(StrEnum):
    """What gets a file of its own."""

    SESSION = "session"
    DAY = "day"
    SIZE = "size"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What is written and where.

    ``place`` is a file, or with ``split`` a directory; None is the stream given to the shelf. ``split_bytes``:
    a file ends with the session that makes it as large (stored text, before compression); no session is torn.
    """

    place: Path | None
    format: Format
    split: Split | None = None
    compression: Compression = Compression.NONE
    split_bytes: int = SPLIT_BYTES
    force: bool = False

    @property
    def packing(self) -> Compression:
        """How files are compressed around their documents."""
        return Compression.NONE if self.format is Format.ARCHIVE else self.compression

    @property
    def suffix(self) -> str:
        return self.format.suffix + self.compression.suffix


@dataclass(slots=True, kw_only=True)
class Written:
    """What the shelf holds so far: files that are whole, their octets on disk, and the names of the first ones."""

    files: int = 0
    bytes: int = 0
    first: list[str] = field(default_factory=list)


INDEX = "index.html"
NAMES_TOLD = 20


class Shelf:
    """Takes sessions and puts them into files. A context manager: left by an error, what is unfinished goes."""

    def __init__(self, layout: Layout, stream: BinaryIO | None = None) -> None:
        self.layout = layout
        self.written = Written()
        self._stream = stream
        self._begin = layout.format.document(layout.compression)
        self._open: Unfinished[Document] | None = None
        self._index: Unfinished[HtmlIndex] | None = None
        self._coming: Exported | None = None
        self._number, self._size = 1, 0
        if layout.split is None:
            self._open = self._file(layout.place)
        elif layout.format.is_paged and layout.place is not None:
            from sessionctl.export.html import HtmlIndex

            self._index = Unfinished(layout.place / INDEX, Compression.NONE, HtmlIndex, force=layout.force)

    def add(self, exported: Exported, *, day: str = "") -> Totals:
        """Put a session into its file; ``day`` is the one it belongs to. Sessions of a day follow each other."""
        file = self._file_of(exported, day)
        with file.disk():
            totals = file.document.add(exported)
        self._added(exported, totals)
        return totals

    @property
    def is_seamless(self) -> bool:
        """Do all sessions go into one document to which it is all one where they end? They need not ``begin`` then."""
        document = self._open.document if self._open is not None else None
        return self.layout.split is None and isinstance(document, Rendered) and document.is_seamless

    @property
    def descriptor(self) -> int | None:
        """Of the file, where it is one that is ``is_seamless``; others may write what stands next in it."""
        return self._open.descriptor if self._open is not None and self.is_seamless else None

    def made(self, results: Iterable[T]) -> Iterator[T]:
        """Results of those who write into the file; what the disk refuses them comes as a sentence."""
        with nullcontext() if self._open is None else self._open.disk():
            yield from results

    def begin(self, exported: Exported, *, day: str = "") -> None:
        """A session is to come that was rendered elsewhere, for documents of that kind; else as ``add``."""
        file = self._file_of(exported, day)
        self._coming = exported
        with file.disk():
            cast("Rendered", file.document).begin(exported)

    def take(self, piece: Piece) -> None:
        """The next piece of the session that was begun."""
        assert self._open is not None  # noqa: S101 - opened for its beginning
        with self._open.disk():
            cast("Rendered", self._open.document).take(piece)
        if piece.totals is not None and self._coming is not None:
            self._added(self._coming, piece.totals)

    def take_frames(self, data: bytes) -> None:
        """Of the one seamless document: what was rendered and compressed elsewhere, whole frames in the end."""
        assert self._open is not None  # noqa: S101 - the one document is open from the start
        self._open.write_frames(data)

    def _file_of(self, exported: Exported, day: str) -> Unfinished[Document]:
        if self.layout.split is not None:
            path = self._path(exported, day)
            if self._open is None or self._open.path != path:
                self._finish()
                self._open = self._file(path)
        assert self._open is not None  # noqa: S101 - one was opened at the start or just now
        return self._open

    def _added(self, exported: Exported, totals: Totals) -> None:
        assert self._open is not None  # noqa: S101 - it was added there
        self._size += totals.bytes
        if self._index is not None:
            self._index.document.add(self._open.path.relative_to(self._index.path.parent).as_posix(), exported, totals)
        if self.layout.split is Split.SIZE and self._size >= self.layout.split_bytes:
            self._finish()
            self._number += 1

    def copy(self, make: Callable[[Path], None]) -> None:
        """Fill the one file with what ``make`` writes: a whole store, which is SQLite like the file."""
        from sessionctl.export.sqlite import SqliteDocument

        if self._open is None or not isinstance(self._open.document, SqliteDocument):
            raise ValueError("only one SQLite file can be a copy")
        self._open.document.fill(make)

    def close(self) -> None:
        """End the last file, and the index where there are several pages."""
        self._finish()
        if self._index is not None and self.written.files > 1:
            self._count(self._index.finish(durable=True), self._index.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            if self._open is not None:
                self._open.abandon()
            if self._index is not None:
                self._index.abandon()

    def _path(self, exported: Exported, day: str) -> Path:
        place = self.layout.place or Path()
        if exported.several:
            place /= file_name(exported.store)
        names = {
            Split.SESSION: file_name(exported.session.id),
            Split.DAY: day,
            Split.SIZE: f"sessions-{self._number:05}",
        }
        return place / (names[self.layout.split or Split.SIZE] + self.layout.suffix)

    def _file(self, path: Path | None) -> Unfinished[Document]:
        self._size = 0
        target = path if path is not None else self._stream
        assert target is not None  # noqa: S101 - the caller gives either
        return Unfinished(target, self.layout.packing, self._begin, force=self.layout.force)

    def _finish(self) -> None:
        if self._open is None:
            return
        size = self._open.finish(durable=self.layout.split is not Split.SESSION)
        if self.layout.place is not None:
            self._count(size, self._open.path)
        self._open = None

    def _count(self, size: int, path: Path) -> None:
        self.written.files += 1
        self.written.bytes += size
        if self.written.files <= NAMES_TOLD:
            self.written.first.append(str(path))
