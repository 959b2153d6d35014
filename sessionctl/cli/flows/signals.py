"""Ctrl-C and SIGTERM in mid-run: the first asks to stop after the current batch, the second ends it at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from sessionctl.cli.output import Output
from sessionctl.operations.stop import Stop


@contextmanager
def stopping(out: Output) -> Iterator[Stop]:
    """A Stop that the signals make; the handlers before it are put back at the end."""
    stop = Stop()

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop:
            raise SystemExit(128 + number)
        stop.signal = number
        out.warn("stopping after the current batch; once more stops at once")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
