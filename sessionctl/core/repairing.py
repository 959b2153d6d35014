"""What has to leave a history for its defects to go: the orphan half, or the whole turn. Nothing is ever added.

A half that leaves may leave another one behind, its reasoning or its own output; so the rest is judged again
until it has none of the wanted classes and nothing that it did not have before.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet

from sessionctl.core.diagnosis import OF_ITEMS
from sessionctl.core.history import FATAL, HARMLESS, Defect, Judge
from sessionctl.core.model import Item
from sessionctl.core.payload import Payload
from sessionctl.core.sending import CALLS_OF

Read = Sequence[tuple[Item, Payload]]
MENDABLE = (*FATAL, *HARMLESS, *OF_ITEMS)
"""Classes of findings that can be mended by taking items out."""
_ROUNDS = 20
_WITH_ITS_CALL = frozenset({"output_before_call"})
_WITH_ITS_TURN = frozenset({"item_without_reasoning"})
"""Classes of which the item alone is not the whole defect."""


def repair(read: Read, kinds: Collection[str], singled_out: AbstractSet[int] = frozenset()) -> frozenset[int] | None:
    """The positions of the items of a session, given in the SDK's order, that must go to mend its ``kinds``.

    Those ``singled_out`` go by themselves. None of them where nothing is to be mended; None where it cannot be
    done without another defect.
    """
    before = {(defect.kind, defect.position) for defect in _defects(read, frozenset())}
    if not singled_out and not any(kind in kinds for kind, _ in before):
        return frozenset()
    gone = frozenset(singled_out)
    for _ in range(_ROUNDS):
        left = _defects(read, gone)
        wrong = [each for each in left if each.kind in kinds or (each.kind, each.position) not in before]
        if not wrong:
            return gone
        gone = gone.union(*(_going(read, each) for each in wrong))
    whole_turns = gone.union(*(_turn(read, position) for position in gone))
    left = _defects(read, whole_turns)
    is_mended = not any(each.kind in kinds or (each.kind, each.position) not in before for each in left)
    return whole_turns if is_mended else None


def _defects(read: Read, gone: AbstractSet[int]) -> tuple[Defect, ...]:
    """Of what is left, each at its position in the whole."""
    judge = Judge()
    for position, (item, payload) in enumerate(read):
        if position not in gone and not item.hidden:
            judge.see(payload, position, item.key)
    verdict = judge.verdict()
    return verdict.defects if verdict.acceptable is not None else ()


def _going(read: Read, defect: Defect) -> AbstractSet[int]:
    if defect.kind in _WITH_ITS_TURN:
        return _turn(read, defect.position)
    if defect.kind in _WITH_ITS_CALL:
        payload = read[defect.position][1]
        call = (CALLS_OF[payload.type or ""], payload.call_id)
        return {defect.position, *(at for at, (_, each) in enumerate(read) if (each.type, each.call_id) == call)}
    return {defect.position}


def _turn(read: Read, position: int) -> AbstractSet[int]:
    """The turn that the item stands in: from its user items to the next."""
    first = position
    while first > 0 and not _begins(read, first):
        first -= 1
    end = position + 1
    while end < len(read) and not _begins(read, end):
        end += 1
    return {at for at in range(first, end) if not read[at][0].hidden}


def _begins(read: Read, position: int) -> bool:
    return read[position][1].is_user and (position == 0 or not read[position - 1][1].is_user)
