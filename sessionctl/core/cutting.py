"""Where a history can be cut in two without harm, found reading from its end.

A cut stands before a turn: before its first user message, and before the system and developer items right in
front of that. It is safe when nothing on one side belongs to something on the other (a call to its output, an
item to the program that issued it or the approval it had), and when what stays has no defect that was not there
before. The first shows on the way from the end; the second needs the whole history only where what stays has
defects at all.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from enum import Enum, auto
from typing import NamedTuple

from sessionctl.core.history import defects, is_by_model
from sessionctl.core.payload import Payload
from sessionctl.core.sending import APPROVAL, CALLS_OF, PAIRS, Trace, trace


class Cut(NamedTuple):
    """A cut by what stands behind it: so many items, so many turns."""

    items: int
    turns: int


class _Oldest(Enum):
    """What the oldest item seen is: does a turn begin with it?"""

    OTHER = auto()
    USER = auto()
    INSTRUCTION = auto()
    """Right in front of a user message."""


class Boundaries:
    """Tells where turns begin, reading from the end."""

    def __init__(self) -> None:
        self._oldest = _Oldest.OTHER

    def passed(self, payload: Payload) -> bool:
        """Take in the next older item; does a turn begin right behind it?"""
        before, oldest = self._oldest, _Oldest.OTHER
        if payload.is_user:
            oldest = _Oldest.USER
        elif is_instruction(payload) and before is not _Oldest.OTHER:
            oldest = _Oldest.INSTRUCTION
        self._oldest = oldest
        goes_on = oldest is _Oldest.INSTRUCTION or (before is _Oldest.USER and oldest is _Oldest.USER)
        return before is not _Oldest.OTHER and not goes_on


_Tie = tuple[str, str]
_NOWHERE = -(2**62)


class Tail:
    """The newest items of a history, taken in one by one, the newest first.

    Places are counted from the end, 0 is the newest item. It keeps ids and counts, not what was said.
    """

    def __init__(self) -> None:
        self.items = 0
        self.cuts: list[Cut] = []
        """All so far, the newest first, safe or not."""
        self.compaction: int | None = None
        """The place of the newest compaction item: it stays, for it stands for all before it."""
        self._said_with_compaction = False
        self._least = 0  # items that have to stay
        self.is_encrypted = False
        self.is_whole = False
        """Was everything seen, to the first item? See ``end``."""
        self._boundaries = Boundaries()
        self._last_turn = _NOWHERE
        self._traces: list[Trace] = []  # newest first; positions are places below 0
        self._unsplit: list[Cut] = []  # the cuts that nothing is known to belong across
        self._open: dict[_Tie, int] = {}  # what looks for an older partner: the place of the newest that does
        self._answered: set[_Tie] = set()
        self._searches: list[int] = []  # places of outputs without an id that look for a call

    # -- taking in --------------------------------------------------------------------------------------

    def see(self, payload: Payload, *, hidden: bool = False) -> Cut | None:
        """Take in the next older item (``hidden``: the SDK does not read it); the cut right behind it, if any."""
        cut = None
        if not hidden and self._boundaries.passed(payload):
            cut = Cut(self.items, len(self.cuts) + 1)
            self.cuts.append(cut)
            self._unsplit.append(cut)
        place = self.items
        self.items += 1
        if not hidden and not payload.unreadable:
            if payload.is_user and self._last_turn == _NOWHERE:
                self._last_turn = -place
            one = trace(payload, -place, None)
            self._traces.append(one)
            self._tie(one, payload.call_id, place)
            self.is_encrypted |= one.type == "encrypted"
            self._keep_compaction(one, place)
        return cut

    def end(self) -> None:
        """There are no older items. What still looks for an older partner has none."""
        self.is_whole = True
        self._open.clear()
        self._searches.clear()

    @property
    def turns(self) -> int:
        """Turns that were seen to begin."""
        return len(self.cuts)

    def _keep_compaction(self, one: Trace, place: int) -> None:
        """It stays apart from its turn, unless it was said with reasoning: then it cannot stay without that."""
        if self.compaction is None:
            if one.type == "compaction":
                self.compaction, self._said_with_compaction = place, True
        elif self._said_with_compaction:
            self._said_with_compaction = is_by_model(one) and one.type != "reasoning"
            if one.type == "reasoning":
                self._least = self.compaction + 1

    def _tie(self, one: Trace, name: str | None, place: int) -> None:
        """Tie the item to newer ones it belongs to, and open what it needs of older ones."""
        kind = one.type or ""
        if one.program is not None:
            self._open.setdefault(("issued", one.program), place)
        if kind in CALLS_OF:
            self._tie_output(CALLS_OF[kind], name, place)
        elif kind in PAIRS:
            self._tie_call(kind, name, place)
        elif kind == "mcp_call" and one.call is not None:
            self._open.setdefault(("approved", one.call), place)

    def _tie_output(self, call: str, name: str | None, place: int) -> None:
        if name is None:
            if call == "tool_search_call":
                self._searches.append(place)
            return
        self._join(self._open.pop((f"unanswered {call}", name), None))
        self._open.setdefault((call, name), place)
        self._answered.add((call, name))

    def _tie_call(self, kind: str, name: str | None, place: int) -> None:
        if name is None:
            if kind == "tool_search_call" and self._searches:
                self._join(self._searches.pop())
            return
        if kind == "program":
            self._join(self._open.pop(("issued", name), None))
        elif kind == APPROVAL:
            self._join(self._open.pop(("approved", name), None))
        newer = self._open.pop((kind, name), None)
        self._join(newer)
        if newer is None and (kind, name) not in self._answered:
            self._open.setdefault((f"unanswered {kind}", name), place)  # for the SDK an output before it answers it too

    def _join(self, newer: int | None) -> None:
        """The oldest item seen belongs to the one at ``newer``: no cut between them."""
        while newer is not None and self._unsplit and self._unsplit[-1].items > newer:
            self._unsplit.pop()

    # -- telling ----------------------------------------------------------------------------------------

    def may_be_safe(self, cut: Cut) -> bool:
        """Is nothing known to stand against it that all before the cut goes?"""
        return cut.items >= self._least and self._is_unsplit(cut)

    def _is_unsplit(self, cut: Cut) -> bool:
        index = bisect_left(self._unsplit, cut)
        return index < len(self._unsplit) and self._unsplit[index] == cut

    def is_safe(self, cut: Cut) -> bool | None:
        """May all before the cut go? None: that cannot be told before more is read."""
        if not self.may_be_safe(cut):
            return False
        if min((*self._open.values(), *self._searches), default=cut.items) < cut.items:
            return None
        stay = [one for one in self._traces if -one.position < cut.items]
        return self._adds_no_defect(stay, self._last_turn)

    def is_safe_to_drop(self, cut: Cut) -> bool | None:
        """May all behind the cut go? As ``is_safe``."""
        if not self._is_unsplit(cut):
            return False
        if not self.is_whole:
            return None
        stay = [one for one in self._traces if -one.position >= cut.items]
        go = [one for one in self._traces if -one.position < cut.items]
        unanswered = {(one.type, one.call) for one in stay if one.type in PAIRS} - _answered(stay)
        if unanswered & _answered(go):
            return False
        users = (one.position for one in stay if one.type == "message" and one.role == "user")
        return self._adds_no_defect(stay, next(users, _NOWHERE))

    def waits(self, below: int) -> bool:
        """Does a call or approval among the ``below`` newest items wait for its answer, in the last turn?"""
        newest = [one for one in self._traces if -one.position < below and one.position >= self._last_turn]
        return any(one.type in PAIRS and (one.type, one.call) not in _answered(newest) for one in newest)

    def _adds_no_defect(self, stay: Sequence[Trace], last_turn: int) -> bool | None:
        left = {(found.kind, found.position) for found in defects(stay[::-1], last_turn)}
        if not left:
            return True
        if not self.is_whole:
            return None
        return left <= {(found.kind, found.position) for found in defects(self._traces[::-1], self._last_turn)}


def _answered(traces: Iterable[Trace]) -> set[tuple[str | None, str | None]]:
    """The calls of which there are outputs."""
    return {(CALLS_OF[one.type], one.call) for one in traces if one.type is not None and one.type in CALLS_OF}


def is_instruction(payload: Payload) -> bool:
    """Is it by the system or the developer: an instruction, or tools that are added?"""
    return payload.role in ("system", "developer")


def safe_cuts(payloads: Sequence[Payload]) -> list[int]:
    """The positions in a whole history at which it can be cut so that all before may go, in order.

    All but instructions that it begins with and the newest compaction item, which stand for what went.
    """
    tail = Tail()
    for payload in reversed(payloads):
        tail.see(payload)
    tail.end()
    return [tail.items - cut.items for cut in reversed(tail.cuts) if tail.is_safe(cut)]
