"""A session's items for reading: entries in order, grouped into turns, calls joined to their outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, auto

from sessionctl.core.model import Item
from sessionctl.core.payload import Payload, Unreadable, read_item
from sessionctl.core.sending import CALLS_OF, PAIRS
from sessionctl.core.tokens import tokens_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An item, what it says, and where it stands (counted from 0 over the whole session)."""

    position: int
    item: Item
    payload: Payload

    @property
    def unseen(self) -> str | None:
        """Why the agent never sees this item though it is stored; None: it does."""
        if self.item.hidden:
            return self.item.hidden
        return str(self.payload.unreadable) if self.payload.unreadable is Unreadable.NOT_JSON else None

    @property
    def tokens(self) -> int:
        """What it is to the model (``core.tokens``): none where the agent does not see it."""
        return 0 if self.unseen else tokens_of(self.payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A user item, or several in a row, and all up to the next; turn 0 stands before the first.

    ``entries`` may be a choice of the turn's items; times and ``items`` are those of the whole turn. ``gap`` is
    the pause since the last item before it.
    """

    index: int
    entries: tuple[Entry, ...]
    items: int
    started_at: datetime | None
    ended_at: datetime | None
    gap: timedelta | None = None

    @property
    def duration(self) -> timedelta | None:
        return self.ended_at - self.started_at if self.started_at and self.ended_at else None

    def only(self, entries: Iterable[Entry]) -> Turn:
        """The same turn with a choice of its entries."""
        return replace(self, entries=tuple(entries))


def entries(items: Iterable[Item], *, first: int = 0) -> Iterator[Entry]:
    """Read ``items``, the first of which stands at position ``first``."""
    for position, item in enumerate(items, first):
        yield Entry(position=position, item=item, payload=read_item(item.text))


def turns(read: Iterable[Entry]) -> Iterator[Turn]:
    """Group a whole session's entries into turns; holds one turn at a time."""
    turn: Turn | None = None
    held, after_user = list[Entry](), False
    for entry in read:
        if entry.payload.is_user and not after_user and held:
            turn = _turn(held, turn)
            yield turn
            held = []
        after_user = entry.payload.is_user
        held.append(entry)
    if held:
        yield _turn(held, turn)


def _turn(held: Sequence[Entry], before: Turn | None) -> Turn:
    # The first and the latest, not the extremes: an item's place is by the store's order, not by its time.
    times = [entry.item.created_at for entry in held if entry.item.created_at is not None]
    started_at, ended_at = (times[0], max(times)) if times else (None, None)
    gap = started_at - before.ended_at if before and before.ended_at and started_at else None
    index = before.index + 1 if before else int(held[0].payload.is_user)
    return Turn(index=index, entries=tuple(held), items=len(held), started_at=started_at, ended_at=ended_at, gap=gap)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """An entry as it is read: a call with the outputs that answer it, or an entry by itself.

    ``name`` is the tool's, for an output that stands apart from its call too, where it is known.
    """

    entry: Entry
    outputs: tuple[Entry, ...] = ()
    name: str | None = None


class Kind(Enum):
    """What an item is to a reader."""

    MESSAGE = auto()
    HANDOFF = auto()
    CALL = auto()
    OUTPUT = auto()
    """An output that stands apart from its call."""
    ASIDE = auto()
    """Reasoning, compactions, references: what the model and the SDK leave for themselves."""
    ROW = auto()
    """A stored text that is no item."""


def kind_of(entry: Entry) -> Kind:
    """What the entry is to a reader."""
    payload = entry.payload
    kind = payload.type or "row"
    if payload.unreadable:
        return Kind.ROW
    if kind == "message":
        return Kind.MESSAGE
    if payload.is_handoff:
        return Kind.HANDOFF
    if kind in CALLS_OF:
        return Kind.OUTPUT
    return Kind.CALL if kind in PAIRS or kind.endswith("_call") else Kind.ASIDE


def label_of(entry: Entry, name: str | None) -> str:
    """What the entry is called; ``name`` is that of its tool (``Exchange.name``)."""
    payload, kind = entry.payload, entry.payload.type or "row"
    match kind_of(entry):
        case Kind.ROW:
            return "row"
        case Kind.MESSAGE:
            return payload.role or "message"
        case Kind.HANDOFF:
            return f"handoff: {name}"
        case Kind.OUTPUT:
            return f"output of {name or payload.call_id or 'a call'} ({kind})"
        case Kind.CALL:
            plain = kind in ("function_call", "custom_tool_call")
            return name if plain and name else f"{name} ({kind})" if name else kind
        case Kind.ASIDE:
            return f"{kind} {name or ''}".strip()


class Joiner:
    """Joins calls to outputs turn by turn; remembers the names of calls for outputs in later turns."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], str | None] = {}

    def exchanges(self, turn: Turn) -> Iterator[Exchange]:
        """The turn's entries in order, each output behind its call, unless the agent does not see one of them."""
        calls = dict[tuple[str, str], int]()
        answers = dict[int, list[Entry]]()
        joined = set[int]()
        for entry in turn.entries:
            call = _call(entry.payload)
            if call is None or entry.unseen:
                continue
            if entry.payload.type in PAIRS:
                calls[call] = entry.position
                self._names[call] = entry.payload.name
            elif call in calls:
                answers.setdefault(calls[call], []).append(entry)
                joined.add(entry.position)
        for entry in turn.entries:
            if entry.position not in joined:
                call = _call(entry.payload)
                name = entry.payload.name or (self._names.get(call) if call else None)
                yield Exchange(entry=entry, outputs=tuple(answers.get(entry.position, ())), name=name)

    def learn(self, entry: Entry) -> None:
        """Remember the name of a call that is not shown."""
        call = _call(entry.payload)
        if call is not None and entry.payload.type in PAIRS:
            self._names[call] = entry.payload.name


def _call(payload: Payload) -> tuple[str, str] | None:
    """The call an item makes or answers."""
    kind = payload.type or ""
    if payload.call_id is None or (kind not in PAIRS and kind not in CALLS_OF):
        return None
    return CALLS_OF.get(kind, kind), payload.call_id
