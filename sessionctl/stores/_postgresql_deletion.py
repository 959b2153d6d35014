"""Deletions on PostgreSQL that prove by themselves that no item was missing.

Counting the items of each session before its deletion took nearly half as long as deleting them. But an
append moves the edition of the session's row, which is compared under its lock; so all that can have
happened to a session of the planned edition is that items went away. The server counts the rows that a
transaction deletes, those that cascade too: where a batch deleted as many items as were planned, none of
its sessions had fewer. Where it did not, it is rolled back and each session counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, cast, func, literal, select
from sqlalchemy.dialects.postgresql import REGCLASS

from sessionctl.core.model import Change, Delete, Guard, Outcome
from sessionctl.stores._postgresql_layout import quoted
from sessionctl.stores._sql_apply import Prepared, SqlStore
from sessionctl.stores._sql_values import items_of


class _Fewer(Exception):
    """A batch did not delete as many items as its sessions had when they were planned."""


class ProvenStore(SqlStore):
    """A store whose server counts what it deletes."""

    @cached_property
    def _counts(self) -> bool:
        """Is each session counted before its deletion?"""
        return not self._layout.cascades or self._layout.messages.obstacle is not None

    def _attempt(self, changes: Sequence[Change], guard: Guard, *, one_by_one: bool) -> list[Outcome]:
        counts, self._counts = self._counts, self._counts or one_by_one
        try:
            return super()._attempt(changes, guard, one_by_one=one_by_one)
        except _Fewer:
            self._counts = True
            outcomes = super()._attempt(changes, guard, one_by_one=one_by_one)
            counts = Outcome.CHANGED not in outcomes  # then the server does not count, or elsewhere
            return outcomes
        finally:
            self._counts = counts

    def _counted(self, connection: Connection, changes: Sequence[Change]) -> dict[str, Sequence[Any]]:
        deletions = [] if self._counts else [change for change in changes if isinstance(change, Delete)]
        if not deletions:
            return super()._counted(connection, changes)
        planned = {change.session_id: items_of(change.version) for change in deletions}
        newest = self._newest_items.run(connection, ids=self._given(list(planned)))
        found: dict[str, Sequence[Any]] = {
            session_id: (planned[session_id], None, at) for session_id, at in map(tuple, newest)
        }
        others = [change for change in changes if change.session_id not in planned]
        return found | super()._counted(connection, others)

    def _delete_together(self, connection: Connection, doomed: Sequence[Delete]) -> None:
        super()._delete_together(connection, doomed)
        planned = sum(items_of(each.version) for each in doomed)
        if not self._counts and self._gone_now.run(connection).scalar_one() != (self._gone or 0) + planned:
            raise _Fewer

    def _deleted(self) -> Any:
        return func.pg_stat_get_xact_tuples_deleted(cast(literal(quoted(self._layout.messages)), REGCLASS))

    @cached_property
    def _gone_now(self) -> Prepared:
        return self._prepared(select(self._deleted()))
