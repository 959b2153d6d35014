"""Plan what sessions lose and still go on: their oldest turns, their newest ones, or what is large in old ones.

A session is read from its end, and only as far as the limits make it necessary. A change says which items go, by
their keys; what is appended meanwhile does not matter to it. Where that reading does not settle it, and where a
change turned out to be about something that is not there any more, the whole session is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice, takewhile
from pathlib import Path

from sessionctl.core.condensing import Condensing, Kind
from sessionctl.core.eliding import Elider
from sessionctl.core.model import Ends, Item, Outcome, Rewrite, SessionRef, Span, Want
from sessionctl.core.payload import read_item
from sessionctl.core.plan import Step
from sessionctl.core.selector import Selector
from sessionctl.core.spans import spans
from sessionctl.core.summary import read_summary
from sessionctl.core.tokens import BYTES_PER_TOKEN, tokens_of
from sessionctl.core.trimming import (
    MIN_TURNS,
    DropObstacle,
    Obstacle,
    Read,
    TrimLimits,
    Trimmer,
    drop_after,
    instructions_of,
    may_open,
    opening_of,
    opening_with_compaction,
    trim,
)
from sessionctl.core.units import exact_duration, format_second, format_size
from sessionctl.operations.planning import WANT, plan_changes
from sessionctl.operations.spool import SpooledPlan
from sessionctl.stores.base import Store

_TOGETHER = 200
"""Sessions whose ends are read together."""
_FIRST = 3
"""Items read from the beginning: most sessions begin with one instruction or with none, and perhaps a summary."""
_Told = tuple[list[Span], int]
"""The spans of items that go, and their octets."""
_AROUND_SUMMARY = 80
"""Tokens that a summary says of itself."""
_LEAST, _MOST = 8, 1000
"""Items read from the end."""
_FURTHER = 4
"""Times as many, where these do not settle it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to become of each session: ``limits`` for its oldest turns, or its newest ones dropped.

    ``elide``: outputs, images and files of more octets give way to stubs, except in the ``min_turns`` newest turns.
    ``after``: a time or an item, see ``core.trimming.drop_after``. ``condensing``: what goes for the limits gives
    way to what a model makes of it, which is done when the plan is carried out (``operations.condensing``).
    """

    limits: TrimLimits | None = None
    elide: int | None = None
    min_turns: int = MIN_TURNS
    after: datetime | int | str | None = None
    include_pending: bool = False
    condensing: Condensing | None = None

    def terms(self, now: datetime) -> tuple[str, ...]:
        """What is left, one clause each."""
        if isinstance(self.after, datetime):
            return (f"no turn begun at or after {format_second(self.after)}",)
        if self.after is not None:
            return (f"no turn begun behind item {self.after}",)
        return tuple(self._terms(now))

    def _terms(self, now: datetime) -> Iterator[str]:
        if self.limits is not None:
            yield from _limit_terms(self.limits, now)
        if self.condensing is not None:
            yield f"in the place of what goes, a {self.condensing.kind} of it by {self.condensing.where}"
        if self.elide is not None:
            yield f"no output, image or file larger than {format_size(self.elide)}"
        yield f"in any case the instructions at the beginning and the {_newest(self.min_turns)}"


def _limit_terms(limits: TrimLimits, now: datetime) -> Iterator[str]:
    if limits.keep_turns is not None:
        yield f"at most {limits.keep_turns:,} turns"
    if limits.max_items is not None:
        yield f"at most {limits.max_items:,} items"
    if limits.max_tokens is not None:
        yield f"at most {limits.max_tokens:,} tokens (estimate)"
    if limits.max_bytes is not None:
        yield f"at most {format_size(limits.max_bytes)}"
    if limits.items_older_than is not None:
        age = limits.items_older_than
        yield f"no turn older than {exact_duration(age)}, from before {format_second(now - age)}"


def _newest(turns: int) -> str:
    return "newest turn" if turns == 1 else f"{turns:,} newest turns"


def plan_trim(
    store: Store, selector: Selector, wish: Wish, *, min_idle: timedelta, spool_directory: Path | None = None
) -> SpooledPlan:
    """Freeze what a trim would take out of which sessions; see ``plan_changes``."""
    now = store.now()
    foreseeing = _Foreseeing(store, wish, now)
    plan = plan_changes(
        store, selector, "trim", foreseeing.steps, min_idle=min_idle, terms=wish.terms(now),
        want=WANT | Want.COMPACTED if wish.limits else WANT, spool_directory=spool_directory,
    )  # fmt: skip
    refused = frozenset(foreseeing.refused).intersection(selector.named)
    header = replace(
        plan.header,
        obstacles=foreseeing.obstacles,
        condensing=wish.condensing,
        named_skipped=plan.header.named_skipped + len(refused),
    )
    # What a model is to be asked about is asked once: a session that changed meanwhile is for the next run.
    is_final = wish.after is not None or wish.condensing is not None
    return replace(plan, header=header, revise=None if is_final else _Revising(wish, now))


@dataclass(frozen=True, slots=True)
class _Revising:
    """Plans a session again that is not as its step has it."""

    wish: Wish
    now: datetime

    def __call__(self, store: Store, step: Step) -> Step | Outcome:
        ref = store.session(step.session_id, WANT)
        if ref is None:
            return Outcome.MISSING
        return _Foreseeing(store, self.wish, self.now).whole(ref) or Outcome.CHANGED


@dataclass(slots=True)
class _Foreseeing:
    """Says for each session what would be taken out of it; counts what stands in the way."""

    store: Store
    wish: Wish
    now: datetime
    obstacles: Counter[StrEnum] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)
    """Sessions to which nothing is done, though it was asked for."""

    def steps(self, refs: Iterable[SessionRef]) -> Iterator[Step]:
        rest = iter(refs)
        while some := list(islice(rest, _TOGETHER)):
            yield from filter(None, self._together(some))

    def _together(self, refs: Sequence[SessionRef]) -> Iterator[Step | None]:
        refs = [ref for ref in refs if not _fits(ref, self.wish)]
        told = self._told_by_ends([ref for ref in refs if not _may_be_elided(ref, self.wish)])
        for ref in refs:
            yield told[ref.id] if ref.id in told else self.whole(ref)

    def _told_by_ends(self, refs: Sequence[SessionRef]) -> dict[str, Step | None]:
        """What becomes of those sessions of which their ends tell it; more of the others is read, to a bound.

        A compaction item has to be known before anything goes, wherever it stands.
        """
        told: dict[str, Step | None] = {}
        limits, rest = self.wish.limits, {ref.id: ref for ref in refs}
        last = _MOST + 1 if limits is None else _guess(limits)
        while limits is not None and rest and last <= _MOST:
            for ends in self.store.ends(list(rest), first=_FIRST, last=last):
                ref = rest[ends.session_id]
                if len(ends.tail) < last:
                    told[ref.id] = self._of_all(ref, ends.tail)
                elif not ref.compacted and (found := self._by_ends(ref, ends, limits)):
                    told[ref.id] = self._step(ref, *found)
            rest = {name: ref for name, ref in rest.items() if name not in told and not ref.compacted}
            last *= _FURTHER
        return told

    def _by_ends(self, ref: SessionRef, ends: Ends, limits: TrimLimits) -> _Told | None:
        head = list(takewhile(lambda one: may_open(one[1]), _read(ends.head)))
        if len(head) == len(ends.head):
            return None
        opening = opening_of(head)
        trimmer = Trimmer(limits, self.now, tokens_of, opening, reserve=self._reserve(opening))
        for item, payload in _read(reversed(ends.tail)):
            trimmer.see(item, payload)
            if trimmer.is_settled:
                break
        else:
            return None
        found = trimmer.decide()
        if found.apart or found.tail >= len(ends.tail):
            return None
        condensed = self._condensed_before(opening)
        stays_first = len(opening) - len(condensed)
        is_more = (ref.items or 0) > len(opening) + found.tail
        if condensed and (not is_more or stays_first != len(instructions_of(opening))):
            return None
        stay = [*ends.head[:stays_first], *ends.tail[len(ends.tail) - found.tail :]]
        span = _between(ends, stays_first, found.tail, ref.items or 0)
        if span is None:
            return None
        self._hindered(ref, found.obstacle)
        return [span], (ref.bytes or 0) - sum(item.size for item in stay)

    def whole(self, ref: SessionRef) -> Step | None:
        """Read all of the session."""
        return self._of_all(ref, list(self.store.items(ref.id)))

    def _of_all(self, ref: SessionRef, items: Sequence[Item]) -> Step | None:
        read = list(_read(items))
        going = self._going(ref, items, read)
        keys = {item.key for item in going if isinstance(item.key, int)}
        all_keys = [item.key for item in items if isinstance(item.key, int)]
        shorter = list(self._shorter(read, keys))
        saved = sum(item.size for item in going) + sum(item.size - new.size for item, new in shorter)
        replace_ = tuple((item.key, new.text) for item, new in shorter if isinstance(item.key, int))
        return self._step(ref, spans(all_keys, keys), saved, replace_)

    def _going(self, ref: SessionRef, items: Sequence[Item], read: Sequence[Read]) -> Sequence[Item]:
        if self.wish.after is not None:
            dropped = drop_after(read, self.wish.after, include_pending=self.wish.include_pending)
            self._hindered(ref, dropped.obstacle)
            return dropped.removed(items)
        if self.wish.limits is None:
            return ()
        compacting = self.wish.condensing is not None and self.wish.condensing.kind is Kind.COMPACTION
        opening = opening_with_compaction(read) if compacting else opening_of(read)
        trimmed = trim(read, self.wish.limits, self.now, tokens_of, opening=opening, reserve=self._reserve(opening))
        self._hindered(ref, trimmed.obstacle)
        going = trimmed.removed(items)
        return [*(item for item, _ in self._condensed_before(opening)), *going] if going else going

    def _condensed_before(self, opening: Sequence[Read]) -> Sequence[Read]:
        """What of the opening is condensed anew with what goes."""
        condensing = self.wish.condensing
        if condensing is None:
            return ()
        if condensing.kind is Kind.COMPACTION:
            return opening[len(instructions_of(opening)) :]
        return [one for one in opening if read_summary(one[1]) is not None]

    def _reserve(self, opening: Sequence[Read]) -> tuple[int, int, int]:
        """Room for what will stand in the place of what goes, beyond what does so now; an estimate."""
        condensing = self.wish.condensing
        if condensing is None:
            return 0, 0, 0
        before = self._condensed_before(opening)
        most = condensing.max_tokens + _AROUND_SUMMARY if condensing.kind is Kind.SUMMARY else 0
        wanted = (1, most, round(most * BYTES_PER_TOKEN))
        given = (len(before), sum(tokens_of(payload) for _, payload in before), sum(item.size for item, _ in before))
        return max(0, wanted[0] - given[0]), max(0, wanted[1] - given[1]), max(0, wanted[2] - given[2])

    def _shorter(self, read: Sequence[Read], going: Collection[int]) -> Iterator[tuple[Item, Item]]:
        """Items that stay and get shorter, each with what becomes of it."""
        if self.wish.elide is None:
            return
        elider = Elider(self.wish.elide, self.wish.min_turns)
        for item, payload in reversed(read):
            found = elider.see(item, payload)
            if found is not None and item.key not in going:
                yield item, replace(item, text=found.text)

    def _step(
        self, ref: SessionRef, remove: Sequence[Span], size: int, shorter: tuple[tuple[int, str], ...] = ()
    ) -> Step | None:
        if not remove and not shorter:
            return None
        # Appends do not concern what is old; what is dropped are the very items that stood last.
        version = None if self.wish.after is None else ref.version
        return Step(
            session_id=ref.id,
            version=ref.version or "",
            items=sum(span.items for span in remove),
            bytes=size,
            last_activity=ref.last_activity,
            rewrite=Rewrite(session_id=ref.id, version=version, remove=tuple(remove), replace=shorter),
        )

    def _hindered(self, ref: SessionRef, obstacle: Obstacle | DropObstacle | None) -> None:
        if obstacle is None:
            return
        self.obstacles[obstacle] += 1
        if isinstance(obstacle, DropObstacle):
            self.refused.append(ref.id)


def _fits(ref: SessionRef, wish: Wish) -> bool:
    """Do its numbers alone say that nothing of it goes?"""
    limits, items, size = wish.limits, ref.items or 0, ref.bytes or 0
    if items == 0:
        return True
    if wish.after is not None or _may_be_elided(ref, wish):
        return False
    if limits is None:
        return True
    if limits.max_tokens is not None or limits.items_older_than is not None:
        return False
    bounds = ((limits.keep_turns, items), (limits.max_items, items), (limits.max_bytes, size))  # a turn has an item
    return all(limit is None or number <= limit for limit, number in bounds)


def _may_be_elided(ref: SessionRef, wish: Wish) -> bool:
    return wish.elide is not None and (ref.bytes or 0) > wish.elide


def _guess(limits: TrimLimits) -> int:
    """How many items from the end will settle it for most sessions."""
    wanted = [
        8 * max(limits.keep_turns, limits.min_turns) if limits.keep_turns is not None else None,
        limits.max_items,
        limits.max_tokens // 40 if limits.max_tokens is not None else None,
        limits.max_bytes // 150 if limits.max_bytes is not None else None,
    ]
    tightest = min((number for number in wanted if number is not None), default=_MOST // 4)
    return max(_LEAST, 8 * limits.min_turns, min(_MOST, tightest + 4))


def _between(ends: Ends, opening: int, tail: int, items: int) -> Span | None:
    """All that lies between what stays at the beginning and what stays at the end, as one span of keys.

    None where the order of keys is not plainly that of reading.
    """
    first, last = ends.head[opening].key, ends.tail[-tail - 1].key
    before = [item.key for item in ends.head[:opening]]
    after = [item.key for item in ends.tail[len(ends.tail) - tail :]]
    if not isinstance(first, int) or not isinstance(last, int) or first > last:
        return None
    if any(not isinstance(key, int) or key >= first for key in before):
        return None
    if any(not isinstance(key, int) or key <= last for key in after):
        return None
    return Span(first, last, items - opening - tail)


def _read(items: Iterable[Item]) -> Iterator[Read]:
    for item in items:
        yield item, read_item(item.text)
