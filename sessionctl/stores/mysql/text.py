"""Texts of MySQL and MariaDB in the character set that a comparison needs."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ColumnElement, func, literal_column


def converted(column: ColumnElement[Any], charset: str) -> ColumnElement[Any]:
    return func.convert(column.op("USING")(literal_column(charset)))


def _charset(column: ColumnElement[Any]) -> str | None:
    return column.info["facts"].charset if isinstance(column, Column) else None


def as_utf8(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The text in octets of UTF-8."""
    return column if _charset(column) in ("utf8mb4", "utf8mb3", "utf8", "ascii") else converted(column, "utf8mb4")


def as_utf8mb4(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The text so that collations of utf8mb4 apply."""
    return column if _charset(column) == "utf8mb4" else converted(column, "utf8mb4")
