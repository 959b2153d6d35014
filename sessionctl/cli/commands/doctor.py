"""Find what is wrong with stores and their sessions."""

from __future__ import annotations

import typer

from sessionctl.cli import options as opt
from sessionctl.cli.doctor_view import classes_help
from sessionctl.cli.output import Form, Output
from sessionctl.cli.selecting import selecting
from sessionctl.core.selector import Selector

FORMS = (Form.TABLE, Form.WIDE, Form.JSON, Form.JSONL)
_FINDINGS = 6


@selecting()
def command(
    chosen: Selector,
    store: opt.StoreOpt = None,
    all_stores: opt.AllStoresOpt = False,
    output: opt.OutputOpt = Form.TABLE,
) -> None:
    """Find histories that the model would reject, broken rows, and what is wrong with the store itself.

    The selected sessions are read item by item; what costs a pass over all rows is looked for only without \
selectors. Nothing is written. Exit status 6 where there are errors or warnings; notes are told and nothing more.

    sessionctl doctor

    sessionctl doctor --newer-than 10m     (a gate after a deploy)
    """
    from sessionctl.cli.doctor_view import diagnosed_json, show_diagnosed, two_stores_json
    from sessionctl.cli.stores_in_use import failed_json, finish, visit
    from sessionctl.operations.doctor import Places, all_findings, diagnose, grave

    out = Output(output, allowed=FORMS)
    trip = visit(store, out, all_stores=all_stores)
    places = Places()
    parts = list(trip.each(lambda opened: iter([diagnose(opened, chosen, places.enter(opened.address.label))])))
    if output is Form.JSONL:
        for part in parts:
            out.record(diagnosed_json(part))
    elif output is Form.JSON and not trip.several:
        out.json(diagnosed_json(parts[0]))
    elif output is Form.JSON:
        stores = [*map(diagnosed_json, parts), *failed_json(trip)]
        out.json({"store": None, "findings": two_stores_json(places), "stores": stores})
    else:
        show_diagnosed(out, parts, places)
    status = finish(trip, out)
    raise typer.Exit(status or (_FINDINGS if grave(all_findings(parts, places)) else 0))


command.__doc__ = f"{command.__doc__}\n{classes_help()}"
