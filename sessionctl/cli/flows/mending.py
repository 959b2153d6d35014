"""Mending what doctor found, as options and as a run like any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Annotated

import typer

from sessionctl.cli.options.common import duration
from sessionctl.cli.options.safeguarding import SAFETY, Consent, Safety
from sessionctl.cli.output import Form, Output
from sessionctl.core.envelope import Key
from sessionctl.core.finding import CLASSES
from sessionctl.core.limits import Limits
from sessionctl.core.selector import Selector
from sessionctl.errors import UsageError

FORMS = (Form.TABLE, Form.JSON, Form.JSONL, Form.NAME)
PANEL = "Mending"
ENCRYPTION = "Encrypted sessions"
FixOpt = Annotated[
    list[str] | None,
    typer.Option("--fix", metavar="CLASS", help="Mend findings of this class; may repeat.", rich_help_panel=PANEL),
]
MinIdleOpt = Annotated[
    timedelta | None,
    typer.Option(
        "--min-idle", parser=duration, metavar="DUR", show_default="1m", rich_help_panel=SAFETY,
        help="Never touch a session active within DUR; 0 needs --id or --ids-from.",
    ),
]  # fmt: skip


TtlOpt = Annotated[
    timedelta | None,
    typer.Option(
        "--ttl", parser=duration, metavar="DUR", show_default="10m",
        help="How long the items of an EncryptedSession count.", rich_help_panel=ENCRYPTION,
    ),
]  # fmt: skip
KeyOpt = Annotated[
    str | None,
    typer.Option(
        "--key-env", metavar="NAME", rich_help_panel=ENCRYPTION,
        help="The environment variable that holds the key of EncryptedSession: is it the right one?",
    ),
]  # fmt: skip


def key_in(name: str | None, env: Mapping[str, str]) -> Key | None:
    """The key in the variable ``name``. Raises UsageError where there is none."""
    if name is None:
        return None
    if not env.get(name):
        raise UsageError(f"${name} is not set, so there is no key to look with")
    return Key(env[name])


def check_classes(kinds: Sequence[str]) -> None:
    """Raises UsageError for a class that there is not, or that is mended in another way."""
    from difflib import get_close_matches

    from sessionctl.core.repairing import MENDABLE

    for kind in kinds:
        if kind not in CLASSES:
            near = get_close_matches(kind, CLASSES, 1)
            raise UsageError(
                f"there is no class of findings {kind!r}",
                hint=f"did you mean {near[0]}?" if near else "sessionctl doctor --help lists them",
            )
        if kind not in MENDABLE:
            raise UsageError(
                f"--fix mends histories, and {kind} is not about what they say",
                hint="sessionctl doctor prints the command or statement that mends it, where there is one",
            )


def mend(
    kinds: Sequence[str], chosen: Selector, limits: Limits, consent: Consent, safety: Safety,
    min_idle: timedelta | None, ttl: timedelta | None, out: Output, store: Sequence[str] | None, *, all_stores: bool,
) -> int:  # fmt: skip
    """Plan, show, confirm and apply the repairs; the exit status."""
    from sessionctl.cli.flows.running import Job, run_changes
    from sessionctl.operations.mending import COMMAND, MIN_IDLE, plan_mending

    if "expired_rows" in kinds and ttl is None:
        raise UsageError(
            "how long encrypted items count is not stored, only the application knows it",
            hint="say it: --ttl 10m is what EncryptedSession takes where nothing is set",
        )
    # What is mended is what is broken: however large its share is, nobody wants the rest of it to stay.
    allowed = replace(safety.allowed, max_share=1.0)
    safety = replace(safety, min_idle=MIN_IDLE if min_idle is None else min_idle, allowed=allowed)
    safety.check_idleness(chosen)
    plan = partial(plan_mending, selector=chosen, kinds=frozenset(kinds), min_idle=safety.min_idle, ttl=ttl)
    job = Job(command=COMMAND, plan=plan, selector=chosen, limits=limits, consent=consent, safety=safety)
    return run_changes(job, out, store, all_stores=all_stores)
