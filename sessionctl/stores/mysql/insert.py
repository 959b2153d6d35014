"""Rows into MySQL and MariaDB, many by one statement: the driver does so by itself only where nothing is computed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pymysql.converters import escape_string
from sqlalchemy import Connection, Insert
from sqlalchemy.exc import OperationalError

from sessionctl.drivers.mysql import error_number
from sessionctl.stores.sql.apply import SqlStore

_CHARS = 256 * 1024
"""Of a statement's values together: escaped and encoded they fit into the smallest packets that servers are set to."""

_MOST_OCTETS = 4
"""Of a character as it is sent."""
HEAD = 1024
"""Octets of a statement without its longest value, at most."""

_WRONG_VALUE = 1292
"""Such as a time that a TIMESTAMP cannot hold; to the driver it is no error of the data."""

_NAMED = re.compile(r"%\((\w+)\)s")
"""The place of a value in a compiled statement."""


class InsertingStore(SqlStore):
    """A store whose rows come many at once; ``_packet`` is how many octets of a statement its server takes."""

    _packet: int

    def _insert_rows(self, connection: Connection, one: Insert, rows: Sequence[Mapping[str, Any]]) -> None:
        compiled = one.compile(dialect=self._engine.dialect)
        head, _, values = str(compiled).partition(" VALUES ")
        names, unnamed = _NAMED.findall(values), _NAMED.sub("%s", values)
        for some in _statements(rows):
            given = tuple([row[name] if name in row else compiled.params[name] for row in some for name in names])
            if _is_over(given, self._packet - HEAD):  # the server would hang up, and not say why
                raise OverflowError
            try:
                connection.exec_driver_sql(f"{head} VALUES {', '.join([unnamed] * len(some))}", given)
            except OperationalError as error:
                if error_number(error.orig) == _WRONG_VALUE:
                    raise OverflowError from error
                raise


def _statements(rows: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    some: list[Mapping[str, Any]] = []
    size = 0
    for row in rows:
        more = sum([len(str(value)) for value in row.values()])
        if some and size + more > _CHARS:
            yield some
            some, size = [], 0
        some.append(row)
        size += more
    if some:
        yield some


def _is_over(values: Sequence[Any], octets: int) -> bool:
    """Are these, escaped and encoded, more than ``octets``?"""
    texts = [value for value in values if isinstance(value, str)]
    if sum(map(len, texts)) * _MOST_OCTETS <= octets:
        return False
    return sum(len(escape_string(text).encode()) for text in texts) > octets
