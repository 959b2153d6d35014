"""What stores behind SQLAlchemy find wrong with themselves alike: rows that do not belong together, keys, zones."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator

from sqlalchemy import ColumnElement, Connection, Table, exists, func, literal_column, select

from sessionctl.core.finding import Finding
from sessionctl.core.selector import Query
from sessionctl.stores.drift import LiveColumn, drift
from sessionctl.stores.findings import LAST_INT4, near_the_end, of_rows, rows_given_back
from sessionctl.stores.schema import schema_of
from sessionctl.stores.sql.layout import Clock, Layout
from sessionctl.stores.sql.room import SqlRoom


class SqlFindings(SqlRoom):
    """The findings of a store behind SQLAlchemy."""

    @abstractmethod
    def _own_findings(self, connection: Connection) -> Iterator[Finding]:
        """What this engine's catalog and settings tell."""

    @abstractmethod
    def _activity_index(self, connection: Connection) -> str | None:
        """``activity_index`` by this engine's catalog."""

    def activity_index(self) -> str | None:
        with self._reading() as connection:
            return self._activity_index(connection)

    def make_index(self, statement: str) -> None:
        self._refuse_if_frozen()
        with self._translated(), self._engine.connect() as connection:
            # PostgreSQL makes indexes beside writers outside of transactions only.
            self._make(connection.execution_options(isolation_level="AUTOCOMMIT"), statement)

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


def of_columns(
    layout: Layout, dialect: str, sessions: Iterable[LiveColumn], messages: Iterable[LiveColumn]
) -> Iterator[Finding]:
    """How the tables differ from the SDK's own."""
    names = (layout.sessions.shown, layout.messages.shown)
    yield from drift(list(sessions), list(messages), names)
    if not layout.refers:
        made_anew = schema_of(dialect, {"sessions_table": names[0], "messages_table": names[1]}).foreign_key
        yield Finding(kind="no_foreign_key", detail=f"table {names[1]}; orphan items come first", fix=made_anew)
    elif not layout.cascades:
        yield Finding(kind="no_cascade", detail=f"table {names[1]}")


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
