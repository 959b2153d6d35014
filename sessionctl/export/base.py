"""What every format is: a document that takes sessions one after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar, NamedTuple

from sessionctl.core.plan import Totals
from sessionctl.core.record import SessionRecord, StoredItem

if TYPE_CHECKING:
    from sessionctl.archive.format import Header


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A session on its way into a document; its items can be read once.

    ``store`` is the masked address it came from, ``several``: sessions of several stores are exported together.
    ``origin`` is what an archive says of itself; told to archives only.
    """

    store: str
    session: SessionRecord
    items: Iterable[StoredItem]
    several: bool = False
    origin: Header | None = None


class Ending:
    """What is written into a file, as far as its end is concerned."""

    def close(self) -> None:
        """Write what is still missing. The file itself belongs to the caller."""

    def discard(self) -> None:
        """Let go of what is held, with ``close`` or without it. Idempotent."""

    def verify(self, path: Path) -> None:
        """Look at what lies at ``path`` now, before it gets its name. Raises where it is not what was written."""


class Document(Ending, ABC):
    """One file being written. ``close`` ends it; what was begun and not closed is no whole document."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    @abstractmethod
    def add(self, exported: Exported) -> Totals:
        """Write one session; what it came to (octets of the items' texts)."""


class Piece(NamedTuple):
    """Octets of a session as they stand in a document. ``totals`` come with the last ones."""

    data: bytes | memoryview
    totals: Totals | None = None


class Rendered(Document):
    """A document of sessions that are each rendered by itself, here or in another process.

    What a session must know of the document it goes into is in ``Exported``. ``is_seamless``: the document is nothing
    but its sessions, and it makes no difference to it where one ends. ``is_plain``: all it asks of a session are its
    id and its ``plain_items``.
    """

    is_seamless: ClassVar[bool] = True
    is_plain: ClassVar[bool] = False

    @staticmethod
    @abstractmethod
    def render(exported: Exported) -> Iterator[Piece]:
        """One session, piece by piece."""

    def add(self, exported: Exported) -> Totals:
        self.begin(exported)
        totals = Totals()
        for piece in self.render(exported):
            totals = self.take(piece) or totals
        return totals

    def begin(self, exported: Exported) -> None:
        """A session is to come, piece by piece; its items are not looked at."""

    def take(self, piece: Piece) -> Totals | None:
        """Write the next piece of the session that was begun."""
        self.file.write(piece.data)
        return piece.totals
