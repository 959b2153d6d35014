"""Spans of keys: what is to be removed of a session, in few words however many items it is."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable

from sessionctl.core.model import Rewrite, Span


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


def touches(rewrite: Rewrite) -> Callable[[object], bool]:
    """Does the change remove or replace the item of this key?"""
    ordered = sorted(rewrite.remove)
    firsts, replaced = [span.first for span in ordered], {key for key, _ in rewrite.replace}

    def is_touched(key: object) -> bool:
        if not isinstance(key, int):
            return False
        place = bisect_right(firsts, key) - 1
        return key in replaced or (place >= 0 and key <= ordered[place].last)

    return is_touched
