"""Totals, ages, sizes, the largest sessions, and what takes the space."""

from __future__ import annotations

from typing import Annotated

import typer

from sessionctl.cli.options import common as opt
from sessionctl.cli.options.selecting import selecting
from sessionctl.cli.output import Form, Output
from sessionctl.core.selector import Selector


@selecting()
def command(
    chosen: Selector,
    store: opt.StoreOpt = None,
    all_stores: opt.AllStoresOpt = False,
    top: Annotated[int, typer.Option("--top", min=0, metavar="N", help="How many of the largest sessions.")] = 10,
    by_bytes: Annotated[
        bool, typer.Option("--by-bytes", help="Measure every session: slower, and the largest are those by bytes.")
    ] = False,
    output: opt.OutputOpt = Form.TABLE,
) -> None:
    """Totals, age and size histograms, the largest sessions, bytes by kind of item and by tool, space on disk.

    Kinds and tools of a large store are estimated from an even sample of its items, and marked with ~.

    sessionctl stats --older-than 90d
    """
    from sessionctl.cli.flows.stores_in_use import failed_json, finish, visit
    from sessionctl.cli.views.stats import show_stats, stats_json
    from sessionctl.operations.stats import combine, measure

    out = Output(output, allowed=(Form.TABLE, Form.WIDE, Form.JSON, Form.JSONL))
    trip = visit(store, out, all_stores=all_stores)
    parts = list(trip.each(lambda opened: iter([measure(opened, chosen, top=top, by_bytes=by_bytes)])))
    whole = parts[0] if len(parts) == 1 and not trip.several else combine(parts, top=top)
    if output is Form.JSONL:
        for part in parts:
            out.record(stats_json(part))
    elif output is Form.JSON and whole.store is not None:
        out.json(stats_json(whole))
    elif output is Form.JSON:
        out.json(stats_json(whole) | {"stores": [*map(stats_json, parts), *failed_json(trip)]})
    else:
        show_stats(out, whole, parts)
    raise typer.Exit(finish(trip, out))
