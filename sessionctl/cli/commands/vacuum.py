"""Give freed space back to the system and refresh statistics; compress, where the engine can."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sessionctl.cli.options import common as opt
from sessionctl.cli.options.bounding import limits as make_limits
from sessionctl.cli.options.grouping import grouped
from sessionctl.cli.options.safeguarding import Consent, consenting
from sessionctl.cli.output import Form, Output
from sessionctl.core.limits import Limits
from sessionctl.errors import UsageError

_OF_SESSIONS = ("batch_size", "rate", "max_sessions", "max_replica_lag")


@grouped("limits", make_limits, without=_OF_SESSIONS)
@consenting(dry_run="Show what it would gain, need and block, and stop.")
def command(
    *,
    store: opt.StoreOpt = None,
    all_stores: opt.AllStoresOpt = False,
    full: Annotated[
        bool, typer.Option("--full", help="Write everything anew, though others wait for it or must be stopped.")
    ] = False,
    via: Annotated[
        Path | None,
        typer.Option("--via", metavar="DIR", help="SQLite: by way of DIR, where the store's own disk is too full."),
    ] = None,
    incremental: Annotated[
        bool,
        typer.Option(
            "--incremental", help="SQLite: write everything anew so that space goes back beside writers from then on."
        ),
    ] = False,
    compress: Annotated[bool, typer.Option("--compress", help="Have the database compress the items.")] = False,
    decompress: Annotated[bool, typer.Option("--decompress", help="Have it no longer compress them.")] = False,
    force: Annotated[bool, typer.Option("--force", help="However little is gained.")] = False,
    limits: Limits,
    consent: Consent,
    output: opt.OutputOpt = Form.TABLE,
) -> int:
    """Give the space of deleted sessions back to the system, as far as nobody has to wait for it.

    Deleted rows leave free space inside a store, which new items fill: it stops growing, but does not shrink. \
Without options this does what goes beside live agents. It says first what it would give back, what it needs \
and whom it would block; what others cannot bear it refuses, and what is not worth it it leaves out.

    Examples:

      sessionctl vacuum --dry-run

      sessionctl vacuum -s conversations.db --full --yes

      sessionctl vacuum -s prod --compress --dry-run
    """  # fmt: skip
    from sessionctl.cli.flows.vacuuming import FORMS, Vacuuming, check
    from sessionctl.core.space import Wish

    if compress and decompress:
        raise UsageError("--compress and --decompress exclude each other")
    wish = Wish(
        full=full, via=via, incremental=incremental, compress=compress or (False if decompress else None), force=force
    )
    check(wish)
    vacuuming = Vacuuming(wish=wish, limits=limits, consent=consent, out=Output(output, allowed=FORMS))
    return vacuuming.run(store, all_stores=all_stores)
