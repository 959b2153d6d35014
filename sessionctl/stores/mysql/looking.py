"""The last look at sessions of MySQL and MariaDB before they are changed: many rows come as one text.

The driver is Python, and takes longer to read a row of a few numbers than the server to find it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from sqlalchemy import Connection, CursorResult, Select, func, literal_column, select
from sqlalchemy.exc import DBAPIError

from sessionctl.drivers import LOCK_WAIT_S
from sessionctl.drivers.mysql import error_number
from sessionctl.errors import SessionctlError
from sessionctl.stores.mysql.insert import InsertingStore
from sessionctl.stores.mysql.text import converted
from sessionctl.stores.sql.dialect import Expression
from sessionctl.stores.sql.prepared import Prepared

LISTS = "SET SESSION group_concat_max_len = 67108864"
"""How long texts of keys or rows may be."""
_BETWEEN: Expression = literal_column("' '")


class _Locked(NamedTuple):
    session_id: str
    updated: int | None
    edition: None
    place: str


class LookingStore(InsertingStore):
    """A store whose sessions are locked and counted."""

    _skips_locked: bool
    """Can the server pass over rows that others have locked?"""
    _repeats: bool
    """Must every transaction read REPEATABLE, so that only a locking read sees what others committed meanwhile?"""

    def _lock(self, connection: Connection, ids: Sequence[str], *, wait: bool) -> Sequence[Any]:
        if wait or self._skips_locked:
            statement = self._waiting_lock if wait else self._passing_lock
            rows = self._unpacked(statement.run(connection, ids=self._given(ids)))
            return [_Locked(session_id, updated, None, session_id) for session_id, updated in rows]
        return self._lock_singly(connection, ids)

    def _lock_singly(self, connection: Connection, ids: Sequence[str]) -> list[Any]:
        """For servers without SKIP LOCKED: what is not had within a second is someone else's."""
        locked: list[Any] = []
        connection.exec_driver_sql("SET SESSION innodb_lock_wait_timeout = 1")
        for session_id in ids:
            try:
                locked += self._lock(connection, [session_id], wait=True)
            except DBAPIError as error:
                if error_number(error.orig) != 1205:
                    raise
        connection.exec_driver_sql(f"SET SESSION innodb_lock_wait_timeout = {LOCK_WAIT_S}")
        return locked

    def _locking(self) -> Select[Any]:
        s = self._sessions.c
        updated = self._microseconds(self._instant(s.updated_at, s.updated_at.info["facts"].clock))
        packed = select(*self._packed(s.session_id, updated)).where(self._is_given(s.session_id))
        index = self._engine.dialect.identifier_preparer.quote_identifier(self._layout.key)
        return packed.with_hint(self._sessions, f"FORCE INDEX ({index})")

    def _sums_of(self, connection: Connection, ids: Sequence[str]) -> dict[str, Sequence[Any]]:
        if self._repeats:  # the read that locks cannot be the inner one
            return super()._sums_of(connection, ids)
        rows = self._unpacked(self._packed_counting.run(connection, ids=self._given(ids)))
        return {session_id: sums for session_id, *sums in rows}

    @cached_property
    def _packed_counting(self) -> Prepared:
        counted = self._counting().subquery()
        session_id, *sums = counted.c
        return self._prepared(select(*self._packed(session_id, *sums)))

    def _packed(self, session_id: Expression, *numbers: Expression) -> tuple[Expression, Expression]:
        """How many rows, and all of them in one text."""
        told = [func.coalesce(number, "") for number in numbers]
        octets = func.hex(converted(session_id, "utf8mb4"))
        return func.count(), func.group_concat(func.concat_ws(_BETWEEN, octets, *told))

    def _unpacked(self, result: CursorResult[Any]) -> Iterator[list[Any]]:
        """Each row of ``_packed``: its id and its numbers, None where there was none."""
        count, packed = tuple(result.one())
        rows = packed.split(",") if packed else []
        if len(rows) != count:  # by a group_concat_max_len of somebody else
            raise SessionctlError(f"{self.address} cut a list of {count} sessions off")
        for row in rows:
            session_id, *numbers = row.split(" ")
            yield [bytes.fromhex(session_id).decode(), *[int(number) if number else None for number in numbers]]
