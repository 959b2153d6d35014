"""Put back what an archived run removed, where it was."""

from __future__ import annotations

from typing import Annotated

import typer

from sessionctl.cli.options import common as opt
from sessionctl.cli.options.safeguarding import Consent, consenting
from sessionctl.cli.output import Form, Output


@consenting(dry_run="Say what would come back and stop.")
def command(
    *,
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="As the report of the run and runs list show it.")],
    store: Annotated[
        str | None,
        typer.Option("--store", "-s", metavar="NAME|URL|PATH", help="The store, where the settings do not name it."),
    ] = None,
    consent: Consent,
    hold_for: opt.HoldForOpt = None,
    output: opt.OutputOpt = Form.TABLE,
) -> None:
    """Put back what an archived run removed, where it was, with ids, order and times.

    A session that was begun anew since gets its items back in front of the new ones. What cannot be put in \
place is left alone and counted. What the application deleted itself stays deleted. What is back is held \
for a while, which a run that names the session overrules.

    sessionctl runs list

    sessionctl undo 01m84y1wah420p357pc376k --dry-run
    """  # fmt: skip
    from sessionctl.cli.flows.undoing import Errand, undo_run

    out = Output(output, allowed=(Form.TABLE, Form.JSON))
    errand = Errand(run_id=run_id, store=store, consent=consent, hold_for=hold_for)
    raise typer.Exit(undo_run(errand, out))
