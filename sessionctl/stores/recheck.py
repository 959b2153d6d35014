"""The last look at each session before its change, the same for every store that can hold it still."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sessionctl.core.model import Change, Outcome, SessionRef


def verdicts(changes: Sequence[Change], present: Mapping[str, SessionRef], cutoff: datetime) -> list[Outcome]:
    """What each change comes to, DONE for those that may be made.

    ``present`` holds the sessions as they are now, locked against writers, with ``version`` and
    ``newest_item_at``; whoever shows life after ``cutoff`` is active. A version that moved counts as
    CHANGED even where the session is active too: it is what the plan did not foresee.
    """
    return [_verdict(change, present.get(change.session_id), cutoff) for change in changes]


def _verdict(change: Change, ref: SessionRef | None, cutoff: datetime) -> Outcome:
    if ref is None:
        return Outcome.MISSING
    if ref.version != change.version:
        return Outcome.CHANGED
    alive = ref.latest_sign_of_life
    if alive is not None and alive > cutoff:
        return Outcome.ACTIVE
    return Outcome.DONE
