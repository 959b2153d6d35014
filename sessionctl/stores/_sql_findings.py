"""What stores behind SQLAlchemy find wrong with themselves alike: rows that do not belong together, keys, zones."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

from sqlalchemy import ColumnElement, Connection, Table, exists, func, literal_column, select

from sessionctl.core.finding import Finding
from sessionctl.core.selector import Query
from sessionctl.stores._findings import LAST_INT4, near_the_end, of_rows, rows_given_back
from sessionctl.stores._sql import SqlReader
from sessionctl.stores._sql_layout import Clock, Layout


class SqlFindings(SqlReader):
    """The findings of a store behind SQLAlchemy."""

    @abstractmethod
    def _own_findings(self, connection: Connection) -> Iterator[Finding]:
        """What this engine's catalog and settings tell."""

    def findings(self, query: Query) -> Iterator[Finding]:
        with self._reading() as connection:
            yield from self._own_findings(connection)
        if query == Query():
            with self._reading() as connection:
                yield from of_rows_of_tables(connection, self._sessions, self._messages, self._owns())


_INT4 = frozenset({"int4", "int"})


def of_tables(connection: Connection, layout: Layout, messages: Table, *, fix_keys: str) -> Iterator[Finding]:
    """What the catalog and the newest key tell, at once."""
    for sentence in layout.warnings:
        yield Finding(kind="row_security", detail=sentence)
    if layout.messages.columns["id"].type in _INT4:
        newest = connection.execute(select(func.max(messages.c.id))).scalar_one()
        if near_the_end(newest):
            detail = f"{newest:,} of {LAST_INT4:,}; the table is rewritten, and all wait for it"
            yield Finding(kind="int4_ids", count=newest, detail=detail, fix=fix_keys)


def of_rows_of_tables(
    connection: Connection, sessions: Table, messages: Table, same: ColumnElement[bool]
) -> Iterator[Finding]:
    """What costs a pass over the rows; ``same`` joins items to their sessions."""
    reading = connection.execution_options(stream_results=True)
    owner = messages.c.session_id
    orphans = select(owner, func.count()).where(~exists().where(same).correlate(messages)).group_by(owner)
    named = connection.dialect.identifier_preparer.format_table
    fix = rows_given_back(named(sessions), named(messages))
    yield from of_rows("orphan_items", reading.execute(orphans.select_from(messages)), fix)
    empty = select(sessions.c.session_id, literal_column("1")).where(~exists().where(same).correlate(sessions))
    yield from of_rows("empty_session", reading.execute(empty.select_from(sessions)))


def has_local_times(layout: Layout) -> bool:
    """Does what a stamp means depend on the zone of whoever wrote it?"""
    columns = (*layout.sessions.columns.values(), *layout.messages.columns.values())
    return any(column.clock is Clock.LOCAL for column in columns)
