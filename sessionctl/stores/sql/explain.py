"""Asking a server how it would carry out a statement, without carrying it out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ClauseElement, Executable


class _Explained(Executable, ClauseElement):
    """``words`` before a SELECT."""

    inherit_cache = False

    def __init__(self, words: str, statement: Select[Any]) -> None:
        self.words, self.statement = words, statement


@compiles(_Explained)
def _compiled(element: _Explained, compiler: SQLCompiler, **options: Any) -> str:
    return f"{element.words} {compiler.process(element.statement, **options)}"


def explain(connection: Connection, words: str, statement: Select[Any]) -> Sequence[Any] | None:
    """The server's plan as rows; None where this user may not see it (as below a view)."""
    savepoint = connection.begin_nested()  # a refusal must not end the transaction around it
    try:
        rows = connection.execute(_Explained(words, statement)).all()
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        savepoint.rollback()
        return None
    savepoint.commit()
    return rows
