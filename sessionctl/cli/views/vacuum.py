"""Plans and reports of a vacuum for people."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta

from sessionctl.cli.context import current
from sessionctl.cli.output import Output
from sessionctl.cli.views.plan import STOP_WORDS
from sessionctl.core.model import Usage
from sessionctl.core.space import SpaceReport, Step, foreseen, size_of
from sessionctl.core.units import format_age, format_size
from sessionctl.operations.vacuum import Advance, VacuumPlan

_LINE_EVERY_S = 5.0


def show_plan(out: Output, plan: VacuumPlan, *, to_stderr: bool = False) -> None:
    """What would be done, what it would give back, what it needs, and whom it blocks."""
    console = out.err if to_stderr else out.console
    for line in _plan_lines(plan):
        out.line(line, console=console)


def _plan_lines(plan: VacuumPlan) -> Iterator[str]:
    space = plan.space
    yield f"Plan: vacuum in {plan.address} (from {plan.address.origin})"
    yield f"  takes       {_usage(space.usage)}"
    for other in space.others:
        yield f"  open in     {other}"
    for step in space.steps:
        yield f"  step        {_step(step)}"
        yield from (f"              {line}" for line in _price(step))
    yield f"  gives back  {format_size(size_of(space.usage) - size_of(foreseen(space)))}"
    for note in space.notes:
        yield f"  note        {note}"


def _step(step: Step) -> str:
    return f"{step.what} {step.table}".rstrip()


def _price(step: Step) -> Iterator[str]:
    """What a step takes, where it is worth a word."""
    if step.seconds >= 1:
        yield f"takes about {format_age(timedelta(seconds=step.seconds))}"
    if step.blocks:
        yield f"blocks {step.blocks}"
    for need in step.needs:
        free = "which nobody can tell from here" if need.room is None else f"{format_size(need.room)} are free"
        yield f"needs about {format_size(need.size)} of {need.where} meanwhile, {free}"


def _usage(usage: Usage) -> str:
    free = "" if usage.free is None else f", {format_size(usage.free)} of it free inside"
    log = f", and a log of {format_size(usage.log)}" if usage.log else ""
    return f"{format_size(usage.total or 0)}{free}{log}"


def show_report(out: Output, report: SpaceReport) -> None:
    """What was done, and what it came to."""
    for line in _report_lines(report):
        out.line(line)


def _report_lines(report: SpaceReport) -> Iterator[str]:
    why = f" ({report.why})" if report.why else ""
    yield f"vacuum in {report.store}: {STOP_WORDS[report.stopped]}{why}"
    yield f"  before      {_usage(report.space.usage)}"
    yield f"  after       {_usage(report.after)}"
    yield f"  given back  {_signed(report.freed)} in {report.elapsed_s:.2f}s"
    for done in report.done:
        unfinished = "" if done.is_complete else ", not to its end"
        yield f"  step        {_step(done.step)}: {done.seconds:.2f}s{unfinished}"
    for note in report.space.notes:
        yield f"  note        {note}"
    if report.error:
        yield f"  error       {report.error[0]}"
    if report.run_id:
        yield f"  run         {report.run_id}"


def _signed(size: int) -> str:
    return format_size(size) if size >= 0 else f"nothing: it grew by {format_size(-size)}"


def telling(out: Output) -> Callable[[Advance], None]:
    """An observer that says on stderr which step is under way, and how far it is now and then."""
    last = 0.0

    def observe(advance: Advance) -> None:
        nonlocal last
        if current().quiet:
            return
        if advance.left is None and advance.step.seconds >= 1:
            out.note(f"{_step(advance.step)} …")
        elif advance.left and time.monotonic() - last >= _LINE_EVERY_S:
            if last:
                out.note(f"{format_size(advance.left)} are left to be given back")
            last = time.monotonic()

    return observe
