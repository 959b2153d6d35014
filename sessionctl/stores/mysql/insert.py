"""Rows into MySQL and MariaDB, many by one statement: the driver does so by itself only where nothing is computed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Insert

from sessionctl.stores.sql.apply import SqlStore

_CHARS = 256 * 1024
"""Of a statement's values together: escaped and encoded they fit into the smallest packets that servers are set to."""

_NAMED = re.compile(r"%\((\w+)\)s")
"""The place of a value in a compiled statement."""


class InsertingStore(SqlStore):
    """A store whose rows come many at once."""

    def _insert_rows(self, connection: Connection, one: Insert, rows: Sequence[Mapping[str, Any]]) -> None:
        compiled = one.compile(dialect=self._engine.dialect)
        head, _, values = str(compiled).partition(" VALUES ")
        names, unnamed = _NAMED.findall(values), _NAMED.sub("%s", values)
        for some in _statements(rows):
            given = tuple([row[name] if name in row else compiled.params[name] for row in some for name in names])
            connection.exec_driver_sql(f"{head} VALUES {', '.join([unnamed] * len(some))}", given)


def _statements(rows: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    some: list[Mapping[str, Any]] = []
    size = 0
    for row in rows:
        some.append(row)
        size += sum([len(str(value)) for value in row.values()])
        if size >= _CHARS:
            yield some
            some, size = [], 0
    if some:
        yield some
