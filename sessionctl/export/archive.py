"""Archives: the lossless format, each file one archive of one store (``sessionctl.archive.format``)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, ClassVar

from sessionctl.archive.codecs import Compression
from sessionctl.archive.format import Counts
from sessionctl.archive.reader import verify
from sessionctl.archive.writer import Pipe, SegmentWriter, lines_of
from sessionctl.core.plan import Totals
from sessionctl.errors import ItemTooLarge, SessionNotFound, UsageError
from sessionctl.export.base import Exported, Piece, Rendered


class ArchiveDocument(Rendered):
    """One archive; what it holds must come from one store."""

    is_seamless: ClassVar[bool] = False

    def __init__(self, file: BinaryIO, compression: Compression) -> None:
        super().__init__(file)
        self._compression = compression
        self._writer: SegmentWriter | None = None
        self._store = ""

    def begin(self, exported: Exported) -> None:
        if self._writer is None:
            assert exported.origin is not None  # noqa: S101 - told with every session of an archive
            self._store = exported.store
            self._writer = SegmentWriter(Pipe(self.file), exported.origin, self._compression)
        if exported.store != self._store:
            raise UsageError("an archive is of one store", hint="add --split size, or export one store at a time")
        self._writer.begin(exported.session.id)

    @staticmethod
    def render(exported: Exported) -> Iterator[Piece]:
        try:
            for lines, counts in lines_of(exported.session, exported.items):
                totals = None if counts is None else Totals(sessions=1, items=counts.items, bytes=counts.bytes)
                yield Piece(lines, totals)
        except ItemTooLarge as error:
            raise ItemTooLarge(
                f"session {exported.session.id!r} cannot be archived: {error.message}",
                hint="--exclude it, or take another --format",
            ) from error

    def take(self, piece: Piece) -> Totals | None:
        assert self._writer is not None  # noqa: S101 - made with the first session
        totals = piece.totals
        self._writer.take(bytes(piece.data), None if totals is None else Counts(1, totals.items, totals.bytes))
        return totals

    def close(self) -> None:
        """Raises SessionNotFound where there was no session: nothing says then where the archive is from."""
        if self._writer is None:
            raise SessionNotFound("no session matches, and an archive needs one")
        self._writer.seal()

    def verify(self, path: Path) -> None:
        verify(str(path.absolute()))
