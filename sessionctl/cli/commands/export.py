"""Sessions as files: for programs, for people, for analysis."""

from __future__ import annotations

import typer

from sessionctl.cli.options import common as opt
from sessionctl.cli.options.filing import Redact, laid_out, redacted
from sessionctl.cli.options.selecting import selecting
from sessionctl.cli.output import Form, Output
from sessionctl.core.selector import Selector
from sessionctl.errors import UsageError
from sessionctl.export.shelf import Layout


@selecting()
@laid_out
@redacted
def command(
    *,
    chosen: Selector,
    store: opt.StoreOpt = None,
    all_stores: opt.AllStoresOpt = False,
    layout: Layout,
    redact: Redact | None,
    reason: opt.ReasonOpt = None,
    output: opt.OutputOpt = Form.TABLE,
) -> None:
    """Write sessions to files; the store is only read.

    Every session is written as it was at one instant, a file gets its name when it is whole, and what is there \
already is not overwritten. --redact replaces what it finds in string values by a mark like \\[redacted:email]; \
keys and session ids stay.

    sessionctl export --newer-than 7d --out week.jsonl.zst

    sessionctl export --match 'support:*' --format html --out transcripts/

    sessionctl export --id support:mia:42 --redact email --redact card --out - | jq .data
    """  # fmt: skip
    from sessionctl.cli.flows.exporting import Order, run_export

    out = Output(output, allowed=(Form.TABLE, Form.JSON))
    if layout.place is None and output is Form.JSON:
        raise UsageError("--out - gives stdout to the export: it does not go with --output json")
    order = Order(selector=chosen, layout=layout, reason=reason, redact=redact)
    raise typer.Exit(run_export(order, out, store, all_stores=all_stores))
