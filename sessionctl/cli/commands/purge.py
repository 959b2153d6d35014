"""Delete whole sessions: those that are stale, named, empty or large."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from sessionctl.cli import options as opt
from sessionctl.cli.bounding import bounded
from sessionctl.cli.output import Form, Output
from sessionctl.cli.selecting import SELECTORS, selecting
from sessionctl.core.limits import Limits
from sessionctl.core.selector import Selector
from sessionctl.errors import UsageError

SAFETY = "Safety"
MIN_IDLE = timedelta(minutes=15)
FORMS = (Form.TABLE, Form.JSON, Form.JSONL, Form.NAME)


@selecting(by_tokens=False)
@bounded
def command(
    chosen: Selector,
    limits: Limits,
    store: opt.StoreOpt = None,
    all_stores: opt.AllStoresOpt = False,
    everything: Annotated[bool, typer.Option("--all", help="Every session.", rich_help_panel=SELECTORS)] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Show the plan and stop.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why, for the ledger.")] = None,
    archive: Annotated[
        str | None,
        typer.Option(
            "--archive",
            metavar="DIR|URL",
            rich_help_panel=SAFETY,
            help="Write what is removed to an archive there first; undo brings it back.",
            show_default="the store's setting",
        ),
    ] = None,
    no_archive: Annotated[
        bool,
        typer.Option("--no-archive", rich_help_panel=SAFETY, help="Without an archive, whatever the settings say."),
    ] = False,
    min_idle: Annotated[
        timedelta | None,
        typer.Option(
            "--min-idle",
            parser=opt.duration,
            metavar="DUR",
            rich_help_panel=SAFETY,
            help="Never touch a session active within DUR; 0 needs --id or --ids-from.",
            show_default="15m",
        ),
    ] = None,
    max_share: Annotated[
        float,
        typer.Option(
            "--max-share",
            min=0,
            max=1,
            metavar="SHARE",
            rich_help_panel=SAFETY,
            help="Refuse to take more than this share of a store's sessions.",
        ),
    ] = 0.5,
    allow_cascade: Annotated[
        bool,
        typer.Option(
            "--allow-cascade",
            rich_help_panel=SAFETY,
            help="Go on though foreign keys or triggers of others take rows along.",
        ),
    ] = False,
    output: opt.OutputOpt = Form.TABLE,
    null: opt.NullOpt = False,
) -> None:
    """Delete whole sessions that the selectors match, items and all.

    Plans first and shows the plan, then asks. Active sessions are never touched: each is looked at again \
in the transaction that deletes it. Ctrl-C ends after the current batch; a run can always be run again.

    sessionctl purge --older-than 30d --dry-run

    sessionctl purge --older-than 90d --exclude 'vip:*' --max-runtime 30m --yes
    """  # fmt: skip
    from sessionctl.cli.running import Job, run_changes
    from sessionctl.core.plan import Allowances

    if chosen.is_everything and not everything:
        raise UsageError("purge needs a selector or an id", hint="--all is the explicit way to mean every session")
    if everything and not chosen.is_everything:
        raise UsageError("--all means every session: it does not go with a selector")
    if archive and no_archive:
        raise UsageError("--archive and --no-archive exclude each other")
    if min_idle == timedelta(0) and not chosen.names_sessions:
        raise UsageError("--min-idle 0 needs --id or --ids-from")
    out = Output(output, null=null and output is Form.NAME, allowed=FORMS)
    job = Job(
        command="purge",
        selector=chosen,
        min_idle=MIN_IDLE if min_idle is None else min_idle,
        allowed=Allowances(max_share=max_share, cascade=allow_cascade),
        limits=limits,
        dry_run=dry_run,
        yes=yes,
        reason=reason,
        archive=archive,
        no_archive=no_archive,
    )
    raise typer.Exit(run_changes(job, out, store, all_stores=all_stores))
