"""What a plan would come to, in the words of the report, with nothing applied."""

from __future__ import annotations

from sessionctl.core.model import Outcome
from sessionctl.core.plan import Plan, PlanHeader, Totals
from sessionctl.core.report import Report, Stopped
from sessionctl.core.units import format_time


def foresee(plan: Plan, *, max_sessions: int | None, refused: tuple[str, ...], elapsed_s: float) -> Report:
    """The report of a dry run: ``removed`` is what would be removed, as far as ``max_sessions`` lets it go."""
    header, removed = plan.header, plan.header.planned
    if max_sessions is not None and max_sessions < removed.sessions:
        removed = Totals()
        for _, step in zip(range(max_sessions), plan.steps(), strict=False):
            removed = removed.plus(step.items, step.bytes)
    remaining = header.planned.sessions - removed.sessions
    return Report(
        command=header.command,
        store=header.store,
        label=header.label,
        dry_run=True,
        run_id=None,
        matched=header.matched,
        removed=removed,
        skipped={Outcome.ACTIVE: header.active, Outcome.MISSING: header.missing},
        remaining=remaining,
        stopped=Stopped.LIMIT if remaining else Stopped.DONE,
        elapsed_s=elapsed_s,
        named_skipped=header.named_active,
        plan=explained(header, refused),
    )


def explained(header: PlanHeader, refused: tuple[str, ...]) -> dict[str, object]:
    """The plan's own account of itself, for JSON."""
    return {
        "store_time": format_time(header.store_time),
        "criteria": list(header.criteria),
        "min_idle_s": header.min_idle.total_seconds(),
        "sessions_in_store": header.sessions_in_store,
        "digest": header.digest,
        "hazards": [{"what": hazard.what, "effect": str(hazard.effect)} for hazard in header.hazards],
        "warnings": list(header.warnings),
        "refused": list(refused),
    }
