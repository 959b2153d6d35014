"""The last look at each session before its change, the same for every store that can hold it still."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sessionctl.core.model import Change, Outcome, SessionRef


def verdicts(
    changes: Sequence[Change], present: Mapping[str, SessionRef], cutoff: datetime, held: Collection[str] = ()
) -> list[Outcome]:
    """What each change comes to, DONE for those that may be made.

    ``present`` holds the sessions as they are now, locked against writers, with ``version`` and
    ``newest_item_at``; whoever shows life after ``cutoff`` is active. A version that moved counts as
    CHANGED even where the session is active too: it is what the plan did not foresee. A session ``held``
    is HELD whatever else it is.
    """
    return [_verdict(change, present.get(change.session_id), cutoff, held) for change in changes]


def _verdict(change: Change, ref: SessionRef | None, cutoff: datetime, held: Collection[str]) -> Outcome:
    if ref is None:
        return Outcome.MISSING
    if ref.id in held:
        return Outcome.HELD
    if ref.version != change.version:
        return Outcome.CHANGED
    alive = ref.latest_sign_of_life
    if alive is not None and alive > cutoff:
        return Outcome.ACTIVE
    return Outcome.DONE
