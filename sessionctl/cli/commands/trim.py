"""Drop the oldest turns of sessions that go on, or their newest ones."""

from __future__ import annotations

from functools import partial

import typer

from sessionctl.cli.options import common as opt
from sessionctl.cli.options.bounding import bounded
from sessionctl.cli.options.condensing import Instead, condensing
from sessionctl.cli.options.cutting import cutting
from sessionctl.cli.options.safeguarding import Consent, Safety, consenting, safeguarding
from sessionctl.cli.options.selecting import selecting
from sessionctl.cli.output import Form, Output
from sessionctl.core.limits import Limits
from sessionctl.core.selector import Selector
from sessionctl.errors import UsageError
from sessionctl.operations.trim import Wish, plan_trim

FORMS = (Form.TABLE, Form.JSON, Form.JSONL, Form.NAME)


@selecting()
@cutting
@condensing
@bounded
@consenting()
@safeguarding()
def command(
    *,
    chosen: Selector,
    wish: Wish,
    instead: Instead,
    limits: Limits,
    store: opt.StoreOpt = None,
    all_stores: opt.AllStoresOpt = False,
    consent: Consent,
    safety: Safety,
    output: opt.OutputOpt = Form.TABLE,
    null: opt.NullOpt = False,
) -> None:
    """Take the oldest turns out of the sessions that the selectors match, as far as the limits demand it.

    Whole turns go, cut where a call and its output, or whatever else belongs together, stay on one side, so \
that a history that the model accepts is accepted after it. Instructions that a session begins with stay, and the \
newest turns are never touched. Appends that come meanwhile lose nothing. --drop-after takes the newest \
turns instead, which is the way out of a loop or a bad deploy; an append since the plan keeps it from a session.

    --summarize leaves one item in the place of the turns that go: a summary that an agent writes, on the model and \
the terms that the table summarize of the settings names. What goes is sent there; a dry run says how much, and \
sends nothing. A session of which the model makes nothing is left as it is. A later trim keeps the summary, or \
condenses it anew.

    sessionctl trim --min-tokens 60000 --max-tokens 40000 --archive /var/backups/sessions --dry-run

    sessionctl trim --id user-17:order-help --keep-turns 20 --yes

    sessionctl trim --older-than 1d --max-tokens 40000 --summarize --model gpt-5.4-mini --dry-run

    sessionctl trim --id user-17:order-help --drop-after 2026-11-23T14:00:00Z --min-idle 0
    """  # fmt: skip
    from sessionctl.cli.flows.running import Job, run_changes
    from sessionctl.cli.flows.stores_in_use import settings

    safety.check_choice("trim", chosen)
    if isinstance(wish.after, str) and len(set(chosen.named)) != 1:
        raise UsageError("an item is of one session: name it with --id")
    wish = instead.added(wish, settings(), is_dry=consent.dry_run)
    out = Output(output, null=null and output is Form.NAME, allowed=FORMS)
    plan = partial(plan_trim, selector=chosen, wish=wish, min_idle=safety.min_idle)
    job = Job(command="trim", plan=plan, selector=chosen, limits=limits, consent=consent, safety=safety)
    raise typer.Exit(run_changes(job, out, store, all_stores=all_stores))
