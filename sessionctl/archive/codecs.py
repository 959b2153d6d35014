"""How archives are compressed: zstd, gzip or not at all, told apart by their first bytes.

Decompression is bounded before it allocates: a chunk at a time, and never out of proportion to what was
read, so that a few kilobytes cannot unfold into all memory or an endless read.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, BinaryIO, Protocol

_CHUNK = 64 * 1024
"""Memory of much larger pieces is asked of the system and given back each time, which takes longer than the work."""
_JOB = 2 * 1024 * 1024
"""Octets that zstd's thread takes at once: half the memory of its own choice, for a file less than 1 % larger."""
_FREE = 1 << 30
_RATIO = 1000
"""Beyond the first gigabyte an archive unfolds to at most this many times its size; transcripts reach 10 to 50."""


class Compression(StrEnum):
    """How a file is compressed; ``suffix`` is what its name ends with."""

    ZSTD = "zstd"
    GZIP = "gzip"
    NONE = "none"

    @property
    def suffix(self) -> str:
        return {"zstd": ".zst", "gzip": ".gz", "none": ""}[self.value]

    @property
    def magic(self) -> bytes:
        """How each frame starts; empty where there are none."""
        return {"zstd": b"\x28\xb5\x2f\xfd", "gzip": b"\x1f\x8b\x08", "none": b""}[self.value]


class Unsound(ValueError):
    """Compressed data that is damaged, ends too early, or unfolds out of all proportion."""


class Compressor(Protocol):
    """Compresses one frame; nothing comes after ``flush``. Plain data passes through."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Decompressor(Protocol):
    """Decompresses one frame. ``feed`` yields chunks of bounded size."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def feed(self, data: bytes) -> Iterator[bytes]: ...


def compressor(compression: Compression, *, alone: bool = False) -> Compressor:
    """A compressor of one frame. zstd works in a thread of its own beside the caller, but not ``alone``."""
    if compression is Compression.ZSTD:
        zstd = _zstd()
        option = zstd.CompressionParameter
        options = {option.compression_level: 3, option.checksum_flag: 1}
        if option.nb_workers.bounds()[1] and not alone:  # a library built without threads has none
            options |= {option.nb_workers: 1, option.job_size: _JOB}
        return zstd.ZstdCompressor(options=options)  # type: ignore[no-any-return]
    if compression is Compression.GZIP:
        fast = _isal()
        if fast is not None:
            return fast.compressobj(2, fast.DEFLATED, 31)  # type: ignore[no-any-return]
        return zlib.compressobj(6, zlib.DEFLATED, 31)
    return _Plain()


def recognised(start: bytes) -> Compression:
    """How a file is compressed that starts with ``start``."""
    for compression in (Compression.ZSTD, Compression.GZIP):
        if start.startswith(compression.magic):
            return compression
    return Compression.NONE


def decompressed(source: BinaryIO) -> Iterator[bytes]:
    """What ``source`` holds, in chunks of bounded size. Raises Unsound; frames may follow one another."""
    data = source.read(_CHUNK)
    compression = recognised(data)
    frame: _Decompressor | None = None
    taken = given = 0
    while data:
        taken += len(data)
        while data:
            if frame is None or frame.eof:
                frame = _decompressor(compression)
            for chunk in _fed(frame, data):
                given += len(chunk)
                if given > _FREE and given > taken * _RATIO:
                    raise Unsound(f"it unfolds to more than {_RATIO} times its size")
                yield chunk
            data = frame.unused_data if frame.eof else b""
        data = source.read(_CHUNK)
    if frame is not None and not frame.eof and compression is not Compression.NONE:
        raise Unsound("it ends in the middle of the compressed data")


def unfold(frame: bytes, compression: Compression) -> bytes:
    """The first chunk of what must be one whole frame. Raises Unsound."""
    one = _decompressor(compression)
    chunk = next(_fed(one, frame), b"")
    if compression is not Compression.NONE and (not one.eof or one.unused_data):
        raise Unsound("it is not one frame")
    return chunk


def _fed(frame: _Decompressor, data: bytes) -> Iterator[bytes]:
    try:
        yield from frame.feed(data)
    except Exception as error:  # each codec has its own
        raise Unsound(f"the compressed data is damaged: {error}") from error


def _decompressor(compression: Compression) -> _Decompressor:
    if compression is Compression.ZSTD:
        return _ZstdFrame()
    return _GzipMember() if compression is Compression.GZIP else _Plain()


class _Plain:
    eof = False
    unused_data = b""

    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        yield data


class _ZstdFrame:
    def __init__(self) -> None:
        self._frame = _zstd().ZstdDecompressor()

    @property
    def eof(self) -> bool:
        return bool(self._frame.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._frame.unused_data)

    def feed(self, data: bytes) -> Iterator[bytes]:
        yield self._frame.decompress(data, _CHUNK)
        while not (self._frame.eof or self._frame.needs_input):
            yield self._frame.decompress(b"", _CHUNK)


class _GzipMember:
    def __init__(self) -> None:
        self._member = (_isal() or zlib).decompressobj(31)

    @property
    def eof(self) -> bool:
        return bool(self._member.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._member.unused_data)

    def feed(self, data: bytes) -> Iterator[bytes]:
        chunk = self._member.decompress(data, _CHUNK)
        yield chunk
        # What was read may lie decompressed in the member, with nothing left of the input.
        while not self._member.eof and (self._member.unconsumed_tail or len(chunk) == _CHUNK):
            chunk = self._member.decompress(self._member.unconsumed_tail, _CHUNK)
            yield chunk


def _zstd() -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd


def _isal() -> Any:
    """The fast gzip, where it is installed (the extra ``gzip``)."""
    try:
        from isal import isal_zlib
    except ImportError:
        return None
    return isal_zlib
