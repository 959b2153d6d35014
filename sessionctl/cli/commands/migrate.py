"""Copy a store into another one, beside its agents, and catch up with them."""

from __future__ import annotations

from typing import Annotated

import typer

from sessionctl.cli.options import common as opt
from sessionctl.cli.options.bounding import limits as bounds
from sessionctl.cli.options.copying import Manner, copying
from sessionctl.cli.options.grouping import grouped
from sessionctl.cli.options.safeguarding import Consent, consenting
from sessionctl.cli.output import Form, Output
from sessionctl.core.limits import Limits


@copying
@grouped("limits", bounds, without=("max_replica_lag",))
@consenting(dry_run="Say what would be copied, and what has no place there, and stop.")
def command(
    *,
    source: Annotated[str, typer.Argument(metavar="SRC", help="A store, or a fleet of files.")],
    target: Annotated[str, typer.Argument(metavar="DST", help="The store it goes into.")],
    manner: Manner,
    limits: Limits,
    consent: Consent,
    output: opt.OutputOpt = Form.TABLE,
) -> None:
    """Copy a store into another, with ids, order and times, as the target's SDK class would have written it.

    The source is never changed, and its agents may go on: what changes in it meanwhile is caught up with in further \
passes. Ids that the target takes for the same, ids and texts that it cannot hold are found before the first write. \
A session that is there with the same items, or was only appended to since, counts as there already; one with other \
items is left alone. A run that was cut off at any moment is run again and goes on.

    When it says that everything is in place: stop the writers, run it once more, compare, and switch.

    sessionctl migrate conversations.db postgresql://app@db/agents --create-tables --dry-run

    sessionctl migrate 'tenants/*.db' postgresql://app@db/agents --id-prefix '{stem}:' --yes
    """  # fmt: skip
    from sessionctl.cli.flows.migrating import Errand, migrate

    out = Output(output, allowed=(Form.TABLE, Form.JSON))
    errand = Errand(source=source, target=target, manner=manner, limits=limits, consent=consent)
    raise typer.Exit(migrate(errand, out))
