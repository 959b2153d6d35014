"""What ids and texts a store behind SQLAlchemy can hold, and which of its own are too large for another."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

from sqlalchemy import Connection, func, select

from sessionctl.core.model import Room
from sessionctl.stores.drift import LiveColumn
from sessionctl.stores.sql.holds import SqlHoldStore
from sessionctl.stores.sql.layout import TableFacts


class SqlRoom(SqlHoldStore):
    """The port's part on room; adapters tell the columns."""

    _octets_of_type: ClassVar[Mapping[str, int]] = {}
    """The most octets of a text, by the type of its column."""
    _longest_id: ClassVar[int | None] = None
    """In octets, whatever the column says: what an index takes."""
    _takes_nul: ClassVar[bool] = True

    @abstractmethod
    def _live_columns(self, connection: Connection, table: TableFacts) -> Iterable[LiveColumn]:
        """The columns of ``table`` as the catalog has them."""

    def room(self) -> Room:
        with self._reading() as connection:
            tables = (self._layout.sessions, self._layout.messages)
            columns = [column for table in tables for column in self._live_columns(connection, table)]
        ids = [column.length for column in columns if column.name == "session_id" and column.length is not None]
        texts = [column.length for column in columns if column.name == "message_data" and column.length is not None]
        texts += [size for kind, size in self._octets_of_type.items() if kind == self._type_of_texts]
        return Room(
            longest_id=min([*ids, *filter(None, [self._longest_id])], default=None),
            longest_text=min(texts, default=None),
            takes_nul=self._takes_nul,
        )

    @property
    def _type_of_texts(self) -> str:
        return self._layout.messages.columns["message_data"].type

    def is_possible(self, session_id: str) -> bool:
        return self._is_storable(session_id)

    def outsized(self, room: Room) -> Iterator[tuple[str, str]]:
        if room.longest_text is None:
            return
        m = self._messages.c
        size = self._octets(m.message_data)
        largest = select(m.session_id, func.max(size)).where(size > room.longest_text).group_by(m.session_id)
        for session_id, octets in self._stream(largest):
            yield session_id, f"an item of {octets:,} octets"
