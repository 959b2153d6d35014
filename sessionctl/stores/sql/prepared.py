"""Statements that are compiled once: that would take longer than a small batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, CursorResult


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement as the driver takes it, and the values in it that are the same at each execution."""

    text: str
    constants: Mapping[str, Any]

    def run(self, connection: Connection, **values: Any) -> CursorResult[Any]:
        return connection.exec_driver_sql(self.text, {**self.constants, **values})
