"""What a run came to: the counts every changing command reports, and the exit status they mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from itertools import islice
from typing import Any, Protocol

from sessionctl.core.condensing import Consumed
from sessionctl.core.model import Outcome
from sessionctl.core.plan import Forecast, Totals
from sessionctl.core.tokens import tokens_of_size

TARGETS_TOLD = 1000
"""Of a rotation, in the ledger."""
SKIPS = (Outcome.ACTIVE, Outcome.HELD, Outcome.CHANGED, Outcome.FAILED, Outcome.MISSING)


class Stopped(StrEnum):
    """Why a run ended."""

    DONE = "done"
    LIMIT = "limit"
    SIGNAL = "signal"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """What the time of a run went to, in seconds.

    ``select``: the plan; ``check``: looking at each session again; ``delete``: the change itself, its commit
    and what follows from it; ``wait``: locks of others, pauses and retries; ``model``: answers of a model, while there
    was nothing else to do.
    """

    select: float = 0.0
    check: float = 0.0
    delete: float = 0.0
    wait: float = 0.0
    model: float = 0.0

    def __add__(self, more: Times) -> Times:
        return Times(
            select=self.select + more.select,
            check=self.check + more.check,
            delete=self.delete + more.delete,
            wait=self.wait + more.wait,
            model=self.model + more.model,
        )

    @property
    def parts(self) -> dict[str, float]:
        """By name; the model's only where one was waited for."""
        found = {name: getattr(self, name) for name in ("select", "check", "delete", "wait")}
        return found | ({"model": self.model} if self.model else {})

    def to_json(self) -> dict[str, float]:
        return {f"{name}_s": round(seconds, 3) for name, seconds in self.parts.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One store's part of a run. In a dry run ``removed`` is what would be removed.

    ``keeps_sessions``: the sessions counted in ``removed`` stay, and only those items of theirs go; ``obstacles``
    count the sessions of which not all that was asked for can be done, by why.
    ``remaining`` counts planned sessions that were not reached. ``named_skipped`` counts sessions that the
    user named and that were skipped though they exist. ``failed`` are the first of the sessions that failed
    alone, each with the reason. ``why`` explains ``stopped`` in a sentence where
    there is something to explain. ``error`` is the sentence and exit status that ended it. ``retries``
    counts batches that had to be tried again. ``archive`` is where what was removed lies. ``into`` is the template
    of a rotation, ``targets`` says how many sessions were put into which store. ``restored`` is
    what an undo or a restore put back, ``consumed`` what models took that were asked. ``forecast`` is a dry run's only.
    """

    command: str
    store: str
    label: str
    dry_run: bool
    run_id: str | None
    matched: Totals
    removed: Totals
    skipped: Mapping[Outcome, int]
    remaining: int
    stopped: Stopped
    elapsed_s: float
    keeps_sessions: bool = False
    obstacles: Mapping[StrEnum, int] = field(default_factory=dict)
    times: Times = Times()
    why: str | None = None
    retries: int = 0
    named_skipped: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)
    archive: str | None = None
    into: str | None = None
    targets: Mapping[str, int] = field(default_factory=dict)
    restored: Totals | None = None
    consumed: Consumed | None = None
    error: tuple[str, int] | None = None
    signal: int | None = None
    forecast: Forecast | None = None
    plan: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The contract's object, without ``schema``."""
        return {
            "command": self.command,
            "store": self.store,
            "dry_run": self.dry_run,
            "run_id": self.run_id,
            **counts_json(self.matched, self.removed, self.skipped, keeps_sessions=self.keeps_sessions),
            **_of_models(self.removed, [self]),
            **(_of_items(self.removed, [self.obstacles]) if self.keeps_sessions else {}),
            **({"changed": {"sessions": 0}, "into": self.into} if self.into else {}),
            **({"targets": [{"store": at, "sessions": n} for at, n in self.targets.items()]} if self.into else {}),
            "remaining": {"sessions": self.remaining},
            "archive": self.archive,
            "stopped": str(self.stopped),
            "elapsed_s": round(self.elapsed_s, 3),
            "why": self.why,
            "time": self.times.to_json(),
            "retries": self.retries,
            **({"restored": _totals(self.restored)} if self.restored is not None else {}),
            **(
                {"failed": [{"session_id": id_, "why": why} for id_, why in self.failed.items()]} if self.failed else {}
            ),
            **({"error": self.error[0]} if self.error else {}),
            **({"plan": self.plan} if self.plan else {}),
        }

    def counts(self) -> dict[str, Any]:
        """Matched, removed, changed and skipped, as the report and the ledger say them."""
        counts = counts_json(self.matched, self.removed, self.skipped, keeps_sessions=self.keeps_sessions)
        counts |= _of_models(self.removed, [self])
        return counts | ({"targets": dict(islice(self.targets.items(), TARGETS_TOLD))} if self.targets else {})

    @property
    def exit_code(self) -> int:
        """0, 3 partial, 4 limit, 128 + signal, or the error's own where nothing was done."""
        if self.stopped is Stopped.SIGNAL:
            return 128 + (self.signal or 2)
        if self.error is not None:
            return 3 if self.removed.sessions or (self.restored and self.restored.sessions) else self.error[1]
        if self.stopped is Stopped.LIMIT:
            return 4
        return 3 if self.named_skipped or self.skipped.get(Outcome.FAILED) else 0


def counts_json(
    matched: Totals, removed: Totals, skipped: Mapping[Outcome, int], *, keeps_sessions: bool
) -> dict[str, Any]:
    """The counts as the contract's JSON has them; sessions that stay are not removed but changed."""
    return {
        "matched": _totals(matched),
        "removed": _totals(replace(removed, sessions=0) if keeps_sessions else removed),
        **({"changed": {"sessions": removed.sessions}, "elided": {"items": removed.elided}} if keeps_sessions else {}),
        "skipped": {str(outcome): skipped.get(outcome, 0) for outcome in SKIPS},
    }


def _of_models(removed: Totals, reports: Iterable[Report]) -> dict[str, Any]:
    """In how many sessions something stands for what went, and what models took for it; nothing if none was asked."""
    consumed = [report.consumed for report in reports if report.consumed is not None]
    return {"condensed": {"sessions": removed.condensed, **asdict(sum(consumed, Consumed()))}} if consumed else {}


def _of_items(removed: Totals, obstacles: Iterable[Mapping[StrEnum, int]]) -> dict[str, Any]:
    """What only changes tell that leave the session."""
    hindered = Counter[str]()
    for some in obstacles:
        hindered.update({obstacle.name.lower(): count for obstacle, count in some.items()})
    return {"tokens": {"removed": tokens_of_size(removed.bytes), "estimate": True}, "obstacles": dict(hindered)}


def _totals(totals: Totals) -> dict[str, int]:
    return {"sessions": totals.sessions, "items": totals.items, "bytes": totals.bytes}


def combined_json(
    command: str, reports: Sequence[Report], failures: Sequence[Mapping[str, Any]], elapsed_s: float, *, dry_run: bool
) -> dict[str, Any]:
    """Several stores: the same keys as totals, ``store`` null, and each store's own object in ``stores``.

    There is no report where every store failed before it had a plan.
    """
    skipped = {outcome: sum(r.skipped.get(outcome, 0) for r in reports) for outcome in SKIPS}
    matched = sum((r.matched for r in reports), Totals())
    removed = sum((r.removed for r in reports), Totals())
    keeps_sessions = any(r.keeps_sessions for r in reports)
    return {
        "command": command,
        "store": None,
        "dry_run": dry_run,
        "run_id": None,
        **counts_json(matched, removed, skipped, keeps_sessions=keeps_sessions),
        **_of_models(removed, reports),
        **(_of_items(removed, [r.obstacles for r in reports]) if keeps_sessions else {}),
        **({"changed": {"sessions": 0}} if any(r.into for r in reports) else {}),
        "remaining": {"sessions": sum(r.remaining for r in reports)},
        "archive": None,
        "stopped": str(worst_stop(reports) if reports else Stopped.ERROR),
        "elapsed_s": round(elapsed_s, 3),
        "why": None,
        "time": sum((r.times for r in reports), Times()).to_json(),
        "retries": sum(r.retries for r in reports),
        "stores": [*(r.to_json() for r in reports), *failures],
    }


class Ended(Protocol):
    """What came to an end in one store."""

    @property
    def stopped(self) -> Stopped: ...
    @property
    def exit_code(self) -> int: ...


def worst_stop(reports: Sequence[Ended]) -> Stopped:
    """The most telling reason among several: a signal, an error, a limit, else done."""
    for reason in (Stopped.SIGNAL, Stopped.ERROR, Stopped.LIMIT):
        if any(report.stopped is reason for report in reports):
            return reason
    return Stopped.DONE


def exit_code(reports: Sequence[Ended], failures: int) -> int:
    """Of several stores: a signal wins, then anything failed or skipped is partial, then a limit."""
    codes = [report.exit_code for report in reports]
    if len(codes) + failures == 1 and codes:
        return codes[0]
    interrupted = next((code for code in codes if code > 128), None)
    if interrupted:
        return interrupted
    if failures or any(code not in (0, 4) for code in codes):
        return 3
    return 4 if 4 in codes else 0
