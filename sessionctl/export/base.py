"""What every format is: a document that takes sessions one after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO

from sessionctl.core.plan import Totals
from sessionctl.core.record import SessionRecord, StoredItem


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A session on its way into a document; its items can be read once.

    ``store`` is the masked address it came from, ``several``: sessions of several stores are exported together.
    """

    store: str
    session: SessionRecord
    items: Iterable[StoredItem]
    several: bool = False


class Document(ABC):
    """One file being written. ``close`` ends it; what was begun and not closed is no whole document."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    @abstractmethod
    def add(self, exported: Exported) -> Totals:
        """Write one session; what it came to (octets of the items' texts)."""

    def close(self) -> None:  # noqa: B027 - most formats end with their last session
        """Write what follows the last session. The file itself belongs to the caller."""

    def discard(self) -> None:  # noqa: B027 - most formats hold nothing
        """Let go of what is held, with ``close`` or without it. Idempotent."""
