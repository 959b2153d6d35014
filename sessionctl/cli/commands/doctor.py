"""Find what is wrong with stores and their sessions, and mend the histories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import typer

from sessionctl.cli.context import current
from sessionctl.cli.flows import mending
from sessionctl.cli.options import common as opt
from sessionctl.cli.options.bounding import bounded
from sessionctl.cli.options.safeguarding import Consent, Safety, consenting, safeguarding
from sessionctl.cli.options.selecting import selecting
from sessionctl.cli.output import Form, Output
from sessionctl.cli.views.doctor import classes_help
from sessionctl.core.limits import Limits
from sessionctl.core.selector import Selector
from sessionctl.errors import UsageError

if TYPE_CHECKING:
    from sessionctl.core.envelope import Key
    from sessionctl.operations.doctor import Diagnosed
    from sessionctl.stores.base import Store

FORMS = (Form.TABLE, Form.WIDE, Form.JSON, Form.JSONL)
_FINDINGS = 6


@selecting()
@bounded
@consenting(dry_run="With --fix: show the plan and stop.")
@safeguarding(without=("everything", "max_share"))
def command(
    *,
    chosen: Selector,
    store: opt.StoreOpt = None,
    all_stores: opt.AllStoresOpt = False,
    fix: mending.FixOpt = None,
    limits: Limits,
    consent: Consent,
    safety: Safety,
    min_idle: mending.MinIdleOpt = None,
    ttl: mending.TtlOpt = None,
    key_env: mending.KeyOpt = None,
    output: opt.OutputOpt = Form.TABLE,
    null: opt.NullOpt = False,
) -> None:
    """Find histories that the model would reject, broken rows, and what is wrong with the store itself.

    The selected sessions are read item by item; what costs a pass over all rows is looked for only without \
selectors. Nothing is written. Exit status 6 where there are errors or warnings; notes are told and nothing more.

    --fix takes the orphan halves, or the whole turns, out of histories with findings of that class, and never \
puts anything in: a plan like any other, with an archive (--archive) that undo puts back.

    sessionctl doctor

    sessionctl doctor --newer-than 10m     (a gate after a deploy)

    sessionctl doctor --fix orphan_output --archive /var/backups/sessions
    """
    if fix:
        mending.check_classes(fix)
        out = Output(output, null=null and output is Form.NAME, allowed=mending.FORMS)
        raise typer.Exit(
            mending.mend(fix, chosen, limits, consent, safety, min_idle, ttl, out, store, all_stores=all_stores)
        )
    if consent.yes or safety.archive or min_idle is not None:
        raise UsageError("nothing is changed without --fix CLASS")
    key = mending.key_in(key_env, current().env)
    raise typer.Exit(_look(chosen, Output(output, allowed=FORMS), store, all_stores=all_stores, ttl=ttl, key=key))


def _look(
    chosen: Selector, out: Output, store: Sequence[str] | None, *, all_stores: bool, ttl: timedelta | None,
    key: Key | None,
) -> int:  # fmt: skip
    from sessionctl.cli.flows.stores_in_use import failed_json, finish, visit
    from sessionctl.cli.views.doctor import diagnosed_json, show_diagnosed, two_stores_json
    from sessionctl.operations.doctor import Places, all_findings, diagnose, grave

    trip = visit(store, out, all_stores=all_stores)
    places = Places()

    def diagnosed(opened: Store) -> Iterator[Diagnosed]:
        yield diagnose(opened, chosen, places.enter(opened.address.label), ttl=ttl, key=key)

    parts = list(trip.each(diagnosed))
    if out.form is Form.JSONL:
        for part in parts:
            out.record(diagnosed_json(part))
    elif out.form is Form.JSON and not trip.several:
        out.json(diagnosed_json(parts[0]))
    elif out.form is Form.JSON:
        stores = [*map(diagnosed_json, parts), *failed_json(trip)]
        out.json({"store": None, "findings": two_stores_json(places), "stores": stores})
    else:
        show_diagnosed(out, parts, places)
    return finish(trip, out) or (_FINDINGS if grave(all_findings(parts, places)) else 0)


command.__doc__ = f"{command.__doc__}\n{classes_help()}"
