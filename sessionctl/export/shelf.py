"""Where an export's documents go: one file, one a session, a day or a size, or a stream that is open already.

A file comes into being under another name and gets its own when it is whole, so that whatever bears the name
of an export is one. Files are their owner's alone (0600), so are directories made for them (0700); a file that
is there already is replaced only where that is allowed.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Self, cast

from sessionctl.archive.codecs import Compression
from sessionctl.core.plan import Totals
from sessionctl.errors import SessionctlError, UsageError
from sessionctl.export.base import Document, Exported
from sessionctl.export.compression import Packed
from sessionctl.export.formats import Format
from sessionctl.export.names import file_name

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
    def suffix(self) -> str:
        return self.format.suffix + self.compression.suffix


@dataclass(slots=True, kw_only=True)
class Written:
    """What the shelf holds so far: files that are whole, their octets on disk, and the names of the first ones."""

    files: int = 0
    bytes: int = 0
    first: list[str] = field(default_factory=list)


Begin = Callable[[BinaryIO], Document]
"""What begins a document in a file."""
NAMES_TOLD = 20


class Shelf:
    """Takes sessions and puts them into files. A context manager: left by an error, what is unfinished goes."""

    def __init__(self, layout: Layout, stream: BinaryIO | None = None) -> None:
        self.layout = layout
        self.written = Written()
        self._stream = stream
        self._begin = layout.format.document()
        self._open: _File | None = None
        self._number = 1
        if layout.split is None:
            self._open = self._file(layout.place)

    def add(self, exported: Exported, *, day: str = "") -> Totals:
        """Put a session into its file; ``day`` is the one it belongs to. Sessions of a day follow each other."""
        if self.layout.split is not None:
            path = self._path(exported, day)
            if self._open is None or self._open.path != path:
                self._finish()
                self._open = self._file(path)
        assert self._open is not None  # noqa: S101 - one was opened at the start or just now
        with _disk(self._open.path):
            totals = self._open.document.add(exported)
        self._open.size += totals.bytes
        if self.layout.split is Split.SIZE and self._open.size >= self.layout.split_bytes:
            self._finish()
            self._number += 1
        return totals

    def close(self) -> None:
        """End the last file."""
        self._finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        elif self._open is not None:
            self._open.abandon()

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

    def _file(self, path: Path | None) -> _File:
        with _disk(path):
            if path is None:
                assert self._stream is not None  # noqa: S101 - the caller gives either
                raw, part = self._stream, None
            else:
                raw, part = _opened(path, force=self.layout.force)
        return _File(path, part, raw, self.layout.compression, self._begin)

    def _finish(self) -> None:
        if self._open is None:
            return
        done, self._open = self._open, None
        try:
            with _disk(done.path):
                size = done.finish(durable=self.layout.split is not Split.SESSION)
        except BaseException:
            done.abandon()
            raise
        if done.path is not None:
            self.written.files += 1
            self.written.bytes += size
            if self.written.files <= NAMES_TOLD:
                self.written.first.append(str(done.path))


class _File:
    """A document in the making; ``part`` is its name until it is whole, None where it is written in place."""

    def __init__(
        self, path: Path | None, part: Path | None, raw: BinaryIO, compression: Compression, begin: Begin
    ) -> None:
        self.path, self.size = path, 0
        self._part, self._raw = part, raw
        self._packed = Packed(raw, compression)
        self.document = begin(cast("BinaryIO", self._packed))

    def finish(self, *, durable: bool) -> int:
        """Make it whole and give it its name; its octets."""
        self.document.close()
        self._packed.end()
        self._raw.flush()
        if self.path is None:
            return 0
        size = 0
        if self._part is not None:
            size = self._raw.tell()
            if durable:
                os.fsync(self._raw.fileno())
        self._raw.close()
        if self._part is not None and self.path is not None:
            self._part.replace(self.path)
            self._part = None
        return size

    def abandon(self) -> None:
        """Leave nothing behind of a file that did not become whole."""
        with suppress(OSError, ValueError):
            if self.path is not None:
                self._raw.close()
        if self._part is not None:
            self._part.unlink(missing_ok=True)


def _opened(path: Path, *, force: bool) -> tuple[BinaryIO, Path | None]:
    """A file to write ``path`` in, and its name until then; devices and pipes are written as they are."""
    with suppress(FileNotFoundError):
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise UsageError(f"--out {path} is a directory", hint="name a file in it, or add --split session")
        if not stat.S_ISREG(mode):
            return path.open("wb"), None
        if not force:
            raise UsageError(f"{path} is there already", hint="--force replaces it")
    for missing in reversed([parent for parent in path.parents if not parent.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)
    descriptor, part = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".part", dir=path.parent)
    return os.fdopen(descriptor, "wb", buffering=1 << 18), Path(part)


@contextmanager
def _disk(path: Path | None) -> Iterator[None]:
    """What the disk refuses, as a sentence that names the file."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise SessionctlError(f"the export cannot be written: {why}: {path or 'stdout'}") from error
