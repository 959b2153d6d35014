"""Show one transcript, readable, and whether the model would accept it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from sessionctl.cli.options import common as opt
from sessionctl.cli.output import Form, Output
from sessionctl.errors import UsageError

if TYPE_CHECKING:
    from sessionctl.cli.views.transcript_output import Showing
    from sessionctl.core.transcript import Entry
    from sessionctl.stores.base import Store


def command(
    session_id: Annotated[str, typer.Argument(metavar="SESSION_ID", help="The session, by its exact id.")],
    store: opt.StoreOpt = None,
    all_stores: opt.AllStoresOpt = False,
    last: opt.LastOpt = None,
    items: opt.ItemsOpt = None,
    search: opt.SearchOpt = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on and show items as they land, until Ctrl-C.")
    ] = False,
    raw: opt.RawOpt = False,
    full: opt.FullOpt = False,
    output: opt.OutputOpt = Form.TABLE,
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
    from sessionctl.cli.flows.stores_in_use import finish, visit
    from sessionctl.cli.views.transcript_output import FORMS, Showing, part_of, show
    from sessionctl.operations.held import in_force
    from sessionctl.operations.inspect import inspect, locate

    if follow and output is Form.JSON:
        raise UsageError("one JSON object has an end, --follow has none", hint="use -o jsonl")
    part = part_of(output, last=last, items=items, search=search, raw=raw)
    out = Output(output, allowed=FORMS)
    trip = visit(store, out, all_stores=all_stores)
    with locate(trip, session_id) as found, closing(inspect(found, session_id, part)) as inspection:
        now = found.now()
        holds = in_force(found, now)
        showing = Showing(
            out=out, store=str(found.address), label=found.address.label, now=now, inspection=inspection,
            part=part, full=full, held=None if holds is None else holds.over(session_id),
        )  # fmt: skip
        land = show(showing, raw=raw, following=follow)
        if follow:
            _follow(found, showing, land)
    return finish(trip, out)


def _follow(store: Store, showing: Showing, land: Callable[[Entry], None]) -> None:
    """Until Ctrl-C. Words about the session itself go to stderr, items to where the others went."""
    from sessionctl.core.units import count
    from sessionctl.operations.inspect import follow

    out, part = showing.out, showing.part
    out.note("following, Ctrl-C ends it")
    sys.stdout.flush()
    never = threading.Event()
    for landed in follow(store, showing.inspection.ref.id, showing.inspection.end, wait=never.wait):
        if landed.removed:
            out.note(f"{count(landed.removed, 'item')} removed")
        for entry in landed.entries:
            if part.takes(entry):
                land(entry)
        if not landed.exists:
            out.note("the session is gone; it may come back")
