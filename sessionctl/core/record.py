"""Whole sessions as stores keep them: what archives hold, and what is put back.

Nothing is interpreted here: texts are the stored ones to the byte, stamps are the store's own texts. That
is what makes a session that was taken out and put back into the same store equal to what it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any, NamedTuple, overload

from sessionctl.core.units import format_time


class StoredItem(NamedTuple):
    """One item as it is stored.

    ``key`` is its key in the store (None where it has none). ``stored_at`` is its stamp as the store's own
    text, None where it keeps none. ``at`` is the same instant as RFC 3339 UTC where ``stored_at`` alone does
    not tell it (local times of some zone), else None: then ``stored_at`` is ``YYYY-MM-DD HH:MM:SS[.ffffff]``
    in UTC. ``text`` carries invalid UTF-8 by surrogate escapes.
    """

    key: int | str | None
    stored_at: str | None
    at: str | None
    text: str

    @property
    def size(self) -> int:
        """Octets of the stored text."""
        return octets(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamps:
    """A session's stamps, each as in ``StoredItem``: the store's own text, and the instant where that needs it."""

    created: str | None
    updated: str | None
    created_at: str | None = None
    updated_at: str | None = None


NOWHERE = "null"
"""Stands for a text that is elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """Where the texts of a session's items lie: under its id in the store of the recorded address ``store``.

    There they are the first ones, in the order of the items beside the record, but for those at the positions ``here``,
    which that store cannot show: their texts are beside the record after all. ``sha256`` is ``digest_of`` all texts.
    """

    store: str
    sha256: str
    here: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """A session without its items, as it was at ``version`` (``SessionRef.version``).

    ``extras`` are what a backend keeps beyond sessions and items, as JSON values by the backend's own names:
    rows of further tables (Advanced: structure, usage, reservations, generation), a time to live.

    ``part`` is None for a whole session. Else it stayed, and a run only took items out of it: the items beside
    this record, with those of the ``extras`` that went along. Of the items whose keys are in ``part`` it left
    the row and put the text there in place of theirs.

    ``elsewhere`` is None where the items have their texts; else ``NOWHERE`` stands for those in another store.
    """

    id: str
    version: str
    stamps: Stamps
    extras: Mapping[str, Any] = field(default_factory=dict)
    part: Mapping[int, str] | None = None
    elsewhere: Elsewhere | None = None


PlainItem = tuple[int | str | None, str | None, str | None, str]
"""The values of a StoredItem, but ``at`` may be missing where ``stored_at`` means the same to ``rfc3339``."""


@dataclass(frozen=True, slots=True)
class ItemsInStore(Iterable[StoredItem]):
    """Items that are read from a store as they are asked for, once: ``items``, or ``plain`` at half the cost."""

    items: Callable[[], Iterator[StoredItem]]
    plain: Callable[[], Iterator[PlainItem]]

    def __iter__(self) -> Iterator[StoredItem]:
        return self.items()


def plain_items(items: Iterable[StoredItem]) -> Iterable[PlainItem]:
    """For those who look at the texts and ask no more of the stamps than ``rfc3339``."""
    return items.plain() if isinstance(items, ItemsInStore) else items


class WholeSession(NamedTuple):
    """A session and its items in the order in which the SDK reads them; read once, before the next session."""

    session: SessionRecord
    items: Iterable[StoredItem]


@dataclass(frozen=True, slots=True)
class ItemColumns(Sequence[StoredItem]):
    """Items by their values: for those who pass on many of them, to whom an object for each would cost too much."""

    keys: Sequence[int | str | None] = ()
    stored: Sequence[str | None] = ()
    at: Sequence[str | None] = ()
    texts: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def __iter__(self) -> Iterator[StoredItem]:
        return map(stored_item, zip(self.keys, self.stored, self.at, self.texts, strict=True))

    @overload
    def __getitem__(self, index: int) -> StoredItem: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[StoredItem]: ...
    def __getitem__(self, index: int | slice) -> StoredItem | Sequence[StoredItem]:
        return tuple(self)[index]


def columns(items: Iterable[PlainItem]) -> ItemColumns:
    """``items`` by their values."""
    return items if isinstance(items, ItemColumns) else ItemColumns(*zip(*items, strict=True))


def octets_of(items: Iterable[StoredItem]) -> int:
    """Octets of the stored texts of all ``items``."""
    texts = items.texts if isinstance(items, ItemColumns) else [item.text for item in items]
    if all(map(str.isascii, texts)):
        return sum(map(len, texts))
    return sum(map(octets, texts))


def octets(text: str) -> int:
    """Of a stored text. Half a surrogate pair alone, which no store can hold, counts as three."""
    if text.isascii():
        return len(text)
    try:
        return len(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return len(text.encode("utf-8", "surrogatepass"))


def digest_of(texts: Iterable[str]) -> str:
    """SHA-256 of texts in their order, in hex; each ends where it ends."""
    digest = hashlib.sha256()
    for text in texts:
        octets = text.encode("utf-8", "surrogateescape")
        digest.update(b"%d:" % len(octets) + octets)
    return digest.hexdigest()


stored_item: Callable[[PlainItem], StoredItem] = partial(tuple.__new__, StoredItem)
"""A StoredItem of its four values, at half the time: readers make one for every item of a store."""


def instant(stored: str | None, at: str | None) -> datetime | None:
    """The instant of a stamp, aware UTC; None for none, and for what is no time."""
    try:
        value = datetime.fromisoformat(at or stored or "")
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


_HOUR = len("2026-01-01 10:")
_WITHIN_AN_HOUR = frozenset(f"{minute:02}:{second:02}" for minute in range(60) for second in range(60))


def is_usual(stored: str) -> bool:
    """Is it a time of whole seconds without a zone, just as Python writes it? Quick; False says nothing.

    Readers ask of nearly every item. To look up its two parts takes a fifth of the time of parsing it.
    """
    return stored[_HOUR:] in _WITHIN_AN_HOUR and _hour(stored[:_HOUR]) is not None


@lru_cache(maxsize=1024)
def _hour(start: str) -> str | None:
    """An hour as RFC 3339 begins with it, None where ``start`` is none."""
    stored = f"{start}00:00"
    try:
        at = datetime.fromisoformat(stored)
    except ValueError:
        return None
    return at.isoformat()[:_HOUR] if str(at) == stored else None


def rfc3339(stored: str | None, at: str | None) -> str | None:
    """The instant of a stamp as RFC 3339 with ``Z``, as ``format_time`` writes it; None as ``instant``."""
    if at is not None or stored is None:
        return format_time(instant(stored, at))
    rest = stored[_HOUR:]
    if rest in _WITHIN_AN_HOUR and (hour := _hour(stored[:_HOUR])) is not None:  # by far the most are usual
        return f"{hour}{rest}Z"
    try:
        value = datetime.fromisoformat(stored)
    except ValueError:
        return None
    return f"{value.isoformat()}Z" if value.tzinfo is None else format_time(instant(stored, at))
