"""Rows of sessions for items that an append left without one, where no foreign key keeps that from happening."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import ClauseElement, Connection, Select, exists, func, select

from sessionctl.stores.recently import Deleted, RecentlyDeleted, ids_of
from sessionctl.stores.sql.prepared import Prepared
from sessionctl.stores.sql.rewrite import SqlRewriter
from sessionctl.stores.sql.values import chunked

_KEYS = 1000


class SqlParents(SqlRewriter):
    """A store that gives items their session's row back."""

    @cached_property
    def _recent(self) -> RecentlyDeleted:
        return RecentlyDeleted()

    def _give_back(self, connection: Connection, due: Sequence[Deleted]) -> int:
        """Insert the rows that are missing; how many that were. Nobody waits for what is not there."""
        found = 0
        for some in chunked(ids_of(due), _KEYS):
            missing = self._rowless.run(connection, ids=self._given(some)).scalars().all()
            if missing:
                found += self._restoring.run(connection, ids=self._given(missing)).rowcount
        return found

    def _of_rowless(self, *columns: Any) -> Select[Any]:
        """``columns`` of the items that have no session's row, for each of the ids given."""
        m = self._messages.c
        owned = exists(select(1).select_from(self._sessions).where(self._owns()).correlate(self._messages))
        return select(m.session_id, *columns).where(self._is_given(m.session_id), ~owned).group_by(m.session_id)

    @cached_property
    def _rowless(self) -> Prepared:
        return self._prepared(self._of_rowless())

    @cached_property
    def _restoring(self) -> Prepared:
        """With the stamps that the SDK would have written; where a writer was faster, its row stays."""
        created = self._messages.c.created_at
        rows = self._of_rowless(func.min(created), func.max(created))
        return self._prepared(self._inserting(rows, ["session_id", "created_at", "updated_at"]))

    @abstractmethod
    def _inserting(self, rows: Select[Any], columns: list[str]) -> ClauseElement:
        """Insert ``rows`` into the sessions table, but for those that are there by then."""
