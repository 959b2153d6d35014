"""The formats by name, each imported when it is used."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import PurePath
from typing import BinaryIO

from sessionctl.archive.codecs import Compression
from sessionctl.export.base import Document


class Format(StrEnum):
    """What an export is written as."""

    JSONL = "jsonl"

    @property
    def suffix(self) -> str:
        """What names of its files end with."""
        return f".{self}"

    def document(self) -> Callable[[BinaryIO], Document]:
        """What begins a document of this format in a file."""
        from sessionctl.export.jsonl import JsonlDocument

        return JsonlDocument


def meant_by(name: str) -> tuple[Format | None, Compression | None]:
    """What the ending of a file name says about its format and compression."""
    path = PurePath(name)
    compression = next((c for c in Compression if c.suffix and c.suffix == path.suffix.lower()), None)
    if compression is not None:
        path = path.with_suffix("")
    return next((f for f in Format if f.suffix == path.suffix.lower()), None), compression
