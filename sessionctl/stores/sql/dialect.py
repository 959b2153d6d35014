"""In what engines behind SQLAlchemy Core differ: each a method that an adapter fills in or overrides."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, CursorResult, Engine, Table, func, null

from sessionctl.errors import SessionctlError
from sessionctl.stores.base import Store
from sessionctl.stores.sql.layout import Clock, Layout

Expression = ColumnElement[Any]
Condition = ColumnElement[bool]


class SqlDialect(Store):
    """An engine's own way to say things; statements are built of these."""

    _engine: Engine
    _layout: Layout
    _sessions: Table
    _messages: Table

    @abstractmethod
    def _translate(self, error: Exception) -> SessionctlError:
        """The error for the user; no secret in it."""

    @abstractmethod
    def _instant(self, value: Expression, clock: Clock) -> Expression:
        """A time of the tables as something that ``_time`` understands, NULL for NULL."""

    @abstractmethod
    def _time(self, value: Any) -> datetime | None:
        """What ``_instant`` gave, as aware UTC."""

    @abstractmethod
    def _newest(self, column: Column[Any]) -> Expression:
        """The largest ``_instant`` of a group."""

    @abstractmethod
    def _microseconds(self, instant: Expression) -> Expression:
        """An ``_instant`` as whole microseconds of the Unix epoch."""

    @abstractmethod
    def _holds(self, column: Column[Any], op: str, at: datetime) -> Condition:
        """Exactly ``_instant(column) op at``, in a form that can use an index on the column."""

    @abstractmethod
    def _sort_key(self, column: Column[Any]) -> Expression:
        """What sorts like ``_instant(column)``; NULL where that is."""

    @abstractmethod
    def _sort_value(self, column: Column[Any], at: datetime) -> Expression:
        """``at`` as a value of ``_sort_key(column)``."""

    @abstractmethod
    def _id_key(self, column: Expression) -> Expression:
        """The session id as something that compares exactly and sorts by code points."""

    @abstractmethod
    def _is_any(self, column: Expression, ids: Sequence[str]) -> Condition:
        """True for every one of these ids by the column's own comparison, which may find lookalikes too."""

    @abstractmethod
    def _is_like(self, column: Expression, pattern: str) -> Condition:
        """LIKE by code points, ``!`` escapes."""

    @abstractmethod
    def _id_value(self, session_id: str) -> Any:
        """``session_id`` as a value of ``_id_key``."""

    @abstractmethod
    def _same_id(self, item_side: Expression) -> Condition:
        """The session id of an item names the session of the sessions table, as the SDK and the foreign key see it."""

    @abstractmethod
    def _octets(self, column: Expression) -> Expression:
        """Octets of the stored text as UTF-8."""

    @abstractmethod
    def _place_of(self, column: Expression, word: str) -> Expression:
        """Where in the text the ASCII ``word`` stands, in this very case; 0 where it does not."""

    @abstractmethod
    def _contains(self, column: Expression, needle: str) -> Condition:
        """At least the texts that contain ``needle`` without regard to the case of ASCII letters."""

    @abstractmethod
    def _server_time(self) -> Expression:
        """The server's clock this very moment, for ``_time``."""

    @abstractmethod
    def _physical(self, *, joined: bool) -> list[Expression]:
        """ORDER BY for a pass as the rows lie; ``joined``: the plan may shuffle them."""

    @abstractmethod
    def _is_storable(self, text: str) -> bool:
        """Can a session have this id at all?"""

    @abstractmethod
    def _abandon(self, connection: Connection, result: CursorResult[Any]) -> None:
        """Close a stream that was not read to its end, without reading the rest."""

    def _edition(self) -> Expression:
        """A number that each write to a session's own row moves; NULL where the server keeps none."""
        return null()

    def _largest_key(self) -> Expression:
        """The largest key of a group of items; NULL where the edition of their session tells as much."""
        return func.max(self._messages.c.id)

    def _owns(self) -> Condition:
        return self._same_id(self._messages.c.session_id)

    def _may_be_unknown(self, column: Column[Any]) -> bool:
        """Can ``_sort_key(column)`` be NULL?"""
        return self._layout.sessions.columns[column.key].nullable
