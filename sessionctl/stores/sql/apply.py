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
from datetime import timedelta
from functools import cached_property
from typing import Any

from sqlalchemy import ClauseElement, Connection, Select, delete, func, null, select
from sqlalchemy.exc import DBAPIError

from sessionctl.core.model import Change, Delete, Guard, Outcome, Rewrite
from sessionctl.errors import SessionctlError, StoreUnavailable
from sessionctl.stores.recheck import first_only
from sessionctl.stores.sql.parents import SqlParents
from sessionctl.stores.sql.prepared import Prepared
from sessionctl.stores.sql.rewrite import Refused
from sessionctl.stores.sql.values import EPOCH, chunked, version_of

_KEYS = 1000
_NO_ITEMS = (0, None, None)


class SqlStore(SqlParents):
    """A whole store behind SQLAlchemy."""

    _compares_exactly = True
    """Is the session id of items the session's to the letter, so that none is found by a lookalike?"""

    @abstractmethod
    def _clock(self) -> Any:
        """The server's clock this very moment, in whole microseconds of the Unix epoch."""

    def _turn(self) -> Any:
        """A number that each transaction that writes moves by one, wherever on the server; NULL where there is none."""
        return null()

    def _lock(self, connection: Connection, ids: Sequence[str], *, wait: bool) -> Sequence[Any]:
        statement = self._waiting_lock if wait else self._passing_lock
        return statement.run(connection, ids=self._given(ids)).all()

    @abstractmethod
    def _is_given_key(self) -> Any:
        """The item has one of the keys that come with the execution as ``keys``."""

    def _place(self) -> Any:
        """What finds the row of a session again for as long as this transaction has it locked."""
        return self._sessions.c.session_id

    def _deleting(self) -> ClauseElement:
        """Delete the sessions at the places given (which are locked) and what cascades from them; lock no others.

        The places come with the execution as ``ids``, and how many they are as ``count``.
        """
        return delete(self._sessions).where(self._is_given(self._sessions.c.session_id))

    def _deleting_items(self) -> ClauseElement:
        """Delete the items with the keys given, ``count`` of them, and lock no others."""
        return delete(self._messages).where(self._is_given_key())

    def apply(self, changes: Sequence[Change], guard: Guard) -> Sequence[Outcome]:
        self._refuse_if_frozen()
        if not changes:
            return ()
        try:
            try:
                return self._attempt(changes, guard, one_by_one=False)
            except Refused:
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
            f"up to {in_doubt} sessions of the batch may have been changed",
            hint="run the same command again: what is gone is gone, and nothing is removed twice",
        )

    def _attempt(self, changes: Sequence[Change], guard: Guard, *, one_by_one: bool) -> list[Outcome]:
        """One transaction. What a lost connection of ours may still hold is waited for, not passed over."""
        firsts = {change.session_id: change for change in reversed(changes)}
        ids = self._storable(sorted(firsts))
        due = self._recent.due()
        with self._connected(ids) as connection:
            connection.execution_options(**self._changes_with)
            self._begin_change(connection)
            given_back = self._give_back(connection, due)
            started = time.monotonic()
            locked = self._locked(connection, ids)
            outcomes = self._look_again(connection, firsts, ids, locked, guard)
            checked = time.monotonic()
            self.spent.check += checked - started
            allowed = [firsts[session_id] for session_id in ids if outcomes[session_id] is Outcome.DONE]
            doomed = {c.session_id: locked[c.session_id].place for c in allowed if isinstance(c, Delete)}
            if one_by_one:
                outcomes |= dict.fromkeys(self._delete_singly(connection, doomed), Outcome.FAILED)
            elif doomed:
                self._delete_together(connection, doomed)
            rewrites = [change for change in allowed if isinstance(change, Rewrite)]
            outcomes |= self._rewrite(connection, rewrites, one_by_one=one_by_one)
            in_doubt = self._lost.keys() & firsts.keys()
            made_before = [lost for lost in in_doubt if self._was_made(connection, firsts[lost], outcomes)]
            self._commit(connection, [change.session_id for change in allowed])
            self.spent.delete += time.monotonic() - checked
        for session_id in ids:
            self._lost.pop(session_id, None)
        self._recent.looked_at(due, given_back)
        outcomes |= dict.fromkeys(made_before, Outcome.DONE)
        if not self._layout.cascades:
            done = [firsts[session_id] for session_id in ids if outcomes[session_id] is Outcome.DONE]
            self._recent.add([change.session_id for change in done if isinstance(change, Delete)])
        return first_only(changes, [outcomes[change.session_id] for change in changes])

    def _was_made(self, connection: Connection, change: Change, outcomes: Mapping[str, Outcome]) -> bool:
        """Was it this change that made the session what it is, by a COMMIT of ours whose answer was lost?"""
        if not self._lost.get(change.session_id):
            return False
        if isinstance(change, Rewrite):
            return outcomes[change.session_id] is Outcome.CHANGED and self._is_made(connection, change)
        return outcomes[change.session_id] is Outcome.MISSING

    def settle(self) -> int:
        if due := self._recent.due(everything=True):
            self.spent.tidy += self._recent.wait()
            with self._translated(), self._connected(()) as connection:
                connection.execution_options(**self._changes_with)
                self._begin_change(connection)
                given_back = self._give_back(connection, due)
                connection.commit()
            self._recent.looked_at(due, given_back)
        return self._recent.given_back

    def _storable(self, ids: list[str]) -> list[str]:
        # Nearly always all of them; asked for all at once, that costs nothing.
        return ids if self._is_storable("".join(ids)) else [s for s in ids if self._is_storable(s)]

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
        self,
        connection: Connection,
        changes: Mapping[str, Change],
        ids: Sequence[str],
        locked: Mapping[str, Any],
        guard: Guard,
    ) -> dict[str, Outcome]:
        """What is to become of each session: DONE for those that are ``locked`` and still as planned."""
        # A statement of its own, after the locks: it sees what was committed while they were waited for.
        items = self._counted(connection, [changes[session_id] for session_id in locked if session_id in changes])
        others = [session_id for session_id in ids if session_id not in locked]
        there = set(self._existing.run(connection, ids=self._given(others)).scalars()) if others else set()
        clock, turn = tuple(self._moment.run(connection).one())
        cutoff = clock - guard.min_idle // timedelta(microseconds=1)
        outcomes = {}
        for change in changes.values():
            session = locked.get(change.session_id)
            if session is None:
                outcomes[change.session_id] = Outcome.ACTIVE if change.session_id in there else Outcome.MISSING
            else:
                outcomes[change.session_id] = _judge(change, session, items.get(session[0], _NO_ITEMS), cutoff)
        self._meet(turn)
        if locked:
            now = EPOCH + timedelta(microseconds=clock)
            outcomes |= dict.fromkeys(self._held_among(connection, list(locked), guard.named, now), Outcome.HELD)
        return outcomes

    def _counted(self, connection: Connection, changes: Sequence[Change]) -> dict[str, Sequence[Any]]:
        """Of each session: items, newest key, newest item, the first two where its version is asked for."""
        exactly = [change.session_id for change in changes if change.version is not None]
        others = [change.session_id for change in changes if change.version is None]
        found: dict[str, Sequence[Any]] = {}
        if exactly:
            found |= self._sums_of(connection, exactly)
        if others:
            newest = self._newest_items.run(connection, ids=self._given(others))
            found |= {session_id: (0, None, at) for session_id, at in map(tuple, newest)}
        return found

    def _sums_of(self, connection: Connection, ids: Sequence[str]) -> dict[str, Sequence[Any]]:
        """Of each session that has items: how many, the largest key, the newest item (in microseconds)."""
        return {row[0]: row[1:] for row in self._prepared_counting.run(connection, ids=self._given(ids)).all()}

    def _meet(self, turn: int | None) -> None:
        """Others are at work where our last transaction was not the one just before this one."""
        self.spent.met += turn is None or turn != self._last_turn + 1
        self._last_turn = turn or 0

    def _locked(self, connection: Connection, ids: Sequence[str]) -> dict[str, Any]:
        """The sessions that are locked now, and what their rows say."""
        rows: list[Any] = []
        lost = [session_id for session_id in ids if session_id in self._lost]
        if lost:
            started = time.monotonic()
            rows += self._lock(connection, lost, wait=True)
            self.spent.wait += time.monotonic() - started
        others = [session_id for session_id in ids if session_id not in self._lost] if lost else ids
        if others:
            rows += self._lock(connection, others, wait=False)
        return {row[0]: row for row in rows}

    # --- statements, built and compiled once: that would take longer than a small batch ----------

    def _locking(self) -> Select[Any]:
        """The sessions given, by the index on their ids, whatever share of the table they are."""
        s = self._sessions.c
        updated = self._microseconds(self._instant(s.updated_at, s.updated_at.info["facts"].clock))
        columns = (s.session_id, updated, self._edition(), self._place().label("place"))
        return select(*columns).where(self._is_given(s.session_id))

    @cached_property
    def _moment(self) -> Prepared:
        return self._prepared(select(self._clock(), self._turn()))

    @cached_property
    def _passing_lock(self) -> Prepared:
        return self._prepared(self._locking().with_for_update(skip_locked=True))

    @cached_property
    def _waiting_lock(self) -> Prepared:
        return self._prepared(self._locking().with_for_update())

    @cached_property
    def _prepared_counting(self) -> Prepared:
        return self._prepared(self._current(self._counting()))

    def _counting(self) -> Select[Any]:
        """Of each session given that has items: id, items, largest key, newest item (in microseconds)."""
        s, m = self._sessions.c, self._messages.c
        sums = [func.count(), self._largest_key(), self._microseconds(self._newest(m.created_at))]
        if self._compares_exactly:  # nearly twice as fast as through the sessions
            return select(m.session_id, *sums).where(self._is_given(m.session_id)).group_by(m.session_id)
        joined = self._sessions.join(self._messages, self._owns())
        counting = select(s.session_id, *sums).select_from(joined).where(self._is_given(s.session_id))
        return counting.group_by(s.session_id)

    @cached_property
    def _newest_items(self) -> Prepared:
        """Of each session given: id, newest item (in microseconds) or NULL."""
        s, created = self._sessions.c, self._messages.c.created_at
        newest = select(self._microseconds(self._instant(created, created.info["facts"].clock)))
        newest = newest.select_from(self._messages).where(self._owns()).order_by(created.desc()).limit(1)
        looking = select(s.session_id, newest.correlate(self._sessions).scalar_subquery())
        return self._prepared(self._current(looking.where(self._is_given(s.session_id))))

    @cached_property
    def _existing(self) -> Prepared:
        s = self._sessions.c
        return self._prepared(select(s.session_id).where(self._is_given(s.session_id)))

    @cached_property
    def _keys_of(self) -> Prepared:
        """The keys of the items of the sessions given."""
        joined = self._sessions.join(self._messages, self._owns())
        keys = select(self._messages.c.id).select_from(joined)
        return self._prepared(keys.where(self._is_given(self._sessions.c.session_id)))

    @cached_property
    def _deletion(self) -> Prepared:
        return self._prepared(self._deleting())

    @cached_property
    def _deletion_of_items(self) -> Prepared:
        return self._prepared(self._deleting_items())

    @cached_property
    def _remaining_items(self) -> Prepared:
        return self._prepared(select(self._messages.c.id).where(self._is_given_key()))

    # --- deleting -----------------------------------------------------------------------------

    def _delete_together(self, connection: Connection, doomed: Mapping[str, Any]) -> None:
        with self._refusals():
            self._delete(connection, doomed)

    def _delete_singly(self, connection: Connection, doomed: Mapping[str, Any]) -> list[str]:
        """Each in a savepoint; returns those that were refused."""
        refused = []
        for session_id, place in doomed.items():
            savepoint = connection.begin_nested()
            try:
                with self._refusals():
                    self._delete(connection, {session_id: place})
                savepoint.commit()
            except Refused:
                savepoint.rollback()
                refused.append(session_id)
        return refused

    def _delete(self, connection: Connection, doomed: Mapping[str, Any]) -> None:
        """Raises Refused where a policy or a trigger quietly kept a session. ``doomed``: ids and their places."""
        if not self._layout.cascades:
            # By key, so that an item which commits just now is never among them.
            self._delete_items(connection, self._keys_of.run(connection, ids=self._given(list(doomed))).scalars().all())
        places = self._given(list(doomed.values()))
        if self._deletion.run(connection, ids=places, count=len(doomed)).rowcount != len(doomed):
            raise Refused

    def _delete_items(self, connection: Connection, keys: Sequence[int]) -> None:
        for some in chunked(keys, _KEYS):
            given = self._given(some)
            deleted = self._deletion_of_items.run(connection, keys=given, count=len(some)).rowcount
            if deleted != len(some) and self._remaining_items.run(connection, keys=given).first():
                raise Refused  # and not merely popped by the SDK meanwhile


def _judge(change: Change, session: Any, items: Sequence[Any], cutoff: int) -> Outcome:
    """``session`` as ``_lock`` has it, ``items`` as ``_counting``; life after ``cutoff`` is recent."""
    _, updated, edition, _ = session
    count, newest_key, newest = items
    if change.version not in (None, version_of(updated, edition, newest_key, newest, count)):
        return Outcome.CHANGED
    latest = max(updated or 0, newest or 0)  # one before 1970 is no sign of life
    return Outcome.ACTIVE if latest > cutoff else Outcome.DONE
