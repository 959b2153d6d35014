"""Progress of a run on stderr: a bar on a terminal, a line now and then without one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sessionctl.cli.context import current
from sessionctl.cli.output import Output
from sessionctl.core.plan import PlanHeader
from sessionctl.core.units import format_size
from sessionctl.operations.execute import Progress

_LINE_EVERY_S = 10.0


@contextmanager
def progress_of(out: Output, header: PlanHeader) -> Iterator[Callable[[Progress], None]]:
    """An observer for ``apply_plan``."""
    if current().quiet:
        yield lambda _: None
    elif out.err.is_terminal:
        with _bar(out, header) as observe:
            yield observe
    else:
        yield _lines(out)


@contextmanager
def _bar(out: Output, header: PlanHeader) -> Iterator[Callable[[Progress], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    began = time.monotonic()
    with Bar(*columns, console=out.err, transient=True) as bar:
        task = bar.add_task(f"{header.command} sessions", total=header.planned.sessions, rate="")

        def observe(progress: Progress) -> None:
            bar.update(task, completed=progress.attempted, rate=_rate(progress, began))

        yield observe


def _lines(out: Output) -> Callable[[Progress], None]:
    began = last = time.monotonic()

    def observe(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= _LINE_EVERY_S:
            last = time.monotonic()
            share = progress.attempted / max(1, progress.planned.sessions)
            done = f"{progress.attempted:,} of {progress.planned.sessions:,} sessions ({share:.0%})"
            out.note(f"{done}, {_rate(progress, began)}")

    return observe


def _rate(progress: Progress, began: float) -> str:
    elapsed = max(time.monotonic() - began, 1e-6)
    items, size = progress.removed.items / elapsed, progress.removed.bytes / elapsed
    return f"{items:,.0f} items/s, {format_size(int(size))}/s"
