"""Plans and reports for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import StrEnum
from itertools import islice

from sessionctl.cli.output import Column, Output, Record
from sessionctl.core.address import mask
from sessionctl.core.model import Effect, Outcome
from sessionctl.core.plan import Forecast, Plan, PlanHeader, Totals
from sessionctl.core.report import Report, Stopped, Times
from sessionctl.core.tokens import tokens_of_size
from sessionctl.core.units import count, exact_duration, format_age, format_minute, format_second, format_size

_SHOWN = 10
_SKIP_WORDS = {
    Outcome.ACTIVE: "active",
    Outcome.HELD: "held",
    Outcome.CHANGED: "changed since the plan",
    Outcome.FAILED: "failed",
    Outcome.MISSING: "missing",
}
STOP_WORDS = {
    Stopped.DONE: "done",
    Stopped.LIMIT: "stopped by a limit",
    Stopped.SIGNAL: "stopped by a signal",
    Stopped.ERROR: "stopped by an error",
}


def totals_text(totals: Totals) -> str:
    """``118 sessions, 2,360 items, 1.8 MiB``."""
    return f"{count(totals.sessions, 'session')}, {count(totals.items, 'item')}, {format_size(totals.bytes)}"


def removed_text(report: Report) -> str:
    """As ``totals_text``; of sessions that stay, what they lose."""
    removed = report.removed
    if not report.keeps_sessions:
        return totals_text(removed)
    tokens = f"~{tokens_of_size(removed.bytes):,} tokens"
    sessions = count(removed.sessions, "session")
    elided = f"{count(removed.elided, 'item')} elided, " if removed.elided else ""
    return f"{count(removed.items, 'item')}, {elided}{format_size(removed.bytes)}, {tokens} from {sessions}"


def show_plan(out: Output, plan: Plan, foreseen: Report, *, to_stderr: bool = False) -> None:
    """What would change, where, and why: the header, then the first steps."""
    console = out.err if to_stderr else out.console
    for line in _plan_lines(plan.header, foreseen):
        out.line(line, console=console)
    slow = plan.header.preflight.slow if plan.header.preflight else ()
    for line in (*plan.header.warnings, *slow, *_hazard_lines(plan.header)):
        out.warn(line)
    if foreseen.removed.sessions:
        out.line(console=console)
        out.table(_STEP_COLUMNS, _step_records(plan, foreseen.removed.sessions), console=console)
        if foreseen.removed.sessions > _SHOWN:
            console.print(f"… and {foreseen.removed.sessions - _SHOWN:,} more", style="dim")


def _plan_lines(header: PlanHeader, foreseen: Report) -> Iterator[str]:
    yield f"Plan: {header.command} in {header.store} (from {header.origin})"
    yield f"  store time  {format_second(header.store_time)}, {header.sessions_in_store:,} sessions in the store"
    for clause in header.criteria or ("every session",):
        yield f"  selects     {clause}"
    for clause in header.terms:
        yield f"  leaves      {clause}"
    yield f"  matches     {totals_text(header.matched)}"
    if header.keeps_sessions:
        beyond = ", or nothing of it can go" if header.obstacles and header.unchanged else ""
        yield f"  fits        {count(header.unchanged, 'session')} already{beyond}"
    if header.active:
        yield f"  skips       {header.active:,} active within {exact_duration(header.min_idle)}"
    if header.held:
        yield f"  skips       {header.held:,} held: sessionctl hold list shows why"
    if header.missing:
        yield f"  missing     {header.missing:,} of the named sessions"
    yield f"  {'moves' if header.into else 'removes':<11} {removed_text(foreseen)}"
    yield from _target_lines(foreseen)
    yield from _sending_lines(header, foreseen)
    for loss in header.losses:
        yield f"  not there   {loss}: the receipt has that, for undo"
    yield from _obstacle_lines(header.obstacles)
    if foreseen.remaining:
        yield f"  leaves      {foreseen.remaining:,} sessions for later runs (--max-sessions)"
    yield from _preflight_lines(header, foreseen.forecast)


def _sending_lines(header: PlanHeader, foreseen: Report) -> Iterator[str]:
    """What leaves the house."""
    if header.condensing is None:
        return
    cost = header.condensing.foresee(foreseen.removed.sessions, foreseen.removed.bytes)
    yield f"  sends       {format_size(foreseen.removed.bytes)} of text, ~{cost.input_tokens:,} tokens"
    yield f"              to {header.condensing.where}"
    if cost.output_tokens:
        yield f"              and gets {cost.output_tokens:,} tokens back at most"


def _target_lines(report: Report) -> Iterator[str]:
    """Where a rotation puts what it moves."""
    if report.into is None:
        return
    yield f"  into        {mask(report.into)}"
    for target, sessions in islice(report.targets.items(), _SHOWN):
        yield f"              {count(sessions, 'session')}: {mask(target)}"
    if len(report.targets) > _SHOWN:
        yield f"              … and {len(report.targets) - _SHOWN:,} more targets"


def _obstacle_lines(obstacles: Mapping[StrEnum, int]) -> Iterator[str]:
    for why, sessions in obstacles.items():
        yield f"  beyond      {count(sessions, 'session')}: {why}"


def _preflight_lines(header: PlanHeader, forecast: Forecast | None) -> Iterator[str]:
    """How the database goes about it, and what that takes."""
    if header.preflight is None or forecast is None:
        return
    yield from _parts("finds by", header.preflight.selection, "; ")
    yield from _parts("deletes by", header.preflight.deletion, "; ")
    yield f"  takes       {_duration(forecast)}{', and the time of the model' if header.condensing else ''}"
    if forecast.log_bytes:
        yield from _parts("log", f"writes about {format_size(forecast.log_bytes)} to the {forecast.log}", ", ")


def _parts(name: str, text: str, separator: str) -> Iterator[str]:
    """One line for each part of ``text``, so that none gets too long for a screen."""
    for number, part in enumerate(text.split(separator)):
        yield f"  {'' if number else name:<11} {part}"


def _duration(forecast: Forecast) -> str:
    if forecast.seconds < 1:
        return "less than a second"
    pace = "as in the last run here" if forecast.measured else "a usual pace"
    return f"about {format_age(timedelta(seconds=forecast.seconds))} at {forecast.rows_per_s:,.0f} rows/s ({pace})"


def _hazard_lines(header: PlanHeader) -> Iterator[str]:
    for hazard in header.hazards:
        if hazard.effect is not Effect.UNTOUCHED:
            yield f"{hazard.what}: it {hazard.effect}"


def _step_records(plan: Plan, count: int) -> Iterator[Record]:
    for step in islice(plan.steps(), min(count, _SHOWN)):
        at = step.last_activity
        yield {
            "session_id": step.session_id,
            "last_activity": format_minute(at),
            "idle": format_age(plan.header.store_time - at) if at else None,
            "items": step.items,
            "size": format_size(step.bytes),
        }


_STEP_COLUMNS = (
    Column(key="session_id", header="SESSION", fold=True),
    Column(key="last_activity", header="LAST ACTIVITY"),
    Column(key="idle", header="IDLE", justify="right"),
    Column(key="items", header="ITEMS", justify="right"),
    Column(key="size", header="SIZE", justify="right"),
)


def show_report(out: Output, report: Report) -> None:
    """What was done, what was not, and why it ended."""
    for line in _report_lines(report):
        out.line(line)
    if report.removed.sessions:
        out.note("deleted text may remain in free pages, logs and backups until they are rewritten")
        if report.store.startswith("sqlite:"):
            out.note("new items fill the space that is free now; sessionctl vacuum gives it back to the system")


def _report_lines(report: Report) -> Iterator[str]:
    seconds = report.elapsed_s
    why = f" ({report.why})" if report.why and not report.error else ""
    yield f"{report.command} in {report.store}: {STOP_WORDS[report.stopped]}{why}"
    yield f"  matched     {totals_text(report.matched)}"
    yield f"  {'moved' if report.into else 'removed':<11} {removed_text(report)} in {seconds:.2f}s{_rate(report)}"
    yield from _target_lines(report)
    if report.consumed is not None:
        took = report.consumed
        yield (
            f"  model       {count(report.removed.condensed, 'session')} condensed, {took.input_tokens:,} tokens sent, "
            f"{took.output_tokens:,} tokens back"
        )
    if report.removed.sessions:
        yield f"  time        {_times(report.times)}"
    yield from _obstacle_lines(report.obstacles)
    if report.retries:
        yield f"  retries     {report.retries:,}"
    skipped = [f"{count:,} {_SKIP_WORDS[kind]}" for kind, count in report.skipped.items() if count]
    if skipped:
        yield f"  skipped     {', '.join(skipped)}"
    for session_id, why in islice(report.failed.items(), _SHOWN):
        yield f"  failed      {session_id}: {why}"
    if report.remaining:
        yield f"  remaining   {report.remaining:,} sessions: run it again to go on"
    if report.error:
        yield f"  error       {report.error[0]}"
    if report.run_id:
        yield f"  run         {report.run_id}"
    if report.archive and report.removed.sessions:
        yield f"  {'receipt' if report.into else 'archive':<11} {report.archive}"
        yield f"  back by     sessionctl undo {report.run_id}"


def _rate(report: Report) -> str:
    if report.elapsed_s <= 0.1 or not report.removed.items:
        return ""
    items, size = report.removed.items / report.elapsed_s, int(report.removed.bytes / report.elapsed_s)
    return f", {items:,.0f} items/s, {format_size(size)}/s"


def _times(times: Times) -> str:
    """``select 0.41s, check 0.20s, delete 1.52s, wait 0.03s``."""
    return ", ".join(f"{name} {seconds:.2f}s" for name, seconds in times.parts.items())
