"""Put exported or archived sessions back, into the store they came from or another."""

from __future__ import annotations

from typing import Annotated

import typer

from sessionctl.cli.options import common as opt
from sessionctl.cli.options.safeguarding import Consent, Safety, consenting, safeguarding
from sessionctl.cli.options.selecting import selecting
from sessionctl.cli.output import Form, Output
from sessionctl.core.model import Conflict
from sessionctl.core.selector import Selector
from sessionctl.errors import UsageError

CONFLICTS = "Sessions that are there already"


@selecting(by_tokens=False)
@consenting(dry_run="Say what would come back and stop.")
@safeguarding(
    without=("everything", "max_share", "allow_cascade"),
    saying={
        "archive": "Write what is replaced to an archive there first.",
        "no_archive": "Replace without one, whatever the settings say.",
        "min_idle": "Never replace a session active within DUR; 0 needs --id or --ids-from.",
    },
    panel=CONFLICTS,
)
def command(
    *,
    source: Annotated[
        str, typer.Argument(metavar="ARCHIVE", help="A file, a run's or an export's directory, one of runs'.")
    ],
    chosen: Selector,
    store: Annotated[
        str | None,
        typer.Option(
            "--store", "-s", metavar="NAME|URL|PATH", help="Where to. Default: $SESSIONCTL_STORE.", show_default=False
        ),
    ] = None,
    rename: Annotated[
        str | None, typer.Option("--as", metavar="ID", help="Under this id; exactly one session must be selected.")
    ] = None,
    on_conflict: Annotated[
        Conflict,
        typer.Option(
            "--on-conflict",
            rich_help_panel=CONFLICTS,
            help="One with other items: leave it, refuse before anything is written, or delete it first.",
        ),
    ] = Conflict.SKIP,
    safety: Safety,
    consent: Consent,
    hold_for: opt.HoldForOpt = None,
    output: opt.OutputOpt = Form.TABLE,
) -> None:
    """Put sessions of an archive into a store, with ids, order and times.

    All of the archive is checked before anything is written. Nothing is ever merged: a session that is there \
with the same items, or was only appended to since, counts as there already, and one with other items is a \
conflict. Conflicts are skipped unless you say otherwise, so that a restore that was cut off can be run again. \
What was put in is held for a while, which a run that names the session overrules.

    sessionctl restore /var/backups/sessions/01m84y1wah420p357pc376k --dry-run

    sessionctl restore exported.jsonl.zst -s postgresql://app@db/agents --match 'support:*' --yes
    """  # fmt: skip
    from sessionctl.cli.flows.restoring import Errand, restore_archive

    if on_conflict is not Conflict.REPLACE and (safety.archive or safety.no_archive):
        raise UsageError("--archive and --no-archive are about what is replaced: they go with --on-conflict replace")
    safety.check_idleness(chosen)
    out = Output(output, allowed=(Form.TABLE, Form.JSON))
    errand = Errand(
        archive=source, selector=chosen, store=store, rename=rename, conflict=on_conflict, consent=consent,
        safety=safety, hold_for=hold_for,
    )  # fmt: skip
    raise typer.Exit(restore_archive(errand, out))
