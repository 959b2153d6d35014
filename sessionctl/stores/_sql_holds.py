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
from functools import cached_property
from typing import Any, ClassVar

from sqlalchemy import Connection, Select, Table, column, delete, insert, or_, select, table
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.sql.elements import quoted_name

from sessionctl.core.hold import Hold, HoldKind, Holds
from sessionctl.core.selector import Query
from sessionctl.errors import AccessRefused, SessionctlError, StoreBusy, StoreNotUnderstood, UsageError
from sessionctl.stores._sql import chunked
from sessionctl.stores._sql_items import SqlItemReader
from sessionctl.stores.holds_table import COLUMNS, DDL, TABLE, hold_of, row_of

_TOGETHER = 500


class SqlHoldStore(SqlItemReader):
    """A reader that keeps holds."""

    _changes_with: ClassVar[Mapping[str, Any]] = {}
    """SQLAlchemy's execution options of a transaction that changes."""

    @abstractmethod
    def _begin_change(self, connection: Connection) -> None:
        """READ COMMITTED, short lock waits, constraints checked at once."""

    @abstractmethod
    def _lock(self, connection: Connection, ids: Sequence[str], *, wait: bool) -> Iterable[str]:
        """Lock the rows of these sessions and return the ids of those that nobody else had locked.

        ``wait``: wait for others instead of passing over what they hold. Lookalikes may be locked too.
        """

    def _current(self, statement: Select[Any]) -> Select[Any]:
        """``statement`` so that it sees what is committed now, where the transaction's level does not see to it."""
        return statement

    @abstractmethod
    def _schema_of_holds(self, connection: Connection) -> tuple[str | None, bool]:
        """The schema that the table of holds belongs in (None: that of the connection), and whether it is there.

        True where only trying tells, see ``_is_absent``.
        """

    def _is_absent(self, error: DBAPIError) -> bool:  # noqa: ARG002
        """Does this refusal to read the table of holds mean that there is none?"""
        return False

    def holds(self) -> Iterator[Hold]:
        with self._reading() as connection:
            return iter(self._read_holds(connection, None))

    def hold(self, holds: Sequence[Hold]) -> None:
        self._refuse_if_frozen()
        unknown = next((hold for hold in holds if not self._is_storable(hold.value)), None)
        if unknown is not None:
            raise UsageError(f"no session of {self.address} can have the id {unknown.value!r}")
        self._make_table()
        with self._changing() as connection:
            self._add_holds(connection, holds, self.now())
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
        schema, is_there = self._schema_of_holds(connection)
        if not is_there:
            return []
        kept = _kept_in(schema)
        statement: Select[Any] = select(*(kept.c[name] for name in COLUMNS))
        if ids is None:
            statement = statement.order_by(kept.c.since, kept.c.hold_id, kept.c.kind, kept.c.value)
        else:
            by_id = self._is_any(kept.c.value, ids)
            statement = self._current(statement.where(or_(kept.c.kind != str(HoldKind.ID), by_id)))
        try:
            return list(map(hold_of, connection.execute(statement).all()))
        except DBAPIError as error:
            if self._is_absent(error):
                return []
            wrong = self._translate(error)
            if isinstance(wrong, AccessRefused):
                raise AccessRefused(
                    f"{self.address} may have holds that this role may not read, so nothing can be changed: {wrong}",
                    hint=f"GRANT SELECT ON {kept.fullname} lets it read them; INSERT and DELETE, place and release them",
                ) from error
            raise

    def _add_holds(self, connection: Connection, holds: Iterable[Hold], now: datetime) -> None:
        """Add them; those that are over go."""
        self._drop_holds(connection, [hold for hold in self._read_holds(connection, None) if not hold.lasts(now)])
        rows = [dict(zip(COLUMNS, row_of(hold), strict=True)) for hold in holds]
        if rows:
            connection.execute(insert(_kept_in(self._schema_of_holds(connection)[0])), rows)

    def _drop_holds(self, connection: Connection, holds: Iterable[Hold]) -> int:
        """Take exactly these away; how many of them there were."""
        schema, is_there = self._schema_of_holds(connection)
        found = 0
        for hold in holds if is_there else ():
            k = _kept_in(schema).c
            mine = (k.value == hold.value, k.kind == str(hold.kind), k.hold_id == hold.hold_id)
            found += connection.execute(delete(_kept_in(schema)).where(*mine)).rowcount
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
        with self._reading() as connection:
            schema, is_there = self._schema_of_holds(connection)
            if is_there and not self._lacks_table(connection):
                return
        name = self._engine.dialect.identifier_preparer.format_table(_kept_in(schema))
        statement = DDL[self._engine.dialect.name].format(table=name)
        try:
            with self._changing() as connection:
                connection.exec_driver_sql(statement)
        except AccessRefused as refused:
            raise AccessRefused(
                f"{self.address} has no table for holds yet, and this role may not make it: {refused}",
                hint="let the owner of the SDK's tables make it: " + " ".join(statement.split()),
            ) from refused
        except SessionctlError as error:
            # Two that make it at once meet in PostgreSQL's catalog; then it is there now.
            if not isinstance(error.__cause__, IntegrityError):
                raise
