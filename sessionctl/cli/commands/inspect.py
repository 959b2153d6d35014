"""Show one transcript, readable, and whether the model would accept it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sessionctl.cli.options import AllStoresOpt, OutputOpt, StoreOpt
from sessionctl.cli.output import Form, Output
from sessionctl.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from sessionctl.cli.transcript_view import TranscriptView
    from sessionctl.core.transcript import Entry
    from sessionctl.operations.inspect import Inspection, Part
    from sessionctl.stores.base import Store

_BATCH = 50
"""Lines printed at once: Rich takes its time for each print, the reader sees the first screen at once."""
_FORMS = (Form.TABLE, Form.WIDE, Form.JSON, Form.JSONL)


def command(
    session_id: Annotated[str, typer.Argument(metavar="SESSION_ID", help="The session, by its exact id.")],
    store: StoreOpt = None,
    all_stores: AllStoresOpt = False,
    last: Annotated[int | None, typer.Option("--last", min=1, metavar="N", help="Only the N newest turns.")] = None,
    items: Annotated[
        str | None,
        typer.Option("--items", metavar="A:B", help="Only the items at these positions, from 0, B excluded."),
    ] = None,
    search: Annotated[
        str | None, typer.Option("--search", metavar="TEXT", help="Only the items in which TEXT was said.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on and show items as they land, until Ctrl-C.")
    ] = False,
    raw: Annotated[bool, typer.Option("--raw", help="The stored texts as they are, one a line.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Fold nothing away.")] = False,
    output: OutputOpt = Form.TABLE,
) -> int:
    """Show one transcript, readable, and whether the model would accept it.

    Turns come with their times and the pauses between them, tool calls with their arguments and \
results, failures are marked with ✗ and items that the SDK skips silently with ⊘. Every item has its \
position (#0 is the first), which --items goes by. Nothing is written to the store.

    Examples:

      sessionctl inspect support:mia:42

      sessionctl inspect support:mia:42 --last 3 --follow

      sessionctl inspect support:mia:42 --search refund --full

      sessionctl inspect support:mia:42 -o json | jq .verdict
    """
    from sessionctl.cli.stores_in_use import finish, visit
    from sessionctl.operations.inspect import Part, inspect, locate

    if raw and not output.for_people:
        raise UsageError(f"--raw is a form of its own and does not go with --output {output}")
    if follow and output is Form.JSON:
        raise UsageError("one JSON object has an end, --follow has none", hint="use -o jsonl")
    out = Output(output, allowed=_FORMS)
    part = Part(last=last, span=_span(items), search=search or None)
    trip = visit(store, out, all_stores=all_stores)
    with locate(trip, session_id) as found, closing(inspect(found, session_id, part)) as inspection:
        showing = Showing(out=out, store=found, inspection=inspection, part=part, full=full)
        _show(showing, raw=raw, follow=follow)
    return finish(trip, out)


def _span(text: str | None) -> tuple[int, int | None] | None:
    if text is None:
        return None
    first, colon, end = text.partition(":")
    if not colon or not all(part.isascii() and (part.isdigit() or not part) for part in (first, end)):
        raise UsageError(f"--items {text!r} is not a range of positions", hint="write it like 0:20, 40: or :5")
    return int(first or 0), int(end) if end else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Showing:
    """What is being shown, and how."""

    out: Output
    store: Store
    inspection: Inspection
    part: Part
    full: bool


def _show(showing: Showing, *, raw: bool, follow: bool) -> None:
    if raw:
        _show_raw(showing)
        land: Callable[[Entry], None] = _raw_line
    elif showing.out.form is Form.JSON:
        _show_json(showing)
        return
    elif showing.out.form is Form.JSONL:
        for turn in showing.inspection.turns:
            for entry in turn.entries:
                showing.out.record({"turn": turn.index, **_item_record(entry)})
        land = _landing_record(showing.out)
    else:
        land = _show_transcript(showing, follow=follow)
    if follow:
        _follow(showing, land)


# -- for programs ---------------------------------------------------------------------------------------


def _show_raw(showing: Showing) -> None:
    for turn in showing.inspection.turns:
        for entry in turn.entries:
            _raw_line(entry)


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
    from sessionctl.cli.records import session_record
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
    verdict = inspection.verdict
    defects = [
        {"class": defect.kind, "item": defect.key, "position": defect.position, "fatal": defect.is_fatal}
        for defect in verdict.defects
    ]
    showing.out.json(
        {
            "session": session_record(str(showing.store.address), inspection.ref),
            "verdict": {"acceptable": verdict.acceptable, "defects": defects},
            "turns": turns,
        }
    )


def _item_record(entry: Entry) -> Mapping[str, Any]:
    from sessionctl.core.payload import exportable
    from sessionctl.core.tokens import estimate_tokens
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
        "tokens": estimate_tokens(item.size),
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


def _show_transcript(showing: Showing, *, follow: bool) -> Callable[[Entry], None]:
    """Draw the transcript; returns what draws the items that land later."""
    from sessionctl.cli.folding import Layout
    from sessionctl.cli.pager import paged
    from sessionctl.cli.transcript_view import TranscriptView, needle

    out = showing.out
    width = out.console.width if out.console.is_terminal else None
    view = TranscriptView(Layout(width=width, full=showing.full, needle=needle(showing.part.search)))
    with paged(out.console, wanted=not follow) as console:
        _draw(console, _transcript_lines(showing, view, follow=follow))

    def land(entry: Entry) -> None:
        _draw(out.console, view.landed(entry))
        sys.stdout.flush()

    return land


def _transcript_lines(showing: Showing, view: TranscriptView, *, follow: bool) -> Iterator[Text]:
    from sessionctl.cli.transcript_view import plain, verdict_lines
    from sessionctl.core.units import count

    inspection, shown = showing.inspection, 0
    yield from view.header(inspection.ref, showing.store.address.label, showing.store.now())
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
    if not follow:
        yield from verdict_lines(verdict)


def _draw(console: Console, lines: Iterator[Text]) -> None:
    """Print lines that are laid out already; Rich is asked only where there are colours to make."""
    if not console.is_terminal:
        for line in lines:
            console.file.write(line.plain + "\n")
        return
    while batch := list(islice(lines, _BATCH)):
        console.print(batch[0].blank_copy("\n").join(batch), soft_wrap=True)


def _follow(showing: Showing, land: Callable[[Entry], None]) -> None:
    """Until Ctrl-C. Words about the session itself go to stderr, items to where the others went."""
    from sessionctl.core.units import count
    from sessionctl.operations.inspect import follow

    out, part = showing.out, showing.part
    out.note("following, Ctrl-C ends it")
    sys.stdout.flush()
    never = threading.Event()
    for landed in follow(showing.store, showing.inspection.ref.id, showing.inspection.end, wait=never.wait):
        if landed.removed:
            out.note(f"{count(landed.removed, 'item')} removed")
        for entry in landed.entries:
            if part.takes(entry):
                land(entry)
        if not landed.exists:
            out.note("the session is gone; it may come back")
