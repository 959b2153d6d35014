"""A transcript as a command prints it: for people, as JSON, or as the stored texts themselves."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from sessionctl.cli.output import Form, Output
from sessionctl.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from sessionctl.cli.views.transcript import TranscriptView
    from sessionctl.core.hold import Hold
    from sessionctl.core.transcript import Entry
    from sessionctl.operations.inspect import Inspection, Part

FORMS = (Form.TABLE, Form.WIDE, Form.JSON, Form.JSONL)
_BATCH = 50
"""Lines printed at once: Rich takes its time for each print, the reader sees the first screen at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Showing:
    """What is being shown, and how.

    ``store`` is the masked address it comes from, ``label`` what people are told instead, ``now`` the time
    that ages are counted from. ``held`` is what holds the session, None where that is not known.
    """

    out: Output
    store: str
    label: str
    now: datetime
    inspection: Inspection
    part: Part
    full: bool
    held: Sequence[Hold] | None = ()


def part_of(form: Form, *, last: int | None, items: str | None, search: str | None, raw: bool) -> Part:
    """The part that the options ask for. Raises UsageError where they do not go together."""
    from sessionctl.operations.inspect import Part

    if raw and not form.for_people:
        raise UsageError(f"--raw is a form of its own and does not go with --output {form}")
    return Part(last=last, span=_span(items), search=search or None)


def _span(text: str | None) -> tuple[int, int | None] | None:
    if text is None:
        return None
    first, colon, end = text.partition(":")
    if not colon or not all(part.isascii() and (part.isdigit() or not part) for part in (first, end)):
        raise UsageError(f"--items {text!r} is not a range of positions", hint="write it like 0:20, 40: or :5")
    return int(first or 0), int(end) if end else None


def show(showing: Showing, *, raw: bool, following: bool = False) -> Callable[[Entry], None]:
    """Print the transcript; returns what prints the items that land later."""
    if raw:
        _show_raw(showing)
        return _raw_line
    if showing.out.form.for_people:
        return _show_transcript(showing, following=following)
    if showing.out.form is Form.JSON:
        _show_json(showing)
    else:
        _show_records(showing)
    return _landing_record(showing.out)


# -- for programs ---------------------------------------------------------------------------------------


def _show_raw(showing: Showing) -> None:
    for turn in showing.inspection.turns:
        for entry in turn.entries:
            _raw_line(entry)


def _show_records(showing: Showing) -> None:
    for turn in showing.inspection.turns:
        for entry in turn.entries:
            showing.out.record({"turn": turn.index, **_item_record(entry)})


def _raw_line(entry: Entry) -> None:
    """The stored text to the byte; on a terminal what would act there is spelled out."""
    from sessionctl.core.text import visible

    if sys.stdout.isatty():
        sys.stdout.write(visible(entry.item.text) + "\n")
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(entry.item.text.encode("utf-8", "surrogateescape") + b"\n")
    sys.stdout.buffer.flush()


def _show_json(showing: Showing) -> None:
    from sessionctl.cli.views.records import session_record
    from sessionctl.core.units import format_time

    inspection = showing.inspection
    turns = [
        {
            "index": turn.index,
            "started_at": format_time(turn.started_at),
            "items": [_item_record(entry) for entry in turn.entries],
        }
        for turn in inspection.turns
    ]
    held = None if showing.held is None else bool(showing.held)
    verdict = inspection.verdict
    defects = [
        {"class": defect.kind, "item": defect.key, "position": defect.position, "fatal": defect.is_fatal}
        for defect in verdict.defects
    ]
    showing.out.json(
        {
            "session": session_record(showing.store, inspection.ref, held=held) | _tokens(inspection),
            "verdict": {"acceptable": verdict.acceptable, "defects": defects},
            "turns": turns,
        }
    )


def _tokens(inspection: Inspection) -> dict[str, Any]:
    """Counted item by item, how, and what the store recorded."""
    from dataclasses import asdict

    from sessionctl.core.tokens import counted_by

    usage = inspection.usage
    return {
        "tokens": inspection.tokens,
        "tokens_by": counted_by(),
        "recorded_usage": None if usage is None else asdict(usage),
    }


def _item_record(entry: Entry) -> Mapping[str, Any]:
    from sessionctl.core.payload import exportable
    from sessionctl.core.units import format_time

    item, payload = entry.item, entry.payload
    return {
        "id": item.key,
        "position": entry.position,
        "created_at": format_time(item.created_at),
        "type": payload.type,
        "role": payload.role,
        "call_id": payload.call_id,
        "name": payload.name,
        "bytes": item.size,
        "tokens": entry.tokens,
        "error": payload.is_error,
        "unseen": entry.unseen,
        "data": exportable(payload, item.text),
    }


def _landing_record(out: Output) -> Callable[[Entry], None]:
    def land(entry: Entry) -> None:
        out.record({"turn": None, **_item_record(entry)})
        sys.stdout.flush()

    return land


# -- for people -----------------------------------------------------------------------------------------


def _show_transcript(showing: Showing, *, following: bool) -> Callable[[Entry], None]:
    """Draw the transcript; returns what draws the items that land later."""
    from sessionctl.cli.views.folding import Layout
    from sessionctl.cli.views.pager import paged
    from sessionctl.cli.views.transcript import TranscriptView, needle

    out = showing.out
    width = out.console.width if out.console.is_terminal else None
    view = TranscriptView(Layout(width=width, full=showing.full, needle=needle(showing.part.search)))
    with paged(out.console, wanted=not following) as console:
        _draw(console, _transcript_lines(showing, view, following=following))

    def land(entry: Entry) -> None:
        _draw(out.console, view.landed(entry))
        sys.stdout.flush()

    return land


def _transcript_lines(showing: Showing, view: TranscriptView, *, following: bool) -> Iterator[Text]:
    from sessionctl.cli.views.transcript import plain, tokens_line, verdict_lines
    from sessionctl.core.units import count

    inspection, shown = showing.inspection, 0
    yield from view.header(inspection.ref, showing.label, showing.now, showing.held or ())
    for turn in inspection.turns:
        shown += len(turn.entries)
        yield from view.turn(turn)
    verdict = inspection.verdict
    if showing.part.search is not None:
        yield plain("")
        yield plain(f"{count(shown, 'item')} of {inspection.end.count:,} say {showing.part.search!r}")
    elif not shown:
        yield plain("")
        yield plain("no items" if not inspection.end.count else f"none of the {inspection.end.count:,} items is there")
    if not following:
        yield plain("")
        yield tokens_line(inspection.tokens, inspection.usage)
        yield from verdict_lines(verdict)


def _draw(console: Console, lines: Iterator[Text]) -> None:
    """Print lines that are laid out already; Rich is asked only where there are colours to make."""
    if not console.is_terminal:
        for line in lines:
            console.file.write(line.plain + "\n")
        return
    while batch := list(islice(lines, _BATCH)):
        console.print(batch[0].blank_copy("\n").join(batch), soft_wrap=True)
