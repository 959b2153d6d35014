"""Changing stores behind SQLAlchemy Core: one transaction that locks, looks again, and deletes.

The SDK's appends take the session's row first: since 0.23.1 with ``FOR UPDATE``, before that through
the shared lock of the foreign key. So whoever holds a lock on that row is at work on the session, and
while this transaction holds it, an append waits and then starts the session anew.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar

from sqlalchemy import Connection, Executable, Select, delete, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from sessionctl.core.model import Change, Guard, Outcome, Want
from sessionctl.errors import SessionctlError, StoreNotUnderstood, StoreUnavailable
from sessionctl.stores._sql import chunked, version_of
from sessionctl.stores._sql_items import SqlItemReader

_KEYS = 1000


class _Refused(Exception):
    """The store would not delete one of several sessions; they have to be tried one by one."""


class SqlStore(SqlItemReader):
    """A whole store behind SQLAlchemy."""

    _changes_with: ClassVar[Mapping[str, Any]] = {}
    """SQLAlchemy's execution options of a transaction that changes."""

    @abstractmethod
    def _begin_change(self, connection: Connection) -> None:
        """READ COMMITTED, short lock waits, constraints checked at once."""

    @abstractmethod
    def _lock(self, connection: Connection, ids: Sequence[str], *, wait: bool) -> Sequence[Any]:
        """Lock the rows of these sessions and return (id, updated) of those that nobody else had locked.

        ``wait``: wait for others instead of passing over what they hold.
        """

    def _current(self, statement: Select[Any]) -> Select[Any]:
        """``statement`` so that it sees what is committed now, where the transaction's level does not see to it."""
        return statement

    @abstractmethod
    def _is_exactly_any(self, column: Any, ids: Sequence[str]) -> Any:
        """True for exactly these ids, no lookalikes."""

    @abstractmethod
    def _is_key(self, keys: Sequence[Any]) -> Any:
        """The item has one of these keys."""

    def _deletion_of(self, keys: Sequence[Any]) -> Executable:
        """The statement that deletes the items with these keys, and locks no others."""
        return delete(self._messages).where(self._is_key(keys))

    @abstractmethod
    def _is_refusal(self, error: DBAPIError) -> bool:
        """Did a constraint or a trigger of others forbid this deletion?"""

    def apply(self, changes: Sequence[Change], guard: Guard) -> Sequence[Outcome]:
        if self._info.frozen:
            raise StoreNotUnderstood(f"{self.address} must not be changed: {self._info.frozen}")
        if not changes:
            return ()
        try:
            try:
                return self._attempt(changes, guard, one_by_one=False)
            except _Refused:
                return self._attempt(changes, guard, one_by_one=True)
        except (DBAPIError, OSError) as error:
            raise self._failed(error, changes) from error

    @cached_property
    def _lost(self) -> dict[str, bool]:
        """Sessions that a connection which broke may hold still; True where its COMMIT was on the way."""
        return {}

    def _failed(self, error: Exception, changes: Sequence[Change]) -> SessionctlError:
        in_doubt = sum(self._lost.get(session_id, False) for session_id in {c.session_id for c in changes})
        if not in_doubt:
            return self._translate(error)
        return StoreUnavailable(
            f"the connection to {self.address} was lost while committing: "
            f"up to {in_doubt} sessions of the batch may be deleted",
            hint="run the same command again: what is gone is gone, and nothing is deleted twice",
        )

    def _attempt(self, changes: Sequence[Change], guard: Guard, *, one_by_one: bool) -> list[Outcome]:
        """One transaction. What a lost connection of ours may still hold is waited for, not passed over."""
        ids = sorted({c.session_id for c in changes if self._is_storable(c.session_id)})
        with self._connected(ids) as connection:
            connection.execution_options(**self._changes_with)
            self._begin_change(connection)
            outcomes = self._look_again(connection, changes, ids, guard)
            checked = time.monotonic()
            doomed = [session_id for session_id, outcome in outcomes.items() if outcome is Outcome.DONE]
            if one_by_one:
                outcomes |= dict.fromkeys(self._delete_singly(connection, doomed), Outcome.FAILED)
            elif doomed:
                self._delete_together(connection, doomed)
            self._commit(connection, doomed)
            self.spent.delete += time.monotonic() - checked
        in_doubt = [session_id for session_id in ids if self._lost.pop(session_id, False)]
        gone_before = [session_id for session_id in in_doubt if outcomes[session_id] is Outcome.MISSING]
        return _one_each(changes, outcomes | dict.fromkeys(gone_before, Outcome.DONE))

    @contextmanager
    def _connected(self, ids: Sequence[str]) -> Iterator[Connection]:
        """A connection that is not used again once it broke, nor are the idle ones to the same server."""
        with self._engine.connect() as connection:
            try:
                yield connection
            except DBAPIError as error:
                if isinstance(self._translate(error), StoreUnavailable):
                    connection.invalidate(error)
                    self._engine.dispose()
                    self._lost.update({s: self._lost.get(s, False) for s in ids})
                raise

    def _commit(self, connection: Connection, doomed: Sequence[str]) -> None:
        try:
            connection.commit()
        except DBAPIError as error:
            if isinstance(self._translate(error), StoreUnavailable):  # else the server said that it rolled back
                self._lost.update(dict.fromkeys(doomed, True))
            raise

    def _look_again(
        self, connection: Connection, changes: Sequence[Change], ids: Sequence[str], guard: Guard
    ) -> dict[str, Outcome]:
        """What is to become of each session: DONE for those that are locked here and still as planned."""
        started = time.monotonic()
        locked = {row.id: self._time(row.updated) for row in self._locked(connection, ids)}
        held = time.monotonic()
        # A statement of its own, after the locks: it sees what was committed while they were waited for.
        measures = self._measures(ids, Want.VERSION).add_columns(self._server_time().label("clock"))
        found = {row.id: row for row in connection.execute(self._current(measures))} if ids else {}
        outcomes = {}
        for change in changes:
            row = found.get(change.session_id)
            outcomes[change.session_id] = self._judge(change, row, locked, guard)
        self.spent.wait += held - started
        self.spent.check += time.monotonic() - held
        return outcomes

    def _locked(self, connection: Connection, ids: Sequence[str]) -> list[Any]:
        lost = [session_id for session_id in ids if session_id in self._lost]
        others = [session_id for session_id in ids if session_id not in self._lost]
        waited = self._lock(connection, lost, wait=True) if lost else ()
        return [*waited, *(self._lock(connection, others, wait=False) if others else ())]

    def _judge(self, change: Change, row: Any, locked: Mapping[str, datetime | None], guard: Guard) -> Outcome:
        if row is None:
            return Outcome.MISSING
        if change.session_id not in locked:
            return Outcome.ACTIVE
        updated, newest = locked[change.session_id], self._time(row.newest_at)
        if version_of(updated, row.newest_key, row.items) != change.version:
            return Outcome.CHANGED
        now = self._known_time(row.clock)
        is_active = any(sign is not None and sign > now - guard.min_idle for sign in (updated, newest))
        return Outcome.ACTIVE if is_active else Outcome.DONE

    # --- deleting -----------------------------------------------------------------------------

    def _delete_together(self, connection: Connection, ids: Sequence[str]) -> None:
        with _refusals_of(self):
            self._delete(connection, ids)

    def _delete_singly(self, connection: Connection, ids: Sequence[str]) -> list[str]:
        """Each in a savepoint; returns those that were refused."""
        refused = []
        for session_id in ids:
            savepoint = connection.begin_nested()
            try:
                with _refusals_of(self):
                    self._delete(connection, [session_id])
                savepoint.commit()
            except _Refused:
                savepoint.rollback()
                refused.append(session_id)
        return refused

    def _delete(self, connection: Connection, ids: Sequence[str]) -> None:
        """Raises _Refused where a policy or a trigger quietly kept a session."""
        s, m = self._sessions, self._messages
        if not self._layout.cascades:
            # By key, so that an item which commits just now is never among them.
            keys = connection.execute(
                select(m.c.id).select_from(s.join(m, self._owns())).where(self._is_exactly_any(s.c.session_id, ids))
            )
            for some in chunked(keys.scalars().all(), _KEYS):
                deleted = connection.execute(self._deletion_of(some)).rowcount
                if deleted != len(some) and connection.execute(select(m.c.id).where(self._is_key(some))).first():
                    raise _Refused  # and not merely popped by the SDK meanwhile
        if connection.execute(delete(s).where(self._is_exactly_any(s.c.session_id, ids))).rowcount != len(ids):
            raise _Refused


@contextmanager
def _refusals_of(store: SqlStore) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if isinstance(error, IntegrityError) or store._is_refusal(error):  # noqa: SLF001  (same module)
            raise _Refused from error
        raise


def _one_each(changes: Sequence[Change], outcomes: Mapping[str, Outcome]) -> list[Outcome]:
    """In the order of ``changes``; a session named twice is deleted once, and then it is missing."""
    told: set[str] = set()
    result = []
    for change in changes:
        again = change.session_id in told and outcomes[change.session_id] is Outcome.DONE
        result.append(Outcome.MISSING if again else outcomes[change.session_id])
        told.add(change.session_id)
    return result
