"""Move closed sessions out of a store, into files or stores by time, tenant or size."""

from __future__ import annotations

from functools import partial

import typer

from sessionctl.cli.options import common as opt
from sessionctl.cli.options.bounding import bounded
from sessionctl.cli.options.rotating import Wish, rotating
from sessionctl.cli.options.safeguarding import Consent, Safety, consenting, safeguarding
from sessionctl.cli.options.selecting import selecting
from sessionctl.cli.output import Form, Output
from sessionctl.core.limits import Limits
from sessionctl.core.selector import Selector

FORMS = (Form.TABLE, Form.JSON, Form.JSONL, Form.NAME)


@selecting(by_tokens=False)
@rotating
@bounded
@consenting()
@safeguarding(without=("archive", "no_archive"))
def command(
    *,
    chosen: Selector,
    wish: Wish,
    limits: Limits,
    store: opt.StoreOpt = None,
    all_stores: opt.AllStoresOpt = False,
    consent: Consent,
    safety: Safety,
    output: opt.OutputOpt = Form.TABLE,
    null: opt.NullOpt = False,
) -> None:
    """Move closed sessions out of a store, into SQLite files that SQLiteSession opens, or into another store.

    Each session is put into its target, read back and compared; only then it is deleted here, if it is still as it \
was: at any moment it is in the store or in the target. A run that was cut off can be run again, and puts \
nothing twice. Active and held sessions stay, and so does a window that is not over. undo brings the sessions back.

    {year}, {month}, {week} and {day} in --into are of the last activity, in UTC; {group} is what --by-match \
captures, and {stem} the name of the store's file, which a fleet needs.

    sessionctl rotate --by month --into '/srv/archive/{year}-{month}.db' --dry-run

    sessionctl rotate --by month --into '/srv/archive/{year}-{month}.db' --compress zstd --keep 24 --yes

    sessionctl rotate --max-size 2GiB --into /srv/archive/old.db --yes
    """  # fmt: skip
    from sessionctl.cli.flows.closing import FileClosing
    from sessionctl.cli.flows.rotating import check, cover_of
    from sessionctl.cli.flows.running import Closing, Job, run_changes
    from sessionctl.operations.rotation.rotate import plan_rotate

    if wish.is_choice:
        safety.check_idleness(chosen)
    else:
        safety.check_choice("rotate", chosen)
    check(wish, store, all_stores=all_stores)
    out = Output(output, null=null and output is Form.NAME, allowed=FORMS)
    plan = partial(plan_rotate, selector=chosen, rotation=wish.rotation, min_idle=safety.min_idle)
    closings: tuple[Closing, ...] = ()
    if wish.compression or wish.keep is not None:
        closings += (FileClosing(out, wish, consent),)
    if wish.vacuum:
        from sessionctl.cli.flows.vacuum_after import VacuumAfter

        closings += (VacuumAfter(out, consent),)
    job = Job(
        command="rotate", plan=plan, selector=chosen, limits=limits, consent=consent, safety=safety,
        cover=cover_of(wish.rotation), closings=closings,
    )  # fmt: skip
    raise typer.Exit(run_changes(job, out, store, all_stores=all_stores))
