"""Put exported or archived sessions back, into the store they came from or another."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from sessionctl.cli import options as opt
from sessionctl.cli.output import Form, Output
from sessionctl.cli.selecting import selecting
from sessionctl.core.model import Conflict
from sessionctl.core.selector import Selector
from sessionctl.errors import UsageError

MIN_IDLE = timedelta(minutes=15)
CONFLICTS = "Sessions that are there already"


@selecting(by_tokens=False)
def command(
    archive: Annotated[str, typer.Argument(metavar="ARCHIVE", help="A file, a run's directory, one of such; a URL.")],
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
    archive_to: Annotated[
        str | None,
        typer.Option(
            "--archive",
            metavar="DIR|URL",
            rich_help_panel=CONFLICTS,
            help="Write what is replaced to an archive there first.",
            show_default="the store's setting",
        ),
    ] = None,
    no_archive: Annotated[
        bool,
        typer.Option("--no-archive", rich_help_panel=CONFLICTS, help="Replace without one, whatever the settings say."),
    ] = False,
    min_idle: Annotated[
        timedelta | None,
        typer.Option(
            "--min-idle",
            parser=opt.duration,
            metavar="DUR",
            rich_help_panel=CONFLICTS,
            help="Never replace a session active within DUR; 0 needs --id or --ids-from.",
            show_default="15m",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would come back and stop.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why, for the ledger.")] = None,
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
    from sessionctl.cli.restoring import Errand, restore_archive

    if archive_to and no_archive:
        raise UsageError("--archive and --no-archive exclude each other")
    if on_conflict is not Conflict.REPLACE and (archive_to or no_archive):
        raise UsageError("--archive and --no-archive are about what is replaced: they go with --on-conflict replace")
    if min_idle == timedelta(0) and not chosen.names_sessions:
        raise UsageError("--min-idle 0 needs --id or --ids-from")
    out = Output(output, allowed=(Form.TABLE, Form.JSON))
    errand = Errand(
        archive=archive, selector=chosen, store=store, rename=rename, conflict=on_conflict, archive_to=archive_to,
        no_archive=no_archive, min_idle=MIN_IDLE if min_idle is None else min_idle, dry_run=dry_run, yes=yes,
        reason=reason, hold_for=hold_for,
    )  # fmt: skip
    raise typer.Exit(restore_archive(errand, out))
