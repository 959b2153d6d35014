"""Files compressed as they are written."""

from __future__ import annotations

import io
import sys
import zlib
from typing import Any, BinaryIO

from sessionctl.export.formats import Compression

_ZSTD_LEVEL = 3
_GZIP_LEVEL = 6
_WITH_GZIP_HEADER = 31


def compressed(file: BinaryIO, how: Compression) -> Packed:
    """A file whose octets land compressed in ``file``, which stays open; ``end`` it when all is written."""
    return Packed(file, None if how is Compression.NONE else _compressor(how))


def _compressor(how: Compression) -> Any:
    if how is Compression.GZIP:
        return zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _WITH_GZIP_HEADER)
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd.ZstdCompressor(level=_ZSTD_LEVEL)


class Packed(io.RawIOBase):
    """Writes through a compressor, or as it comes; only for writing forward."""

    def __init__(self, file: BinaryIO, compressor: Any) -> None:
        super().__init__()
        self._file, self._compressor = file, compressor

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._file.write(self._compressor.compress(data) if self._compressor else data)
        return len(data)

    def end(self) -> None:
        """Write what the compressor still holds; nothing comes after."""
        if self._compressor:
            self._file.write(self._compressor.flush())
