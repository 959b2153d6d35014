"""Files compressed as they are written."""

from __future__ import annotations

import io
from typing import Any, BinaryIO

from sessionctl.archive.codecs import Compression, compressor


class Packed(io.RawIOBase):
    """Writes forward into ``file`` through a compressor. ``end`` it when all is written; ``file`` stays open."""

    def __init__(self, file: BinaryIO, compression: Compression) -> None:
        super().__init__()
        self._file, self._compressor = file, compressor(compression)
        self._taken = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._file.write(self._compressor.compress(data))
        self._taken += len(data)
        return len(data)

    def tell(self) -> int:
        """Octets written so far, before compression."""
        return self._taken

    def end(self) -> None:
        """Write what the compressor still holds; nothing comes after."""
        self._file.write(self._compressor.flush())
