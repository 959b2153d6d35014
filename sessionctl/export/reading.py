"""A session as a reader sees it: turns, who says what, calls with what came back; for the formats made for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from sessionctl.core.model import Item
from sessionctl.core.pieces import Tone, pieces
from sessionctl.core.plan import Totals
from sessionctl.core.pretty import pretty_json
from sessionctl.core.record import StoredItem, instant
from sessionctl.core.sending import PAIRS
from sessionctl.core.text import visible
from sessionctl.core.transcript import Entry, Exchange, Joiner, Kind, Turn, entries, kind_of, label_of, turns
from sessionctl.core.units import count, format_duration, format_offset, format_size, format_stamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A piece of an item, safe to show; ``is_json``: laid out as such."""

    tone: Tone
    text: str
    is_json: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """An item with what answers it. ``facts`` are its time after the turn's start, size and position, in words.

    ``notes`` say what is wrong with it. ``parts`` are the blocks of the item and of each of its outputs.
    """

    kind: Kind
    role: str
    label: str
    facts: tuple[str, ...]
    failed: bool
    notes: tuple[str, ...]
    parts: tuple[tuple[Block, ...], ...]


class Reading:
    """One session, read once. ``totals`` are those of the items read so far."""

    def __init__(self, items: Iterable[StoredItem]) -> None:
        self.totals = Totals(sessions=1)
        self._items = items
        self._joiner = Joiner()

    def turns(self) -> Iterator[tuple[Turn, Iterator[Shown]]]:
        """The turns as they stream by, each with its items, calls joined to their outputs."""
        for turn in turns(entries(self._counted())):
            yield turn, (_shown(turn, exchange) for exchange in self._joiner.exchanges(turn))

    def _counted(self) -> Iterator[Item]:
        number = size = 0
        for number, (key, stored_at, at, text) in enumerate(self._items, 1):
            item = Item(key=key, text=text, created_at=instant(stored_at, at))
            size += item.size
            self.totals = Totals(sessions=1, items=number, bytes=size)
            yield item


def title(turn: Turn) -> str:
    """What the turn is called."""
    return f"Turn {turn.index}" if turn.index else "Before the first turn"


def facts(turn: Turn) -> list[str]:
    """When the turn began, after which pause, how long it took, and how many items it has."""
    said = [format_stamp(turn.started_at)] if turn.started_at else []
    if turn.gap is not None and turn.gap > timedelta(0):
        said.append(f"{format_duration(turn.gap)} later")
    if turn.duration:
        said.append(f"took {format_duration(turn.duration)}")
    return [*said, count(turn.items, "item")]


def _shown(turn: Turn, exchange: Exchange) -> Shown:
    entry = exchange.entry
    last = exchange.outputs[-1] if exchange.outputs else entry
    every = (entry, *exchange.outputs)
    offset = format_offset(turn.started_at, last.item.created_at)
    sizes = " → ".join(format_size(part.item.size) for part in every)
    places = " → ".join(f"#{part.position}" for part in every)
    return Shown(
        kind=kind_of(entry),
        role=entry.payload.role or "",
        label=visible(label_of(entry, exchange.name)),
        facts=tuple(filter(None, (offset, sizes, places))),
        failed=any(part.payload.is_error for part in every),
        notes=tuple(_notes(exchange)),
        parts=tuple(tuple(_blocks(part)) for part in every),
    )


def _notes(exchange: Exchange) -> Iterator[str]:
    entry = exchange.entry
    if entry.unseen:
        yield f"not seen by the agent: {visible(entry.unseen)}"
    elif entry.payload.unreadable:
        yield f"not an item: {entry.payload.unreadable}"
    if entry.payload.type in PAIRS and not exchange.outputs:
        yield "no output in this turn"


def _blocks(entry: Entry) -> Iterator[Block]:
    for piece in pieces(entry.payload):
        if piece.tone is Tone.INPUT and piece.text == "{}":
            continue
        laid_out = pretty_json(piece.text) if piece.tone in (Tone.INPUT, Tone.RESULT) else None
        text = visible(laid_out or piece.text, multiline=True).rstrip("\n")
        yield Block(tone=piece.tone, text=text, is_json=laid_out is not None)
