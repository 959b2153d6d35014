"""Deleting sessions from PostgreSQL: a batch to which nothing happened, which is nearly every one.

One statement locks the sessions whose rows are the ones that were seen, the next deletes what is locked: nothing of
them travels. Where not all of them go that way, the transaction is rolled back, and the batch goes as in all stores.

Whether the items are those that were seen is asked of all sessions together, and after the deletion, of the server's
own count of what it deleted: to look at them before takes a fifth of the time. All appends of the SDK change the row of
their session, so that only its pops, which do not, can pass by the rows, and no append makes up for what they took
away. An insert by another program that leaves the row alone is noticed, but for one case: a pop from another session of
the same batch hides it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

from sqlalchemy import (
    ClauseElement,
    Connection,
    String,
    any_,
    bindparam,
    case,
    cast,
    delete,
    func,
    literal,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import REGCLASS, TEXT

from sessionctl.core.model import Change, Delete, Guard, Outcome
from sessionctl.stores.holds_table import TABLE
from sessionctl.stores.postgresql.copy import CopyingStore
from sessionctl.stores.postgresql.layout import quoted, quoted_name
from sessionctl.stores.sql.dialect import Expression
from sessionctl.stores.sql.prepared import Prepared
from sessionctl.stores.sql.rewrite import Refused
from sessionctl.stores.sql.values import EPOCH, taken_apart

_PASSED_OVER = 8
"""Batches that go the other way after one of them had to."""


class DeletingStore(CopyingStore):
    """A store whose sessions are deleted."""

    _others_ahead = 0
    """Batches that are not tried at once."""
    _no_holds: str | None = None
    """Where a table of holds would be; None while nobody looked, or where there is one."""

    def _place(self) -> Expression:
        # Rows do not move while they are locked.
        return super()._place() if self._layout.sessions.divided else cast(self._sessions.c.ctid, TEXT)

    def _deleting(self) -> ClauseElement:
        if self._layout.sessions.divided:
            return super()._deleting()
        return delete(self._sessions).where(self._sessions.c.ctid == any_(_given("ids", "tid")))

    def _attempt(self, changes: Sequence[Change], guard: Guard, *, one_by_one: bool) -> list[Outcome]:
        versions = {change.session_id: change.version for change in changes if isinstance(change, Delete)}
        if one_by_one or not self._may_go_at_once(changes, versions):
            return super()._attempt(changes, guard, one_by_one=one_by_one)
        if self._others_ahead:
            self._others_ahead -= 1
        elif self._is_deleted_at_once(versions, guard):
            return [Outcome.DONE] * len(changes)
        else:
            self._others_ahead = _PASSED_OVER
        return super()._attempt(changes, guard, one_by_one=False)

    def _may_go_at_once(self, changes: Sequence[Change], versions: dict[str, str]) -> bool:
        """Are these deletions of different sessions as they were seen, and does nothing speak against it?"""
        is_plain = len(versions) == len(changes) and None not in versions.values()
        tables = self._layout.cascades and not (self._layout.sessions.divided or self._layout.messages.divided)
        return is_plain and tables and not self._lost and self._is_storable("".join(versions))

    def _is_deleted_at_once(self, versions: dict[str, str], guard: Guard) -> bool:
        """Delete all of these sessions if each is at its version, idle and not held; else nothing is changed."""
        seen, started = _Seen.of(versions), time.monotonic()
        with self._connected(seen.ids) as connection:
            connection.execution_options(**self._changes_with)
            self._begin_change(connection)
            ids, rows = self._given(seen.ids), self._given(seen.rows)
            locked = _Locked._make(self._locking_seen.run(connection, ids=ids, rows=rows).one())
            self._meet(locked.turn)
            cutoff = locked.clock - guard.min_idle // timedelta(microseconds=1)
            is_free = locked.sessions == len(versions) and locked.deleted is not None
            is_free = is_free and max(locked.newest, seen.newest) <= cutoff
            now = EPOCH + timedelta(microseconds=locked.clock)
            is_free = is_free and not self._held_at_once(connection, seen.ids, guard.named, now)
            checked = time.monotonic()
            self.spent.check += checked - started
            is_done = is_free and self._deletes_all(connection, locked, seen.items)
            if is_done:
                self._commit(connection, seen.ids)
            else:
                self._no_holds = None
                connection.rollback()
            self.spent.delete += time.monotonic() - checked
        return is_done

    def _held_at_once(self, connection: Connection, ids: Sequence[str], named: frozenset[str], now: datetime) -> bool:
        """Must any of them be left alone? Where there was no table of holds the deletion looks whether there is one."""
        if self._no_holds is None:
            schema, is_there = self._place_of_holds(connection)
            self._no_holds = None if is_there else f"{quoted_name(schema or '')}.{quoted_name(TABLE)}"
        return self._no_holds is None and bool(self._held_among(connection, ids, named, now))

    def _deletes_all(self, connection: Connection, locked: _Locked, items: int) -> bool:
        """Delete the locked sessions: did each of them go, and so many items with them?"""
        try:
            with self._refusals():
                given = {"places": locked.places, "holds": self._no_holds}
                if self._deleting_locked.run(connection, **given).rowcount != locked.sessions:
                    return False
        except Refused:
            return False
        deleted: int = self._items_deleted.run(connection).scalar_one()
        return deleted - (locked.deleted or 0) == items

    @cached_property
    def _locking_seen(self) -> Prepared:
        """Lock those of the sessions given that nobody else has and whose rows are as given: a ``_Locked``."""
        s = self._sessions.c
        given = func.unnest(_given("ids", "varchar"), _given("rows", "text"))
        seen = given.table_valued("id", "of_row").render_derived(name="seen")
        updated = self._microseconds(self._instant(s.updated_at, s.updated_at.info["facts"].clock))
        point: Expression = literal_column("'.'")
        of_row = func.concat(updated, point, self._edition())  # as ``version_of`` has it
        found = select(s.ctid, updated.label("updated")).select_from(
            self._sessions.join(seen, s.session_id == seen.c.id)
        )
        rows = found.where(of_row == seen.c.of_row).with_for_update(of=self._sessions, skip_locked=True).subquery()
        newest = func.coalesce(func.max(rows.c.updated), literal_column("0"))
        places = cast(func.array_agg(rows.c.ctid), TEXT)
        told = (func.count(), newest, places, self._clock(), self._turn(), self._count_of_deleted_items())
        return self._prepared(select(*told).select_from(rows))

    @cached_property
    def _items_deleted(self) -> Prepared:
        """How many items this transaction deleted, and others of this connection before it; NULL: nobody counts."""
        return self._prepared(select(self._count_of_deleted_items()))

    def _count_of_deleted_items(self) -> Expression:
        # https://www.postgresql.org/docs/current/monitoring-stats.html: pg_stat_xact_user_tables
        table = cast(literal(quoted(self._layout.messages), String), REGCLASS)
        is_counted = func.current_setting("track_counts") == "on"
        return case((is_counted, func.pg_stat_get_xact_tuples_deleted(table)))

    @cached_property
    def _deleting_locked(self) -> Prepared:
        """Delete the sessions at the places given, if nobody made a table of holds.

        A statement of its own, after the locks: it sees what was committed while they were taken.
        """
        # From a query, for the length of a list that it sees can make the planner read the whole table instead.
        place = func.unnest(_given("places", "tid")).table_valued("place").render_derived(name="locked").c.place
        no_holds = func.to_regclass(cast(bindparam("holds"), TEXT)).is_(None)
        places = func.array(select(place).scalar_subquery())
        return self._prepared(delete(self._sessions).where(self._sessions.c.ctid == any_(places), no_holds))


class _Locked(NamedTuple):
    """The sessions that were locked, and when: the newest stamp and the clock are in microseconds."""

    sessions: int
    newest: int
    places: str | None
    clock: int
    turn: int | None
    deleted: int | None
    """Items that were deleted before; None where nobody counts."""


class _Seen(NamedTuple):
    """Sessions as a plan has them: ids, what their versions say of their rows, the newest item of all and how many."""

    ids: list[str]
    rows: list[str]
    newest: int
    items: int

    @classmethod
    def of(cls, versions: dict[str, str]) -> _Seen:
        rows, newest, items = zip(*map(taken_apart, versions.values()), strict=True)
        return cls(list(versions), list(rows), max(newest), sum(items))


def _given(name: str, kind: str) -> Any:
    return bindparam(name).op("::")(literal_column(f"{kind}[]"))
