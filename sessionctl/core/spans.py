"""Spans of keys: what is to be removed of a session, in few words however many items it is."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sessionctl.core.model import Span


def spans(keys: Iterable[int], remove: Collection[int]) -> tuple[Span, ...]:
    """The spans that cover exactly ``remove`` among all ``keys`` of a session, smallest keys first.

    ``keys`` may come in any order (that of reading is not always that of keys) and must hold all that are to
    be removed. A key of the session that stays is in no span.
    """
    found: list[Span] = []
    inside = False
    for key in sorted(keys):
        if key not in remove:
            inside = False
        elif inside:
            found[-1] = Span(found[-1].first, key, found[-1].items + 1)
        else:
            found.append(Span(key, key, 1))
            inside = True
    return tuple(found)
