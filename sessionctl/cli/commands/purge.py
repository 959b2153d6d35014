"""Delete whole sessions: those that are stale, named, empty or large."""

from __future__ import annotations

from functools import partial

import typer

from sessionctl.cli.options import common as opt
from sessionctl.cli.options.bounding import bounded
from sessionctl.cli.options.safeguarding import Consent, Safety, consenting, safeguarding
from sessionctl.cli.options.selecting import selecting
from sessionctl.cli.output import Form, Output
from sessionctl.core.limits import Limits
from sessionctl.core.selector import Selector

FORMS = (Form.TABLE, Form.JSON, Form.JSONL, Form.NAME)


@selecting(by_tokens=False)
@bounded
@consenting()
@safeguarding()
def command(
    *,
    chosen: Selector,
    limits: Limits,
    store: opt.StoreOpt = None,
    all_stores: opt.AllStoresOpt = False,
    consent: Consent,
    safety: Safety,
    output: opt.OutputOpt = Form.TABLE,
    null: opt.NullOpt = False,
) -> None:
    """Delete whole sessions that the selectors match, items and all.

    Plans first and shows the plan, then asks. Active sessions are never touched: each is looked at again \
in the transaction that deletes it. Ctrl-C ends after the current batch; a run can always be run again.

    sessionctl purge --older-than 30d --dry-run

    sessionctl purge --older-than 90d --exclude 'vip:*' --max-runtime 30m --yes
    """  # fmt: skip
    from sessionctl.cli.flows.running import Job, run_changes
    from sessionctl.operations.purge import plan_purge

    safety.check_choice("purge", chosen)
    out = Output(output, null=null and output is Form.NAME, allowed=FORMS)
    plan = partial(plan_purge, selector=chosen, min_idle=safety.min_idle)
    job = Job(command="purge", plan=plan, selector=chosen, limits=limits, consent=consent, safety=safety)
    raise typer.Exit(run_changes(job, out, store, all_stores=all_stores))
