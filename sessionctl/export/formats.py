"""The formats by name, each imported when it is used."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import PurePath
from typing import BinaryIO

from sessionctl.archive.codecs import Compression
from sessionctl.export.base import Document


class Format(StrEnum):
    """What an export is written as."""

    JSONL = "jsonl"
    MARKDOWN = "markdown"
    HTML = "html"
    PARQUET = "parquet"
    ARCHIVE = "archive"
    SQLITE = "sqlite"

    @property
    def suffix(self) -> str:
        """What names of its files end with."""
        return {"markdown": ".md", "archive": ".jsonl", "sqlite": ".db"}.get(self, f".{self}")

    @property
    def is_paged(self) -> bool:
        """Is it a page for each session, with an index?"""
        return self is Format.HTML

    @property
    def is_packed(self) -> bool:
        """Is it compressed in itself, or of no use compressed?"""
        return self in (Format.PARQUET, Format.SQLITE)

    def document(self, compression: Compression = Compression.NONE) -> Callable[[BinaryIO], Document]:
        """What begins a document of this format in a file; archives see to their ``compression`` themselves."""
        kind: Callable[..., Document] = self.kind()
        return partial(kind, compression=compression) if self is Format.ARCHIVE else kind

    def kind(self) -> type[Document]:
        """The class of its documents."""
        match self:
            case Format.JSONL:
                from sessionctl.export.jsonl import JsonlDocument

                return JsonlDocument
            case Format.MARKDOWN:
                from sessionctl.export.markdown import MarkdownDocument

                return MarkdownDocument
            case Format.HTML:
                from sessionctl.export.html import HtmlDocument

                return HtmlDocument
            case Format.PARQUET:
                from sessionctl.export.parquet import ParquetDocument

                return ParquetDocument
            case Format.SQLITE:
                from sessionctl.export.sqlite import SqliteDocument

                return SqliteDocument
            case Format.ARCHIVE:
                from sessionctl.export.archive import ArchiveDocument

                return ArchiveDocument


def meant_by(name: str) -> tuple[Format | None, Compression | None]:
    """What the ending of a file name says about its format and compression."""
    path = PurePath(name)
    compression = next((c for c in Compression if c.suffix and c.suffix == path.suffix.lower()), None)
    if compression is not None:
        path = path.with_suffix("")
    return next((f for f in Format if f.suffix == path.suffix.lower()), None), compression
