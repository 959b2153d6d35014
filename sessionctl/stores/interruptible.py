"""A statement that may take long, and that a request to stop must not have to wait for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from typing import TypeVar

from sessionctl.errors import StepEnded

T = TypeVar("T")
_LOOK_EVERY_S = 0.1


def interruptibly(run: Callable[[], T], interrupt: Callable[[], None], enough: Callable[[], bool]) -> T:
    """What ``run`` returns, run in a thread of its own while ``enough`` is asked again and again here.

    Once that is true ``interrupt`` is called, and StepEnded raised unless the statement came to its end all
    the same.
    """
    with ThreadPoolExecutor(1, "statement") as pool:
        running = pool.submit(run)
        interrupted = False
        try:
            while not wait([running], _LOOK_EVERY_S).done:
                if not interrupted and enough():
                    interrupted = True
                    interrupt()
        except BaseException:
            with suppress(Exception):
                interrupt()
            raise
    if interrupted and running.exception() is not None:
        raise StepEnded from running.exception()
    return running.result()
