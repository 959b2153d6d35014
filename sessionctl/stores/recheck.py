"""The last look at each session before its change, the same for every store that can hold it still."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sessionctl.core.model import Change, Delete, Outcome, SessionRef


def verdicts(
    changes: Sequence[Change], present: Mapping[str, SessionRef], cutoff: datetime, held: Collection[str] = ()
) -> list[Outcome]:
    """What each change comes to, DONE for those that may be made as far as the session itself tells.

    ``present`` holds the sessions as they are now, locked against writers, with ``version`` and
    ``newest_item_at``; whoever shows life after ``cutoff`` is active. A version that moved counts as
    CHANGED even where the session is active too: it is what the plan did not foresee. A session ``held``
    is HELD whatever else it is.
    """
    return first_only(changes, [_verdict(change, present.get(change.session_id), cutoff, held) for change in changes])


def first_only(changes: Sequence[Change], outcomes: Sequence[Outcome]) -> list[Outcome]:
    """``outcomes`` with what is true after the first change to each session that is DONE: no further one is made."""
    if len({change.session_id for change in changes}) == len(changes):
        return list(outcomes)
    after: dict[str, Outcome] = {}
    result = []
    for change, outcome in zip(changes, outcomes, strict=True):
        is_done = outcome is Outcome.DONE
        result.append(after.get(change.session_id, outcome) if is_done else outcome)
        if is_done:
            after.setdefault(change.session_id, Outcome.MISSING if isinstance(change, Delete) else Outcome.CHANGED)
    return result


def _verdict(change: Change, ref: SessionRef | None, cutoff: datetime, held: Collection[str]) -> Outcome:
    if ref is None:
        return Outcome.MISSING
    if ref.id in held:
        return Outcome.HELD
    if change.version is not None and ref.version != change.version:
        return Outcome.CHANGED
    alive = ref.latest_sign_of_life
    if alive is not None and alive > cutoff:
        return Outcome.ACTIVE
    return Outcome.DONE
