"""Carrying out an export for the command line: where its words go, and the record of it."""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from sessionctl.archive.codecs import Compression
from sessionctl.cli.context import current
from sessionctl.cli.flows.stores_in_use import failed_json, finish, ledger_address, visit
from sessionctl.cli.options.filing import Redact
from sessionctl.cli.output import Output
from sessionctl.core.plan import Totals
from sessionctl.core.selector import Selector
from sessionctl.core.text import visible
from sessionctl.core.units import count, format_size
from sessionctl.errors import LedgerUnavailable, UsageError
from sessionctl.export.formats import Format
from sessionctl.export.redaction import Redactor
from sessionctl.export.shelf import NAMES_TOLD, Layout, Shelf
from sessionctl.ledger import Ledger, new_run
from sessionctl.operations.export import Record, Tally, export
from sessionctl.operations.rendering import Batch, Portion, Rendering, rendered
from sessionctl.operations.turns import Turns
from sessionctl.operations.visiting import Visit
from sessionctl.operations.workers import Workers
from sessionctl.stores.base import Store

_SAY_EVERY_S = 10.0
_WORKERS = 2
"""Together as fast as one core dumps a store; each takes a connection, and memory of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An export as the user asked for it."""

    selector: Selector
    layout: Layout
    reason: str | None
    redact: Redact | None = None


def run_export(order: Order, out: Output, names: Sequence[str] | None, *, all_stores: bool) -> int:
    """Export, report, and say the exit status."""
    trip = visit(names, out, all_stores=all_stores)
    if trip.several and order.layout.format is Format.ARCHIVE and order.layout.split is None:
        raise UsageError("an archive is of one store", hint="add --split size, or export one store at a time")
    began = time.monotonic()
    with (
        _ended_by_sigterm(),
        Shelf(order.layout, _stdout(order.layout)) as shelf,
        _turns(trip, shelf) as turns,
        _workers(order, trip, turns) as workers,
    ):
        ledger, observe = _ledger(out), _now_and_then(out)
        action = _exporting(order, shelf, ledger, workers, several=trip.several, observe=observe, warn=out.warn)
        tallies = list(trip.each(lambda store: iter([action(store)])))
    _report(order, out, trip, tallies, shelf, time.monotonic() - began)
    return finish(trip, out)


def _exporting(
    order: Order,
    shelf: Shelf,
    ledger: Ledger | None,
    workers: Workers[Portion, Batch] | None,
    *,
    several: bool,
    observe: Callable[[Tally], None],
    warn: Callable[[str], None],
) -> Callable[[Store], Tally]:
    def one(store: Store) -> Tally:
        now = store.now()
        criteria = order.selector.explain(now)
        out = str(order.layout.place.absolute()) if order.layout.place else "stdout"
        run = new_run(
            "export", store.address.recorded, now, current().env,
            reason=order.reason, criteria=criteria, counts={"out": out},
        )  # fmt: skip
        record = Record(ledger=ledger, run=run, warn=warn)
        redactor = _redactor(order)
        return export(
            store, order.selector, shelf, record=record, redactor=redactor, several=several, workers=workers,
            observe=observe,
        )  # fmt: skip

    return one


def _turns(trip: Visit, shelf: Shelf) -> AbstractContextManager[Turns | None]:
    """For workers to write the one file by themselves. Not where errors of one store leave others to be written."""
    descriptor = shelf.descriptor
    return nullcontext() if descriptor is None or trip.several else closing(Turns(descriptor, 2 * _WORKERS))


def _workers(order: Order, trip: Visit, turns: Turns | None) -> AbstractContextManager[Workers[Portion, Batch] | None]:
    """Processes that read and render, where the format allows it and there is more than one processor for them."""
    kind = rendered(order.layout.format)
    if kind is None or (os.cpu_count() or 1) < _WORKERS:
        return nullcontext()
    trip.prepare()
    layout = order.layout
    packing = layout.packing if layout.split is None and kind.is_seamless else Compression.NONE
    return Workers(Rendering(kind, _redactor(order), packing, turns), _WORKERS)


def _redactor(order: Order) -> Redactor | None:
    return Redactor(order.redact.classes, order.redact.patterns) if order.redact else None


def _ledger(out: Output) -> Ledger | None:
    """The ledger, where it can be written."""
    try:
        return Ledger.open(ledger_address())
    except LedgerUnavailable as error:
        out.warn(f"this export is not recorded: {error.message}")
        return None


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM then ends the program like an error does, so that no unfinished file stays."""
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stdout(layout: Layout) -> BinaryIO | None:
    if layout.place is not None:
        return None
    if not sys.stdout.isatty():
        return sys.stdout.buffer
    if layout.compression is not Compression.NONE:
        raise UsageError("compressed data is not written to a terminal", hint="name a file with --out")
    return cast("BinaryIO", _Screen())


class _Screen(io.RawIOBase):
    """A terminal: what would act on it is spelled out."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        sys.stdout.write(visible(bytes(data).decode("utf-8", "surrogateescape"), multiline=True))
        return len(data)


def _now_and_then(out: Output) -> Callable[[Tally], None]:
    last = time.monotonic()

    def observe(tally: Tally) -> None:
        nonlocal last
        if time.monotonic() - last >= _SAY_EVERY_S:
            last = time.monotonic()
            out.note(f"{_counted(tally.exported)} so far")

    return observe


def _counted(totals: Totals) -> str:
    return f"{count(totals.sessions, 'session')}, {count(totals.items, 'item')}, {format_size(totals.bytes)}"


def _report(order: Order, out: Output, trip: Visit, tallies: Sequence[Tally], shelf: Shelf, elapsed_s: float) -> None:
    whole = sum(tallies, Tally(store=""))
    written = shelf.written
    if out.form.for_people:
        say = out.note if order.layout.place is None else out.line
        files = count(written.files, "file")
        place = (
            "stdout" if order.layout.place is None else f"{order.layout.place} ({files}, {format_size(written.bytes)})"
        )
        say(f"{_counted(whole.exported)} written to {place}")
        for name, found in sorted(whole.redacted.items()):
            say(f"redacted: {found:,} {name}")
        if whole.telling_ids:
            out.warn(f"the ids of {count(whole.telling_ids, 'session')} hold such things too, and ids stay as they are")
        if whole.missing:
            say(f"{whole.missing:,} of the named sessions do not exist")
        return
    stores = {"stores": [*(tally.to_json() for tally in tallies), *failed_json(trip)]} if trip.several else {}
    out.json(
        {
            "command": "export",
            **whole.to_json(),
            "store": None if trip.several else tallies[0].store,
            "format": str(order.layout.format),
            "compression": str(order.layout.compression),
            "out": str(order.layout.place),
            "written": {"files": written.files, "bytes": written.bytes},
            "files": written.first,
            "more_files": written.files > NAMES_TOLD,
            "elapsed_s": round(elapsed_s, 3),
            **stores,
        }
    )
