"""Taking items out of sessions behind SQLAlchemy Core and replacing texts; the sessions stay, and so do all stamps."""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, literal, literal_column, select, update
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from sessionctl.core.model import Onto, Outcome, Put, Rewrite, Span
from sessionctl.errors import SessionctlError
from sessionctl.stores.sql.dialect import Expression
from sessionctl.stores.sql.put import SqlPutStore
from sessionctl.stores.sql.values import chunked

_KEYS = 1000
"""Of items that one statement asks for."""
_ASKED = ("place", "session", "first", "last")
_ZERO: Expression = literal_column("0")

Keys = Mapping[str, Sequence[int]]
"""Of each session that has any: keys of items."""


class Refused(Exception):
    """The store would not make one of several changes; they have to be tried one by one."""


class SqlRewriter(SqlPutStore):
    """What changes items of sessions that are locked; all in the caller's transaction."""

    _spans_together = 200
    """Spans that one statement looks into."""
    _last_turn = 0
    """The last ``_turn`` that was ours."""
    _counts_savepoints = False
    """Does ``_turn`` count what is changed within a savepoint as a transaction of its own?"""

    @abstractmethod
    def _is_refusal(self, error: DBAPIError) -> bool:
        """Did a constraint or a trigger of others forbid this change?"""

    @abstractmethod
    def _delete_items(self, connection: Connection, keys: Sequence[int]) -> None:
        """Delete the items with these keys and lock no others. Raises Refused where one is kept."""

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            if isinstance(error, IntegrityError) or self._is_refusal(error):
                raise Refused from error
            raise

    def _rewrite(self, connection: Connection, rewrites: Sequence[Rewrite], *, one_by_one: bool) -> dict[str, Outcome]:
        """Make these changes; returns those that could not be made, and why. Raises Refused unless ``one_by_one``."""
        if not rewrites:
            return {}
        if not one_by_one:
            return self._rewrite_together(connection, rewrites)
        undone: dict[str, Outcome] = {}
        for rewrite in rewrites:
            try:
                undone |= self._rewrite_together(connection, [rewrite])
            except Refused:
                undone[rewrite.session_id] = Outcome.FAILED
        return undone

    def _rewrite_together(self, connection: Connection, rewrites: Sequence[Rewrite]) -> dict[str, Outcome]:
        """All of them but those that are not as they were read any more, which come out CHANGED."""
        savepoint = connection.begin_nested()
        self._last_turn += self._counts_savepoints
        try:
            with self._refusals():
                unlike = self._take_items(connection, rewrites)
                if not unlike:
                    self._replace_texts(connection, rewrites)
        except (Refused, DataError) as error:
            savepoint.rollback()
            unlike = self._unlike(rewrites, self._keys_in(connection, rewrites))
            if not unlike:
                raise Refused from error
        else:
            if not unlike:
                savepoint.commit()
                return {}
            savepoint.rollback()
        undone = dict.fromkeys(unlike, Outcome.CHANGED)
        rest = [rewrite for rewrite in rewrites if rewrite.session_id not in unlike]
        return undone | (self._rewrite_together(connection, rest) if rest else {})

    def _is_made(self, connection: Connection, rewrite: Rewrite) -> bool:
        """Is the session as the change would leave it, so that it was made before?"""
        found = self._keys_in(connection, [rewrite]).get(rewrite.session_id, ())
        texts = dict(rewrite.replace)
        m = self._messages.c
        rows = connection.execute(select(m.id, m.message_data).where(m.id.in_(list(texts)))) if texts else ()
        return set(found) == set(texts) and all(texts[key] == text for key, text in rows)

    def _put_rows(self, connection: Connection, put: Put) -> Outcome:
        return self._put_among(connection, put) if put.onto is Onto.AMONG else super()._put_rows(connection, put)

    def _put_among(self, connection: Connection, put: Put) -> Outcome:
        s, m, instead = self._sessions.c, self._messages.c, put.session.part or {}
        begun = select(self._stamp_text(s.created_at, s.created_at.info["facts"].clock))
        locked = begun.where(self._is_exactly_any(s.session_id, [put.session_id])).with_for_update()
        if connection.execute(locked).scalar() != put.session.stamps.created:
            return Outcome.CHANGED
        replaced = {item.key: item.text for item in put.items if isinstance(item.key, int) and item.key in instead}
        for key, text in replaced.items():
            is_ours = self._id_key(m.message_data) == self._id_value(instead[key])
            changed = update(self._messages).where(m.id == key, m.session_id == put.session_id, is_ours)
            if connection.execute(changed.values(self._text_values(literal(text)))).rowcount != 1:
                return Outcome.CHANGED
        others = tuple(item for item in put.items if item.key not in replaced)
        if not self._has_given(connection, [item.key for item in others]):
            return Outcome.CHANGED
        kept = self._put_items(connection, [replace(put, items=others)], exact=True)
        return Outcome.DONE if kept else Outcome.FAILED

    # --- looking ------------------------------------------------------------------------------

    @abstractmethod
    def _in_one(self, keys: Expression) -> Expression:
        """All ``keys`` of a group in one text, with commas between: reading rows costs the driver more."""

    def _keys_in(self, connection: Connection, rewrites: Sequence[Rewrite]) -> Keys:
        """The keys that there are, of those that these changes remove or replace."""
        wanted = [(rewrite.session_id, span) for rewrite in rewrites for span in _touched(rewrite)]
        found: dict[str, list[int]] = {}
        for some in chunked(wanted, self._spans_together):
            # One SELECT for each, put together as text: compiling them would take longer than they do.
            asked = [self._looking_in.replace("%(b_", f"%(b{place}_") for place in range(len(some))]
            values: dict[str, object] = {}
            for place, (session_id, span) in enumerate(some):
                told = (place, session_id, span.first, span.last)
                values |= zip((f"b{place}_{name}" for name in _ASKED), told, strict=True)
            for place, items, keys in connection.exec_driver_sql(" UNION ALL ".join(asked), values):
                listed = [int(key) for key in keys.split(",")] if items else []
                if len(listed) != items:
                    raise SessionctlError(f"{self.address} cut a list of {items} keys off")
                found.setdefault(some[place][0], []).extend(listed)
        return found

    @cached_property
    def _looking_in(self) -> str:
        """Of one span: its place among several, how many items it holds, and their keys.

        By the session and not by the keys, which are those of everybody's items: hence the sum.
        """
        m = self._messages.c
        given: list[Expression] = [bindparam(f"b_{name}") for name in _ASKED]
        place, name, first, last = given
        columns = [place, func.count(), self._in_one(m.id)]
        found: Select[Any] = select(*columns).select_from(self._messages)
        found = found.where(m.session_id == name, m.id + _ZERO >= first, m.id + _ZERO <= last)
        return str(self._current(found).compile(dialect=self._engine.dialect))

    def _unlike(self, rewrites: Sequence[Rewrite], found: Keys) -> set[str]:
        """The sessions of which ``found`` says that a span or an item is not as it was read."""
        return {
            rewrite.session_id
            for rewrite in rewrites
            if _counts(_touched(rewrite), found.get(rewrite.session_id, ())) != [s.items for s in _touched(rewrite)]
        }

    # --- changing -----------------------------------------------------------------------------

    def _take_items(self, connection: Connection, rewrites: Sequence[Rewrite]) -> set[str]:
        """Delete the items of all spans. Sessions that were not as they were read are returned: all is void then."""
        found = self._keys_in(connection, rewrites)
        if unlike := self._unlike(rewrites, found):
            return unlike
        staying = {key for rewrite in rewrites for key, _ in rewrite.replace}
        # In the order of their keys, by which MySQL keeps the rows.
        self._delete_items(connection, sorted(key for keys in found.values() for key in keys if key not in staying))
        return set()

    def _replace_texts(self, connection: Connection, rewrites: Sequence[Rewrite]) -> None:
        """Raises Refused where a text did not become what it should be."""
        m = self._messages.c
        texts = {key: text for rewrite in rewrites for key, text in rewrite.replace}
        if not texts:
            return
        if not self._is_storable("".join(texts.values())):
            raise Refused
        values = self._text_values(bindparam("b_text"))
        changed = update(self._messages).where(m.id == bindparam("b_key")).values(values)
        connection.execute(changed, [{"b_key": key, "b_text": text} for key, text in texts.items()])
        # A server that is not strict cuts texts to what the column holds, and a trigger may keep the old ones.
        for some in chunked(texts, _KEYS):
            stored = select(m.id, m.message_data).where(m.id.in_(some))
            if {row.id: row.message_data for row in connection.execute(stored)} != {key: texts[key] for key in some}:
                raise Refused

    def _text_values(self, text: Expression) -> dict[str, Expression]:
        """The stamp is named too, or a column that MySQL keeps up to date by itself would move."""
        return {"message_data": text, "created_at": self._messages.c.created_at.expression}


def _touched(rewrite: Rewrite) -> list[Span]:
    """The spans, and each replaced item as one of its own."""
    return [*rewrite.remove, *(Span(key, key, 1) for key, _ in rewrite.replace)]


def _counts(spans: Sequence[Span], keys: Sequence[int]) -> list[int]:
    ordered = sorted(keys)
    return [bisect_right(ordered, span.last) - bisect_left(ordered, span.first) for span in spans]
