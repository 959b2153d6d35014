"""Files that bear their name only when they are whole.

A file comes into being under another name in the same directory, so that whatever bears the name of an export
is one. Files are their owner's alone (0600), so are directories made for them (0700); a file that is there
already is replaced only where that is allowed.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar, cast

from sessionctl.archive.codecs import Compression
from sessionctl.errors import SessionctlError, UsageError
from sessionctl.export.base import Ending
from sessionctl.export.compression import Packed

_BUFFER = 1 << 18


D = TypeVar("D", bound=Ending)


class Unfinished(Generic[D]):
    """A document in the making. ``finish`` or ``abandon`` it.

    ``target`` is the path it will have, or an open stream, which is written as it comes; so are devices and
    pipes. Raises UsageError where the path is taken and ``force`` is not given.
    """

    def __init__(
        self, target: Path | BinaryIO, compression: Compression, begin: Callable[[BinaryIO], D], *, force: bool
    ) -> None:
        self._part: Path | None = None
        self._is_ours = isinstance(target, Path)
        self.path = target if isinstance(target, Path) else Path("stdout")
        with self.disk():
            self._file = self._opened(target, force=force) if isinstance(target, Path) else target
        self._packed = Packed(self._file, compression)
        try:
            self.document = begin(cast("BinaryIO", self._packed))
        except BaseException:
            self._leave_nothing()
            raise

    @contextmanager
    def disk(self) -> Iterator[None]:
        """What the disk refuses, as a sentence that names the file."""
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise SessionctlError(f"the export cannot be written: {why}: {self.path}") from error

    @property
    def descriptor(self) -> int | None:
        """Of the file in the making; None where it is a stream or a device."""
        return self._file.fileno() if self._part is not None else None

    def write_frames(self, data: bytes) -> None:
        """As ``Packed.write_frames``: of a document that need not see what it holds."""
        with self.disk():
            self._packed.write_frames(data)

    def finish(self, *, durable: bool) -> int:
        """Make it whole and give it its name; its octets (0 where it is no file). Nothing is left where that fails.

        ``durable``: it is on the disk when this returns.
        """
        try:
            with self.disk():
                return self._finish(durable=durable)
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Leave nothing behind of what did not become whole. Idempotent, and harmless after ``finish``."""
        with suppress(OSError, ValueError):
            self.document.discard()
        self._leave_nothing()

    def _leave_nothing(self) -> None:
        if self._is_ours:
            with suppress(OSError):
                self._file.close()
        if self._part is not None:
            self._part.unlink(missing_ok=True)
            self._part = None

    def _finish(self, *, durable: bool) -> int:
        self.document.close()
        self.document.discard()
        self._packed.end()
        self._file.flush()
        size = 0
        if self._part is not None:
            size = self._file.tell()
            if durable:
                os.fsync(self._file.fileno())
        if self._is_ours:
            self._file.close()
        if self._part is not None:
            self.document.verify(self._part)
            self._part.replace(self.path)
            self._part = None
        return size

    def _opened(self, path: Path, *, force: bool) -> BinaryIO:
        with suppress(FileNotFoundError):
            mode = path.stat().st_mode
            if stat.S_ISDIR(mode):
                raise UsageError(f"--out {path} is a directory", hint="name a file in it, or add --split session")
            if not stat.S_ISREG(mode):
                return path.open("wb")
            if not force:
                raise UsageError(f"{path} is there already", hint="--force replaces it")
        for missing in reversed([parent for parent in path.parents if not parent.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)
        descriptor, part = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".part", dir=path.parent)
        self._part = Path(part)
        return os.fdopen(descriptor, "wb", buffering=_BUFFER)
