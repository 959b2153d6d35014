"""Deleting sessions from PostgreSQL: all of a batch by one statement that looks at each as it deletes it.

That is possible where nothing has happened to any of them, which is nearly always. Their rows never travel then, and
the items that are looked at are deleted while they are still at hand; this look counts as deleting. Otherwise the
transaction is rolled back, and the batch goes the way of all stores.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from typing import Any

from sqlalchemy import ClauseElement, Connection, any_, bindparam, cast, delete, func, literal_column, select, true
from sqlalchemy.dialects.postgresql import BIGINT, TEXT

from sessionctl.core.model import Change, Delete, Guard, Outcome
from sessionctl.stores.postgresql.copy import CopyingStore
from sessionctl.stores.sql.dialect import Expression
from sessionctl.stores.sql.prepared import Prepared
from sessionctl.stores.sql.rewrite import Refused
from sessionctl.stores.sql.values import EPOCH

_PASSED_OVER = 8
"""Batches that go the other way after one of them had to."""


class DeletingStore(CopyingStore):
    """A store whose sessions are deleted."""

    _others_ahead = 0
    """Batches that are not tried at once."""

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
        return is_plain and self._layout.cascades and not self._lost and self._is_storable("".join(versions))

    def _is_deleted_at_once(self, versions: dict[str, str], guard: Guard) -> bool:
        """Delete all of these sessions if each is at its version, idle and not held; else nothing is changed."""
        ids, started = self._given(list(versions)), time.monotonic()
        with self._connected(list(versions)) as connection:
            connection.execution_options(**self._changes_with)
            self._begin_change(connection)
            locked, clock, turn = tuple(self._locking_all.run(connection, ids=ids).one())
            self._meet(turn)
            now = EPOCH + timedelta(microseconds=clock)
            is_free = locked == len(versions) and not self._held_among(connection, list(versions), guard.named, now)
            checked = time.monotonic()
            self.spent.check += checked - started
            cutoff = clock - guard.min_idle // timedelta(microseconds=1)
            given = {"ids": ids, "versions": self._given(list(versions.values())), "cutoff": cutoff}
            is_done = is_free and self._count_deleted(connection, given) == len(versions)
            if is_done:
                self._commit(connection, list(versions))
            else:
                connection.rollback()
            self.spent.delete += time.monotonic() - checked
        return is_done

    def _count_deleted(self, connection: Connection, given: dict[str, Any]) -> int:
        """How many were; -1 where the store would not delete one of them."""
        try:
            with self._refusals():
                return self._deleting_as_seen.run(connection, **given).rowcount
        except Refused:
            return -1

    @cached_property
    def _locking_all(self) -> Prepared:
        """Lock those of the sessions given that nobody else has: how many; then the clock and the turn."""
        s = self._sessions.c
        one: Expression = literal_column("1")
        locked = select(one).where(s.session_id == any_(_given("ids", "varchar")))
        rows = locked.select_from(self._sessions).with_for_update(skip_locked=True).subquery()
        return self._prepared(select(func.count(), self._clock(), self._turn()).select_from(rows))

    @cached_property
    def _deleting_as_seen(self) -> Prepared:
        """Delete those of the ids given that are at the version given with them, with no life after the cutoff.

        A statement of its own, after the locks: it sees what was committed while they were taken.
        """
        s, m = self._sessions.c, self._messages.c
        given = func.unnest(_given("ids", "varchar"), _given("versions", "text"))
        seen = given.table_valued("id", "version").render_derived(name="seen")
        items = [func.count().label("counted"), self._microseconds(self._newest(m.created_at)).label("newest")]
        found = select(*items).select_from(self._messages).where(m.session_id == seen.c.id).lateral("found")
        looked = select(*seen.c, *found.c).select_from(seen.join(found, true())).subquery("looked")
        updated = self._microseconds(self._instant(s.updated_at, s.updated_at.info["facts"].clock))
        point: Expression = literal_column("'.'")
        version = func.concat(updated, point, self._edition(), point, looked.c.counted)  # as ``version_of`` has it
        cutoff: Expression = cast(bindparam("cutoff"), BIGINT)
        is_idle = func.greatest(updated, looked.c.newest, literal_column("0")) <= cutoff
        return self._prepared(
            delete(self._sessions).where(s.session_id == looked.c.id, version == looked.c.version, is_idle)
        )


def _given(name: str, kind: str) -> Any:
    return bindparam(name).op("::")(literal_column(f"{kind}[]"))
