"""Progress of a run on stderr: a bar on a terminal, a line now and then without one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from sessionctl.cli.context import current
from sessionctl.cli.output import Output
from sessionctl.core.units import format_duration, format_size
from sessionctl.operations.progress import Progress

_LINE_EVERY_S = 10.0
_BAR_EVERY_S = 0.1


@contextmanager
def progress_of(out: Output, command: str) -> Iterator[Callable[[Progress], None]]:
    """An observer for ``apply_plan``."""
    if current().quiet:
        yield lambda _: None
    elif out.err.is_terminal:
        with _bar(out, command) as observe:
            yield observe
    else:
        yield _now_and_then(_LINE_EVERY_S, lambda progress: out.note(_line(progress)), at_once=False)


@contextmanager
def _bar(out: Output, command: str) -> Iterator[Callable[[Progress], None]]:
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[text]}", markup=False),
    )
    with Bar(*columns, console=out.err, transient=True, refresh_per_second=4) as bar:
        task = bar.add_task(command, total=1.0, text="")
        yield _now_and_then(
            _BAR_EVERY_S,
            lambda progress: bar.update(task, completed=progress.share, text=_text(progress)),
            at_once=True,
        )


def _now_and_then(every_s: float, show: Callable[[Progress], None], *, at_once: bool) -> Callable[[Progress], None]:
    """An observer that shows one progress in ``every_s`` seconds: batches may take milliseconds."""
    last = float("-inf") if at_once else time.monotonic()

    def observe(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= every_s:
            last = time.monotonic()
            show(progress)

    return observe


def _line(progress: Progress) -> str:
    return f"{progress.share:.0%}: {_text(progress)}"


def _text(progress: Progress) -> str:
    """How far, how fast, how long still, and what the run does at this moment."""
    done, planned = progress.attempted.sessions, progress.planned.sessions
    parts = [f"{done:,} of {planned:,} sessions", *_rates(progress)]
    if progress.left_s is not None:
        parts.append(f"{format_duration(timedelta(seconds=progress.left_s))} left")
    if progress.waiting:
        parts.append(f"waiting: {progress.waiting}")
    else:
        parts.append(f"batch {_short(progress.batch_s)}, pause {_short(progress.pause_s)}")
    return ", ".join(parts)


def _rates(progress: Progress) -> Iterator[str]:
    elapsed = max(progress.elapsed_s, 1e-6)
    yield f"{progress.removed.items / elapsed:,.0f} items/s"
    yield f"{format_size(int(progress.removed.bytes / elapsed))}/s"


def _short(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
