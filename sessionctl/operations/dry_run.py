"""What a plan would come to, in the words of the report, with nothing applied."""

from __future__ import annotations

from sessionctl.core.limits import Limits
from sessionctl.core.plan import Forecast, Plan, PlanHeader, Totals
from sessionctl.core.report import Report, Stopped, Times
from sessionctl.core.units import format_time
from sessionctl.errors import LedgerUnavailable
from sessionctl.ledger import Ledger

_ENOUGH_ROWS = 10_000
"""A run that removed fewer says little about the pace of a store."""


def foresee(
    plan: Plan, *, limits: Limits, refused: tuple[str, ...] = (), elapsed_s: float = 0.0, pace: float | None = None
) -> Report:
    """The report of a dry run: ``removed`` is what would be removed, as far as ``limits.max_sessions`` lets it go.

    ``pace`` is what ``known_pace`` says of this store.
    """
    header, removed = plan.header, plan.header.planned
    if limits.max_sessions is not None and limits.max_sessions < removed.sessions:
        removed = Totals()
        for _, step in zip(range(limits.max_sessions), plan.steps(), strict=False):
            removed = removed.plus(step.items, step.bytes, step.elided)
    remaining = header.planned.sessions - removed.sessions
    forecast = forecast_of(header, removed, limits, pace)
    return Report(
        command=header.command,
        store=header.store,
        label=header.label,
        dry_run=True,
        run_id=None,
        matched=header.matched,
        removed=removed,
        skipped=header.skipped,
        remaining=remaining,
        stopped=Stopped.LIMIT if remaining else Stopped.DONE,
        why=f"--max-sessions {limits.max_sessions}" if remaining else None,
        elapsed_s=elapsed_s,
        keeps_sessions=header.keeps_sessions,
        obstacles=header.obstacles,
        times=Times(select=header.select_s),
        named_skipped=header.named_skipped,
        into=header.into,
        targets=header.targets,
        forecast=forecast,
        plan=explained(header, forecast, refused) | _condensing(header, removed),
    )


def _condensing(header: PlanHeader, removed: Totals) -> dict[str, object]:
    """Where texts would be sent, and how much that is."""
    terms = header.condensing
    if terms is None:
        return {}
    cost = terms.foresee(removed.sessions, removed.bytes)
    sent = {"sessions": removed.sessions, "bytes": removed.bytes}
    tokens = {"input": cost.input_tokens, "output_at_most": cost.output_tokens or None, "estimate": True}
    told = {"kind": str(terms.kind), "model": terms.model, "base_url": terms.base_url, "sent": sent, "tokens": tokens}
    return {"condensing": told}


def forecast_of(header: PlanHeader, removed: Totals, limits: Limits, pace: float | None) -> Forecast | None:
    """How long removing ``removed`` of the plan takes, and how much log it writes; None where nothing is removed."""
    preflight = header.preflight
    if preflight is None or not removed.sessions:
        return None
    rows, planned = removed.items + removed.sessions, header.planned.items + header.planned.sessions
    seconds = rows / (pace or preflight.rows_per_s)
    if limits.rate is not None:
        seconds = max(seconds, removed.sessions / limits.rate)
    return Forecast(
        seconds=seconds,
        rows_per_s=rows / seconds,
        measured=pace is not None,
        log=preflight.log,
        log_bytes=round(preflight.log_bytes * rows / planned),
    )


def known_pace(ledger: Ledger | None, store: str, command: str) -> float | None:
    """Rows a second of the newest run of ``command`` on ``store`` (a masked address) that says something about it."""
    try:
        runs = ledger.runs(limit=20, store=store) if ledger else ()
    except LedgerUnavailable:  # a run will say so; a forecast does without
        return None
    for run in runs:
        removed, elapsed = run.counts.get("removed", {}), run.counts.get("elapsed_s")
        rows = removed.get("items", 0) + removed.get("sessions", 0)
        if run.command == command and elapsed and rows >= _ENOUGH_ROWS:
            return float(rows / elapsed)
    return None


def explained(header: PlanHeader, forecast: Forecast | None, refused: tuple[str, ...]) -> dict[str, object]:
    """The plan's own account of itself, for JSON."""
    return {
        "store_time": format_time(header.store_time),
        "criteria": list(header.criteria),
        **({"terms": list(header.terms), "unchanged": header.unchanged} if header.keeps_sessions else {}),
        **({"not_in_targets": list(header.losses)} if header.into else {}),
        "min_idle_s": header.min_idle.total_seconds(),
        "sessions_in_store": header.sessions_in_store,
        "digest": header.digest,
        "hazards": [{"what": hazard.what, "effect": str(hazard.effect)} for hazard in header.hazards],
        "warnings": list(header.warnings),
        "preflight": _preflight(header, forecast),
        "refused": list(refused),
    }


def _preflight(header: PlanHeader, forecast: Forecast | None) -> dict[str, object] | None:
    if header.preflight is None:
        return None
    found: dict[str, object] = {
        "selection": header.preflight.selection,
        "deletion": header.preflight.deletion,
        "slow": list(header.preflight.slow),
    }
    if forecast:
        found |= {
            "estimated_s": round(forecast.seconds, 1),
            "rows_per_s": round(forecast.rows_per_s),
            "measured_here": forecast.measured,
            "log": forecast.log,
            "log_bytes": forecast.log_bytes,
        }
    return found
