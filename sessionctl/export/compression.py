"""Files compressed as they are written."""

from __future__ import annotations

import io
from typing import Any, BinaryIO

from sessionctl.archive.codecs import Compression, compressor

_TOGETHER = 1 << 17
"""Octets handed to the compressor at once: each call costs more than a small session is worth."""


class Packed(io.RawIOBase):
    """Writes forward into ``file`` through a compressor. ``end`` it when all is written; ``file`` stays open."""

    def __init__(self, file: BinaryIO, compression: Compression) -> None:
        super().__init__()
        self._file, self._compressor = file, compressor(compression)
        self._compression, self._is_plain = compression, compression is Compression.NONE
        self._waiting: list[bytes] = []
        self._taken = self._compressed = 0
        self._is_begun = self._has_frames = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._taken += len(data)
        if self._is_plain:
            self._file.write(data)
            return len(data)
        self._is_begun = True
        self._waiting.append(bytes(data))
        if self._taken - self._compressed >= _TOGETHER:
            self._compress()
        return len(data)

    def write_frames(self, data: bytes) -> None:
        """Frames that were compressed elsewhere, or a part of one: nothing else is written before that is whole."""
        if self._is_begun:
            self.end()
            self._compressor, self._is_begun = compressor(self._compression), False
        self._has_frames = True
        self._file.write(data)

    def tell(self) -> int:
        """Octets written so far, before compression."""
        return self._taken

    def end(self) -> None:
        """Write what the compressor still holds; nothing comes after."""
        if self._is_begun or not self._has_frames:
            self._compress()
            self._file.write(self._compressor.flush())

    def _compress(self) -> None:
        self._file.write(self._compressor.compress(b"".join(self._waiting)))
        self._waiting, self._compressed = [], self._taken
