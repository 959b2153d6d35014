"""Read one session: its turns as they stream by, the verdict over all of it, and what lands later.

The verdict needs every item, so a session is read once from end to end whatever part is asked for; only
that part is held, and of the rest no more than the ids of calls.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice

from sessionctl.core.history import Judge, Verdict
from sessionctl.core.model import Item, RecordedUsage, SessionRef, Want
from sessionctl.core.payload import Unreadable, searchable_text
from sessionctl.core.selector import Query
from sessionctl.core.transcript import Entry, Turn, entries, turns
from sessionctl.errors import SessionNotFound, UsageError
from sessionctl.operations.visiting import Visit
from sessionctl.stores import open_store
from sessionctl.stores.base import Store

NEAR_IDS = 3
LOOKED_AT_FOR_NEAR_IDS = 2000
_TAIL_MARGIN = 64
"""How many items before the known end are read again, to find those that landed before it (their transaction
began earlier than that of items already there) and to notice that the end was rewritten."""
_TAIL_TRIES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Which part of a session is wanted; everything that is given must hold.

    ``last``: that many newest turns. ``span``: positions from 0, the end excluded, None for open. ``search``:
    items in which this was said, without regard to case.
    """

    last: int | None = None
    span: tuple[int, int | None] | None = None
    search: str | None = None

    def takes(self, entry: Entry) -> bool:
        if self.span is not None:
            start, end = self.span
            if entry.position < start or (end is not None and entry.position >= end):
                return False
        return self.search is None or self.search.casefold() in searchable_text(entry.item.text).casefold()


class Inspection:
    """One session being read. Iterate ``turns`` once; ``verdict`` and ``tokens`` then are over the whole session.

    ``usage`` is what the store recorded of its runs, None where it does not.

    ``close`` it before the store, if it may not have been read to its end.
    """

    def __init__(self, ref: SessionRef, items: Iterator[Item], part: Part, usage: RecordedUsage | None = None) -> None:
        self.ref = ref
        self.usage = usage
        self.tokens = 0
        self.end = TailEnd()
        self._judge = Judge()
        self._part = part
        self._turns = self._chosen(turns(self._judged(entries(items))))

    @property
    def turns(self) -> Iterator[Turn]:
        """The turns of the part that was asked for, each with its items of that part, in order, streamed."""
        return self._turns

    @property
    def verdict(self) -> Verdict:
        """Would the model accept the session? Reads whatever has not been read yet."""
        deque(self._turns, maxlen=0)
        return self._judge.verdict()

    def close(self) -> None:
        """Stop reading. Idempotent."""
        self._turns.close()

    def _judged(self, read: Iterator[Entry]) -> Iterator[Entry]:
        for entry in read:
            if not entry.item.hidden or entry.payload.unreadable is Unreadable.NOT_JSON:
                self._judge.see(entry.payload, entry.position, entry.item.key)
            self.tokens += entry.tokens
            self.end.pass_by(entry.item)
            yield entry

    def _chosen(self, read: Iterator[Turn]) -> Generator[Turn, None, None]:
        if self._part.last is not None:
            read = iter(deque(read, maxlen=self._part.last))
        for turn in read:
            chosen = turn.only(entry for entry in turn.entries if self._part.takes(entry))
            if chosen.entries:
                yield chosen


def inspect(store: Store, session_id: str, part: Part | None = None) -> Inspection:
    """Begin to read a session.

    Raises SessionNotFound, naming ids that look alike, where it has neither a row nor items. A session
    without a row but with items is read: the SDK reads it too.
    """
    ref = store.session(session_id, Want.SIZE | Want.VERSION)
    items = store.items(session_id)
    if ref is None:
        first = list(islice(items, 1))
        if not first:
            raise SessionNotFound(f"no session {session_id!r} in {store.address.label}", hint=_near(store, session_id))
        ref = SessionRef(id=session_id, created_at=None, updated_at=None)
        items = _again(first, items)
    return Inspection(ref, items, part or Part(), store.recorded_usage(session_id))


@contextmanager
def locate(visit: Visit, session_id: str) -> Iterator[Store]:
    """The one store that has the session, open meanwhile: of one address that store, of several the one of them.

    Raises SessionNotFound where none of several has it (naming those that could not be asked), UsageError
    where more than one has.
    """
    if not visit.several:
        with closing(visit.each(lambda store: iter([store]))) as opened:
            yield from islice(opened, 1)
        return
    holders = list(visit.each(lambda store: iter([store.address] if _has(store, session_id) else [])))
    if len(holders) > 1:
        raise UsageError(
            f"session {session_id!r} is in {len(holders)} of these stores: " + ", ".join(a.label for a in holders),
            hint=f"choose one: --store {holders[0].label}",
        )
    if not holders:
        unasked = ", ".join(failure.address.label for failure in visit.failures)
        raise SessionNotFound(
            f"no session {session_id!r} in any of these stores"
            + (f"; could not be asked: {unasked}" if unasked else ""),
            hint="sessionctl list shows what is there",
        )
    with open_store(holders[0]) as store:
        yield store


def _has(store: Store, session_id: str) -> bool:
    return store.session(session_id) is not None or bool(list(islice(store.items(session_id, last=1), 1)))


def _again(first: list[Item], rest: Iterator[Item]) -> Iterator[Item]:
    yield from first
    yield from rest


def _near(store: Store, session_id: str) -> str | None:
    """Ids that look alike among the most recently active sessions: a bounded look, nobody waits for a guess."""
    if not store.capabilities.lists:
        return None
    from difflib import get_close_matches

    known = [ref.id for ref in store.sessions(Query(), limit=LOOKED_AT_FOR_NEAR_IDS)]
    folded = session_id.casefold()
    inside = [known_id for known_id in known if folded and folded in known_id.casefold()]
    near = list(dict.fromkeys([*inside, *get_close_matches(session_id, known, NEAR_IDS, 0.75)]))[:NEAR_IDS]
    if near:
        return "did you mean " + " or ".join(map(repr, near)) + "?"
    return "sessionctl list shows what is there" if known else "the store has no sessions"


# -- following ------------------------------------------------------------------------------------------


class TailEnd:
    """What is known of the end of a session: how many items it has, and which the newest are."""

    def __init__(self, before: int = 0) -> None:
        self.count = before
        self._newest: deque[object] = deque(maxlen=2 * _TAIL_MARGIN)

    def pass_by(self, item: Item) -> None:
        """Take note of the next item."""
        self.count += 1
        self._newest.append(_identity(item))

    def fresh(self, tail: Sequence[Item]) -> list[int]:
        """Which of ``tail``, the newest items read anew, were not there: their indexes."""
        known = Counter(self._newest)
        is_known = [bool(known[_identity(item)]) for item in tail]
        if True not in is_known:
            return [index for index, item in enumerate(tail) if self._is_later(item)]
        # What stands before all that is remembered was there, it is only forgotten.
        fresh, start = list[int](), is_known.index(True)
        for index, item in enumerate(tail[start:], start):
            identity = _identity(item)
            if known[identity] > 0:
                known[identity] -= 1
            else:
                fresh.append(index)
        return fresh

    def remembers(self, item: Item) -> bool:
        return _identity(item) in self._newest

    def _is_later(self, item: Item) -> bool:
        """Did ``item`` come after everything remembered? Only numbered keys can tell; else it is taken for new."""
        numbers = [key for key in self._newest if isinstance(key, int)]
        return not (numbers and isinstance(item.key, int) and item.key <= max(numbers))


def _identity(item: Item) -> object:
    """Keys are never used twice; where the backend has none, the text must do."""
    return item.text if item.key is None else item.key


@dataclass(frozen=True, slots=True, kw_only=True)
class Landed:
    """What happened to a session between two looks: entries that came, in order, and how many items went.

    ``exists`` is False where the session itself is gone.
    """

    entries: tuple[Entry, ...]
    removed: int
    exists: bool = True


def follow(
    store: Store, session_id: str, end: TailEnd, *, wait: Callable[[float], bool], interval: float = 0.5
) -> Iterator[Landed]:
    """Yield what lands in a session after ``end`` (of the inspection that showed the rest), as it lands.

    Between looks ``wait(interval)`` is called (seconds); it ends the following by returning True. A look
    costs one small query as long as nothing changed. Items popped or rewritten are counted, not shown.
    """
    version: object = end  # equals no version: the first look always compares
    while True:
        ref = store.session(session_id, Want.VERSION)
        current = ref.version if ref is not None else None
        if current != version:
            version, count, tail = _read_tail(store, session_id, end)
            change, end = _compare(end, count, tail, exists=version is not None)
            if change is not None:
                yield change
        if wait(interval):
            return


def _compare(end: TailEnd, count: int, tail: Sequence[Item], *, exists: bool) -> tuple[Landed | None, TailEnd]:
    """What came and what went, and the new end."""
    after, first = TailEnd(count - len(tail)), count - len(tail)
    for item in tail:
        after.pass_by(item)
    read = list(entries(tail, first=first))
    fresh = tuple(read[index] for index in end.fresh(tail))
    removed = max(end.count + len(fresh) - count, 0)
    exists = exists or count > 0
    if not fresh and not removed and exists:
        return None, after
    return Landed(entries=fresh, removed=removed, exists=exists), after


def _read_tail(store: Store, session_id: str, end: TailEnd) -> tuple[str | None, int, list[Item]]:
    """The session's version, the number of its items, and the newest ones back to before the known end."""
    wanted = _TAIL_MARGIN
    for _ in range(_TAIL_TRIES):
        ref = store.session(session_id, Want.VERSION)
        if ref is None or ref.items is None:
            break
        tail = list(store.items(session_id, last=wanted + max(ref.items - end.count, 0)))
        again = store.session(session_id, Want.VERSION)
        if again is None or again.version != ref.version:
            continue  # something landed between the two reads: what was read does not go together
        if len(tail) >= ref.items or (tail and end.remembers(tail[0])):
            return ref.version, ref.items, tail
        wanted *= 4
    # Gone, without a row, rewritten, or never still: one read of everything goes together with itself.
    # The version is read before it: if that is out of date, the next look compares again.
    ref = store.session(session_id, Want.VERSION)
    everything = list(store.items(session_id))
    return (ref.version if ref is not None else None), len(everything), everything
