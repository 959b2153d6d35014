"""The nouns every layer shares: sessions, items, what a store can do, and the changes made to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from enum import Enum, Flag, StrEnum, auto
from typing import NamedTuple

from sessionctl.core.record import SessionRecord, StoredItem, octets


class Want(Flag):
    """What a listing must fetch beyond the session row itself; each bit costs work over the items."""

    NOTHING = 0
    COUNT = auto()
    """``items``; cheap where an index tells."""
    SIZE = auto()
    """``items`` and ``bytes``; every item's row is read."""
    VERSION = auto()
    """``version``, ``items`` and ``newest_item_at``."""
    COMPACTED = auto()
    """``compacted``: may there be a compaction item? Every item's text is looked into."""


class Order(Enum):
    """The order in which a store yields sessions."""

    ACTIVITY = auto()
    """Newest activity first; equal times by session id ascending; unknown times last."""
    OLDEST = auto()
    """Oldest activity first; equal times by session id ascending; unknown times first. How items came to lie."""
    PHYSICAL = auto()
    """As they lie in the store: the cheapest full pass, and the order in which deletion is fastest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRef:
    """A session without its items.

    ``updated_at`` is the time of the last append by the store's clock (every SDK release sets it on
    ``add_items``, none on ``pop_item``); None where the store does not say, and then no time selector
    matches. ``bytes`` is the sum of octets of the stored texts. ``version`` is opaque and differs after
    any append, pop or removal; a text that sessionctl replaced does not show in it.
    """

    id: str
    created_at: datetime | None
    updated_at: datetime | None
    items: int | None = None
    bytes: int | None = None
    newest_item_at: datetime | None = None
    version: str | None = None
    compacted: bool | None = None

    @property
    def last_activity(self) -> datetime | None:
        """What selection and order go by."""
        return self.updated_at

    @property
    def latest_sign_of_life(self) -> datetime | None:
        """The later of the session's stamp and its newest item's, for the re-check before a change."""
        return max((t for t in (self.updated_at, self.newest_item_at) if t is not None), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One element of a session, as the SDK stored it.

    ``text`` is the stored text to the byte: invalid UTF-8 is carried by surrogate escapes. ``key`` is
    the item's key in the store, None where the backend has none. ``hidden`` says why the SDK does not
    return this row to the agent although it is stored (None: it does, as far as the store can tell).
    """

    key: int | str | None
    text: str
    created_at: datetime | None = None
    hidden: str | None = None

    @property
    def size(self) -> int:
        """Octets of the stored text."""
        return octets(self.text)


class Ends(NamedTuple):
    """The first and the newest items of a session, both in the order of reading; what lies between was not read."""

    session_id: str
    head: Sequence[Item]
    tail: Sequence[Item]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """A place in ``Order.ACTIVITY``: what follows a session. ``id`` None: everything at ``activity`` is behind."""

    activity: datetime | None
    id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What ids and texts a store can hold; None where there is no limit.

    ``longest_id`` in characters, ``longest_text`` in octets. ``takes_nul``: a text may have a NUL in it.
    """

    longest_id: int | None = None
    longest_text: int | None = None
    takes_nul: bool = True


class Recheck(StrEnum):
    """How firmly a store ties the last look at a session to its change."""

    TRANSACTION = "transaction"
    GUARDED = "guarded"
    BEST_EFFORT = "best_effort"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How a store wants its batches.

    Rows in the first, sessions in the largest, seconds one may hold locks, seconds between two; seconds one
    may hold locks while nobody else writes, where the store can tell (no pauses then); and seconds of a
    longer pause every two seconds or so, for those who look for a free lock at longer and longer intervals.
    ``least``: rows below which a batch costs nearly the same, so that smaller ones would only lock more often.
    ``alone_rewrite_s`` stands for ``alone_hold_s`` where sessions stay and only lose items.
    """

    first: int
    largest: int
    hold_s: float
    gap_s: float
    alone_hold_s: float | None = None
    rest_s: float = 0.0
    least: int = 1
    alone_rewrite_s: float | None = None

    @property
    def of_rewrites(self) -> Pace:
        """The pace of changes that leave sessions in place."""
        return replace(self, alone_hold_s=self.alone_rewrite_s or self.alone_hold_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a kind of store can do, as data: callers ask this, never the class."""

    lists: bool
    item_times: bool
    recheck: Recheck
    pace: Pace


@dataclass(slots=True, kw_only=True)
class Spent:
    """Seconds that the changes of a store took so far, by what they went to.

    ``wait``: for locks of others; ``check``: looking at each session again; ``delete``: the change and its
    commit; ``tidy``: what follows with the locks given back (SQLite's checkpoint). ``met`` counts the
    changes beside which there were other writers, where the store can tell.
    """

    wait: float = 0.0
    check: float = 0.0
    delete: float = 0.0
    tidy: float = 0.0
    met: int = 0

    @property
    def held(self) -> float:
        """How long locks were held."""
        return self.check + self.delete

    def __add__(self, more: Spent) -> Spent:
        return Spent(**{each.name: getattr(self, each.name) + getattr(more, each.name) for each in fields(self)})

    def since(self, before: Spent) -> Spent:
        """What was spent after ``before``, an earlier copy of this."""
        return Spent(**{each.name: getattr(self, each.name) - getattr(before, each.name) for each in fields(self)})


class Effect(StrEnum):
    """What deleting SDK rows does to something of others that hangs on them."""

    TAKES_ALONG = "takes rows along"
    BLOCKS = "blocks the deletion of rows it refers to"
    LEFT_BEHIND = "is left referring to rows that are gone"
    UNTOUCHED = "is not affected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hazard:
    """A table, foreign key or trigger of others hanging on the SDK's tables."""

    what: str
    effect: Effect


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreInfo:
    """What was found at an address.

    ``flavour`` names the SDK session class whose layout it is; ``frozen`` says why the store must not be
    changed (None: it may be); ``warnings`` are sentences for the user.
    """

    kind: str
    flavour: str
    server: str
    tables: tuple[str, ...]
    hazards: tuple[Hazard, ...] = ()
    warnings: tuple[str, ...] = ()
    frozen: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """How many sessions a store has, and how many are stamped later than a given time."""

    sessions: int
    ahead: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Bytes a store takes on disk; None where the engine does not tell.

    ``free`` is space inside that deletions left and new rows will reuse; ``log`` a write-ahead log beside it.
    """

    total: int | None
    free: int | None
    log: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedUsage:
    """What the agents themselves wrote down of what their runs cost, as the model's server counted it."""

    requests: int
    input_tokens: int
    output_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """All items of a store and the octets of their texts, whether or not their sessions have a row."""

    items: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """How far the replicas of a store are behind.

    ``seconds``: the slowest connected replica's delay in applying changes, None where there is none or the
    server does not show it. ``retained``: octets of log kept for replication slots, the largest of them;
    ``slot`` names it and ``slot_active`` says whether anyone reads it.
    """

    seconds: float | None = None
    retained: int = 0
    slot: str | None = None
    slot_active: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """How a store would carry out a deletion; all of it for the user, before anything is done.

    ``selection`` and ``deletion`` say in a few words which index serves them, or that a whole table is read.
    ``slow`` are warnings: a missing index and what it will cost. ``rows_per_s`` is what such a store
    typically deletes a second; ``log`` names the log, ``log_bytes`` is about how much the deletion writes to it.
    """

    selection: str
    deletion: str
    slow: tuple[str, ...] = ()
    rows_per_s: float
    log: str
    log_bytes: int


class Delete(NamedTuple):
    """Delete a whole session, items included, if it still is at ``version``."""

    session_id: str
    version: str


class Span(NamedTuple):
    """The ``items`` items of a session whose keys are ``first``, ``last`` or between them: one at least."""

    first: int
    last: int
    items: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """Take items out of a session and replace the texts of others. The session stays, and so do all stamps.

    Only if every span still holds exactly its items and every item to be replaced is there; and, where
    ``version`` is given, only if the session still is at it. Without a version appends do not matter: keys
    are never given twice and the SDK never changes a text, so the same keys and as many of them are what was
    read, and the head of a session can be trimmed while its tail grows. ``core.spans`` makes spans of keys.

    ``replace`` are (key, new stored text) of items outside of the spans; they keep key, stamp and place.
    Where a session has branches the items leave the main one, and those that another branch holds too are
    kept for that; a replaced text shows in all of them. ``unbranched``: only if the session has no other branch.
    """

    session_id: str
    version: str | None = None
    remove: tuple[Span, ...] = ()
    replace: tuple[tuple[int, str], ...] = ()
    unbranched: bool = False

    @property
    def rows(self) -> int:
        """Items removed or replaced."""
        return sum(span.items for span in self.remove) + len(self.replace)


Change = Delete | Rewrite


class Onto(Enum):
    """What a session may be put onto."""

    ABSENT = auto()
    """Nothing: there must be no such session, and no items under its id."""
    FRONT = auto()
    """Newer items only: what is put goes in front of them, and the session gets its old ``created_at`` back."""
    AMONG = auto()
    """The very session that it is a part of (``SessionRecord.part``), begun when that was: each item goes to its key.

    The items whose text was replaced must have that very text still, the keys of the others must be free; the
    session's row stays as it is.
    """


class Conflict(StrEnum):
    """What a restore does about a session that is there with other items."""

    SKIP = "skip"
    FAIL = "fail"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """Put a session, or a part of one, into the store: CHANGED where what is there does not allow it.

    ``exact``: it comes from this very store, so keys and stamps are written as they were. Otherwise the
    items get new keys in their order, and stamps follow the instants in the store's own form.
    """

    session: SessionRecord
    items: Sequence[StoredItem]
    onto: Onto = Onto.ABSENT
    exact: bool = False

    @property
    def session_id(self) -> str:
        return self.session.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What must hold for each session at the moment of its change, checked together with it.

    ``named`` are the sessions the user named one by one: to these, holds that yield give way.
    """

    min_idle: timedelta = field(default=timedelta(0))
    named: frozenset[str] = frozenset()


class Outcome(StrEnum):
    """What became of one change. Exactly one per change; only DONE changed the store."""

    DONE = "done"
    ACTIVE = "active"
    HELD = "held"
    CHANGED = "changed"
    MISSING = "missing"
    FAILED = "failed"
