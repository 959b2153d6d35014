"""A transcript drawn for people: what was said, by whom, when, with which tools, and what went wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sessionctl.cli.views.folding import Layout
from sessionctl.cli.views.tokens import method_told, usage_told
from sessionctl.core.history import FATAL, HARMLESS, Verdict
from sessionctl.core.hold import Hold
from sessionctl.core.model import RecordedUsage, SessionRef
from sessionctl.core.pieces import Piece, Tone, pieces
from sessionctl.core.pretty import pretty_json
from sessionctl.core.sending import CALLS_OF, PAIRS
from sessionctl.core.text import cell_width, shorten, visible
from sessionctl.core.tokens import counted_by
from sessionctl.core.transcript import Entry, Exchange, Joiner, Kind, Turn, kind_of, label_of
from sessionctl.core.units import count, format_duration, format_offset, format_size, format_stamp

if TYPE_CHECKING:
    from rich.text import Text

_INDENT = 4
_WIDTH = 100
"""Cells of a line where no terminal says how many there are."""
_KEEP = {Tone.SAID: 40, Tone.INPUT: 12, Tone.RESULT: 12, Tone.ASIDE: 6, Tone.PROBLEM: 12}
_STYLES = {Tone.SAID: "", Tone.INPUT: "", Tone.RESULT: "", Tone.ASIDE: "dim", Tone.PROBLEM: "red"}
_ROLES = {
    "user": ("▶", "bold cyan"),
    "assistant": ("◀", "bold green"),
    "system": ("■", "bold magenta"),
    "developer": ("■", "bold magenta"),
}
_KINDS = {
    Kind.ROW: ("!", "bold red"),
    Kind.HANDOFF: ("⇢", "bold magenta"),
    Kind.OUTPUT: ("⚙", "bold yellow"),
    Kind.CALL: ("⚙", "bold yellow"),
}
_GLYPHS = {"reasoning": "∴", "compaction": "≡", "item_reference": "↗", "encrypted": "▪"}


@dataclass(slots=True)
class TranscriptView:
    """Draws the parts of one transcript, in order; each method yields lines ready to print."""

    layout: Layout
    _joiner: Joiner = field(default_factory=Joiner)
    _day: str = ""

    def header(self, ref: SessionRef, store: str, now: datetime, held: Sequence[Hold] = ()) -> Iterator[Text]:
        """The session at a glance, and what holds it."""
        yield _text((visible(ref.id), "bold"))
        for label, value in (
            ("store", visible(store)),
            ("created", format_stamp(ref.created_at)),
            ("activity", format_stamp(ref.last_activity) + _ago(ref.last_activity, now)),
            ("size", _size(ref)),
        ):
            yield _text((f"{label:<10}", "dim"), value)
        for hold in held:
            until = f"until {format_stamp(hold.until)}" if hold.until else "for ever"
            said = visible(f"{until} by {hold.who}: {hold.reason} ({hold.hold_id})")
            yield _text((f"{'held':<10}", "dim"), (said, "yellow"))

    def turn(self, turn: Turn) -> Iterator[Text]:
        """A rule with the turn's times, then its items."""
        yield _text("")
        yield self._rule(turn)
        for exchange in self._joiner.exchanges(turn):
            yield from self._exchange(exchange, turn.started_at)
            if len(turn.entries) == turn.items and exchange.entry.payload.type in PAIRS and not exchange.outputs:
                yield _text((" " * _INDENT + "no output in this turn", "yellow"))

    def landed(self, entry: Entry) -> Iterator[Text]:
        """One item that arrived while following."""
        at = entry.item.created_at
        for exchange in self._joiner.exchanges(Turn(index=0, entries=(entry,), items=1, started_at=at, ended_at=at)):
            yield from self._exchange(exchange, None)

    def _rule(self, turn: Turn) -> Text:
        title = f"turn {turn.index}" if turn.index else "before the first turn"
        facts = [self._when(turn.started_at)] if turn.started_at else []
        if turn.gap is not None and turn.gap >= timedelta(0):
            facts.append(f"{format_duration(turn.gap)} later")
        if turn.duration:
            facts.append(f"took {format_duration(turn.duration)}")
        size, tokens = (sum(entry.item.size for entry in turn.entries), sum(entry.tokens for entry in turn.entries))
        chosen = f"{len(turn.entries)} of " if len(turn.entries) < turn.items else ""
        facts += [f"{chosen}{count(turn.items, 'item')}", format_size(size), f"~{tokens:,} tokens"]
        room = (self.layout.width or _WIDTH) - cell_width(title) - 9
        while len(facts) > 1 and cell_width(" · ".join(facts)) > room:
            facts.pop()  # on a narrow terminal the least needed ones, which stand last, give way
        said = " · ".join(facts)
        room += 2 - cell_width(said)
        return _text(("── ", "blue"), (title, "bold"), (f" · {said} ", ""), ("─" * max(room, 2), "blue"))

    def _when(self, at: datetime) -> str:
        stamp = format_stamp(at)
        day, _, clock = stamp.partition(" ")
        known, self._day = self._day, day
        return clock if day == known else stamp

    # -- items ------------------------------------------------------------------------------------------

    def _exchange(self, exchange: Exchange, turn_start: datetime | None) -> Iterator[Text]:
        entry = exchange.entry
        failed = entry.payload.is_error or any(output.payload.is_error for output in exchange.outputs)
        yield self._heading(exchange, turn_start, failed=failed)
        if entry.unseen:
            yield _text((" " * _INDENT + f"not seen by the agent: {visible(entry.unseen)}", "bold yellow"))
        elif entry.payload.unreadable:
            yield _text((" " * _INDENT + f"not an item: {entry.payload.unreadable}", "bold red"))
        yield from self._body(entry, arrow=entry.payload.type in CALLS_OF)
        for output in exchange.outputs:
            yield from self._body(output, arrow=True)

    def _heading(self, exchange: Exchange, turn_start: datetime | None, *, failed: bool) -> Text:
        entry = exchange.entry
        glyph, label, style = _face(entry, exchange.name)
        if failed:
            glyph, style = "✗", "bold red"
        if entry.unseen:
            glyph, style = "⊘", "yellow"
        last = exchange.outputs[-1] if exchange.outputs else entry
        sizes = " → ".join(format_size(part.item.size) for part in (entry, *exchange.outputs))
        offset = format_offset(turn_start, last.item.created_at)
        places = " → ".join(f"#{part.position}" for part in (entry, *exchange.outputs))
        facts = " · ".join(filter(None, (offset, sizes, places)))
        width = self.layout.width or _WIDTH
        label = shorten(label, max(width - cell_width(facts) - 6, 20))
        gap = max(width - cell_width(label) - cell_width(facts) - 3, 2)
        return _text((f" {glyph} {label}", style), " " * gap, (facts, "dim"))

    def _body(self, entry: Entry, *, arrow: bool) -> Iterator[Text]:
        """The pieces of an item; results begin with an arrow."""
        shown = [piece for piece in pieces(entry.payload) if not (piece.tone is Tone.INPUT and piece.text == "{}")]
        tells_problem = any(piece.tone is Tone.PROBLEM for piece in shown)
        for piece in shown:
            style = _STYLES[piece.tone]
            if entry.unseen:
                style = "dim"
            elif arrow and entry.payload.is_error and not tells_problem:
                style = "red"
            starts_with_arrow = arrow or piece.tone is Tone.RESULT
            for index, line in enumerate(self._lines(piece, indent=_INDENT + 2 * starts_with_arrow)):
                lead = "→ " if starts_with_arrow and index == 0 else "  " * starts_with_arrow
                yield self._line(" " * _INDENT, lead, line, style)

    def _lines(self, piece: Piece, *, indent: int) -> list[str]:
        is_data = piece.tone in (Tone.INPUT, Tone.RESULT)
        text = (pretty_json(piece.text) if is_data else None) or piece.text
        return self.layout.block(text, indent=indent, keep=_KEEP[piece.tone])

    def _line(self, indent: str, lead: str, line: str, style: str) -> Text:
        if line.startswith("… ") and line.endswith("(--full)"):
            style = "dim italic"
        text = _text(indent, (lead, "dim"), (line, style))
        if self.layout.needle:
            text.highlight_regex(self.layout.needle, "black on yellow")
        return text


def tokens_line(tokens: int, usage: RecordedUsage | None) -> Text:
    """What the session is to the model, how that was counted, and what its runs took where that was recorded."""
    recorded = f"; recorded: {usage_told(usage)}" if usage else ""
    return _text((f"~{tokens:,} tokens, {method_told(counted_by())}{recorded}", "dim"))


def verdict_lines(verdict: Verdict) -> Iterator[Text]:
    """Whether the model would accept the session, and what is wrong with it."""
    if verdict.acceptable is None:
        yield _text(("? The items are encrypted: whether the model would accept them cannot be told.", "yellow"))
    elif verdict.acceptable:
        yield _text(("✓ The model would accept this session.", "bold green"))
    else:
        yield _text(("✗ The model would not accept this session.", "bold red"))
    places: dict[str, list[str]] = {}
    for defect in verdict.defects:
        places.setdefault(defect.kind, []).append(f"#{defect.position}")
    for kind, found in sorted(places.items(), key=lambda pair: pair[0] not in FATAL):
        at = ", ".join(found[:5]) + (f" and {len(found) - 5:,} more" if len(found) > 5 else "")
        style = "red" if kind in FATAL else "yellow"
        yield _text((f"  - {FATAL.get(kind) or HARMLESS[kind]}: {at}", style))


def needle(search: str | None) -> re.Pattern[str] | None:
    """The pattern that finds ``search`` in shown text."""
    return re.compile(re.escape(visible(search)), re.IGNORECASE) if search else None


def plain(text: str) -> Text:
    """One safe line without style."""
    return _text(visible(text))


def _face(entry: Entry, name: str | None) -> tuple[str, str, str]:
    """Glyph, label and style of an item."""
    kind = kind_of(entry)
    if kind is Kind.MESSAGE:
        glyph, style = _ROLES.get(entry.payload.role or "", ("·", "bold"))
    elif kind is Kind.ASIDE:
        glyph, style = _GLYPHS.get(entry.payload.type or "", "·"), "dim"
    else:
        glyph, style = _KINDS[kind]
    return glyph, label_of(entry, name), style


def _text(*parts: str | tuple[str, str]) -> Text:
    from rich.text import Text

    return Text.assemble(*parts)


def _ago(at: datetime | None, now: datetime) -> str:
    if at is None:
        return ""
    return f" ({format_duration(now - at)} ago)" if at <= now else f" ({format_duration(at - now)} in the future)"


def _size(ref: SessionRef) -> str:
    if ref.items is None or ref.bytes is None:
        return "unknown"
    return f"{count(ref.items, 'item')}, {format_size(ref.bytes)}"
