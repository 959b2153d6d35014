"""The sums over a session's items as one text: as columns of their own, each would look at the items anew."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple, Self

from sqlalchemy import ColumnElement, func


class Measure(NamedTuple):
    """What is known of a session's items together; None for what was not asked for."""

    items: Decimal | None
    bytes: Decimal | None
    newest_key: Decimal | None
    newest_at: Decimal | None
    compacted: Decimal | None
    edition: Decimal | None

    @classmethod
    def told(cls, text: str) -> Self:
        """What ``in_one_text`` said."""
        return cls(*(Decimal(value) if value else None for value in text.split(",")))


def in_one_text(sums: Sequence[ColumnElement[Any]]) -> ColumnElement[Any]:
    """An expression over the items of a group; ``sums`` are labelled with names of ``Measure``."""
    given = {each.key: each for each in sums}
    return func.concat_ws(",", *(func.coalesce(given.get(name, ""), "") for name in Measure._fields))
