"""What a store has by now of a session that a run took items out of, and so what putting them back comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sessionctl.core.payload import read_item
from sessionctl.core.record import SessionRecord, StoredItem
from sessionctl.core.summary import stands_for_others
from sessionctl.operations.put_back import Case, Placing, Whole

_STRUCTURE = "message_structure"


def place_part(session: SessionRecord, items: Sequence[StoredItem], there: Whole | None) -> Placing:
    """The case of an archived part, with those of its items that would be put back.

    It was taken in one step, and so it comes back in one: where any of it is there still, it was not taken, or
    is back. Only a replaced text that is another by now is left alone, and counted.
    """
    if there is None or there[0].stamps.created != session.stamps.created:
        return Placing(session, items, Case.GONE)
    texts = {item.key: item.text for item in there[1]}
    instead: Mapping[Any, str] = session.part or {}
    removed = [item for item in items if item.key not in instead]
    replaced = [item for item in items if item.key in instead]
    stubs = [item for item in replaced if texts.get(item.key) == instead[item.key] != item.text]
    taken = removed if _hidden(session, there[0]) else [item for item in removed if item.key not in texts]
    if any(texts.get(item.key, item.text) != item.text for item in removed):
        return Placing(session, items, Case.REFUSED)
    if len(taken) < len(removed) or any(texts.get(item.key) == item.text for item in replaced):
        return Placing(session, items, Case.ALREADY)
    lost = len(replaced) - len(stubs)
    if lost and any(stands_for_others(read_item(text)) for text in instead.values()):
        return Placing(session, items, Case.REFUSED)  # it was condensed again: that run is to be undone first
    if not taken and not stubs:
        return Placing(session, items, Case.REFUSED if lost else Case.ALREADY)
    placed = {item.key for item in (*taken, *stubs)}
    return Placing(session, tuple(item for item in items if item.key in placed), Case.BACK, left_out=lost)


def _hidden(session: SessionRecord, now: SessionRecord) -> bool:
    """Were the items taken out of a branch, whose rows are gone, be the items themselves kept for another branch?"""
    rows = {row["id"] for row in session.extras.get(_STRUCTURE, ()) if row["message_id"] not in (session.part or {})}
    return bool(rows) and rows.isdisjoint(row["id"] for row in now.extras.get(_STRUCTURE, ()))
