"""Holds in a server database, in a table of sessionctl's own in the schema of the SDK's.

A batch reads them after it has locked the rows of its sessions, by a statement that sees what is committed
then. Who places a hold commits it and then waits for those rows: a batch that had locked one before is over
by then, and a later one sees the hold.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import Connection, Select, TableClause, column, delete, insert, or_, select, table
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.sql.elements import quoted_name

from sessionctl.core.hold import Hold, HoldKind, Holds
from sessionctl.core.selector import Query
from sessionctl.errors import AccessRefused, SessionctlError, StoreNotUnderstood, UsageError
from sessionctl.stores.holds_table import COLUMNS, DDL, TABLE, hold_of, row_of, stamp
from sessionctl.stores.sql.items import SqlItemReader
from sessionctl.stores.sql.values import chunked

_TOGETHER = 500


class SqlHoldStore(SqlItemReader):
    """A reader that keeps holds."""

    _is_swept = False
    _has_table = False
    """Was the table of holds seen, by this object?"""
    _changes_with: ClassVar[Mapping[str, Any]] = {}
    """SQLAlchemy's execution options of a transaction that changes."""

    @abstractmethod
    def _begin_change(self, connection: Connection) -> None:
        """READ COMMITTED, short lock waits, constraints checked at once."""

    @abstractmethod
    def _lock(self, connection: Connection, ids: Sequence[str], *, wait: bool) -> Sequence[Any]:
        """Lock the rows of these sessions; (id, last append, edition) of those that nobody else had locked.

        The append in microseconds; nothing of it can change any more. ``wait``: wait for others instead of passing over
        what they hold. Lookalikes may be locked too.
        """

    def _current(self, statement: Select[Any]) -> Select[Any]:
        """``statement`` so that it sees what is committed now, where the transaction's level does not see to it."""
        return statement

    @abstractmethod
    def _place_of_holds(self, connection: Connection) -> tuple[str | None, bool]:
        """The schema that the table of holds belongs in (None: the connection's own), and whether it is there."""

    def _refuse_if_frozen(self) -> None:
        if self._info.frozen:
            raise StoreNotUnderstood(f"{self.address} must not be changed: {self._info.frozen}")

    def holds(self) -> Iterator[Hold]:
        with self._reading() as connection:
            return iter(self._read_holds(connection, None))

    def hold(self, holds: Sequence[Hold]) -> None:
        self._refuse_if_frozen()
        unknown = next((hold for hold in holds if not self._is_storable(hold.value)), None)
        if unknown is not None:
            raise UsageError(f"no session of {self.address} can have the id {unknown.value!r}")
        self._make_table()
        now = self.now()
        with self._changing() as connection:
            self._add_holds(connection, holds, now)
        self._outlast(holds)

    def release(self, holds: Sequence[Hold]) -> int:
        with self._changing() as connection:
            return self._drop_holds(connection, holds)

    # --- within a transaction -------------------------------------------------------------------

    def _held_among(
        self, connection: Connection, ids: Sequence[str], named: frozenset[str], now: datetime
    ) -> frozenset[str]:
        """Which of these sessions a run that names ``named`` must leave alone. Their rows are locked by now."""
        found = self._read_holds(connection, ids)
        return Holds(found, now).among(ids, named) if found else frozenset()

    def _read_holds(self, connection: Connection, ids: Sequence[str] | None) -> list[Hold]:
        """All globs, and the holds of these ids (None: of all)."""
        with self._explained():
            kept = self._kept(connection)
            if kept is None:
                return []
            statement: Select[Any] = select(*(kept.c[name] for name in COLUMNS))
            if ids is None:
                statement = statement.order_by(kept.c.since, kept.c.hold_id, kept.c.kind, kept.c.value)
            else:
                by_id = self._is_any(kept.c.value, ids)
                statement = self._current(statement.where(or_(kept.c.kind != str(HoldKind.ID), by_id)))
            return list(map(hold_of, connection.execute(statement).all()))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            wrong = self._translate(error)
            if not isinstance(wrong, AccessRefused):
                raise
            raise AccessRefused(
                f"{self.address} may have holds that this role may not read, so nothing is changed: {wrong}",
                hint=f"grant SELECT on {TABLE} to read holds, INSERT and DELETE too to place and release them",
            ) from error

    def _kept(self, connection: Connection) -> TableClause | None:
        """The table of holds, None where there is none."""
        schema, is_there = self._place_of_holds(connection)
        return _table(schema) if is_there else None

    def _add_holds(self, connection: Connection, holds: Iterable[Hold], now: datetime) -> None:
        """Add them; those that are over by now go, once for this object."""
        schema, is_there = self._place_of_holds(connection)
        kept = _table(schema)
        if is_there and not self._is_swept:
            over = kept.c.until <= stamp(now)
            if connection.execute(select(kept.c.hold_id).where(over).limit(1)).first():  # else no right to delete
                connection.execute(delete(kept).where(over))
            self._is_swept = True
        rows = list(map(row_of, holds))
        if rows:
            self._insert_holds(connection, kept, rows)

    def _insert_holds(self, connection: Connection, holds: TableClause, rows: Sequence[Sequence[Any]]) -> None:
        connection.execute(insert(holds), [dict(zip(COLUMNS, row, strict=True)) for row in rows])

    def _drop_holds(self, connection: Connection, holds: Iterable[Hold]) -> int:
        """Take exactly these away; how many of them there were."""
        kept = self._kept(connection)
        if kept is None:
            return 0
        k, found = kept.c, 0
        for hold in holds:
            mine = (k.value == hold.value, k.kind == str(hold.kind), k.hold_id == hold.hold_id)
            found += connection.execute(delete(kept).where(*mine)).rowcount
        return found

    # --- around it --------------------------------------------------------------------------------

    @contextmanager
    def _changing(self) -> Iterator[Connection]:
        """A transaction that changes, committed at the end of the block."""
        with self._translated(), self._engine.connect() as connection:
            connection.execution_options(**self._changes_with)
            self._begin_change(connection)
            yield connection
            connection.commit()

    def _make_table(self) -> None:
        """In a transaction of its own: MySQL commits at every statement that makes something."""
        if self._has_table:
            return
        with self._reading() as connection, self._explained():
            schema, self._has_table = self._place_of_holds(connection)
        if self._has_table:
            return
        name = self._engine.dialect.identifier_preparer.format_table(_table(schema))
        statement = DDL[self._info.kind].format(table=name)
        try:
            with self._changing() as connection:
                self._make(connection, statement)
        except AccessRefused as refused:
            raise AccessRefused(
                f"{self.address} has no table for holds yet, and this role may not make it: {refused}",
                hint="let the owner of the SDK's tables make it: " + " ".join(statement.split()),
            ) from refused
        except SessionctlError as error:
            # Two that make it at once meet in PostgreSQL's catalog; then it is there now.
            if not isinstance(error.__cause__, IntegrityError):
                raise

    def _make(self, connection: Connection, statement: str) -> None:
        """Carry out a statement that makes a table."""
        connection.exec_driver_sql(statement)

    def _outlast(self, holds: Sequence[Hold]) -> None:
        """Wait for whoever had the sessions of these holds locked before they were there."""
        ids = [hold.value for hold in holds if hold.kind is HoldKind.ID]
        globs = tuple(hold.value for hold in holds if hold.kind is HoldKind.GLOB)
        if globs:
            ids += [ref.id for ref in self.sessions(Query(globs=globs))]
        try:
            for some in chunked(ids, _TOGETHER):
                with self._changing() as connection:
                    list(self._lock(connection, some, wait=True))
        except SessionctlError as error:
            raise type(error)(
                f"the hold is placed, but a change that was under way may still reach what it means: {error}",
                hint="sessionctl list shows whether the sessions are there",
            ) from error


def _table(schema: str | None) -> TableClause:
    place = quoted_name(schema, quote=True) if schema else None
    return table(TABLE, *map(column, COLUMNS), schema=place)
