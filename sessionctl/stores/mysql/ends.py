"""The ends of sessions of MySQL and MariaDB: what is told of an item comes as one text beside its own.

The driver is Python, and takes longer to read numbers and times than the server to find the items.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import func

from sessionctl.stores.mysql.plain import PlainStore
from sessionctl.stores.sql.dialect import Expression


class EndsStore(PlainStore):
    """A store whose sessions are read at both ends."""

    def _end_columns(self, place: Expression, newest: Expression) -> list[Expression]:
        m = self._messages.c
        key, created, text = self._item_columns()
        told = [func.coalesce(value, "") for value in (m.created_at, created.element)]
        return [func.concat_ws(",", place, newest, key.element, *told), text]

    def _both_ends(self, ids: Sequence[str], first: int, last: int) -> Iterable[Sequence[Any]]:
        for told, text in super()._both_ends(ids, first, last):
            place, newest, key, stored, created = told.split(",")
            at = Decimal(created) if created else None
            yield int(place), newest == "1", stored or None, int(key), at, text
