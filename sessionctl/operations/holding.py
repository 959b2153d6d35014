"""Place, find and release holds; placing and releasing are runs in the ledger."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sessionctl.core.hold import Hold, HoldKind, HoldOrigin, Holds
from sessionctl.core.report import Stopped
from sessionctl.core.selector import Query, Selector
from sessionctl.core.units import format_second
from sessionctl.errors import SessionctlError, UsageError
from sessionctl.ledger import Ledger, Run
from sessionctl.operations.selecting import select
from sessionctl.stores.base import Store

HOLD_FOR = timedelta(days=7)
"""So long is held what an undo or a restore put back, unless it is told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """How long a hold lasts: to a time, for a while from now on, or for ever (neither)."""

    until: datetime | None = None
    lasts: timedelta | None = None

    def end(self, now: datetime) -> datetime | None:
        """By the store's clock. Raises UsageError for what is over already."""
        if self.lasts is not None:
            return now + self.lasts
        if self.until is not None and self.until <= now:
            raise UsageError(f"--until {format_second(self.until)} is over: it is {format_second(now)} in the store")
        return self.until


def new_hold_id() -> str:
    """Short enough to be typed, unlike any other in a store."""
    return f"hold-{secrets.token_hex(4)}"


def hold_of_return(store: Store, run: Run, origin: HoldOrigin, lasts: timedelta) -> Hold | None:
    """What ``run`` places on each session that it puts back; None for no time at all.

    It keeps the next policy run away, and yields to a run that names the session.
    """
    if not lasts:
        return None
    now = store.now()
    return Hold(
        hold_id=new_hold_id(), kind=HoldKind.ID, value="", reason=run.reason or f"put back by {run.command}",
        who=f"{run.actor}@{run.host}", since=now, until=now + lasts, origin=origin, yields=True,
    )  # fmt: skip


def foresee_holds(store: Store, selector: Selector, run: Run, term: Term) -> tuple[list[Hold], int]:
    """The holds that ``selector`` means, and how many of the sessions that it names there are not now.

    Ids and globs alone are held as they are, whatever they meet later. With any other selector it is the
    sessions that are selected now.
    """
    now = store.now()
    first = Hold(
        hold_id=new_hold_id(), kind=HoldKind.ID, value="", reason=run.reason or "", who=f"{run.actor}@{run.host}",
        since=now, until=term.end(now),
    )  # fmt: skip
    if not _is_ids_and_globs(selector):
        return [replace(first, value=ref.id) for ref in select(store, selector, now=now)], 0
    ids = [replace(first, value=session_id) for session_id in selector.named]
    globs = [replace(first, kind=HoldKind.GLOB, value=glob) for glob in dict.fromkeys(selector.globs)]
    there = sum(1 for _ in store.sessions(Query(named=frozenset(selector.named)))) if ids else 0
    return [*ids, *globs], len(ids) - there


def place(store: Store, ledger: Ledger, run: Run, holds: Sequence[Hold]) -> None:
    """Place them; in the ledger before and after."""
    _record(ledger, run, "held", lambda: _placed(store, holds))


def find(store: Store, references: Sequence[str]) -> tuple[list[Hold], dict[str, list[Hold]]]:
    """The holds in force that ``references`` mean; for each that means none, what holds a session so called.

    A reference is the id of a hold, or a session id or glob as it was held.
    """
    now, wanted = store.now(), frozenset(references)
    holds = [hold for hold in store.holds() if hold.lasts(now)]
    found = [hold for hold in holds if hold.hold_id in wanted or hold.value in wanted]
    known = {name for hold in found for name in (hold.hold_id, hold.value)}
    every = Holds(holds, now)
    return found, {name: every.over(name) for name in references if name not in known}


def release(store: Store, ledger: Ledger, run: Run, holds: Sequence[Hold]) -> int:
    """Take them away; in the ledger before and after. How many of them there still were."""
    return _record(ledger, run, "released", lambda: store.release(holds))


def _is_ids_and_globs(selector: Selector) -> bool:
    return replace(selector, named=(), named_given=False, globs=()) == Selector()


def _placed(store: Store, holds: Sequence[Hold]) -> int:
    store.hold(holds)
    return len(holds)


def _record(ledger: Ledger, run: Run, what: str, change: Callable[[], int]) -> int:
    ledger.begin(run)
    try:
        done = change()
    except SessionctlError as error:
        ledger.finish(run.run_id, {}, Stopped.ERROR, error.message)
        raise
    ledger.finish(run.run_id, {what: {"holds": done}}, Stopped.DONE, None)
    return done
