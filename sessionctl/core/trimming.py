"""What a trim takes away of a session: its oldest turns as far as limits demand, or its newest ones.

Pure decisions over items that somebody else reads. A session is read from its end, and only as far as it takes:

    trimmer = Trimmer(limits, now, count_tokens, opening)
    for item in newest_first:
        trimmer.see(item, read_item(item.text))
        if trimmer.is_settled:
            break
    else:
        trimmer.end()
    keys = trimmer.decide().removed(all keys in the order of reading)

Of the head two things must be known before: the ``opening`` (the instructions that the session begins with),
and that there is no compaction item among what is not read (``SessionRef.compacted``);
where there may be one, read to the first item and call ``end``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import takewhile
from typing import NamedTuple, TypeVar

from sessionctl.core.cutting import Cut, Tail, is_instruction
from sessionctl.core.model import Item
from sessionctl.core.payload import Payload
from sessionctl.core.summary import read_summary

MIN_TURNS = 2

T = TypeVar("T")
TokenCounter = Callable[[Payload], int]
Read = tuple[Item, Payload]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrimLimits:
    """How much of a session may stay; the tightest of several counts, None is no limit.

    ``items_older_than``: turns go whose items are all at least so old. ``min_turns`` newest turns stay whatever
    the limits say. Raises ValueError with a sentence for the user where no limit is set or one makes no sense.
    """

    keep_turns: int | None = None
    max_tokens: int | None = None
    max_items: int | None = None
    max_bytes: int | None = None
    items_older_than: timedelta | None = None
    min_turns: int = MIN_TURNS

    def __post_init__(self) -> None:
        if self.min_turns < 1:
            raise ValueError("at least the newest turn stays: purge deletes whole sessions")
        limits = (self.keep_turns, self.max_tokens, self.max_items, self.max_bytes, self.items_older_than)
        if all(limit is None for limit in limits):
            raise ValueError("no limit is set: name one, like --keep-turns 20 or --max-tokens 40000")


class Obstacle(StrEnum):
    """Why a session was not trimmed as far as the limits demand."""

    NEWEST_TURNS = "the newest turns are never touched"
    BELONGS_TOGETHER = "a call and its output, or the like, lie on either side of the place"
    ENCRYPTED = "items are encrypted, so that turns cannot be told"
    UNTIMED = "items have no time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trim:
    """What stays of a session when its oldest turns go; all else is removed.

    ``tail`` newest items stay, ``turns`` turns of them, and before these the ``opening`` first items of the session
    and those at the places ``apart``, counted from the end (0 is the newest item). ``obstacle``: why the
    limits are not met; None where they are.
    """

    tail: int
    turns: int
    opening: int
    apart: tuple[int, ...] = ()
    obstacle: Obstacle | None = None

    def removed(self, items: Sequence[T]) -> list[T]:
        """What goes of a session's items (or their keys), given all of them in order."""
        stay = {len(items) - 1 - place for place in self.apart}
        return [items[at] for at in range(self.opening, len(items) - self.tail) if at not in stay]


def opening_of(items: Iterable[Read]) -> list[Read]:
    """The instructions that a session begins with, and a summary behind them; reads one item further.

    With the summary comes a compaction before it, which stands for what the summary does not know.
    """
    found = list(takewhile(lambda one: may_open(one[1]), items))
    summaries = [at for at, (_, payload) in enumerate(found) if read_summary(payload) is not None]
    return found[: max(len(instructions_of(found)), summaries[-1] + 1 if summaries else 0)]


def instructions_of(items: Iterable[Read]) -> list[Read]:
    """The instructions that a session begins with."""
    return list(takewhile(lambda one: is_instruction(one[1]), items))


def may_open(payload: Payload) -> bool:
    """May it belong to the opening of a session?"""
    return is_instruction(payload) or payload.type == "compaction" or read_summary(payload) is not None


def opening_with_compaction(items: Sequence[Read]) -> list[Read]:
    """The opening, and all up to the newest compaction: what is before that was condensed once, and is at once."""
    places = [at for at, (_, payload) in enumerate(items) if payload.type == "compaction"]
    return list(items[: max(len(opening_of(items)), places[-1] + 1 if places else 0)])


class _Mark(NamedTuple):
    """A cut, and how many items, tokens and octets stay with it."""

    cut: Cut
    totals: tuple[int, int, int]


class Trimmer:
    """Finds what to trim of one session, fed with its items from the newest on."""

    def __init__(
        self, limits: TrimLimits, now: datetime, count_tokens: TokenCounter, opening: Sequence[Read],
        *, reserve: tuple[int, int, int] = (0, 0, 0),
    ) -> None:  # fmt: skip
        """``now`` is by the store's clock; ``count_tokens`` is called only where tokens are limited.

        ``reserve``: items, tokens and octets that are to stay free below the limits where anything goes.
        """
        self._limits = limits
        bounds = (limits.max_items, limits.max_tokens, limits.max_bytes)
        self._bounds = [(unit, bound) for unit, bound in enumerate(bounds) if bound is not None]
        self._reserve = reserve
        self._cutoff = None if limits.items_older_than is None else now - limits.items_older_than
        self._count = count_tokens if limits.max_tokens is not None else _no_tokens
        self._opening = len(opening)
        self._of_opening = {_identity(item) for item, _ in opening}
        self._tail = Tail()
        self._marks: list[_Mark] = []  # newest first
        self._old: list[bool] = []  # of each mark whose turn in front was read: is all of that turn old?
        self._turn_is_old = True
        self._is_untimed = False
        # What stays before the cut counts from the beginning.
        sizes = sum(self._count(payload) for _, payload in opening), sum(item.size for item, _ in opening)
        self._totals = (len(opening), *sizes)
        self._compaction = (0, 0, 0)
        self._look_at = 1
        self._settled: _Mark | None = None

    # -- reading ----------------------------------------------------------------------------------------

    def see(self, item: Item, payload: Payload) -> None:
        """Take in the next older item."""
        cut = self._tail.see(payload, hidden=item.hidden is not None)
        if cut is not None:
            self._end_turn()
            self._marks.append(_Mark(cut, self._totals))
        if self._of_opening and _identity(item) in self._of_opening:
            return
        items, tokens, size = self._totals
        self._totals = (items + 1, tokens + self._count(payload), size + item.size)
        if self._tail.compaction == self._tail.items - 1:
            self._compaction = (1, self._totals[1] - tokens, self._totals[2] - size)
        if self._cutoff is not None:
            self._is_untimed |= item.created_at is None
            self._turn_is_old &= item.created_at is not None and item.created_at <= self._cutoff

    def end(self) -> None:
        """There are no older items."""
        self._tail.end()
        self._end_turn()

    def _end_turn(self) -> None:
        if self._marks:
            self._old.append(self._turn_is_old)
        self._turn_is_old = True

    @property
    def is_settled(self) -> bool:
        """Can nothing older change the decision any more?"""
        if self._tail.is_whole or self._tail.is_encrypted:
            return True
        if len(self._marks) < self._look_at or not self._asks():
            return False
        chosen = self._choice(self._tail.may_be_safe)
        if chosen is not None and self._tail.is_safe(chosen.cut):
            self._settled = chosen
        self._look_at = len(self._marks) * 5 // 4 + 1  # not at every turn: each look is at all of them
        return self._settled is not None

    # -- deciding ---------------------------------------------------------------------------------------

    def decide(self) -> Trim:
        """What stays. Only once it ``is_settled``."""
        rejected = set[Cut]()
        chosen = self._settled
        while chosen is None and not self._tail.is_encrypted:
            chosen = self._choice(lambda cut: cut not in rejected and self._tail.may_be_safe(cut))
            if chosen is None:
                break
            if not self._tail.is_safe(chosen.cut):
                rejected.add(chosen.cut)
                chosen = None
        cut = chosen.cut if chosen else Cut(self._tail.items, self._tail.turns)
        place = self._tail.compaction
        return Trim(
            tail=cut.items,
            turns=cut.turns,
            opening=self._opening,
            apart=(place,) if place is not None and place >= cut.items else (),
            obstacle=self._obstacle(chosen),
        )

    def _choice(self, is_safe: Callable[[Cut], bool]) -> _Mark | None:
        """The mark to cut at: of those that are allowed the newest that any limit asks for."""
        allowed = [
            at for at, mark in enumerate(self._marks) if mark.cut.turns >= self._limits.min_turns and is_safe(mark.cut)
        ]
        chosen = [choice for demand in self._demands() if (choice := demand.choose(allowed)) is not None]
        return self._marks[min(chosen)] if chosen else None

    def _asks(self) -> bool:
        """Is there any demand? It is asked at every item."""
        for unit, bound in self._bounds:
            if self._totals[unit] > bound:
                return True
        wanted = self._limits.keep_turns
        return (wanted is not None and len(self._marks) >= max(1, wanted)) or (
            self._cutoff is not None and True in self._old
        )

    def _demands(self) -> list[_Demand]:
        """What the limits ask for, as far as that is known: of each that is passed, where it wants the cut."""
        limits, found = self._limits, list[_Demand]()
        if limits.keep_turns is not None and len(self._marks) >= max(1, limits.keep_turns):
            found.append(_Demand(max(1, limits.keep_turns) - 1, is_bound=False))
        for unit, bound in self._bounds:
            if self._totals[unit] > bound:
                fitting = sum(self._behind(mark, unit) <= bound - self._reserve[unit] for mark in self._marks)
                found.append(_Demand(fitting - 1, is_bound=True))
        if self._cutoff is not None and True in self._old:
            found.append(_Demand(self._old.index(True), is_bound=False))
        return found

    def _behind(self, mark: _Mark, unit: int) -> int:
        """What stays when cut at ``mark``, a compaction in front of it included."""
        place = self._tail.compaction
        is_apart = place is not None and place >= mark.cut.items
        return mark.totals[unit] + (self._compaction[unit] if is_apart else 0)

    def _obstacle(self, chosen: _Mark | None) -> Obstacle | None:
        demanded = min((demand.at for demand in self._demands()), default=None)
        if demanded is None or (chosen is not None and chosen.cut.turns <= demanded + 1):
            untimed = self._is_untimed and chosen is None
            return Obstacle.ENCRYPTED if self._tail.is_encrypted else Obstacle.UNTIMED if untimed else None
        if self._tail.is_encrypted:
            return Obstacle.ENCRYPTED
        least = max(demanded, self._limits.min_turns - 1)
        is_nearest = len(self._marks) <= least if chosen is None else chosen.cut.turns == least + 1
        return Obstacle.NEWEST_TURNS if is_nearest and least > demanded else Obstacle.BELONGS_TOGETHER


@dataclass(frozen=True, slots=True)
class _Demand:
    """Where a limit wants the cut: at the mark ``at``, -1 for behind everything.

    ``is_bound``: what stays must not be more. Otherwise no more must go, and where that place does not do the
    next one in front of it is taken.
    """

    at: int
    is_bound: bool

    def choose(self, allowed: Sequence[int]) -> int | None:
        """The mark of those ``allowed`` that comes nearest; None where there is none."""
        within = [at for at in allowed if at <= self.at]
        if self.is_bound and within:
            return within[-1]
        return next((at for at in allowed if at >= self.at), None)


def _identity(item: Item) -> object:
    return item.text if item.key is None else item.key


def _no_tokens(_: Payload) -> int:
    return 0


def trim(
    items: Sequence[Read], limits: TrimLimits, now: datetime, count_tokens: TokenCounter,
    *, opening: Sequence[Read] | None = None, reserve: tuple[int, int, int] = (0, 0, 0),
) -> Trim:  # fmt: skip
    """What stays of a whole session, given all its items in order; ``opening``: of it, where not ``opening_of``."""
    opening = opening_of(items) if opening is None else opening
    trimmer = Trimmer(limits, now, count_tokens, opening, reserve=reserve)
    for item, payload in reversed(items):
        trimmer.see(item, payload)
    trimmer.end()
    return trimmer.decide()


# -- the newest turns -----------------------------------------------------------------------------------


class DropObstacle(StrEnum):
    """Why the newest turns were not dropped."""

    NOT_THERE = "no such item in the session"
    UNTIMED = "items have no time"
    ENCRYPTED = "items are encrypted, so that turns cannot be told"
    PENDING = "a call waits for its approval or its output"
    NOTHING_LEFT = "no turn would be left: purge deletes whole sessions"
    BELONGS_TOGETHER = "a call and its output, or the like, lie on either side of the place"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """The newest items that go, and how many turns they are; with an ``obstacle`` nothing goes."""

    items: int = 0
    turns: int = 0
    obstacle: DropObstacle | None = None

    def removed(self, items: Sequence[T]) -> list[T]:
        """What goes of a session's items (or their keys), given all of them in order."""
        return list(items[len(items) - self.items :])


def drop_after(items: Sequence[Read], after: datetime | int | str, *, include_pending: bool = False) -> Drop:
    """What goes of a whole session when the turns that begin after something are dropped.

    ``after``: a time (turns that begin at or after it go), or an item by its key or its own id. A turn in
    which a call waits for an answer goes only with ``include_pending``.
    """
    tail = Tail()
    for item, payload in reversed(items):
        tail.see(payload, hidden=item.hidden is not None)
    tail.end()
    if tail.is_encrypted:
        return Drop(obstacle=DropObstacle.ENCRYPTED)
    if isinstance(after, datetime):
        times = [item.created_at for item, _ in items if item.created_at is not None]
        if len(times) < len(items):
            return Drop(obstacle=DropObstacle.UNTIMED)
        newer = sum(1 for _ in takewhile(lambda at: at >= after, reversed(times)))
    else:
        places = [at for at, (item, payload) in enumerate(items) if str(after) in (str(item.key), payload.id)]
        if not places:
            return Drop(obstacle=DropObstacle.NOT_THERE)
        newer = len(items) - 1 - places[-1]
    return _dropped(tail, newer, include_pending=include_pending)


def _dropped(tail: Tail, newer: int, *, include_pending: bool) -> Drop:
    """The turns that lie wholly within the ``newer`` newest items."""
    cut = max((cut for cut in tail.cuts if cut.items <= newer), default=None)
    if cut is None:
        return Drop(obstacle=DropObstacle.NOTHING_LEFT if newer == tail.items > 0 else None)
    if newer == tail.items:
        return Drop(obstacle=DropObstacle.NOTHING_LEFT)
    if not include_pending and tail.waits(cut.items):
        return Drop(obstacle=DropObstacle.PENDING)
    if not tail.is_safe_to_drop(cut):
        return Drop(obstacle=DropObstacle.BELONGS_TOGETHER)
    return Drop(items=cut.items, turns=cut.turns)
