"""The lines of an archive as its octets come in: one at a time, or many alike at once."""

from __future__ import annotations

from collections.abc import Iterator

from sessionctl.archive import format as form

_END = b'\n{"end":'
"""No line holds it: texts have no raw LF, and a line that begins so ends a session."""


class Lines:
    """Lines of ``chunks``. ``number`` is that of the line handed out last, from 1 on."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._data, self._at = b"", 0
        self.number = 0

    def next(self) -> bytes | None:
        """The next line without its LF. One that grows too long is refused before it is put together."""
        self.number += 1
        end = self._data.find(b"\n", self._at)
        if end < 0:
            return self._long()
        line = self._data[self._at : end]
        self._at = end + 1
        return line

    def begins(self, start: bytes) -> bool:
        """Does the next line begin so?"""
        while len(self._data) - self._at < len(start) and (chunk := next(self._chunks, None)) is not None:
            self._data, self._at = self._data[self._at :] + chunk, 0
        return self._data.startswith(start, self._at)

    def at_hand(self) -> bytes:
        """Whole lines with their LF that come next, as far as they are here, up to one that ends a session."""
        end = self._data.find(_END, self._at)
        if end < 0:
            end = self._data.rfind(b"\n", self._at)
        return self._data[self._at : end + 1]

    def pass_over(self, lines: bytes, count: int) -> None:
        """``lines`` were ``at_hand``, ``count`` of them, and are dealt with."""
        self._at += len(lines)
        self.number += count

    def _long(self) -> bytes | None:
        """A line that goes on in the chunks to come; None where there is nothing more."""
        parts, length = [self._data[self._at :]], len(self._data) - self._at
        self._data, self._at = b"", 0
        for chunk in self._chunks:
            end = chunk.find(b"\n")
            if end >= 0:
                self._data, self._at = chunk, end + 1
                return b"".join((*parts, chunk[:end]))
            parts.append(chunk)
            length += len(chunk)
            if length > form.MAX_LINE:
                raise form.Malformed(f"it is longer than {form.MAX_LINE >> 20} MiB")
        if length:
            raise form.Malformed("it is cut off")
        return None
